"""``rebuild`` makes a ledger that is whole, or none, and touches nobody else's file; through the real process."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.process import until
from tests.faults.test_processes import end, job_at
from tests.faults.world import entries_of, ledger_id_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.test_processes import Job


def start_rebuild(job: Job, identity: str) -> None:
    """Start ``rebuild`` and wait until it reads AWS, slowly."""
    job.change(latency=0.4)
    job.start_command("rebuild", "--ledger-id", identity)
    until(lambda: job.truth.count("get") >= 2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_rebuild_that_is_stopped_leaves_no_ledger(tmp_path: Path, number: signal.Signals) -> None:
    """Half a ledger never has the name; apply refuses to begin anew beside the lock, and the next rebuild works."""
    with job_at(tmp_path, size=30) as job:
        assert job.run()[0] == 0
        lost = {name: entry.arn for name, entry in entries_of(job.ledger).items()}
        identity = ledger_id_of(job.ledger)
        job.ledger.unlink()
        start_rebuild(job, identity)
        job.more[-1].send_signal(number)
        code = job.more[-1].wait(timeout=30)
        job.change(latency=0.0)
        sent = job.truth.count("create")

        assert code == (75 if number is signal.SIGTERM else -number)
        assert not job.ledger.exists()
        refused, summary = job.run()
        assert (refused, "provisioner rebuild" in summary["error"]) == (74, True)
        code, summary = job.run("rebuild", "--ledger-id", identity)
        assert code == 0, summary["error"]
        assert {name: entry.arn for name, entry in entries_of(job.ledger).items()} == lost
        assert ledger_id_of(job.ledger) == identity
        assert job.run()[1]["outcomes"]["unchanged"] == 30
        assert job.truth.count("create") == sent


def test_a_rebuild_beside_a_run_touches_nothing(tmp_path: Path) -> None:
    """While apply holds the ledger a rebuild ends with 6 and apply goes on; beside a ledger it ends with 2."""
    with job_at(tmp_path, size=30, settings={"rate": 1.0}) as job:
        run = job.start()
        until(lambda: job.truth.alive)

        code, summary = job.run("rebuild")
        assert code == 6, summary["error"]
        run.send_signal(signal.SIGTERM)
        assert end(run)[0] == 75
        assert job.run("apply", "--max-rate", "500")[0] == 0
        before = job.ledger.read_bytes()
        assert job.run("rebuild")[0] == 2
        assert job.ledger.read_bytes() == before
        job.check_finished()


def test_a_rebuild_beside_the_log_of_a_lost_ledger(tmp_path: Path) -> None:
    """The log of a killed run may hold its last facts: a rebuild refuses to begin and leaves it as it is; exit 74."""
    with job_at(tmp_path, size=30, settings={"rate": 20.0}) as job:
        run = job.start()
        until(lambda: len(job.truth.alive) > 3)
        run.kill()
        run.wait()
        moved = job.ledger.rename(tmp_path / "moved.db")
        log = tmp_path / "ledger.db-wal"
        before = log.read_bytes()

        code, summary = job.run("rebuild")

        assert (code, "its -wal file is still here" in summary["error"]) == (74, True)
        assert log.read_bytes() == before
        moved.rename(job.ledger)
        assert job.run()[0] == 0
        job.check_finished()
