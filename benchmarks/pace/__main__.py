"""The bench of the pacer: ``python -m benchmarks.pace [--quick] [--plots] [--live]``. Seeded, so repeatable."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor

from benchmarks.machine import command, machine
from benchmarks.pace.first_minute import first_minute
from benchmarks.pace.goals import goals
from benchmarks.pace.grid import dominated, events, grid, kinds, table
from benchmarks.pace.live import live
from benchmarks.pace.plot import plots


def main() -> None:
    """Print goals, first minute and grid, or only what an option asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pace", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a sample of the grid and one seed: half a minute")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--plots", action="store_true", help="only write docs/pace-*.svg")
    parser.add_argument("--live", action="store_true", help="only the loop over HTTP against the emulator")
    options = parser.parse_args()
    if options.plots:
        plots()
        return
    print(f"{command()}\n{machine()}\n")
    if options.live:
        live()
        return
    started = time.perf_counter()
    seeds = 1 if options.quick else 3
    with ProcessPoolExecutor(options.jobs) as pool:
        goals(pool, quick=options.quick)
        first_minute(pool, quick=options.quick)
        rows = table("Continuous bucket", grid(quick=options.quick), pool, seeds)
        rows += table("Other limiters", kinds(quick=options.quick), pool, seeds)
        rows += table("Events", events(quick=options.quick), pool, seeds)
        dominated(rows)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
