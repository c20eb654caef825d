"""A connection that brings a reply nobody asked for: nothing that came over it before is taken for proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from provisioner.commands.verify import differences
from provisioner.core.entry import Outcome, State
from provisioner.core.verdict import Line, Reply
from provisioner.engine.doubts import KEPT, MIXED_UP, SPARE, Doubts, Given
from provisioner.engine.resolver import Resolver
from tests.engine.account import REPLACE, Account, counts, v
from tests.fakes import ACCOUNT_ID, REGION, TAG, Act, Endpoint, FakeLedger, make_policy, open_target
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable


STRAY = f"arn:aws:cleanrooms-ml:{REGION}:{ACCOUNT_ID}:configured-model-algorithm/stray"
ANOTHER = Reply(status=200, arn=STRAY, request_id="r")
REFUSED = Reply(status=400, code="ValidationException", message="bad image", request_id="r")
SLOW_DOWN = Reply(status=429, code="ThrottlingException", request_id="r")


class Shifted(Endpoint):
    """One connection, on which each create gets the reply to the one before it, from some reply on.

    Args:
        right: how many replies are right.
        stray: the first that is not; None is the last right one once more.
        shows: after how many replies in all the surplus shows, and another connection takes over.
        acts: what becomes of the first creates.
    """

    def __init__(self, right: int, stray: Reply | None, shows: int, acts: list[Act] | None = None) -> None:
        super().__init__(acts or [])
        self._line = Line()
        self._replies = 0
        self._right = right
        self._next = stray
        self._shows = shows

    async def create(self, body: bytes, may_send: Callable[[], None]) -> Reply:
        """See the interface."""
        reply, line = await super().create(body, may_send), self._line
        self._replies += 1
        if self._right < self._replies <= self._shows and self._next is not None:
            reply, self._next = self._next, reply
        elif self._next is None:
            self._next = reply
        if self._replies == self._shows:
            line.mixed_up, self._line = True, Line()
        return msgspec.structs.replace(reply, line=line)


@pytest.mark.parametrize("stray", [ANOTHER, REFUSED, SLOW_DOWN], ids=lambda reply: str(reply.status))
@pytest.mark.parametrize("policy", [{}, {"wait": False}], ids=["waits", "does not wait"])
@virtual_time
async def test_what_came_over_a_mixed_up_connection_is_proven_again(stray: Reply, policy: dict[str, Any]) -> None:
    """In the end every entry names the algorithm of its own name; what was made twice by a wrong no is reported."""
    account = Account(Shifted(1, stray, 3))

    statistics = await account.apply(*(v(name) for name in "abcd"), **policy)

    account.check()
    assert {name: account.ledger.state(name) for name in "abcd"} == dict.fromkeys("abcd", State.CREATED)
    assert sum(counts(statistics).values()) == 4
    assert counts(statistics)["recovered"] >= 3
    twice = [one for one in account.ledger.kept_problems if one.code == "duplicate"]
    assert len(account.endpoint.algorithms) == 4 + len(twice)


@virtual_time
async def test_what_does_not_exist_after_all_is_left_to_the_next_run() -> None:
    """The create whose reply went to another one was refused: it is planned again, not called created."""
    account = Account(Shifted(0, ANOTHER, 1, [Act(REFUSED)]))

    first = await account.apply(v("a"))
    [problem] = account.ledger.kept_problems
    second = await account.apply(v("a"))

    assert (counts(first), problem.code) == ({"pending": 1}, MIXED_UP)
    assert counts(second) == {"created": 1}
    account.check()


@virtual_time
async def test_a_replacement_is_proven_again() -> None:
    """The new algorithm is found by its attempt, and the old one is not taken for it."""
    account = Account(Shifted(2, ANOTHER, 4))
    await account.apply(v("a"), v("b"))

    statistics = await account.apply(v("a", 2), v("b", 2), **REPLACE)

    account.check()
    assert counts(statistics) == {"recovered": 2}
    assert [account.made_as(name) for name in "ab"] == [["version 2"], ["version 2"]]


@virtual_time
async def test_an_arn_that_the_ledger_has_already_puts_its_connection_in_doubt() -> None:
    """The target halts; what came over that connection is ambiguous, and the next run finds what is true."""
    account = Account(Shifted(1, None, 3))

    first = await account.apply(v("a"), v("b"), v("c"))
    states = {account.ledger.state(name) for name in "abc"}
    second = await account.apply(v("a"), v("b"), v("c"))

    assert first.halt is not None
    assert states == {State.AMBIGUOUS}
    assert counts(second) == {"recovered": 3}
    account.check()


@virtual_time
async def test_a_surplus_that_shows_only_after_the_run_is_found_by_verify() -> None:
    """Name and tag of what an entry names are not its own; forgotten, it is recovered as what it is."""
    account = Account(Shifted(1, ANOTHER, 100))
    definitions = [v(name) for name in "abc"]
    await account.apply(*definitions)

    found = await differences(open_target(account.endpoint, account.ledger), TAG)
    wrong = sorted({one.name for one in found})
    await account.ledger.forget("here", wrong)
    statistics = await account.apply(*definitions)

    assert wrong == ["b", "c"]
    assert counts(statistics) == {"unchanged": 1, "recovered": 2}
    account.check()


def doubts_of_nobody() -> Doubts:
    """Those of a target that nothing is sent to."""
    target = open_target(Endpoint(), FakeLedger())
    return Doubts(target, Resolver(target, make_policy()))


@virtual_time
async def test_a_connection_is_forgotten_when_it_was_in_order() -> None:
    """Memory stays the same: the last results of each open connection are kept, and few of closed ones."""
    doubts = doubts_of_nobody()
    for number in range(20):
        line = Line()
        for _ in range(2 * KEPT):
            note(doubts, line)
        line.closed = number > 0

    remembered = doubts.statistics()["results"]
    assert KEPT < remembered <= 3 * KEPT + SPARE


@virtual_time
async def test_of_a_connection_that_targets_share_the_last_results_are_remembered() -> None:
    """A target forgets its own when others have had as many, however rarely it uses the connection."""
    doubts, others = doubts_of_nobody(), doubts_of_nobody()
    lines = [Line() for _ in range(500)]
    for line in lines:
        for _ in range(3):
            note(doubts, line)
        for _ in range(KEPT - 1):
            note(others, line)
    recent, old = lines[:250], lines[250:]
    for line in old:
        note(others, line)
    before = doubts.statistics()
    last = Line()
    for _ in range(KEPT):
        note(doubts, last)  # until it looks for what need not be remembered

    assert before["connections"] == len(lines)
    assert doubts.statistics()["connections"] == len(recent) + 1


def note(doubts: Doubts, line: Line) -> None:
    """Another reply came over ``line``."""
    job: Any = Given("x", "", incoming=False, outcome=Outcome.CREATED, number=0)  # what matters of a job
    doubts.note(job, Reply(status=200, arn=STRAY, line=line))
