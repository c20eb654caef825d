"""What becomes of a definition whose name exists in AWS although the ledger says to create it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.entry import Entry, State
from provisioner.core.first_contact import Choice, current, meet
from provisioner.core.inventory import Found
from provisioner.core.names import folded
from provisioner.core.ownership import OwnershipTag
from tests.fakes import LEDGER_ID, make_policy

OTHER_LEDGER_ID = "00000000000000bb"
SAME, OTHER = "5a" * 16, "07" * 16


class Row(NamedTuple):
    """A definition."""

    name: str = "x"
    digest: str = SAME
    tags_digest: str = "t"
    tag_keys: str = ""


def found(
    arn: str = "arn-1", *, name: str = "x", ledger: str = "", digest: str = SAME, created_at: float = 1.0
) -> Found:
    """An algorithm, with the ownership tag of ``ledger`` unless that is empty."""
    tag = OwnershipTag(ledger, digest, "run-1") if ledger else None
    return Found(arn, name, created_at, tag, digest, "t")


OURS = found(ledger=LEDGER_ID)
OURS_CHANGED = found("arn-2", ledger=LEDGER_ID, digest=OTHER, created_at=2.0)
THEIRS = found("arn-3", ledger=OTHER_LEDGER_ID)
UNTAGGED = found("arn-4")
UNTAGGED_OTHER = found("arn-5", digest=OTHER)
TWIN = found("arn-6", created_at=6.0)
TWIN_OTHER = found("arn-7", digest=OTHER, created_at=7.0)


@pytest.mark.parametrize(
    ("seen", "policy", "choice", "arn", "code"),
    [
        ([], {}, Choice.CREATE, "", ""),
        ([OURS], {}, Choice.RECOVER, "arn-1", ""),
        ([OURS], {"names": "duplicates", "adopt": "never"}, Choice.RECOVER, "arn-1", ""),
        ([UNTAGGED, THEIRS, OURS], {"adopt": "any"}, Choice.RECOVER, "arn-1", ""),
        ([THEIRS], {}, Choice.REFUSE, "arn-3", "other_ledger"),
        ([THEIRS], {"adopt": "any"}, Choice.REFUSE, "arn-3", "other_ledger"),
        ([THEIRS, UNTAGGED], {"adopt": "any"}, Choice.REFUSE, "arn-3", "other_ledger"),
        ([THEIRS], {"take_over": OTHER_LEDGER_ID}, Choice.ADOPT, "arn-3", ""),
        ([THEIRS], {"take_over": "00000000000000cc"}, Choice.REFUSE, "arn-3", "other_ledger"),
        ([THEIRS], {"names": "duplicates"}, Choice.CREATE, "", ""),
        ([UNTAGGED], {"adopt": "same"}, Choice.ADOPT, "arn-4", ""),
        ([UNTAGGED_OTHER], {"adopt": "same"}, Choice.REFUSE, "arn-5", "name_taken"),
        ([UNTAGGED_OTHER], {"adopt": "any"}, Choice.ADOPT, "arn-5", ""),
        ([UNTAGGED_OTHER, UNTAGGED], {"adopt": "any"}, Choice.ADOPT, "arn-4", ""),
        ([UNTAGGED, UNTAGGED_OTHER], {"adopt": "same"}, Choice.ADOPT, "arn-4", ""),
        ([UNTAGGED_OTHER, TWIN_OTHER], {"adopt": "any"}, Choice.REFUSE, "arn-5", "name_taken"),
        ([UNTAGGED, TWIN], {"adopt": "same"}, Choice.REFUSE, "arn-4", "name_taken"),
        ([UNTAGGED, TWIN], {"adopt": "any", "names": "duplicates"}, Choice.REFUSE, "arn-4", "name_taken"),
        ([UNTAGGED], {"adopt": "never"}, Choice.REFUSE, "arn-4", "name_taken"),
        ([UNTAGGED], {"adopt": "never", "names": "duplicates"}, Choice.CREATE, "", ""),
        ([UNTAGGED_OTHER], {"adopt": "same", "names": "duplicates"}, Choice.CREATE, "", ""),
        ([UNTAGGED], {"adopt": "same", "names": "duplicates"}, Choice.ADOPT, "arn-4", ""),
        ([UNTAGGED_OTHER], {"adopt": "any", "names": "duplicates"}, Choice.ADOPT, "arn-5", ""),
        ([THEIRS], {"names": "duplicates", "take_over": "00000000000000cc"}, Choice.REFUSE, "arn-3", "other_ledger"),
    ],
)
def test_what_exists_under_a_name_decides(
    seen: list[Found], policy: dict[str, Any], choice: Choice, arn: str, code: str
) -> None:
    """Our algorithm is recovered, another ledger's is refused or taken over, --adopt decides on an untagged one."""
    meeting = meet(Row(), None, seen, make_policy(**policy), LEDGER_ID)

    assert (meeting.choice, meeting.found.arn if meeting.found else "", meeting.code) == (choice, arn, code)


@pytest.mark.parametrize("state", [State.PLANNED, State.DELETED, State.FAILED])
def test_what_the_entry_gave_up_is_never_taken_up_again(state: State) -> None:
    """The ARN that the entry names was deleted or replaced; List lags, so it proves nothing."""
    entry = Entry("here", "x", state, SAME, "t", arn="arn-1")

    assert meet(Row(), entry, [OURS], make_policy(), LEDGER_ID).choice is Choice.CREATE
    assert meet(Row(), entry, [OURS, OURS_CHANGED], make_policy(), LEDGER_ID).found == OURS_CHANGED


@pytest.mark.parametrize(
    ("ours", "kept", "duplicates"),
    [
        ([OURS, found("arn-9", ledger=LEDGER_ID, created_at=9.0)], "arn-1", ["arn-9"]),
        ([OURS, OURS_CHANGED], "arn-2", ["arn-1"]),
        ([OURS_CHANGED, OURS], "arn-2", ["arn-1"]),
    ],
)
def test_of_several_of_ours_one_is_current(ours: list[Found], kept: str, duplicates: list[str]) -> None:
    """Of equal definitions the oldest is kept, of different ones the newest; the others are reported."""
    meeting = meet(Row(), None, ours, make_policy(), LEDGER_ID)

    assert meeting.found is not None
    assert (meeting.found.arn, [one.arn for one in meeting.duplicates]) == (kept, duplicates)


def test_another_form_of_the_name_is_ours_only_with_the_definition() -> None:
    """An algorithm under another form of the name is ours if its tag has the digest of this definition."""
    assert meet(Row(), None, [found(name="X ", ledger=LEDGER_ID)], make_policy(), LEDGER_ID).choice is Choice.RECOVER
    for other in (
        found(name="X", ledger=LEDGER_ID, digest=OTHER),
        found(name="X"),
        found(name="X", ledger=OTHER_LEDGER_ID),
    ):
        assert meet(Row(), None, [other], make_policy(), LEDGER_ID).choice is Choice.CREATE


def test_a_refusal_names_the_ways_out() -> None:
    """What another ledger created is refused with that ledger's id, the rebuild and the option that takes it over."""
    message = meet(Row(), None, [THEIRS], make_policy(), LEDGER_ID).message

    assert f"rebuild --ledger new.db --ledger-id {OTHER_LEDGER_ID}" in message
    assert f"--take-over {OTHER_LEDGER_ID}" in message
    assert "arn-3" in message


def test_of_several_that_nobody_created_none_is_guessed() -> None:
    """Two algorithms that may be meant are refused with both ARNs; `--adopt` is no way out."""
    message = meet(Row(), None, [UNTAGGED_OTHER, TWIN_OTHER], make_policy(adopt="never"), LEDGER_ID).message

    assert message == (
        "2 algorithms have this name, and no ledger created them. Delete all but one of arn-5, arn-7, or rename the "
        "definition"
    )


@given(
    st.lists(st.sampled_from([OURS, OURS_CHANGED, THEIRS, UNTAGGED, UNTAGGED_OTHER]), unique=True),
    st.sampled_from(["never", "same", "any"]),
    st.sampled_from(["unknown", "unique", "same", "duplicates"]),
)
def test_a_second_of_a_name_is_made_only_where_names_repeat(
    seen: list[Found], adopt: Literal["never", "same", "any"], names: Literal["unknown", "unique", "same", "duplicates"]
) -> None:
    """If the name exists, nothing is created unless names may repeat, and never when we created it."""
    meeting = meet(Row(), None, seen, make_policy(adopt=adopt, names=names), LEDGER_ID)

    if meeting.choice is Choice.CREATE:
        assert not seen or names == "duplicates"
        assert not any(one.is_of(LEDGER_ID) for one in seen)
    if any(one.is_of(LEDGER_ID) for one in seen):
        assert meeting.found is not None
        assert meeting.found.is_of(LEDGER_ID)


@pytest.mark.parametrize(
    ("name", "other", "same"),
    [
        ("x", "X", True),
        (" x\t", "x", True),
        ("e\u0301", "\u00e9", True),
        ("straße", "STRASSE", True),
        ("x", "y", False),
    ],
)
def test_forms_of_a_name(name: str, other: str, same: bool) -> None:  # noqa: FBT001  a table
    """Names are compared trimmed, in NFC and without case."""
    assert (folded(name) == folded(other)) is same


def test_the_current_one_of_equals_is_the_oldest() -> None:
    """Of one algorithm, that one."""
    assert current([OURS]) == OURS


def test_a_take_over_reports_duplicates_too() -> None:
    """What the other ledger created twice is one adoption and a duplicate."""
    twin = found("arn-8", ledger=OTHER_LEDGER_ID, created_at=8.0)
    meeting = meet(Row(), None, [THEIRS, twin], make_policy(take_over=OTHER_LEDGER_ID), LEDGER_ID)

    assert (meeting.choice, meeting.found, meeting.duplicates) == (Choice.ADOPT, THEIRS, (twin,))


def test_what_was_only_marked_as_missing_is_recovered() -> None:
    """An entry that was marked on wrong evidence takes its algorithm up again; one that we deleted does not."""
    marked = Entry("here", "x", State.PLANNED, SAME, "t", arn="arn-1", code="missing")

    assert meet(Row(), marked, [OURS], make_policy(), LEDGER_ID).found == OURS
