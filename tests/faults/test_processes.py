"""The rows of the fault matrix that are about processes, signals and files, through the real process.

Times in the configuration are short, so that a settle time passes in a second or two; no test asserts how long a thing
takes but for the ends that are promised.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from provisioner.emulator import Behaviour, running
from tests.e2e.process import Process, provisioner, until
from tests.e2e.process import command as command_of
from tests.faults.invariants import check_finished, check_invariants
from tests.faults.world import entries_of, ledger_id_of, older_of, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.emulator import Emulator, Truth

LIMIT_S = 60.0
CONFIGURATION = """
[run]
read_timeout = "{read_timeout}"
[pace]
initial_rate = {rate}
max_rate = {rate}
[reconcile]
settle = "{settle}"
list_lag = "{list_lag}"
"""


class Job:
    """A manifest, a configuration and a ledger at an endpoint.

    Args:
        path: a fresh directory.
        endpoint: a running one.
        size: definitions.
        settings: what differs in the configuration.
    """

    def alive_now(self) -> int:
        """How many algorithms exist at this moment, the late ones among them."""
        self.endpoint._service.accounts.advance(time.time())
        return len(self.truth.alive)

    def __init__(self, path: Path, endpoint: Emulator, size: int, **settings: object) -> None:
        self.path = path
        self.endpoint = endpoint
        self.names = [f"algorithm {number}" for number in range(size)]
        self.manifest = write_manifest(path / "m.jsonl", self.names)
        self.ledger = path / "ledger.db"
        self.more: list[Process] = []
        kept = {"read_timeout": "1s", "rate": 200.0, "settle": "1s", "list_lag": "300ms"}
        (path / "c.toml").write_text(CONFIGURATION.format(**kept | settings))

    def change(self, **switches: object) -> None:
        """Turn switches of the endpoint."""
        self.endpoint.behaviour = msgspec.structs.replace(self.endpoint.behaviour, **switches)

    def arguments(self, command: str = "apply", *more: object, manifest: object = None) -> list[str]:
        """A command line."""
        sources = [manifest or self.manifest] if command == "apply" else []
        common = ["-c", "c.toml", "-l", self.ledger, "--endpoint-url", self.endpoint.url, "--output", "json"]
        return [*map(str, [command, *sources, *common, "--progress", "never", "--log-level", "error", *more])]

    def start(self, *more: object, **streams: Any) -> Process:
        """Start ``apply``; it is killed at the end of the test, if it is still there."""
        return self.start_command("apply", *more, **streams)

    def start_command(self, command: str, *more: object, **streams: Any) -> Process:
        """Start a command; it is killed at the end of the test, if it is still there."""
        manifest = "-" if "stdin" in streams else None
        process = Process(command_of(*self.arguments(command, *more, manifest=manifest), cwd=self.path), **streams)
        self.more.append(process)
        return process

    def run(self, command: str = "apply", *more: object) -> tuple[int, dict[str, Any]]:
        """Run a command to its end: its exit code, and what it printed."""
        done = provisioner(*self.arguments(command, *more), cwd=self.path)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    @property
    def truth(self) -> Truth:
        """What the endpoint holds."""
        return self.endpoint.truth

    def check(self) -> None:
        """I1 to I3."""
        older = older_of(self.ledger)
        check_invariants(self.truth, entries_of(self.ledger), ledger_id_of(self.ledger), older=older)

    def check_finished(self) -> None:
        """Everything is registered once, and the ledger equals the truth."""
        self.check()
        check_finished(self.truth, entries_of(self.ledger), self.names)


def end(process: Process, limit_s: float = LIMIT_S) -> tuple[int, dict[str, Any]]:
    """Wait for the end of a run: its exit code, and what it printed."""
    out, err = process.communicate(timeout=limit_s)
    assert out, err
    return process.returncode, json.loads(out)


@contextmanager
def job_at(path: Path, *, size: int = 40, settings: dict[str, object] | None = None, **switches: Any) -> Iterator[Job]:
    """A job with an endpoint of its own."""
    with running(Behaviour(**{"names": "duplicates"} | switches)) as endpoint:
        job = Job(path, endpoint, size, **settings or {})
        try:
            yield job
        finally:
            for process in job.more:
                process.kill()
                process.wait()
                for stream in (process.stdin, process.stdout, process.stderr):
                    if stream is not None:
                        stream.close()


def test_sigterm_with_a_server_that_hangs(tmp_path: Path) -> None:
    """A drain awaits what is in flight up to the read timeout, and every one of those stays open; exit 75."""
    with job_at(tmp_path, hang=1.0) as job:
        run = job.start()
        until(lambda: job.truth.count("create") >= 2)
        run.send_signal(signal.SIGTERM)
        asked = time.monotonic()

        code, summary = end(run)

        assert time.monotonic() - asked < 25
        assert code == 75
        assert summary["outcomes"]["ambiguous"] == job.truth.count("create") == len(job.truth.alive)
        assert sum(summary["outcomes"].values()) == summary["manifest"]["valid"]
        assert summary["stopped"] == "signal SIGTERM"
        job.change(hang=0.0)
        assert job.run()[0] == 0
        job.check_finished()
        sent = job.truth.count("create")
        assert job.run()[1]["outcomes"]["unchanged"] == len(job.names)
        assert job.truth.count("create") == sent


def test_a_second_signal(tmp_path: Path) -> None:
    """A second signal ends the process within a second; its entries say what is known, and its summary adds up."""
    with job_at(tmp_path, hang=1.0, settings={"read_timeout": "20s"}) as job:
        run = job.start()
        until(lambda: job.truth.count("create") >= 2)
        run.send_signal(signal.SIGINT)
        time.sleep(0.2)
        run.send_signal(signal.SIGINT)

        code, summary = end(run, 5.0)

        assert code == 130
        assert summary["outcomes"]["ambiguous"] >= 2
        assert sum(summary["outcomes"].values()) == summary["manifest"]["valid"]
        job.check()
        job.change(hang=0.0)
        assert job.run()[0] == 0
        job.check_finished()


def test_a_second_signal_while_nobody_reads_stdout(tmp_path: Path) -> None:
    """A pipe that is full and read by nobody delays the end by half a second, no more."""
    with job_at(tmp_path, hang=1.0, settings={"read_timeout": "20s"}) as job:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
        os.set_blocking(writer, True)
        run = job.start(stdout=writer)
        until(lambda: job.truth.count("create") >= 2)
        run.send_signal(signal.SIGINT)
        time.sleep(0.2)
        run.send_signal(signal.SIGINT)

        assert run.wait(timeout=5.0) == 130
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    "delay_s", [0.7, *(pytest.param(0.1 * tenths, marks=pytest.mark.torture) for tenths in range(1, 25))]
)
def test_sigterm_at_any_moment(tmp_path: Path, delay_s: float) -> None:
    """Whenever the signal comes, the ledger is true and the next run finishes the job."""
    with job_at(tmp_path, size=60, latency=0.05) as job:
        run = job.start()
        time.sleep(delay_s)
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=LIMIT_S)

        assert run.returncode in {75, 0, 130}
        assert job.run()[0] == 0
        job.check_finished()


def test_a_stop_while_standard_input_is_silent(tmp_path: Path) -> None:
    """A run that waits for lines that never come ends at once when it is asked to; exit 75."""
    with job_at(tmp_path, size=5) as job:
        run = job.start(stdin=subprocess.PIPE)
        assert run.stdin is not None
        run.stdin.write(job.manifest.read_text())
        run.stdin.flush()
        until(lambda: len(job.truth.alive) == len(job.names))
        run.send_signal(signal.SIGTERM)

        assert run.wait(timeout=10) == 75
        assert run.stdout is not None
        assert json.loads(run.stdout.read())["outcomes"]["created"] == len(job.names)


def test_a_deadline(tmp_path: Path) -> None:
    """A run drains when its time is over, and the next one goes on; exit 75."""
    with job_at(tmp_path, size=300, settings={"rate": 30.0, "read_timeout": "20s"}) as job:
        code, summary = job.run("apply", "--deadline", "1500ms")

        assert code == 75
        assert summary["outcomes"]["created"] < 300
        assert sum(summary["outcomes"].values()) == summary["manifest"]["valid"]
        assert job.run("apply", "--max-rate", "500")[0] == 0
        job.check_finished()


def test_two_runs_at_once(tmp_path: Path) -> None:
    """The second exits 6 at once and names the first; one that may wait has its turn when the first has ended."""
    with job_at(tmp_path, size=60, settings={"rate": 1.0}) as job:
        first = job.start()
        until(lambda: job.truth.alive)

        code, summary = job.run()
        assert code == 6
        assert f"process {first.pid} " in summary["error"]
        second = job.start("--lock-timeout", "60s", "--max-rate", "500")
        first.send_signal(signal.SIGTERM)

        assert end(first)[0] == 75
        assert end(second)[0] == 0
        job.check_finished()


def test_a_run_that_waits_for_the_lock_is_told_to_stop(tmp_path: Path) -> None:
    """A signal ends the wait for the lock at once; exit 75."""
    with job_at(tmp_path, size=60, settings={"rate": 1.0}) as job:
        job.start()
        until(lambda: job.truth.alive)
        second = job.start("--lock-timeout", "1h", "--log-level", "info")
        # The database is loaded right before the lock is tried.
        until(lambda: "_sqlite3" in Path(f"/proc/{second.pid}/maps").read_text())
        time.sleep(0.5)
        second.send_signal(signal.SIGTERM)

        # On a slow machine the signal may come before the run begins.
        assert second.wait(timeout=10) in {75, 130, -signal.SIGTERM}


def test_the_lock_holder_is_stopped_and_wakes_up(tmp_path: Path) -> None:
    """A stopped holder keeps the ledger; one that was overtaken after all records and sends nothing more; exit 6."""
    with job_at(tmp_path, size=30, latency=0.7, settings={"read_timeout": "20s"}) as job:
        holder = job.start("--max-in-flight", "4")
        until(lambda: job.truth.count("create") >= 4)
        time.sleep(0.1)
        holder.send_signal(signal.SIGSTOP)
        assert job.run()[0] == 6
        Path(f"{job.ledger}.lock").unlink()
        job.change(latency=0.0)

        assert job.run()[0] == 0
        finished = job.truth.count("create")
        holder.send_signal(signal.SIGCONT)

        assert end(holder)[0] == 6
        assert job.truth.count("create") == finished
        job.check_finished()


def test_a_holder_wakes_up_while_another_run_resolves_what_it_left(tmp_path: Path) -> None:
    """Who was overtaken records nothing of what it learns on waking; the other run resolves all of it: 6 and 0."""
    with job_at(tmp_path, size=8, latency=0.7, settings={"read_timeout": "20s", "settle": "3s"}) as job:
        holder = job.start("--max-in-flight", "4")
        until(lambda: job.truth.count("create") >= 4)
        time.sleep(0.1)
        holder.send_signal(signal.SIGSTOP)
        Path(f"{job.ledger}.lock").unlink()
        job.change(latency=0.0)
        second = job.start()
        until(lambda: job.truth.count("create") == len(job.names))
        holder.send_signal(signal.SIGCONT)

        assert (end(holder)[0], end(second)[0]) == (6, 0)
        job.check_finished()


def test_the_ledger_is_deleted_during_a_run(tmp_path: Path) -> None:
    """A run whose ledger is deleted under it sends nothing more and does not end as if all were well; exit 74."""
    with job_at(tmp_path, size=60, settings={"rate": 5.0}) as job:
        run = job.start()
        until(lambda: job.truth.alive)
        job.ledger.unlink()

        code, summary = end(run)

        assert code == 74
        assert "deleted or replaced" in summary["error"]
        assert job.truth.count("create") < len(job.names)


def test_a_process_that_stands_still_between_intent_and_send(tmp_path: Path) -> None:
    """However often a run is stopped and woken, nothing is made twice."""
    with job_at(tmp_path, size=60, latency=0.02, settings={"rate": 100.0}) as job:
        run = job.start()
        until(lambda: job.truth.alive)
        while run.poll() is None:
            run.send_signal(signal.SIGSTOP)
            time.sleep(0.05)
            run.send_signal(signal.SIGCONT)
            time.sleep(0.05)

        assert end(run)[0] == 0
        job.check_finished()


def test_a_broken_pipe(tmp_path: Path) -> None:
    """Readers of stdout and stderr that go away change nothing of a run."""
    with job_at(tmp_path, lost_reply=0.2) as job:
        run = job.start("--progress", "always", "--log-level", "debug")
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        run.stderr.close()

        assert run.wait(timeout=LIMIT_S) == 0
        job.check_finished()


def test_late_or_lagging_beyond_the_settle_time(tmp_path: Path) -> None:
    """A duplicate that AWS made by breaking the condition is found by verify, exit 5; it is deleted only when asked."""
    with job_at(tmp_path, size=3, late_delay=4.0, settings={"settle": "500ms", "list_lag": "100ms"}) as job:
        job.change(script=("late", "ok", "ok"))
        assert job.run()[0] == 0
        until(lambda: job.alive_now() == 4)

        code, printed = job.run("verify")

        assert code == 5
        assert [finding["kind"] for finding in printed["findings"]] == ["duplicate"]
        assert len(job.truth.alive) == 4
        assert job.run("verify", "--prune-duplicates", "--yes")[0] == 0
        job.check_finished()


def test_the_ledger_is_deleted(tmp_path: Path) -> None:
    """A ledger that is rebuilt from tags equals the lost one for every created entry."""
    with job_at(tmp_path) as job:
        assert job.run()[0] == 0
        lost = {name: (entry.arn, entry.digest, entry.attempt) for name, entry in entries_of(job.ledger).items()}
        identity = ledger_id_of(job.ledger)
        for path in tmp_path.glob("ledger.db*"):
            path.unlink()

        assert job.run("rebuild")[0] == 2
        assert not job.ledger.exists()
        assert job.run("rebuild", "--ledger-id", identity)[0] == 0

        found = {name: (entry.arn, entry.digest, entry.attempt) for name, entry in entries_of(job.ledger).items()}
        assert found == lost
        assert ledger_id_of(job.ledger) == identity
        job.check_finished()


def test_the_ledger_is_damaged_or_newer(tmp_path: Path) -> None:
    """Such a ledger is refused with its remedy before anything is sent; exit 74."""
    with job_at(tmp_path, size=2) as job:
        assert job.run()[0] == 0
        good = job.ledger.read_bytes()
        damaged, newer = (tmp_path / name for name in ("damaged.db", "newer.db"))
        damaged.write_bytes(good[:4096] + os.urandom(8192) + good[12288:])
        newer.write_bytes(good)
        with contextlib.closing(sqlite3.connect(newer)) as connection:
            connection.execute("PRAGMA user_version = 99")
        sent = job.truth.count("create")

        for job.ledger, remedy in ((damaged, "provisioner rebuild"), (newer, "newer provisioner")):
            code, summary = job.run()

            assert code == 74
            assert remedy in summary["error"]
            assert job.truth.count("create") == sent


def test_wrong_account(tmp_path: Path) -> None:
    """Credentials of another account than the configured one are refused before the first call; exit 77."""
    with job_at(tmp_path, size=2) as job:
        with (tmp_path / "c.toml").open("a") as file:
            file.write('[targets.prod]\nregion = "us-east-1"\naccount_id = "999999999999"\n')
            file.write(f'sts_endpoint_url = "{job.endpoint.url}"\n')

        code, summary = job.run()

        assert code == 77
        assert "wrong account" in summary["targets"]["prod"]["halted"]
        assert job.truth.count("create") == 0


@pytest.mark.torture
def test_sigterm_with_a_server_that_hangs_for_good(tmp_path: Path) -> None:
    """With the longest read timeout that may be set, a drain ends within 25 s all the same; exit 75."""
    with job_at(tmp_path, hang=1.0, settings={"read_timeout": "23s"}) as job:
        run = job.start()
        until(lambda: job.truth.count("create") >= 2)
        time.sleep(2.0)
        run.send_signal(signal.SIGTERM)

        code, summary = end(run, 25.0)

        assert code == 75
        assert sum(summary["outcomes"].values()) == summary["manifest"]["valid"]
        job.check()


WORLDS = ("duplicates", *(pytest.param(names, marks=pytest.mark.torture) for names in ("unique", "same")))
"""All three in virtual time by default; through real processes two of them as torture."""
HOSTILE: dict[str, Any] = {"lost_reply": 0.3, "list_lag": 0.2, "latency": 0.05}
"""For the rows about ledgers and targets: kills and lost replies on top."""
SETTLED_S = 1.5
"""Settle time and List lag of the configuration, and a little."""


def killed(job: Job, made: int) -> None:
    """A run that is killed once ``made`` algorithms exist."""
    run = job.start()
    until(lambda: len(job.truth.alive) >= made)
    run.kill()
    run.wait()
    time.sleep(SETTLED_S)


@pytest.mark.parametrize("names", WORLDS)
def test_a_target_renamed_after_a_kill(tmp_path: Path, names: str) -> None:
    """The place is known from the first intent on: 78 with the command, and after it everything exists once."""
    with job_at(tmp_path, size=12, settings={"rate": 20.0}, **HOSTILE | {"names": names}) as job:
        killed(job, 4)
        with (tmp_path / "c.toml").open("a") as file:
            file.write("[targets.prod]\n")

        code, refused = job.run()
        sent = job.truth.count("create")
        assert code == 78
        assert "provisioner ledger rename-target default prod" in refused["targets"]["prod"]["halted"]
        renamed = provisioner("ledger", "rename-target", "default", "prod", "-l", job.ledger, cwd=tmp_path)
        assert renamed.returncode == 0, renamed.stderr
        assert job.truth.count("create") == sent

        code, summary = job.run()

        assert code == 0, summary
        assert summary["outcomes"]["created"] + summary["outcomes"]["recovered"] > 0
        check_finished(job.truth, entries_of(job.ledger, "prod"), job.names)


@pytest.mark.parametrize("names", WORLDS)
def test_two_targets_in_one_place_after_a_kill(tmp_path: Path, names: str) -> None:
    """Of two targets in one account and Region, one is refused with 78, and the other makes everything once."""
    with job_at(tmp_path, size=12, settings={"rate": 20.0}, **HOSTILE | {"names": names}) as job:
        with (tmp_path / "c.toml").open("a") as file:
            file.write("[targets.east]\n[targets.prod]\n")
        killed(job, 4)

        code, summary = job.run()

        halted = {
            name: "the same account and Region" in one.get("halted", "") for name, one in summary["targets"].items()
        }
        entries = {name: entries_of(job.ledger, name) for name in ("east", "prod")}
        assert code == 78
        assert sorted(halted.values()) == [False, True]
        check_finished(job.truth, next(entries[name] for name, one in halted.items() if not one), job.names)
        assert not any(entry.exists for name, one in halted.items() if one for entry in entries[name].values())


@pytest.mark.parametrize("names", WORLDS)
def test_a_ledger_restored_after_a_kill(tmp_path: Path, names: str) -> None:
    """A backup of a run that was killed later recovers what it does not know; no name is made twice."""
    with job_at(tmp_path, size=16, settings={"rate": 20.0}, **HOSTILE | {"names": names}) as job:
        run = job.start()
        until(lambda: len(job.truth.alive) >= 4)
        source, backup = sqlite3.connect(job.ledger), sqlite3.connect(tmp_path / "backup.db")
        with contextlib.closing(source), contextlib.closing(backup):
            source.backup(backup)
        until(lambda: len(job.truth.alive) >= 10)
        run.kill()
        run.wait()
        time.sleep(SETTLED_S)
        for suffix in ("", "-wal", "-shm"):
            job.ledger.with_name(f"ledger.db{suffix}").unlink(missing_ok=True)
        (tmp_path / "backup.db").rename(job.ledger)
        made = len(job.truth.alive)

        code, summary = job.run()

        outcomes = summary["outcomes"]
        assert code == 0, summary
        assert outcomes["unchanged"] + outcomes["recovered"] >= made
        assert outcomes["recovered"] > 0
        job.check_finished()
