"""What it costs to plan, to verify a ledger and to rebuild a lost one: with GetResources, and with Gets alone.

python -m benchmarks.inventory [COUNT ...]

The real commands run against the embedded endpoint in a process of its own, which
limits nothing and answers after 20 ms. Each way of reading takes its turn on the same account and ledger. Last comes
the arithmetic at AWS's likely rate, 5 calls a second of each operation, also for tools that read each resource alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.machine import command, machine
from benchmarks.rerun import write_manifest
from benchmarks.throughput.processes import Cost, cost_of
from provisioner.emulator import DEFAULT_ACCOUNT, credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

LATENCY_S = 0.02
RATE_PER_S = 5.0
MOST_GETS = 10_000
"""Above so many algorithms, the way by Get alone is left out: it takes many minutes."""
WAYS = {"GetResources": "tagging_endpoint_url = '{0}'", "Get alone": ""}


class Reading(msgspec.Struct, frozen=True):
    """A command that read the account: its cost, its calls by kind, and its result."""

    cost: Cost
    calls: dict[str, int]
    result: dict[str, Any]

    @property
    def at_rate_s(self) -> float:
        """Seconds at 5 calls a second of each operation: List and GetResources side by side, then the Gets."""
        calls = self.calls
        return (max(calls["list"], calls["get_resources"]) + calls["get"]) / RATE_PER_S


class Account:
    """``count`` registered algorithms at ``url``; what remains of the ledger lies in ``folder``."""

    def __init__(self, folder: Path, url: str, count: int) -> None:
        self._folder = folder
        for way, tagging in WAYS.items():
            target = f"[targets.default]\nregion = 'us-east-1'\nendpoint_url = '{url}'\n{tagging.format(url)}\n"
            (folder / f"{way}.toml").write_text(f"[pace]\ninitial_rate = 2000.0\n{target}")
        write_manifest(folder / "m.jsonl", count)
        self.run("apply", "Get alone", "m.jsonl")

    def run(self, name: str, way: str, *arguments: str) -> Reading:
        """A command to its end."""
        environment = {**os.environ, **credentials(DEFAULT_ACCOUNT).environment(), "AWS_REGION": "us-east-1"}
        options = ["--config", f"{way}.toml", "--ledger", "l.db", "--output", "json", "--log-level", "error"]
        arguments = (sys.executable, "-m", "provisioner", name, *arguments, *options)
        with tempfile.TemporaryFile() as printed:
            cost = cost_of(arguments, environment, self._folder, printed)
            printed.seek(0)
            result = json.load(printed)
        return Reading(cost, result["calls"], result)

    def plan(self, way: str) -> Reading:
        """Nothing is to do."""
        reading = self.run("plan", way, "m.jsonl", "--detailed-exitcode")
        assert reading.result["exit_code"] == 0
        return reading

    def verify(self, way: str) -> Reading:
        """Nothing differs."""
        reading = self.run("verify", way)
        assert reading.result["findings"] == []
        return reading

    def rebuild(self, way: str) -> Reading:
        """The ledger is lost and comes back."""
        status = subprocess.run(
            [sys.executable, "-m", "provisioner", "status", "--ledger", "l.db", "--output", "json"],
            cwd=self._folder,
            capture_output=True,
            check=True,
        )
        for file in self._folder.glob("l.db*"):
            file.unlink()
        return self.run("rebuild", way, "--ledger-id", json.loads(status.stdout)["ledger_id"])


@contextlib.contextmanager
def endpoint() -> Iterator[str]:
    """The embedded endpoint in a process of its own: its URL."""
    switches = ["--latency", str(LATENCY_S), "--no-verify"]
    arguments = [sys.executable, "-m", "provisioner", "emulate", *switches]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main() -> None:
    """Print a table for each size."""
    print(machine(), command(), sep="\n")
    for count in [int(argument) for argument in sys.argv[1:]] or [1_000, 5_000]:
        with tempfile.TemporaryDirectory() as name, endpoint() as url:
            account = Account(Path(name), url, count)
            print(f"\n{count:,} algorithms")
            print("| command | read by | List | GetResources | Get | seconds | CPU seconds | peak MiB | at 5/s |")
            print("|---|---|---|---|---|---|---|---|---|")
            show("plan", "List alone", account.plan("GetResources"))
            for what, measured in (("verify", account.verify), ("rebuild", account.rebuild)):
                few = measured("GetResources")
                show(what, "GetResources", few)
                if count <= MOST_GETS:
                    many = measured("Get alone")
                    show(what, "Get alone", many)
                    show_ratios(what, few, many)
            print(f"| a tool that reads each resource once | | | | {count:,} | | | | {count / RATE_PER_S:,.0f} s |")


def show(what: str, way: str, reading: Reading) -> None:
    """A row of the table."""
    calls = " | ".join(f"{reading.calls[kind]:,}" for kind in ("list", "get_resources", "get"))
    cost = reading.cost
    measured = f"{cost.wall_s:.1f} | {cost.cpu_s:.1f} | {cost.peak_mib:.0f}"
    print(f"| {what} | {way} | {calls} | {measured} | {reading.at_rate_s:,.0f} s |", flush=True)


def show_ratios(what: str, few: Reading, many: Reading) -> None:
    """How much more Gets alone cost."""
    calls = sum(many.calls.values()) / sum(few.calls.values())
    wall, cpu = many.cost.wall_s / few.cost.wall_s, many.cost.cpu_s / few.cost.cpu_s
    memory, at_rate = many.cost.peak_mib / few.cost.peak_mib, many.at_rate_s / few.at_rate_s
    ratios = f"{wall:.1f}x | {cpu:.1f}x | {memory:.1f}x | {at_rate:.0f}x"
    print(f"| {what} | ratio | {calls:.0f}x the calls | | | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
