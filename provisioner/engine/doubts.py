"""Results that were recorded, and whose connection later turned out to mix up its replies.

A reply that nobody asked for is taken for the reply to the next request, and shifts every later one by one, until a
reply comes while none is due. Then the connection ends, but what came over it is recorded already: an ARN under the
wrong name, a failure of a create that succeeded. All of it becomes ambiguous, and the sweep proves each by its own
attempt id, as it does after a lost reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from provisioner.core.entry import Entry, Event, Outcome, State, apply
from provisioner.errors import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.core.verdict import Line, Reply
    from provisioner.engine.job import Job
    from provisioner.engine.resolver import Resolver
    from provisioner.engine.target import OpenTarget

KEPT = 256
"""Results of a connection that are remembered: memory stays the same for any manifest. A surplus reply shows as soon as
the connection waits for none, which happens within a few replies unless every connection is always busy."""
SPARE = 64
"""So many results may be remembered in addition to twice those that have to be."""
MIXED_UP = "mixed_up"
"""Code of an entry whose result came over such a connection."""


class Given(msgspec.Struct, frozen=True):
    """What a connection brought for one create.

    Attributes:
        name: of the definition.
        arn: that the reply named, "" for none.
        incoming: whether it was a replacement.
        outcome: of the definition if it succeeded.
        number: which result of its connection it was.
    """

    name: str
    arn: str
    incoming: bool
    outcome: Outcome
    number: int


class Doubts:
    """The results of the creates of one target, by connection.

    Args:
        target: whose entries they are.
        resolver: gets those that turn out to be in doubt.
    """

    def __init__(self, target: OpenTarget, resolver: Resolver) -> None:
        self._target = target
        self._resolver = resolver
        # Lists, not deques: a deque of one takes a kilobyte, and every target has one for each connection.
        self._given: dict[Line, list[Given]] = {}
        self._remembered = 0
        self._forget_at = SPARE

    def statistics(self) -> dict[str, int]:
        """How many connections and results are remembered."""
        return {"connections": len(self._given), "results": sum(map(len, self._given.values()))}

    def note(self, job: Job, reply: Reply) -> None:
        """``reply`` is recorded as the one to the create of ``job``."""
        if reply.line is None:
            return
        line = reply.line
        line.results += 1
        if self._remembered >= self._forget_at:
            self._forget()
        given = self._given.setdefault(line, [])
        given.append(Given(job.name, reply.arn, job.incoming, job.outcome, line.results))
        if len(given) > KEPT:
            del given[0]
        else:
            self._remembered += 1

    def _forget(self) -> None:
        """Forget what is known to be in order: of closed connections, and what others have long had results after.

        Now and then, not for each result: a thousand targets share hundreds of connections, and each meets all of them.
        """
        kept = {line: _recent(line, given) for line, given in self._given.items() if line.mixed_up or not line.closed}
        self._given = {line: given for line, given in kept.items() if given}
        self._remembered = sum(map(len, self._given.values()))
        self._forget_at = 2 * self._remembered + SPARE

    def contradict(self, reply: Reply) -> None:
        """``reply`` names what cannot be: its connection, or the one that brought the same ARN before, is mixed up."""
        if reply.line is None:
            return
        reply.line.mixed_up = True
        for line, given in self._given.items():
            if any(one.arn == reply.arn for one in given):
                line.mixed_up = True

    async def raised(self) -> list[tuple[Given, Outcome]]:
        """Record what is in doubt by now as ambiguous, and return it, each with the outcome that it was counted as.

        No create may be under way.

        Raises:
            LedgerError: it cannot be recorded.
        """
        given = {one.name: one for one in self._taken()}
        if not given:
            return []
        ledger, name, now = self._target.ledger, self._target.name, self._target.clock.stamp()
        entries, incoming = await ledger.look_up(name, list(given)), await ledger.incoming(name)
        raised, facts, doubted = [], [], []
        for one in given.values():
            entry = incoming.get(one.name) if one.incoming and one.name in incoming else entries.get(one.name)
            outcome = None if entry is None else _outcome(entry, one)
            if entry is None or outcome is None:
                continue
            message = "its result came over a connection with a reply that nobody asked for"
            fact = entry.fact(Event.QUESTION, code=MIXED_UP, message=message)
            facts.append(msgspec.structs.replace(fact, arn=""))
            doubted.append(apply(entry, facts[-1], at=now.wall, run_id=entry.run_id))
            raised.append((one, outcome))
        await ledger.record(facts)
        for entry in doubted:
            self._resolver.add(entry, age_s=entry.sent.age_s(now) if entry.sent else 0.0, early=True)
        if raised:
            results = counted(len(raised), "result of its connection is", "results of its connection are")
            what = f"a reply came that nobody asked for, so {results} looked up again"
            self._target.observer.notice_found(f"{what}. Look for a proxy or gateway that answers twice")
        return raised

    def _taken(self) -> Iterator[Given]:
        for line in [line for line in self._given if line.mixed_up]:
            given = self._given.pop(line)
            self._remembered -= len(given)
            yield from given


def _recent(line: Line, given: list[Given]) -> list[Given]:
    """Those of ``given``, which came over ``line``, that may be in doubt yet."""
    return given if line.mixed_up else [one for one in given if one.number > line.results - KEPT]


def _outcome(entry: Entry, given: Given) -> Outcome | None:
    """What the definition is counted as; None if it is unresolved already, or does not rest on a reply."""
    if entry.adopted:
        return None
    if entry.exists:
        return Outcome.RECOVERED if entry.code == "recovered" else given.outcome
    return {
        State.FAILED: Outcome.FAILED,
        State.PARKED: Outcome.PARKED,
        State.PLANNED: Outcome.PENDING,
    }.get(entry.state)
