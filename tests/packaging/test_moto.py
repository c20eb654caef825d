"""The pull request for moto, as its reviewer tries it: the tests of the service, where nothing is ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import moto
import pytest

from tests.e2e.process import environment
from tests.emulator.upstream.pull_request import write

pytestmark = pytest.mark.package

LIMIT_S = 300
INIT = """
from moto.core.config import default_user_config
default_user_config["core"]["reset_boto3_session"] = False
"""
"""Of moto's own ``tests/__init__.py``: what saves time."""


def test_the_pull_request_passes_its_tests(tmp_path: Path) -> None:
    """In a tree with moto's layout the tests of the service pass; the installed moto does not have it."""
    installed = Path(moto.__path__[0])
    for folder in ("docs/docs/services", "moto", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    for path in installed.iterdir():
        (tmp_path / "moto" / path.name).symlink_to(path)
    for name in ("backend_index.py", "backends.py"):
        (tmp_path / "moto" / name).unlink()
        (tmp_path / "moto" / name).write_text((installed / name).read_text())
    (tmp_path / "tests/__init__.py").write_text(INIT)
    (tmp_path / "setup.cfg").write_text("[options.extras_require]\ncleanrooms =\n")
    (tmp_path / "IMPLEMENTATION_COVERAGE.md").write_text("## cleanrooms\n</details>\n\n")
    write(tmp_path)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
