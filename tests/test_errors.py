"""Errors that reach a user."""

from __future__ import annotations

import inspect
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner import errors
from provisioner.errors import IllegalTransitionError, LedgerError, ProvisionerError, Reason, counted, printable
from provisioner.exit_codes import ADVICE, ExitCode, code_for

CONTRACT = (1, 2, 78, 74, 6, 77, 4, 75, 5, 65, 3, 10)
"""The order in which exit codes win, as the contract has it."""

CODES = {
    ProvisionerError: 1,
    IllegalTransitionError: 1,
    errors.UsageError: 2,
    errors.ManifestError: 2,
    errors.ManifestChangedError: 2,
    errors.LedgerLockedError: 6,
    errors.LedgerError: 74,
    errors.UnsureLeaseError: 74,
    errors.OutageError: 75,
    errors.CredentialsError: 77,
    errors.IntegrityError: 77,
    errors.ConfigurationError: 78,
}


BY_WEIGHT = [reason for reason in Reason if reason is not Reason.INTERRUPTED]


def test_precedence_is_the_contract() -> None:
    """The codes win over each other in the order of the contract; an interrupted run says so whatever else applies."""
    assert tuple(int(code_for([reason])) for reason in BY_WEIGHT) == CONTRACT
    assert code_for(Reason) is ExitCode.INTERRUPTED


def test_the_first_of_two_codes_wins() -> None:
    """Of any two reasons that apply, the earlier one in the contract is what the scheduler gets, in either order."""
    for first, second in permutations(range(len(CONTRACT)), 2):
        pair = [BY_WEIGHT[first], BY_WEIGHT[second]]

        assert code_for(pair) == CONTRACT[min(first, second)]


def test_no_reason_is_done() -> None:
    """Without any reason, the exit code is 0."""
    assert code_for([]) is ExitCode.DONE


def test_every_code_has_its_advice() -> None:
    """Each exit code says what to do."""
    assert set(ADVICE) == set(ExitCode)


def test_each_error_has_its_exit_code() -> None:
    """Every error that is not a bug says what a scheduler should do."""
    found = {
        kind: int(code_for([kind.reason]))
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, ProvisionerError)
    }

    assert found == CODES


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "it broke"),
        ({"where": "a.jsonl:3"}, "a.jsonl:3: it broke"),
        ({"why": "no space"}, "it broke: no space"),
        ({"hint": "Free some"}, "it broke. Free some"),
        ({"where": "x", "why": "y", "hint": "z"}, "x: it broke: y. z"),
    ],
)
def test_an_error_says_what_where_why_and_what_to_do(parts: dict[str, str], text: str) -> None:
    """An error is one line: where, what, why, next step; the parts that are missing leave no trace."""
    assert str(LedgerError("it broke", **parts)) == text


def test_an_illegal_transition_carries_its_data() -> None:
    """An illegal transition names the state and the fact, in its text and as data."""
    error = IllegalTransitionError("created", "intend")

    assert (error.state, error.fact) == ("created", "intend")
    assert "'intend'" in str(error)
    assert "'created'" in str(error)


@pytest.mark.parametrize("part", ["what", "where", "why", "hint"])
def test_no_part_of_an_error_steers_the_terminal(part: str) -> None:
    """Control characters from outside are escaped in every part of an error."""
    parts = {"what": "it broke", part: "\x1b[2J\r\n"}

    assert str(ProvisionerError(parts.pop("what"), **parts)).isprintable()


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain ünïcode 名前", "plain ünïcode 名前"),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\tc\0", r"a\nb\tc\x00"),
        ("\u202eevil", r"\u202eevil"),
        ("\ud800", r"\ud800"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_printable_escapes_what_does_not_print(raw: str, shown: str) -> None:
    """What does not print is shown as its escape, everything else as it is."""
    assert printable(raw) == shown


@settings(derandomize=True)
@given(st.text(st.characters(), max_size=60), st.integers(0, 40))
def test_printable_is_printable_short_and_stable(text: str, limit: int) -> None:
    """The result prints, is no longer than the limit and its ellipsis, and is not changed by a second pass."""
    once = printable(text, limit)

    assert once.isprintable()
    assert len(once) <= limit + 1
    assert printable(once, limit + 1) == once


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (0, ("line", "lines"), "0 lines"),
        (1, ("line", "lines"), "1 line"),
        (1, ("entry", "entries"), "1 entry"),
        (2, ("entry", "entries"), "2 entries"),
    ],
)
def test_one_of_a_kind_is_singular(number: int, nouns: tuple[str, str], text: str) -> None:
    """A message has the singular for one, the plural for none and for many."""
    assert counted(number, *nouns) == text
