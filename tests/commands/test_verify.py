"""Where ledger and AWS disagree."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.aws.faces import Listed
from provisioner.commands.verify import compare
from provisioner.core.entry import Entry, State
from provisioner.core.inventory import Found
from provisioner.core.ownership import OwnershipTag
from provisioner.engine.inventory import Details, Listing
from tests.fakes import LEDGER_ID

OTHER_LEDGER_ID = "00000000000000bb"
ENTRY = Entry("here", "x", State.CREATED, "d", "t", arn="arn-1")


def found(arn: str = "arn-1", name: str = "x", *, ledger: str = LEDGER_ID, digest: str = "d", tags: str = "t") -> Found:
    """What Get reports."""
    return Found(arn, name, 1.0, OwnershipTag(ledger, digest, "run-1"), digest, tags)


def kinds(*known: Found, entry: Entry = ENTRY, **given: Any) -> list[tuple[str, str]]:
    """The findings of one entry: kind and ARN."""
    listed = given.pop("listed", [one.arn for one in known])
    items = tuple(Listed(arn, "x") for arn in listed)
    listing = Listing(items, complete=given.pop("complete", True))
    details = Details(known, frozenset(given.pop("unread", ())), frozenset(given.pop("gone", ())))
    elsewhere = given.pop("elsewhere", set())
    findings = compare("here", {"x": entry}, listing, details, ledger_id=LEDGER_ID, elsewhere=elsewhere)
    return [(finding.kind, finding.arn) for finding in findings]


@pytest.mark.parametrize(
    ("known", "given", "expected"),
    [
        ([found()], {}, []),
        ([], {"gone": ["arn-1"]}, [("missing", "arn-1")]),
        ([], {"gone": ["arn-1"], "listed": ["arn-1"]}, [("unread", "arn-1")]),
        ([], {"gone": ["arn-1"], "complete": False}, [("unread", "arn-1"), ("unread", "")]),
        ([], {"unread": ["arn-1"]}, [("unread", "arn-1")]),
        ([found(digest="e")], {}, [("drifted", "arn-1")]),
        ([found(tags="u")], {}, [("drifted", "arn-1")]),
        ([found(), found("arn-2")], {}, [("duplicate", "arn-2")]),
        ([found(), found("arn-2", ledger=OTHER_LEDGER_ID)], {}, []),
        ([found(), found("arn-2", "y")], {}, [("unrecorded", "arn-2")]),
        ([found(), found("arn-2", "y")], {"elsewhere": {"arn-2"}}, []),
        ([found(), found("arn-2", "y", ledger=OTHER_LEDGER_ID)], {}, []),
    ],
)
def test_what_disagrees(known: list[Found], given: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Missing needs the service's own answer and a complete List without it; our unknown algorithms are unrecorded."""
    assert kinds(*known, **given) == expected


def test_an_entry_without_an_algorithm_is_unrecorded() -> None:
    """An entry that is not created, while an algorithm of this ledger has its name, is a finding."""
    entry = Entry("here", "x", State.DELETED, "d", "t")

    assert kinds(found(), entry=entry) == [("unrecorded", "arn-1")]
