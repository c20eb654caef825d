"""Ledgers in mounts, as containers make them: each test has a mount namespace of its own, which takes root."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.definition_lines import numbered
from tests.e2e.process import COMMAND, ROOT, environment
from tests.namespaces import unshare

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 60


def in_mounts(script: str, *, cwd: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a shell script in a mount namespace of its own; its mounts end with it."""
    return subprocess.run(
        [*unshare("--mount", "--propagation", "private"), "sh", "-ec", script],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=LIMIT_S,
        env=environment(PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1"),
        check=False,
    )


@pytest.fixture(autouse=True)
def _permitted(tmp_path: Path) -> None:
    (tmp_path / "probe").mkdir()
    done = in_mounts("mount --bind probe probe", cwd=tmp_path)
    if done.returncode:
        pytest.skip(f"NOT TESTED, bind mounts are not permitted here: {done.stderr.decode().strip()}")
    (tmp_path / "probe").rmdir()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three definitions."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(numbered(3))
    return path


def command(*arguments: object) -> str:
    """The command line as a shell reads it."""
    return shlex.join([*COMMAND, *map(str, arguments)])


def test_a_ledger_that_is_mounted_alone_is_refused(tmp_path: Path, manifest: Path) -> None:
    """A bind mount of the file alone leaves log and lock outside: 74, nothing is sent, no file is made."""
    for name in ("host", "container"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ledger.db").touch()
    apply = command("apply", manifest, "--local", "-l", "container/ledger.db")
    alone = "mount --bind host/ledger.db container/ledger.db"

    writing = in_mounts(f"{alone}; {apply}", cwd=tmp_path)
    reading = in_mounts(f"{alone}; {command('status', '-l', 'container/ledger.db')}", cwd=tmp_path)

    for done in (writing, reading):
        assert done.returncode == 74, done.stderr
        assert b"the ledger's file is mounted alone" in done.stderr + done.stdout
        assert b"Mount the directory" in done.stderr + done.stdout
    assert [path.name for path in (tmp_path / "container").iterdir()] == ["ledger.db"]
    assert (tmp_path / "host" / "ledger.db").stat().st_size == 0


def test_a_ledger_in_a_mounted_directory_is_used(tmp_path: Path, manifest: Path) -> None:
    """A bind mount of the directory holds ledger, log and lock together, so that the next container finds them all."""
    for name in ("host", "container"):
        (tmp_path / name).mkdir()
    apply = command("apply", manifest, "--local", "-l", "container/ledger.db", "--output", "json")

    done = [in_mounts(f"mount --bind host container; {apply}", cwd=tmp_path) for _ in range(2)]

    assert [each.returncode for each in done] == [0, 0], done[0].stderr
    assert [json.loads(each.stdout)["outcomes"]["created"] for each in done] == [3, 0]
    assert list((tmp_path / "container").iterdir()) == []


@pytest.mark.parametrize("stdin", [False, True])
def test_a_read_only_root(tmp_path: Path, manifest: Path, stdin: bool) -> None:  # noqa: FBT001  a parameter of the test
    """With one writable volume a run works; what is kept aside of standard input needs TMPDIR there, else exit 74."""
    (tmp_path / "data").mkdir()
    source = ["-", "--strict"] if stdin else [manifest]
    apply = command("apply", *source, "--local", "-l", tmp_path / "data" / "ledger.db")
    hide = "for d in /tmp /var/tmp /usr/tmp /dev/shm; do ! mountpoint -q $d || mount -o remount,bind,ro $d; done"
    mounts = f"mount --bind {tmp_path}/data {tmp_path}/data; {hide}; mount -o remount,bind,ro /; cd /"
    content = manifest.read_bytes() if stdin else b""

    done = in_mounts(f"{mounts}; {apply}", cwd=tmp_path, stdin=content)
    helped = in_mounts(f"{mounts}; TMPDIR={tmp_path}/data {apply}", cwd=tmp_path, stdin=content)

    assert done.returncode == (74 if stdin else 0), done.stderr
    assert b"internal error" not in done.stderr
    assert not stdin or b"TMPDIR" in done.stderr + done.stdout
    assert helped.returncode == 0, helped.stderr
