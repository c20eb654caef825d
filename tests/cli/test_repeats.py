"""What is logged of warnings that repeat each other."""

from __future__ import annotations

import pytest

from provisioner.cli.repeats import EVERY_S, EXAMPLES, KINDS, TEXTS, Kind, Repeats


def problem(message: str, code: str = "invalid", target: str | None = "here") -> dict[str, object]:
    """The event of a problem."""
    return {"event": "definition.reported", "target": target, "code": code, "message": message}


def test_the_same_failure_ten_thousand_times_is_one_line_and_a_count() -> None:
    """The first is logged at once; the others are counted, by target and code, and each is counted once."""
    repeats = Repeats()

    admitted = [repeats.admit(problem("no role"), 0.0) for _ in range(10_000)]
    other = repeats.admit(problem("no role", target="there"), 0.0)

    assert (admitted[0], sum(admitted), other) == (True, 1, True)
    assert list(repeats.sums()) == [(Kind("definition.reported", "here", "invalid", None), 9_999)]
    assert list(repeats.sums()) == []


def test_failures_that_differ_are_logged_until_they_are_a_flood() -> None:
    """Ten texts of a kind are logged, and the rest is counted."""
    repeats = Repeats()

    assert sum(repeats.admit(problem(f"line {number}"), 0.0) for number in range(1_000)) == TEXTS
    assert [count for _, count in repeats.sums()] == [1_000 - TEXTS]


def test_counts_are_due_ten_seconds_after_the_first() -> None:
    """Nothing is due while nothing is counted, and after it was summed up."""
    repeats = Repeats()
    repeats.admit(problem("a"), 0.0)
    before = repeats.due(EVERY_S)
    repeats.admit(problem("a"), 5.0)

    assert (before, repeats.due(5.0 + EVERY_S - 0.1), repeats.due(5.0 + EVERY_S)) == (False, False, True)
    assert (len(list(repeats.sums())), repeats.due(100.0)) == (1, False)


def test_what_matters_each_time_is_logged_each_time() -> None:
    """Halts, outages and the like do not come for every definition, and are never only counted."""
    repeats = Repeats()

    assert all(repeats.admit({"event": "outage.began", "target": "here", "why": "x"}, 0.0) for _ in range(5))


def test_notices_that_differ_only_in_what_is_of_the_account_are_of_one_kind() -> None:
    """Three of a thousand accounts are named, and the sum says what they have in common."""
    repeats = Repeats()
    text = "arn:aws:iam::{0}:role/x is not checked against account {0}, which the ledger has"

    admitted = [
        repeats.admit({"event": "target.noticed", "target": f"t{n}", "message": text.format(10**11 + n)}, 0.0)
        for n in range(1_000)
    ]

    common = "its role is not checked against account …, which the ledger has"
    assert (sum(admitted), all(admitted[:EXAMPLES])) == (EXAMPLES, True)
    assert list(repeats.sums()) == [(Kind("target.noticed", None, None, None, common), 997)]


@pytest.mark.parametrize("event", ["target.paused", "target.skipped"])
def test_a_fleet_that_is_left_alone_is_three_lines_and_a_count(event: str) -> None:
    """The first targets that are paused, or do not begin, are named; a thousand lines would hide what failed."""
    repeats = Repeats()

    admitted = [repeats.admit({"event": event, "target": f"t{number}", "why": "x"}, 0.0) for number in range(1_000)]

    assert (sum(admitted), all(admitted[:EXAMPLES])) == (EXAMPLES, True)
    assert list(repeats.sums()) == [(Kind(event, None, None, None), 1_000 - EXAMPLES)]


def test_each_notice_is_logged_for_three_targets() -> None:
    """One that says something else is logged, however often the first was."""
    repeats = Repeats()
    notices = [("no such Region", f"t{number}") for number in range(500)] + [("not checked", "t0")]

    admitted = [
        repeats.admit({"event": "target.noticed", "target": one, "message": says}, 0.0) for says, one in notices
    ]

    assert (sum(admitted), admitted[-1]) == (EXAMPLES + 1, True)
    assert [(kind.message, count) for kind, count in repeats.sums()] == [("no such Region", 500 - EXAMPLES)]


def test_memory_does_not_grow_with_the_targets() -> None:
    """Beyond a thousand kinds, targets are not told apart, and nothing is lost from the counts."""
    repeats = Repeats()

    admitted = sum(repeats.admit(problem("x", target=str(number // 2)), 0.0) for number in range(4 * KINDS))

    sums = list(repeats.sums())
    assert admitted + sum(count for _, count in sums) == 4 * KINDS
    assert admitted == KINDS + 1
    assert len(sums) == KINDS + 1
