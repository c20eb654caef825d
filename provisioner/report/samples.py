"""Samples of a run: what happened when, in a size that does not grow with the run. Pure.

A series covers the whole run with at most as many points as it was made for. When it is full, neighbours are merged and
each point covers twice the time: counts are added, peaks stay peaks, histograms stay exact. So a run of a minute has
points of a quarter of a second, one of a day has points of some minutes, and both take the same space.

In the ledger samples are MessagePack, compressed: some 10 kB for a run of one target, some 300 kB for a thousand.
"""

from __future__ import annotations

import zlib

import msgspec

from provisioner.core.verdict import Verdict
from provisioner.report.latencies import merge

FINEST_S = 0.25
"""The time that a point covers at first."""
MOST_POINTS = 240
"""Of a series: more than a chart of a thousand pixels shows."""
ALL_POINTS = 24_000
"""Of all targets together, so that the samples of a large fleet stay small."""
FEWEST_POINTS = 2
MOST_INCIDENTS = 1000
"""Incidents that are kept; beyond them they are counted."""
VERSION = 1
LARGEST = 64 * 1024 * 1024
"""Bytes of samples, decompressed, that are read: more was not written by this program."""

# Each look at a member of an enumeration takes 0.1 us on Python 3.11, and every create would make several.
_CREATED, _DONE, _THROTTLED, _AMBIGUOUS = Verdict.CREATED, Verdict.DONE, Verdict.THROTTLED, Verdict.AMBIGUOUS


class Point(msgspec.Struct, array_like=True):
    """What happened in the time that a point covers.

    Attributes:
        created: creates that made an algorithm.
        changed: tag changes and deletions that were carried out.
        throttled, unanswered, refused: calls that ended so; refused for whatever other reason.
        pace_per_s: creates a second that the pacers let start, at the end.
        limit_per_s: the limit that they have measured, at the end; 0 while unknown.
        in_flight: most creates under way.
        latencies: of calls that were answered and not throttled, as cells.
    """

    created: int = 0
    changed: int = 0
    throttled: int = 0
    unanswered: int = 0
    refused: int = 0
    pace_per_s: float = 0.0
    limit_per_s: float = 0.0
    in_flight: int = 0
    latencies: dict[int, int] = {}

    def include(self, earlier: Point) -> None:
        """Cover the time of ``earlier`` as well, which is the point before this one."""
        self.created += earlier.created
        self.changed += earlier.changed
        self.throttled += earlier.throttled
        self.unanswered += earlier.unanswered
        self.refused += earlier.refused
        self.pace_per_s = self.pace_per_s or earlier.pace_per_s
        self.limit_per_s = self.limit_per_s or earlier.limit_per_s
        self.in_flight = max(self.in_flight, earlier.in_flight)
        merge(self.latencies, earlier.latencies)


class Series(msgspec.Struct, array_like=True):
    """Points from the start of a run, each for the time ``width_s``."""

    width_s: float = FINEST_S
    points: list[Point] = []

    def latencies(self) -> dict[int, int]:
        """Those of all points."""
        cells: dict[int, int] = {}
        for point in self.points:
            merge(cells, point.latencies)
        return cells


class Growing:
    """A series while the run goes on.

    Args:
        most: points, a multiple of 2.

    Attributes:
        series: so far.
        latencies: of all its points: to add those of a thousand targets up takes 50 ms, in which no create starts.
    """

    def __init__(self, most: int = MOST_POINTS) -> None:
        self.series = Series()
        self.latencies: dict[int, int] = {}
        self._most = most
        self._latest = Point()
        self._ends_s = 0.0
        self._in_flight = 0

    def at(self, elapsed_s: float) -> Point:
        """The point of a moment; moments come in their order."""
        return self._latest if elapsed_s < self._ends_s else self._next(elapsed_s)

    def sent(self, elapsed_s: float) -> None:
        """A create was sent."""
        point = self._latest if elapsed_s < self._ends_s else self._next(elapsed_s)
        self._in_flight += 1
        if self._in_flight > point.in_flight:  # noqa: PLR1730  max() takes four times as long
            point.in_flight = self._in_flight

    def ended(self, elapsed_s: float, operation: str, verdict: Verdict, cell: int | None) -> None:
        """An attempt ended; ``cell`` is that of its latency, None for one that does not count."""
        point = self._latest if elapsed_s < self._ends_s else self._next(elapsed_s)
        if operation == "create":
            self._in_flight -= 1
        if verdict is _CREATED:
            point.created += 1
        elif verdict is _THROTTLED:
            point.throttled += 1
        elif verdict is _DONE:
            point.changed += 1
        elif verdict is _AMBIGUOUS:
            point.unanswered += 1
        else:
            point.refused += 1
        if cell is not None:
            point.latencies[cell] = point.latencies.get(cell, 0) + 1
            self.latencies[cell] = self.latencies.get(cell, 0) + 1

    def _next(self, elapsed_s: float) -> Point:
        series = self.series
        while (place := int(elapsed_s / series.width_s)) >= self._most:
            self._halve()
        series.points += [Point(in_flight=self._in_flight) for _ in range(place + 1 - len(series.points))]
        self._latest, self._ends_s = series.points[place], (place + 1) * series.width_s
        return self._latest

    def _halve(self) -> None:
        series = self.series
        if len(series.points) % 2:
            series.points.append(Point(in_flight=self._in_flight))
        for earlier, later in zip(series.points[::2], series.points[1::2], strict=True):
            later.include(earlier)
        series.points = series.points[1::2]
        series.width_s *= 2


class Incident(msgspec.Struct, omit_defaults=True):
    """Something that a run met.

    Attributes:
        kind: ``outage``, ``wait``, ``sweep``, ``halt`` or ``drain``.
        target: "" for the whole run.
        at_s: since the start of the run.
        text: what happened, for people.
        until_s: when it was over; None while it lasts, and for what has no duration.
    """

    kind: str
    target: str
    at_s: float
    text: str
    until_s: float | None = None


class TargetSamples(msgspec.Struct, array_like=True):
    """Samples of one target.

    Attributes:
        series: without points in a run that has one target only, which is that of the run.
        latencies: of the whole run.
    """

    series: Series
    latencies: dict[int, int]


class Samples(msgspec.Struct, kw_only=True):
    """Samples of a run.

    Attributes:
        elapsed_s: how long the run had lasted.
        series: over all targets.
        targets: by name.
        incidents: the first of them; ``incidents_total`` counts all.
        version: of this form.
    """

    elapsed_s: float
    series: Series
    targets: dict[str, TargetSamples]
    incidents: list[Incident]
    incidents_total: int
    version: int = VERSION

    def encoded(self) -> bytes:
        """As the ledger keeps them."""
        return zlib.compress(msgspec.msgpack.encode(self), 1)


def decoded(samples: bytes) -> Samples | None:
    """What :meth:`Samples.encoded` has made; None if there is nothing, or another version wrote it differently."""
    try:
        unpacker = zlib.decompressobj()
        found = msgspec.msgpack.decode(unpacker.decompress(samples, LARGEST), type=Samples)
    except (zlib.error, msgspec.DecodeError):
        return None
    return found if found.version == VERSION else None
