"""Pace against time as SVG, written by hand: ``python -m benchmarks.pace --plots`` writes docs/pace-*.svg."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.pace.cells import CLIENTS, Cell, measure
from benchmarks.pace.limiter import Schedule

if TYPE_CHECKING:
    from benchmarks.pace.simulator import Run

DOCS = Path(__file__).resolve().parents[2] / "docs"
WIDTH, HEIGHT = 860, 190
LEFT, TOP, RIGHT, BOTTOM = 56, 34, 24, 30


class Picture(msgspec.Struct, frozen=True):
    """One file: the same cell for each client, one panel each."""

    name: str
    title: str
    cell: Cell
    clients: tuple[str, ...]
    seconds: float
    top: float


PICTURES = (
    Picture(
        "pace-common",
        "1,000 creates, hidden limit 5/s, cold start",
        Cell(5, 5, 1000),
        ("ours", "reference", "botocore adaptive", "AIMD x0.9"),
        80.0,
        12.0,
    ),
    Picture(
        "pace-steps",
        "The limit falls from 50/s to 25/s at 40 s and rises to 75/s at 80 s",
        Cell(50, 50, 9000, steps=((40.0, 0.5), (80.0, 1.5))),
        ("ours", "reference", "botocore adaptive"),
        140.0,
        110.0,
    ),
    Picture(
        "pace-storm",
        "Nothing but 429s from 30 s to 90 s",
        Cell(20, 20, 2400, steps=((30.0, 0.0), (90.0, 1.0))),
        ("ours", "reference", "botocore adaptive"),
        150.0,
        45.0,
    ),
)


def plots() -> None:
    """Write all pictures."""
    for picture in PICTURES:
        path = DOCS / f"{picture.name}.svg"
        path.write_text(draw(picture), encoding="utf-8")
        print(path.relative_to(DOCS.parent))


def draw(picture: Picture) -> str:
    """The whole file."""
    panels = []
    for number, name in enumerate(picture.clients):
        figures = measure(picture.cell, CLIENTS[name], seed=1, trace=True)
        legend = (
            f"{name}: {100 * figures.efficiency:.1f} % of the limit used, {figures.calls_throttled} calls throttled"
        )
        panels.append(panel(picture, figures.run, legend, number * HEIGHT + 30))
    height = len(picture.clients) * HEIGHT + 34
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        f'<text x="{LEFT}" y="20" font-size="15">{picture.title}</text>\n' + "\n".join(panels) + "\n</svg>\n"
    )


def panel(picture: Picture, run: Run, legend: str, above: int) -> str:
    """One client: pace, what was accepted, the limit, and a tick for each 429."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(second: float) -> float:
        return LEFT + width * min(second, picture.seconds) / picture.seconds

    def y(rate: float) -> float:
        return above + TOP + height * (1.0 - min(rate, picture.top) / picture.top)

    def line(points: list[tuple[float, float]], style: str) -> str:
        shown = " ".join(f"{x(second):.1f},{y(rate):.1f}" for second, rate in points if second <= picture.seconds)
        return f'<polyline points="{shown}" fill="none" {style}/>'

    floor = y(0.0)
    ticks = " ".join(f"M{x(second):.1f} {floor:.0f}v-9" for second in run.throttled_at if second <= picture.seconds)
    steps = int(picture.seconds // 20)
    labels = "".join(
        f'<text x="{x(20.0 * step):.0f}" y="{floor + 15:.0f}" text-anchor="middle">{20 * step} s</text>'
        for step in range(steps + 1)
    )
    scale = "".join(
        f'<text x="{LEFT - 6}" y="{y(rate) + 4:.0f}" text-anchor="end">{rate:g}/s</text>'
        for rate in (0.0, picture.top / 2, picture.top)
    )
    return "\n".join(
        [
            f'<text x="{LEFT}" y="{above + TOP - 8}">{legend}</text>',
            f'<rect x="{LEFT}" y="{above + TOP}" width="{width}" height="{height}" fill="none" stroke="#bbb"/>',
            line(limit_line(picture), 'stroke="#999" stroke-width="1.5" stroke-dasharray="6 4"'),
            line(accepted_line(run, picture.seconds), 'stroke="#2a7" stroke-width="1"'),
            line(run.paces, 'stroke="#15c" stroke-width="1.6"'),
            f'<path d="{ticks}" stroke="#c22" stroke-width="1"/>',
            labels,
            scale,
        ]
    )


def limit_line(picture: Picture) -> list[tuple[float, float]]:
    """The hidden limit as a staircase."""
    schedule = Schedule(picture.cell.rate, picture.cell.steps)
    points, rate = [(0.0, schedule.at(0.0))], schedule.at(0.0)
    for second, _ in picture.cell.steps:
        points += [(second, rate), (second, schedule.at(second))]
        rate = schedule.at(second)
    return [*points, (picture.seconds, rate)]


def accepted_line(run: Run, seconds: float) -> list[tuple[float, float]]:
    """Accepted calls a second, over two seconds each."""
    counts = [0] * (int(seconds / 2.0) + 1)
    for second in run.accepted_at:
        if second < seconds:
            counts[int(second / 2.0)] += 1
    return [(2.0 * index + 1.0, count / 2.0) for index, count in enumerate(counts[:-1])]
