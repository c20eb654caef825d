"""What a target has done so far, and which exit codes that calls for."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from provisioner.core.entry import Outcome
from provisioner.core.problem import Problem
from provisioner.engine.observer import Halt
from provisioner.errors import Reason, heaviest
from provisioner.exit_codes import code_for
from provisioner.manifest.definition import Canonical, Definition
from provisioner.manifest.reader import Batch, Row
from provisioner.report.statistics import PROBLEMS_SHOWN, Statistics

ROW = Row(
    "m.jsonl", 1, Definition(name="x", role_arn="arn:aws:iam::123456789012:role/a"), Canonical(b"", b"", "d", "t")
)


def counted(outcomes: dict[Outcome, int] | None = None, **given: Any) -> Statistics:
    """A statistics of a run that read its manifest to the end."""
    made = Statistics("here")
    made.whole = True
    made.outcomes.update(outcomes or {})
    for name, value in given.items():
        setattr(made, name, value)
    return made


def batch(rows: int, read_bytes: int) -> Batch:
    """A batch with one invalid and two repeated lines besides."""
    return Batch([ROW] * rows, [], lines=rows + 3, invalid=1, repeated=2, read_bytes=read_bytes)


def problem(number: int, severity: Literal["problem", "notice"] = "problem") -> Problem:
    """A problem of a line."""
    return Problem("m.jsonl", number, "x", "invalid", "bad", severity=severity)


HALTED = Halt(Reason.CONFIGURATION, "wrong Region")
PENDING, AMBIGUOUS, CREATED = {Outcome.PENDING: 1}, {Outcome.AMBIGUOUS: 1}, {Outcome.CREATED: 1}


@pytest.mark.parametrize(
    ("done", "codes"),
    [
        (counted(), set()),
        (counted({Outcome.CREATED: 5, Outcome.ADOPTED: 1, Outcome.UNCHANGED: 9}), set()),
        (counted({Outcome.FAILED: 1}), {3}),
        (counted({Outcome.DRIFTED: 1}), {3}),
        (counted({Outcome.PARKED: 1}), {4}),
        (counted(AMBIGUOUS), {5}),
        (counted(CREATED, open=1), {5}),
        (counted(invalid=1), {65}),
        (counted(repeated=1), set()),
        (counted(denied=True), {77}),
        (counted(PENDING), {75}),
        (counted(PENDING, invalid=1), {65}),
        (counted(PENDING, denied=True), {77}),
        (counted(PENDING, halt=HALTED), {78}),
        (counted(CREATED, stopped=True), set()),
        (counted(CREATED, stopped=True, whole=False), {75}),
        (counted(PENDING, stopped=True), {75}),
        (counted(PENDING, stopped=True, invalid=1), {65, 75}),
        (counted(AMBIGUOUS, stopped=True), {5, 75}),
        (counted(CREATED, stopped=True, open=1), {5, 75}),
        (counted(halt=HALTED), {78}),
        (counted({Outcome.PARKED: 1, Outcome.PENDING: 8}, halt=Halt(Reason.QUOTA, "quota")), {4}),
    ],
)
def test_which_exit_codes_apply(done: Statistics, codes: set[int]) -> None:
    """Each outcome, halt and stop calls for its code, and no run ends with 0 while work is left."""
    assert {int(code_for([reason])) for reason in done.reasons()} == codes


def test_all_codes_are_told() -> None:
    """Every code that applies is there, so that the weightiest can win."""
    outcomes = dict.fromkeys(Outcome, 1)

    reasons = counted(outcomes, invalid=1, denied=True, stopped=True, halt=HALTED).reasons()

    assert {int(code_for([reason])) for reason in reasons} == {3, 4, 5, 65, 75, 77, 78}
    assert heaviest(reasons) is Reason.CONFIGURATION


def test_batches_add_up() -> None:
    """Lines, valid, invalid and repeated ones are summed over the batches."""
    done = Statistics("here")
    done.batch_read(batch(7, 100), None)
    done.batch_read(batch(3, 200), None)

    assert (done.lines, done.valid, done.invalid, done.repeated) == (16, 10, 2, 4)


@pytest.mark.parametrize(
    ("read_bytes", "size_bytes", "expected"),
    [(100, 400, 40), (100, 100, 10), (200, 100, 10), (100, None, None), (0, 9, None)],
)
def test_how_many_definitions_are_likely(read_bytes: int, size_bytes: int | None, expected: int | None) -> None:
    """The number of definitions is estimated from what was read so far, and unknown without a size."""
    done = Statistics("here")
    done.batch_read(batch(10, read_bytes), size_bytes)

    assert done.expected == expected


def test_an_outcome_moves() -> None:
    """A definition whose outcome changes is counted once."""
    done = counted({Outcome.AMBIGUOUS: 2})
    done.outcome_changed(Outcome.ADOPTED, Outcome.AMBIGUOUS)

    assert (done.outcomes[Outcome.AMBIGUOUS], done.outcomes[Outcome.ADOPTED], done.known) == (1, 1, 2)


def test_the_first_problems_are_kept_and_all_are_counted() -> None:
    """A hundred problems are shown, all are counted, and notices are neither."""
    done = Statistics("here")
    for number in range(150):
        done.problem_found(problem(number))
        done.problem_found(problem(number, "notice"))

    assert [kept.line for kept in done.problems] == list(range(100))
    assert PROBLEMS_SHOWN == 100
    assert done.problems_total == 150


@pytest.mark.parametrize(
    ("under_way", "recorded", "ambiguous", "pending"),
    [(0, 10, 0, 0), (0, 4, 0, 6), (2, 4, 2, 4), (9, 4, 6, 0), (3, 10, 0, 0)],
)
def test_no_definition_vanishes(under_way: int, recorded: int, ambiguous: int, pending: int) -> None:
    """However a run ends, each valid line has an outcome: under way means ambiguous, never sent means pending."""
    done = counted({Outcome.CREATED: recorded}, valid=10, under_way=under_way)
    done.close()
    done.close()

    assert (done.outcomes[Outcome.AMBIGUOUS], done.outcomes[Outcome.PENDING]) == (ambiguous, pending)
    assert done.known == 10


def test_a_tally_tells_its_state() -> None:
    """The text of a statistics has the outcomes that occur and the halt."""
    assert repr(Statistics("here")) == "Statistics(here: nothing yet; halt=None)"
    assert repr(counted(CREATED | {Outcome.FAILED: 0}, halt=HALTED)) == "Statistics(here: created=1; halt=wrong Region)"


def test_a_wait_says_how_far_it_has_come() -> None:
    """While an account is read, what the wait is for changes; its end clears it."""
    done = Statistics("here")
    done.waiting_began("reading the account", 0.0)
    done.waiting_changed("reading the account: 300 listed, 200 tagged")
    shown = done.waiting
    done.waiting_ended()

    assert (shown, done.waiting) == ("reading the account: 300 listed, 200 tagged", "")
