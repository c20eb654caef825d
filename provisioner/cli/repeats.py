"""The same warning ten thousand times is one line and a count. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from provisioner.report.causes import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EVENTS = frozenset({"definition.reported", "attempt.unanswered", "read.failed"})
"""Warnings that one cause may bring about for every definition; of the others, each one matters."""
OF_TARGETS = frozenset({"target.noticed", "target.paused", "target.skipped"})
"""Warnings that a thousand targets of a fleet may bring about at once, none of which has failed."""
EXAMPLES = 3
"""Targets that are named for each of them, as in the summary; of notices, for each that says something else."""
EVERY_S = 10.0
"""How often repeated warnings are summed up: as often as a run reports its progress."""
TEXTS = 10
"""Different texts of one kind that are logged: a thousand lines that are wrong in a thousand ways are a flood, too."""
KINDS = 1000
"""Kinds that are told apart by target: memory is bounded, and with thousands of targets nobody reads more."""


class Kind(NamedTuple):
    """What makes two warnings the same but for their text; None for what an event does not have.

    Of a target, the message counts, too, but for ARNs and accounts in it.
    """

    event: str
    target: object
    code: object
    operation: object
    message: object = None


class Repeats:
    """Says which warnings are logged, and sums up the others."""

    def __init__(self) -> None:
        self._texts: dict[Kind, set[object]] = {}
        self._counts: dict[Kind, int] = {}
        self._since = 0.0

    def admit(self, event: Mapping[str, Any], now: float) -> bool:
        """Whether to log ``event``, a warning; it is counted otherwise.

        Args:
            event: with its fields.
            now: monotonic seconds.
        """
        name = event["event"]
        if name in OF_TARGETS:
            message = event.get("message")
            common = message if message is None else key_of("", message)[1]
            kind, text = Kind(name, None, None, None, common), event["target"]
        elif name in EVENTS:
            kind = Kind(name, event.get("target"), event.get("code"), event.get("operation"))
            text = event.get("message", event.get("why"))
        else:
            return True
        if kind not in self._texts and len(self._texts) >= KINDS:
            kind = kind._replace(target=None)
        texts = self._texts.setdefault(kind, set())
        if text not in texts and len(texts) < (EXAMPLES if name in OF_TARGETS else TEXTS):
            texts.add(text)
            return True
        if not self._counts:
            self._since = now
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return False

    def due(self, now: float) -> bool:
        """Whether it is time to sum up."""
        return bool(self._counts) and now - self._since >= EVERY_S

    def sums(self) -> Iterator[tuple[Kind, int]]:
        """What was counted since the last time, by kind."""
        counts, self._counts = self._counts, {}
        yield from counts.items()
