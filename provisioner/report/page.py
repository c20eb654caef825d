"""What the page about a run, or about the fleet, shows: the contents, without their form. Pure.

Every text that comes from outside is made printable here, as everywhere in the product, so that the page has no
character that could change the direction of writing or hide. Rows are kept by column, and texts that repeat once: a
hundred thousand entries are ten megabytes then, and a browser reads them in a tenth of a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from provisioner import __version__
from provisioner.core.entry import Outcome, State
from provisioner.errors import counted, printable
from provisioner.exit_codes import ADVICE, ExitCode
from provisioner.report.latencies import percentile
from provisioner.report.recommended import PLAIN
from provisioner.report.summary import iso
from provisioner.report.text import LIST_SUPERSEDED, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provisioner.core.entry import Entry
    from provisioner.core.place import Place
    from provisioner.core.problem import Problem
    from provisioner.report.samples import Incident, Point, Samples, Series
    from provisioner.report.summary import Summary

MOST_ROWS = 250_000
"""Entries that a page lists; a browser shows a million rows well, and nobody reads a page of a hundred megabytes."""
LONGEST = 2000
"""Characters of a message."""
GOOD, WARN, BAD, QUIET = "good", "warn", "bad", "quiet"
"""Tones: how a number is coloured."""

TONES: dict[str, str] = {
    **dict.fromkeys((Outcome.CREATED, Outcome.RECOVERED, Outcome.ADOPTED, Outcome.UPDATED, Outcome.REPLACED), GOOD),
    **dict.fromkeys((Outcome.UNCHANGED, State.PLANNED, State.DELETED), QUIET),
    **dict.fromkeys((Outcome.DRIFTED, Outcome.PARKED, Outcome.AMBIGUOUS, Outcome.PENDING, State.SENT), WARN),
    Outcome.FAILED: BAD,
}
"""Of outcomes and of states; those that have the same name have the same tone."""


class Words:
    """A column of texts of which many are the same."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self.rows: list[int] = []

    def add(self, text: str) -> None:
        """Add a row."""
        place = self._places.get(text)
        if place is None:
            place = self._places[text] = len(self._places)
        self.rows.append(place)

    def builtin(self) -> dict[str, Any]:
        """The different texts, and the number of that of each row."""
        return {"of": [printable(text, LONGEST) for text in self._places], "is": self.rows}


class Entries:
    """The table of entries.

    Args:
        run_id: of the run that the page is about; "" for none.
    """

    def __init__(self, run_id: str = "") -> None:
        self._run_id = run_id
        self.total = 0
        self._words = {column: Words() for column in ("target", "state", "code", "message", "place")}
        self._names: list[str] = []
        self._ids: list[str] = []
        self._at: list[int] = []
        self._touched: list[int] = []

    def add(self, entry: Entry) -> bool:
        """List ``entry``, unless there are as many as a page lists; whether it is listed."""
        if len(self._names) >= MOST_ROWS:
            return False
        place, _, id_ = entry.arn.rpartition("/")
        values = {
            "target": entry.target,
            "state": entry.state.value,
            "code": entry.code,
            "message": entry.message,
            "place": place,
        }
        for column, value in values.items():
            self._words[column].add(value)
        self._names.append(printable(entry.name, LONGEST))
        self._ids.append(printable(id_))
        self._at.append(round(entry.updated_at))
        self._touched.append(int(entry.run_id == self._run_id))
        return True

    def builtin(self) -> dict[str, Any]:
        """For the page."""
        words = {column: one.builtin() for column, one in self._words.items()}
        rest = {"name": self._names, "id": self._ids, "at": self._at, "touched": self._touched}
        return {**words, **rest, "total": max(self.total, len(self._names))}


class Problems:
    """The table of problems and notices."""

    def __init__(self) -> None:
        self.total = 0
        self._words = {column: Words() for column in ("target", "severity", "code", "message", "source")}
        self._names: list[str] = []
        self._lines: list[int] = []

    def add(self, problem: Problem) -> None:
        """List ``problem``, unless there are as many as a page lists; it is counted."""
        self.total += 1
        if len(self._names) >= MOST_ROWS:
            return
        for column, words in self._words.items():
            words.add(getattr(problem, column))
        self._names.append(printable(problem.name, LONGEST))
        self._lines.append(problem.line)

    def builtin(self) -> dict[str, Any]:
        """For the page."""
        words = {column: one.builtin() for column, one in self._words.items()}
        return {**words, "name": self._names, "line": self._lines, "total": self.total}


class About(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as the ledger has it.

    Attributes:
        run_id, command, started_at, ended_at, exit_code: of its record.
        status: ``ended``, ``running`` or ``died``.
        summary, samples: None where there are none.
    """

    run_id: str
    command: str
    started_at: float
    ended_at: float | None
    exit_code: int | None
    status: str
    summary: Summary | None = None
    samples: Samples | None = None

    @property
    def tone(self) -> str:
        """Of its end."""
        if self.status != "ended":
            return BAD if self.status == "died" else QUIET
        if self.exit_code in {ExitCode.DONE, ExitCode.CHANGED}:
            return GOOD
        return WARN if self.exit_code in {ExitCode.UNFINISHED, ExitCode.AMBIGUOUS, ExitCode.QUOTA} else BAD

    @property
    def end(self) -> str:
        """How it ended, in a few words."""
        if self.exit_code is None:
            return "still running" if self.status == "running" else "died: it has no end, and is not under way"
        advice = ADVICE[ExitCode(self.exit_code)] if self.exit_code in set(ExitCode) else ""
        return f"exit {self.exit_code}: {advice}"

    @property
    def elapsed_s(self) -> float:
        """How long it lasted, as far as that is known."""
        if self.ended_at is not None:
            return self.ended_at - self.started_at
        return self.samples.elapsed_s if self.samples else 0.0


class LedgerCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger holds, by target.

    Attributes:
        states: entries by state.
        superseded: older versions that still exist.
        places: where the targets are.
        limits_per_s: that their pacers have learned.
    """

    states: Mapping[str, Mapping[State, int]]
    superseded: Mapping[str, int] = {}
    places: Mapping[str, Place] = {}
    limits_per_s: Mapping[str, float] = {}


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when a page was made."""

    ledger: str
    ledger_id: str
    at: float


def run_page(about: About, counts: LedgerCounts, entries: Entries, problems: Problems, made: Made) -> dict[str, Any]:
    """The page about a run."""
    summary = about.summary
    # Of a run without an end there are no outcomes yet: what the ledger has of its targets stands for them.
    columns = list(Outcome) if summary else list(State)
    rows = _target_rows(about) if summary else _state_rows(counts, about.samples)
    return {
        **_page("run", f"{about.command} {about.run_id}", made),
        "status": {"text": about.end, "tone": about.tone},
        "remarks": _remarks(about),
        "facts": [
            ["run", about.run_id],
            ["command", printable(about.command)],
            ["began", iso(about.started_at)],
            ["ended", "" if about.ended_at is None else iso(about.ended_at)],
            *_made(made),
        ],
        "tiles": _run_tiles(about),
        "columns": _columns(columns, rows, summary.outcomes if summary else _sums(counts)),
        "counted": "definitions by outcome" if summary else "entries by state",
        "targets": rows,
        "causes": _causes(summary, about.run_id),
        "began": about.started_at,
        "elapsed": round(about.elapsed_s, 3),
        "series": _all_series(about.samples),
        "incidents": [_incident(one) for one in about.samples.incidents] if about.samples else [],
        "incidents_total": about.samples.incidents_total if about.samples else 0,
        "entries": entries.builtin(),
        "problems": problems.builtin(),
    }


def fleet_page(runs: Sequence[About], counts: LedgerCounts, entries: Entries, made: Made) -> dict[str, Any]:
    """The page about everything that a ledger holds."""
    rows, sums = _state_rows(counts, None), _sums(counts)
    troubled = sum(number for state, number in sums.items() if TONES[state] in {WARN, BAD})
    superseded = sum(counts.superseded.values())
    latest = runs[0] if runs else None
    return {
        **_page("fleet", "Fleet", made),
        "status": {
            "text": f"latest run: {latest.command}, {latest.end}" if latest else "no runs yet",
            "tone": latest.tone if latest else QUIET,
        },
        "remarks": [],
        "facts": _made(made),
        "tiles": [
            _tile("targets", len(rows)),
            _tile("entries", sum(sums.values())),
            _tile("created", sums[State.CREATED], GOOD),
            _tile("to look at", troubled, WARN if troubled else QUIET, _named(sums) if troubled else ""),
            _tile("superseded", superseded, QUIET, PLAIN.command(LIST_SUPERSEDED) if superseded else ""),
        ],
        "columns": _columns(list(State), rows, sums),
        "counted": "entries by state",
        "targets": rows,
        "causes": [],
        "runs": [
            {
                "run_id": run.run_id,
                "command": printable(run.command),
                "began": iso(run.started_at),
                "elapsed": round(run.elapsed_s, 1),
                "end": run.end,
                "tone": run.tone,
                "did": printable(one_line(run.summary), LONGEST) if run.summary else "",
            }
            for run in runs
        ],
        "series": {},
        "incidents": [],
        "incidents_total": 0,
        "entries": entries.builtin(),
        "problems": Problems().builtin(),
    }


def _page(kind: str, title: str, made: Made) -> dict[str, Any]:
    return {
        "kind": kind,
        "title": printable(title),
        "made_at": iso(made.at),
        "version": __version__,
        "tones": {name: TONES[name] for name in (*Outcome, *State)},
    }


def _made(made: Made) -> list[list[str]]:
    return [["ledger", printable(made.ledger, LONGEST)], ["ledger id", made.ledger_id]]


def _remarks(about: About) -> list[str]:
    summary = about.summary
    if summary is None:
        so_far = "What it has done so far is in the ledger, and here as of the moment at which this page was made."
        return [so_far if about.status == "running" else "What it had done is in the ledger, and here."]
    remarks = [f"Stopped: {summary.stopped}"] if summary.stopped else []
    remarks += [f"Error: {summary.error}"] if summary.error else []
    remarks += ["The manifest was not read to its end."] if summary.manifest.partial else []
    if about.samples is None:
        remarks.append("What happened over time is not known: the ledger keeps that of the last 20 runs.")
    return [printable(remark, LONGEST) for remark in remarks]


def _named(sums: Mapping[str, int]) -> str:
    """The states that somebody has to look at, with their counts."""
    return ", ".join(f"{number} {state}" for state, number in sums.items() if number and TONES[state] in {WARN, BAD})


def _tile(label: str, value: float | str, tone: str = QUIET, note: str = "") -> dict[str, Any]:
    return {"label": label, "value": value, "tone": tone, "note": note}


def _run_tiles(about: About) -> list[dict[str, Any]]:
    tiles = []
    if (summary := about.summary) is not None:
        made = sum(number for name, number in summary.outcomes.items() if TONES.get(name) == GOOD)
        left = sum(number for name, number in summary.outcomes.items() if TONES.get(name) == WARN)
        failed = summary.outcomes.get(Outcome.FAILED, 0)
        manifest, calls = summary.manifest, summary.calls
        read = counted(manifest.lines, "line", "lines")
        read += f", {len(summary.targets):,} targets" if len(summary.targets) > 1 else ""
        creates, throttled = calls.get("create", 0), calls.get("throttled", 0)
        tiles += [
            _tile("definitions", sum(summary.outcomes.values()), QUIET, read),
            _tile("created or changed", made, GOOD if made else QUIET),
            _tile("left to do", left, WARN if left else QUIET, "drifted, parked, ambiguous, pending" if left else ""),
            _tile("failed", failed, BAD if failed else QUIET),
            _tile("throttled", throttled, QUIET, f"{throttled / creates:.1%} of {creates} creates" if creates else ""),
        ]
        tiles += [_tile("invalid lines", manifest.invalid, BAD)] if manifest.invalid else []
        tiles += [_tile("deleted", summary.pruned)] if summary.pruned else []
    if about.samples is not None:
        cells = about.samples.series.latencies()
        middle, slow = _ms(percentile(cells, 0.5)), _ms(percentile(cells, 0.99))
        if middle is not None:
            tiles.append(_tile("latency", f"{middle:g} ms", QUIET, f"median; p99 {slow:g} ms"))
        made = sum(point.created for point in about.samples.series.points)
        rate = f"{made / about.elapsed_s:.1f} creates/s" if made and about.elapsed_s else ""
        return [*tiles, _tile("duration", duration(about.elapsed_s), QUIET, rate)]
    return [*tiles, _tile("duration", duration(about.elapsed_s) if about.elapsed_s else "unknown")]


def duration(seconds: float) -> str:
    """``12.3 s``, ``2 min 3 s``, ``1 h 2 min``."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _columns(names: Sequence[str], rows: Iterable[Mapping[str, Any]], sums: Mapping[str, int]) -> list[dict[str, Any]]:
    """The columns of the heat map, of those that are not empty in every target."""
    used = {name for row in rows for name, number in row["counts"].items() if number}
    used |= {name for name, number in sums.items() if number}
    return [{"name": str(name), "tone": TONES[name], "sum": sums.get(name, 0)} for name in names if name in used]


def _sums(counts: LedgerCounts) -> dict[str, int]:
    return {state: sum(states.get(state, 0) for states in counts.states.values()) for state in State}


def _target_rows(about: About) -> list[dict[str, Any]]:
    summary = about.summary
    samples = about.samples.targets if about.samples else {}
    return [
        {
            "name": printable(name),
            "place": f"{target.account_id} {target.region}".strip(),
            "counts": {outcome: number for outcome, number in target.outcomes.items() if number},
            "calls": target.calls.get("create", 0),
            "throttled": target.calls.get("throttled", 0),
            "pace": target.pace_per_s,
            **_percentiles(samples[name].latencies if name in samples else {}),
            "halted": printable((target.halted or "").removeprefix(f"{name}: "), LONGEST),
        }
        for name, target in (summary.targets.items() if summary else ())
    ]


def _state_rows(counts: LedgerCounts, samples: Samples | None) -> list[dict[str, Any]]:
    of_run = samples.targets if samples else {}
    rows = []
    for name in sorted({*counts.states, *of_run}):
        place = counts.places.get(name)
        rows.append(
            {
                "name": printable(name),
                "place": f"{place.account_id} {place.region}".strip() if place else "",
                "counts": {state.value: number for state, number in counts.states.get(name, {}).items() if number},
                "pace": counts.limits_per_s.get(name, 0.0),
                **_percentiles(of_run[name].latencies if name in of_run else {}),
                "halted": "",
            }
        )
    return rows


def _percentiles(cells: Mapping[int, int]) -> dict[str, float | None]:
    return {"p50": _ms(percentile(cells, 0.5)), "p99": _ms(percentile(cells, 0.99))}


def _ms(seconds: float | None) -> float | None:
    """Milliseconds, to three digits."""
    return None if seconds is None else float(f"{seconds * 1000:.3g}")


def _causes(summary: Summary | None, run_id: str) -> list[dict[str, Any]]:
    return [
        {
            "code": cause.code,
            "message": printable(cause.message, LONGEST),
            "count": cause.count,
            "examples": [printable(str(example)) for example in cause.examples],
            "listed_by": PLAIN.command(cause.listed_by(f"runs {run_id}")),
        }
        for cause in (summary.causes if summary else ())
    ]


def _all_series(samples: Samples | None) -> dict[str, Any]:
    """By target; that of the whole run has the name ""."""
    if samples is None or not samples.series.points:
        return {}
    few = {name: one.series for name, one in samples.targets.items() if len(one.series.points) > 1}
    all_ = {"": samples.series, **{printable(name): series for name, series in few.items()}}
    return {name: _series(series, samples.elapsed_s) for name, series in all_.items()}


def _series(series: Series, elapsed_s: float) -> dict[str, Any]:
    """What happened in each point; creates and changes as rates, of the last one for as long as it lasted."""
    points, width_s = series.points, series.width_s
    last_s = min(width_s, max(width_s / 4, elapsed_s - (len(points) - 1) * width_s))
    widths = [*[width_s] * (len(points) - 1), last_s]

    def rates(column: str) -> list[float]:
        return [round(getattr(point, column) / width, 3) for point, width in zip(points, widths, strict=True)]

    def counts(column: str) -> list[int]:
        return [getattr(point, column) for point in points]

    return {
        "width": width_s,
        **{column: rates(column) for column in ("created", "changed")},
        **{column: counts(column) for column in ("throttled", "unanswered", "refused")},
        "pace": _known(points, "pace_per_s"),
        "limit": _known(points, "limit_per_s"),
        "in_flight": [point.in_flight for point in points],
        **{f"p{share}": [_ms(percentile(point.latencies, share / 100)) for point in points] for share in (50, 90, 99)},
    }


def _known(points: Sequence[Point], column: str) -> list[float | None]:
    """The values of a column; a point without one has that of the point before."""
    values: list[float | None] = []
    for point in points:
        value = round(getattr(point, column), 3)
        values.append(value or (values[-1] if values else None))
    return values


def _incident(incident: Incident) -> dict[str, Any]:
    made = msgspec.structs.asdict(incident)
    text = incident.text.removeprefix(f"{incident.target}: ")
    return {**made, "target": printable(incident.target), "text": printable(text, LONGEST)}
