"""What a command with a run sets in its process."""

from __future__ import annotations

import resource

from provisioner.cli.running import raise_file_limit


def test_a_run_may_open_as_many_files_as_the_system_lets_it() -> None:
    """The soft limit of file descriptors, 1,024 as a rule, is raised to the hard one."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        raise_file_limit()
        after = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert after == (before[1], before[1])
