"""One process that drives many targets, each at its own limit, beside an earlier version and beside aioboto3.

python -m benchmarks.fleet [--targets N...] [--seconds S] [--before FOLDER] [--no-peer]

The accounts are in another process on the same machine; STS, and what is in trouble, are embedded endpoints. Every
client assumes a role in each account, and is measured in a window at the end of a run with a deadline. Of a fleet of 64
and more, two targets are at their quota, one is denied everything, and one never gets a reply. A machine that is too
slow for so many targets shows in the share of the limit that they reach; the CPU for a create shows what it would have
to do.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from benchmarks.fleet.watching import Found, found, watch
from benchmarks.fleet.world import MIX, World, world
from benchmarks.machine import command as this_command
from benchmarks.machine import machine
from benchmarks.throughput.processes import ROOT, Cost, cost_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OPEN_S = 0.025
"""Time for each target before the window begins, beside:"""
WARM_S = 8.0
"""The pace begins at the limit of most accounts."""
LEARN_S = 40.0
"""Time to find limits that differ from the first pace by as much as ten times."""
TROUBLED_FROM = 64
MOST_OPENED = 200
"""Targets that are opened to see what one costs: aioboto3 takes half a second for each."""
OPENED_TIMES = 3
OPENED_S = 20.0
"""That is done so many times, unless it takes longer than this; the median counts."""


class Client(msgspec.Struct, frozen=True):
    """A client that can be measured: its name, its command line for so many seconds, where it is started."""

    name: str
    command: Callable[[World, float], list[str]]
    folder: Path = ROOT


def apply(at: World, seconds: float) -> list[str]:
    """``provisioner apply`` over a fresh ledger."""
    ledger = Path(tempfile.mkdtemp(dir=at.folder), "ledger.db")
    files = [str(at.folder / "manifest.jsonl"), "--config", str(at.folder / "fleet.toml"), "--ledger", str(ledger)]
    options = ["--deadline", f"{seconds:.0f}s", "--progress", "never", "--log-level", "error", "--output", "json"]
    return [sys.executable, "-m", "provisioner", "apply", *files, *options]


def aioboto3(at: World, seconds: float) -> list[str]:
    """The peer."""
    files = [str(at.folder / "manifest.jsonl"), str(at.folder / "fleet.toml")]
    limits = [str(member.limit if member.limit != float("inf") else 0) for member in at.members]
    return [sys.executable, "-m", "benchmarks.fleet.peer", *files, str(seconds), *limits]


def fleet_of(count: int, *, mixed: bool) -> list[float]:
    """The limits of a fleet."""
    return [float(MIX[number % len(MIX)]) if mixed else 5.0 for number in range(count)]


def steady(client: Client, limits: Sequence[float], seconds: float) -> Found:
    """One run of ``client``, in the window at its end."""
    begin_s = (WARM_S if len(set(limits)) == 1 else LEARN_S) + OPEN_S * len(limits)
    end_s = begin_s + seconds
    lines = round(max(limits) * (end_s + 5))
    with tempfile.TemporaryDirectory(prefix="provisioner-bench-") as name:
        troubled = len(limits) >= TROUBLED_FROM
        with world(Path(name), limits, lines, troubled=troubled) as at:
            looks = watch(client.command(at, end_s + 1), _env(at), client.folder)
            return found(at, looks, begin_s, end_s)


def opening(client: Client, many: int) -> tuple[float, float]:
    """CPU that one more target costs with a single create, milliseconds; peak MiB of a run with one target."""
    costs_ms: list[float] = []
    began = time.monotonic()
    while len(costs_ms) < OPENED_TIMES and not (costs_ms and time.monotonic() - began > OPENED_S):
        one, all_of_them = (_opened(client, count) for count in (1, many))
        costs_ms.append((all_of_them.cpu_s - one.cpu_s) / (many - 1) * 1000)
    return median(costs_ms), one.peak_mib


def _opened(client: Client, count: int) -> Cost:
    with (
        tempfile.TemporaryDirectory(prefix="provisioner-bench-") as name,
        world(Path(name), [0.0] * count, 1, troubled=False) as at,
    ):
        return cost_of(client.command(at, 600), _env(at), client.folder)


def _env(at: World) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, **at.env, "AWS_EC2_METADATA_DISABLED": "true"}


HEAD = """\
| targets | client | share of its limit: worst, median | creates/s | CPU per create | first create | last to begin \
| memory | for each more |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--targets", type=int, nargs="+", default=[1, 64, 300, 1000])
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the window")
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version, to measure beside this one")
    parser.add_argument("--no-peer", action="store_true", help="leave aioboto3 out")
    options = parser.parse_args()
    clients = [Client("provisioner apply", apply)]
    if options.before:
        clients.append(Client("provisioner apply, before", apply, options.before.resolve()))
    if not options.no_peer:
        clients.append(Client("aioboto3, a client for each target", aioboto3))
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}\n`{this_command()}`\n", flush=True)
    print("| client | CPU to open a target, with one create |\n|---|---|")
    single: dict[str, float] = {}
    for client in clients:
        cost_ms, single[client.name] = opening(client, max(2, min(MOST_OPENED, max(options.targets))))
        print(f"| {client.name} | {cost_ms:.1f} ms |", flush=True)
    print(f"\n{HEAD}")
    fleets = [(f"{count:,} at 5/s", fleet_of(count, mixed=False)) for count in options.targets]
    fleets += [(f"{count:,} at 2 to 50/s", fleet_of(count, mixed=True)) for count in options.targets[1:2]]
    for name, limits in fleets:
        for client in clients:
            one = steady(client, limits, options.seconds)
            print(row(name, client, one, (one.peak_mib - single[client.name]) / max(1, len(limits) - 1)), flush=True)


def row(name: str, client: Client, one: Found, more_mib: float) -> str:
    """A row of the table."""
    return (
        f"| {name} | {client.name} | {one.worst:.1%}, {one.median:.1%} | {one.per_s:,.0f} | {one.create_ms:.2f} ms | "
        f"{one.first_s[0]:.1f} s | {one.first_s[1]:.1f} s | {one.peak_mib:.0f} MiB | {more_mib:.2f} MiB |"
    )


if __name__ == "__main__":
    main()
