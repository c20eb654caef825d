"""How long a browser takes to open and to use a page of many entries.

python -m benchmarks.report [--entries N] [--pictures]

Each step is timed in the browser, until it has painted. With --pictures, it makes those of docs/report.md instead.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.browser import Browser, browser
from benchmarks.machine import command, machine
from benchmarks.pages import Simulation
from provisioner.core.entry import State
from provisioner.report.html import document
from provisioner.report.page import Entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.core.entry import Entry

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
STEPS = {
    "search for a name": "search('lookalike 0007-1')",
    "search for part of a reason": "search('no such image')",
    "search for two words": "search('team-07 cannot')",
    "end the search": "search('')",
    "filter by state": "choose('state', 'failed')",
    "end the filter": "choose('state', '')",
    "sort by name": "sort(0)",
    "sort by name, downward": "sort(0)",
    "sort by time": "sort(5)",
    "scroll to the end": "scroll()",
}
TOOLS = """
const done = arguments[arguments.length - 1], grid = document.querySelector('#rows .grid');
const search = (text) => { const field = document.querySelector('#rows input[type=search]'); field.value = text;
  field.dispatchEvent(new Event('input')); };
const choose = (name, text) => { const select = document.querySelector(`#rows select[aria-label=${name}]`);
  select.value = text && [...select.options].find((option) => option.text.startsWith(text)).value;
  select.dispatchEvent(new Event('change')); };
const sort = (place) => grid.querySelectorAll('thead button')[place].click();
const scroll = () => { grid.scrollTop = grid.scrollHeight; };
const start = performance.now();
"""


def large(entries: int) -> dict[str, Any]:
    """A page of so many entries: those of a simulated run, again and again under other names."""
    simulation = Simulation(40, 60)
    page, listed = simulation.page(), Entries()
    for number in range(entries):
        listed.add(_again(simulation.entries, number))
    return {**page, "entries": listed.builtin()}


def _again(entries: Sequence[Entry], number: int) -> Entry:
    entry = entries[number % len(entries)]
    round_ = number // len(entries)
    arn = entry.arn and f"{entry.arn[:-6]}{round_:06}"
    return msgspec.structs.replace(
        entry, name=f"{entry.name}-{round_:04}", arn=arn, updated_at=entry.updated_at + round_
    )


def timed(shown: Browser, step: str) -> float:
    """Seconds until the page has painted what ``step`` does."""
    script = f"{TOOLS}{step}; requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)))"
    return float(shown.driver.execute_async_script(script)) / 1000


def measure(shown: Browser, page: Path) -> dict[str, list[float]]:
    """The times of each step, in several rounds."""
    times: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        shown.show(page)
        shown.painted()
        times.setdefault("open", []).append(time.perf_counter() - start)
        for title, step in STEPS.items():
            times.setdefault(title, []).append(timed(shown, step))
    assert shown.log() == []
    return times


def pictures(shown: Browser, folder: Path) -> None:
    """Make the pictures of docs/report.md."""
    for name, simulation, dark, hidden in (
        ("report", Simulation(40, 60), False, "#rows, #table"),
        ("report-fleet", Simulation(1000, 12), True, "header, #tiles, #outcomes, #causes, #time, #incidents, footer"),
    ):
        page = folder / f"{name}.html"
        page.write_text(document(simulation.page()), encoding="utf-8")
        shown.show(page, dark=dark, width=1200)
        shown.run("document.querySelectorAll(arguments[0]).forEach((one) => { one.hidden = true; })", hidden)
        shown.resize(1200, int(shown.run("document.documentElement.scrollHeight")))
        shown.painted()
        (ROOT / "docs" / f"{name}.webp").write_bytes(shown.picture())


def main() -> None:
    """Print the table, or make the pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--pictures", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="provisioner-bench-") as name, browser() as shown:
        folder = Path(name)
        if given.pictures:
            pictures(shown, folder)
            return
        contents, start = large(given.entries), time.perf_counter()
        text = document(contents)
        made_s = time.perf_counter() - start
        page = folder / "page.html"
        page.write_text(text, encoding="utf-8")
        failed = sum(
            number == contents["entries"]["state"]["of"].index(State.FAILED)
            for number in contents["entries"]["state"]["is"]
        )
        print(f"{machine()}\n`{command()}`, medians of {ROUNDS} rounds\n")
        print(
            f"{given.entries:,} entries, {failed:,} of them failed: {len(text) / 1e6:.1f} MB, made in {made_s:.2f} s\n"
        )
        print("| step | seconds | spread |\n|---|---|---|")
        for title, times in measure(shown, page).items():
            print(f"| {title} | {statistics.median(times):.2f} | {min(times):.2f} - {max(times):.2f} |")


if __name__ == "__main__":
    main()
