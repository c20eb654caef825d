"""What it takes to start: the command line, and the way to the first create, beside the SDKs.

python -m benchmarks.startup [--rounds N]

Each row is a process of its own, against a server that answers at once. The way to the first create includes all that
a client loads before it; for ``provisioner apply`` the manifest, the lock, a new ledger and two durable commits too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import command, machine
from benchmarks.throughput.__main__ import KEYS, Bench, apply_command, peer
from benchmarks.throughput.definitions import write_manifest
from benchmarks.throughput.processes import cost_of, stub

if TYPE_CHECKING:
    from collections.abc import Callable


def rows(bench: Bench) -> dict[str, Callable[[], list[str]]]:
    """What is measured, and its command line; one made anew for each round."""
    write_manifest(bench.folder / "one.jsonl", 1)
    ours = [sys.executable, "-m", "provisioner"]
    return {
        "provisioner --help": lambda: [*ours, "--help"],
        "provisioner apply --help": lambda: [*ours, "apply", "--help"],
        "provisioner validate, 1 definition": lambda: [
            *ours,
            "validate",
            "--output",
            "json",
            str(bench.folder / "one.jsonl"),
        ],
        "provisioner apply, 1 create": lambda: apply_command(bench, 1),
        "provisioner, transport alone, 1 create": lambda: peer("direct")(bench, 1),
        "aioboto3, 1 create": lambda: peer("aioboto3")(bench, 1),
        "boto3, 1 create": lambda: peer("boto3")(bench, 1),
        "python -c pass": lambda: [sys.executable, "-c", "pass"],
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    print(f"{machine()}\n`{command()}`, medians of {rounds} rounds\n")
    print("| process | seconds | spread | CPU seconds | peak memory |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="provisioner-bench-") as name, stub(None) as url:
        bench = Bench(Path(name), url, {**os.environ, **KEYS})
        for title, line in rows(bench).items():
            costs = [cost_of(line(), bench.env) for _ in range(rounds)]
            walls = [cost.wall_s for cost in costs]
            cpu_s = statistics.median(cost.cpu_s for cost in costs)
            print(
                f"| {title} | {statistics.median(walls):.2f} | {min(walls):.2f} - {max(walls):.2f} | {cpu_s:.2f} | "
                f"{max(cost.peak_mib for cost in costs):.0f} MiB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
