"""The live loop: the real command over HTTP against the embedded endpoint, beside a simulation of the same job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from benchmarks.pace.cells import Cell, measure, ours
from provisioner.emulator import DEFAULT_ACCOUNT, Behaviour, Emulator, credentials, running

SLOW = (
    Cell(5, 5, 200),
    Cell(7, 7, 200),
    Cell(7, 70, 250),
    Cell(20, 60, 500),
    Cell(3, 3, 1000),
    Cell(3, 30, 1000),
    Cell(5, 5, 1000),
    Cell(5, 1, 1000),
    Cell(20, 10, 1000),
)
"""Slow limits take minutes and hardly any CPU: these run side by side."""
FAST = (Cell(50, 500, 2500), Cell(100, 100, 4000), Cell(300, 300, 9000))
ROLE = "arn:aws:iam::123456789012:role/access"
CREATE = "create"


class Result(msgspec.Struct, frozen=True):
    """Efficiency and throttled share, fractions."""

    efficiency: float
    throttled: float

    def text(self) -> str:
        """In percent."""
        return f"{100 * self.efficiency:6.2f} / {100 * self.throttled:5.2f}"


def live() -> None:
    """Print, for each cell, cold and warm: live and simulated, and how far apart they are."""
    print(
        "Efficiency / throttled, percent: `provisioner apply` over HTTP, and a simulation of the same job (3 seeds)\n"
    )
    print(f"{'':34}{'live':>18}{'simulated':>18}{'points apart':>14}")
    with ThreadPoolExecutor(len(SLOW)) as pool:
        for lines in pool.map(both, SLOW):
            print(lines, flush=True)
    for cell in FAST:
        print(both(cell), flush=True)
    print(
        "\nThe endpoint delays replies only; the simulation also displaces arrivals, which costs tokens where a bucket"
        "\nholds just one. There the simulation is the stricter of the two."
    )


def both(cell: Cell) -> str:
    """The two lines of a cell: cold, then warm with new definitions."""
    behaviour = Behaviour(rate=cell.rate, burst=cell.burst, latency=cell.round_trip, jitter=cell.jitter, verify=False)
    lines = []
    with running(behaviour) as emulator, tempfile.TemporaryDirectory() as folder:
        for warm in (False, True):
            case, found = apply(msgspec.structs.replace(cell, warm=warm), emulator, Path(folder))
            predicted = simulated(case)
            apart = 100 * max(abs(found.efficiency - predicted.efficiency), abs(found.throttled - predicted.throttled))
            start = "warm" if warm else "cold"
            label = f"R {cell.rate:g} B {cell.burst:g} N {cell.calls} {start}"
            lines.append(f"{label:34}{found.text():>18}{predicted.text():>18}{apart:>14.2f}")
    return "\n".join(lines)


def apply(cell: Cell, emulator: Emulator, folder: Path) -> tuple[Cell, Result]:
    """One run of the command, with new definitions; measured by the endpoint's own record.

    Returns:
        The cell, with the time that the bucket had been filling before a warm run, and how it did.
    """
    kind = "warm" if cell.warm else "cold"
    manifest = folder / f"{kind}.jsonl"
    manifest.write_text("".join(json.dumps({"name": f"{kind} {n}", "roleArn": ROLE}) + "\n" for n in range(cell.calls)))
    truth = emulator.truth
    known, throttled = len(truth.algorithms), truth.count(CREATE, 429)
    options = ["--endpoint-url", emulator.url, "--output", "json", "--progress", "never", "--log-level", "error"]
    subprocess.run(
        [sys.executable, "-m", "provisioner", "apply", str(manifest), "--ledger", str(folder / "l.db"), *options],
        env={
            **os.environ,
            **credentials(DEFAULT_ACCOUNT).environment(),
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        stdout=subprocess.DEVNULL,
        check=True,
    )
    times = [algorithm.created_at for algorithm in truth.algorithms[known:]]
    assert len(times) == cell.calls
    thrown = truth.count(CREATE, 429) - throttled
    if cell.warm:
        idle_s = min(times) - truth.algorithms[known - 1].created_at
        cell = msgspec.structs.replace(cell, idle_s=idle_s)
    # From the first call's start to the last one's reply: half a round trip on either side of what the endpoint saw.
    real = max(times) - min(times) + cell.round_trip
    return cell, Result(cell.ideal_s / real, thrown / (cell.calls + thrown))


def simulated(cell: Cell) -> Result:
    """The mean of three seeds."""
    figures = [measure(cell, ours, seed) for seed in range(3)]
    return Result(
        sum(figure.efficiency for figure in figures) / len(figures),
        sum(figure.throttled for figure in figures) / len(figures),
    )
