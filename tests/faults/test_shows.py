"""The promise in the open: real processes, an endpoint that does everything wrong, and a run killed again and again.

In full: ``python -m pytest -m torture -s tests/faults/test_shows.py``
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest

from provisioner.emulator import Behaviour, running
from tests.e2e.process import Process, command, provisioner
from tests.faults.invariants import check_finished, check_invariants
from tests.faults.world import entries_of, ledger_id_of, write_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.emulator import Emulator, Truth

SIZE = int(os.environ.get("PROVISIONER_SHOW", "2000"))
KILLS = 20
FAULTS = Behaviour(
    lost_reply=0.05, reset=0.03, reset_without_effect=0.02, error=0.02, late=0.02, latency=0.02, jitter=0.3
)
CONFIGURATION = """
[run]
read_timeout = "2s"
[pace]
initial_rate = 150
max_rate = 150
[reconcile]
settle = "{settle_s}s"
list_lag = "{lag_s}s"
names = "{configured}"
"""
TRANSPORTS = {"direct": {}, "sdk": {"BOTO_EXPERIMENTAL__ADD_PROXY_HOST_HEADER": "1"}}
"""What makes a run take each: the direct one leaves creates to the SDK for a setting that it cannot honour."""


class Show:
    """A job that is killed.

    Args:
        path: a fresh directory.
        endpoint: a running one.
        size: definitions.
        seed: of the moments at which it is killed.
        transport: of its creates.
    """

    def __init__(self, path: Path, endpoint: Emulator, size: int, seed: int, transport: str) -> None:
        self.path = path
        self.endpoint = endpoint
        self.switches = TRANSPORTS[transport]
        self.names = [f"algorithm {number}" for number in range(size)]
        self.ledger = path / "ledger.db"
        manifest = write_manifest(path / "m.jsonl", self.names)
        self.arguments = ["apply", manifest, "-c", "c.toml", "-l", self.ledger, "--endpoint-url", endpoint.url]
        self.arguments += ["--output", "json", "--progress", "never", "--log-level", "error"]
        self.random = Random(seed)  # noqa: S311  replayable, as far as processes are
        self.kills = 0

    def killed(self, longest_s: float) -> None:
        """One run that is killed with SIGKILL, unless it ends before."""
        line = command(*self.arguments, cwd=self.path, **self.switches)
        run = Process(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(self.random.uniform(0.2, longest_s))
        run.send_signal(signal.SIGKILL)
        self.kills += run.wait() == -signal.SIGKILL

    def finish(self) -> int:
        """Run until there is nothing left to do; how many runs it took."""
        for runs in range(1, 20):
            code = provisioner(*self.arguments, cwd=self.path, stdin=b"", **self.switches).returncode
            if code == 0:
                return runs
            assert code in {5, 75}, code
        message = "the job was never finished"
        raise AssertionError(message)

    def check(self) -> Truth:
        """Everything exists once, and the ledger equals the truth."""
        truth = self.endpoint.truth
        entries = entries_of(self.ledger)
        check_invariants(truth, entries, ledger_id_of(self.ledger))
        check_finished(truth, entries, self.names)
        return truth


class Plan(NamedTuple):
    """What a show is of.

    Attributes:
        names: the world of names.
        configured: what the configuration says of it.
        transport: of its creates.
        size: definitions.
        kills: with SIGKILL.
        lag_s: by which List lags; a late create takes as long to take effect.
    """

    names: str
    configured: str
    transport: str
    size: int
    kills: int
    lag_s: float


def show(path: Path, plan: Plan) -> str:
    """The whole of it; its figures."""
    names, configured, transport, size, kills, lag_s = plan
    seed = Random().randrange(10**6)  # noqa: S311  printed
    (path / "c.toml").write_text(
        CONFIGURATION.format(configured=configured, settle_s=round(3.5 * lag_s, 3), lag_s=round(1.2 * lag_s, 3))
    )
    began = time.monotonic()
    behaviour = msgspec.structs.replace(FAULTS, names=names, seed=seed, list_lag=lag_s, late_delay=lag_s)
    with running(behaviour) as endpoint:
        job = Show(path, endpoint, size, seed, transport)
        for _ in range(3 * kills):
            if job.kills < kills:
                job.killed(0.8 + size / (300.0 * kills))
        assert job.kills == kills, "it was finished too soon to be killed so often"
        runs = job.finish()
        calls = job.check().calls.get("create", {})
    took = time.monotonic() - began
    return (
        f"{size} definitions, names {names} (configured: {configured}), {transport} transport, seed {seed}: "
        f"killed {job.kills} times, then {runs} runs; "
        f"{size} created, each once, ledger equal to the truth; creates by status {calls}; {took:.0f} s"
    )


@pytest.mark.parametrize(
    ("names", "transport"),
    [
        ("duplicates", "direct"),
        ("unique", "sdk"),
        pytest.param("same", "direct", marks=pytest.mark.torture),
        pytest.param("duplicates", "sdk", marks=pytest.mark.torture),
    ],
)
def test_a_job_that_is_killed_and_lied_to(tmp_path: Path, names: str, transport: str) -> None:
    """A small job, killed once, ends with everything once, in each world of names and on both transports."""
    print(show(tmp_path, Plan(names, "unknown", transport, 60, 1, 0.4)))  # noqa: T201  its seed


@pytest.mark.torture
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("configured", ["unknown", "as they are"])
@pytest.mark.parametrize("names", ["duplicates", "unique", "same"])
def test_a_job_of_2000_that_is_killed_twenty_times(tmp_path: Path, names: str, configured: str, transport: str) -> None:
    """The same with 2,000 definitions and twenty kills, whether or not the configuration knows the world of names."""
    plan = Plan(names, names if configured == "as they are" else "unknown", transport, SIZE, KILLS, 1.2)
    print(show(tmp_path, plan))  # noqa: T201  its figures
