"""A disk that hangs in a sync: nothing interrupts it, and the run ends all the same when it is asked to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.process import ROOT, environment
from tests.faults.world import write_manifest

if TYPE_CHECKING:
    from pathlib import Path

HANGING = """
import sys, time
from provisioner.ledger.sqlite import database, store
from provisioner.cli import main

class Hanging:
    def __init__(self, connection):
        self.connection = connection

    def execute(self, sql, *parameters):
        if sql == "COMMIT" and self.hangs():
            print("hangs", file=sys.stderr, flush=True)
            time.sleep(600)
        return self.connection.execute(sql, *parameters)

    def close(self):
        self.connection.close()

    def hangs(self):
        Hanging.left -= 1
        return Hanging.left < 0

Hanging.left = int(sys.argv[1])
plain = database.connect
hanging = lambda path, mode: Hanging(plain(path, mode))
original = store.SqliteLedger.open.__func__
async def opened(cls, path, **given):
    return await original(cls, path, **given, connect=hanging)
store.SqliteLedger.open = classmethod(opened)
main(sys.argv[2:])
"""
"""The command line, over a disk on which the sync of a numbered commit never ends."""


@pytest.mark.parametrize("commits", [0, pytest.param(9, marks=pytest.mark.torture)])
def test_sigterm_while_the_disk_hangs(tmp_path: Path, commits: int) -> None:
    """A signal ends a run within 25 s: with 75 where the disk hangs at its start, with 74 in its midst."""
    manifest = write_manifest(tmp_path / "m.jsonl", [f"a{number}" for number in range(200)])
    arguments = ["apply", manifest, "--local", "--output", "json", "--progress", "never"]
    run = subprocess.Popen(
        [sys.executable, "-c", HANGING, str(commits), *map(str, arguments)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    with run:
        try:
            assert run.stderr is not None
            while "hangs" not in run.stderr.readline():
                assert run.poll() is None
            run.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            out, err = run.communicate(timeout=60)
        finally:
            run.kill()

    assert time.monotonic() - asked < 25
    assert run.returncode == (75 if commits == 0 else 74), err
    assert json.loads(out)["exit_code"] == run.returncode
