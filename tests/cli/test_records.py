"""What lists say of entries and of older versions."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.cli.records import reason_words, version_record
from provisioner.core.versions import Role, Version


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"reason": "replaced"},
            (
                "replaced, and not deleted yet: `apply` with --on-change replace or --prune deletes it, "
                "unless --keep keeps it"
            ),
        ),
        (
            {"reason": "duplicate"},
            "duplicate, and not deleted yet: `apply` with --on-change replace or --prune deletes it",
        ),
        (
            {"reason": "destroyed"},
            "destroyed, and not deleted yet: `provisioner destroy --state deleted` deletes it",
        ),
        ({"reason": "replaced", "attempt": "adopted-1"}, "replaced, left because it was adopted: --adopted deletes it"),
        (
            {"reason": "pruned", "code": "ConflictException", "message": "an association uses it"},
            "pruned, not deleted: ConflictException: an association uses it",
        ),
    ],
)
def test_why_a_superseded_algorithm_is_still_there(fields: dict[str, Any], words: str) -> None:
    """The row says why it is superseded and what deletes it, why it stays, or why it could not be deleted."""
    version = Version("arn-1", "here", "x", Role.SUPERSEDED, **fields)

    assert reason_words(version) == words
    assert version_record(version)["adopted"] == fields.get("attempt", "").startswith("adopted-")


def test_nothing_is_to_be_done_about_a_deleted_algorithm() -> None:
    """The row says why it was deleted; neither what deletes it nor why that failed once."""
    version = Version("arn-1", "here", "x", Role.DELETED, reason="replaced", code="ConflictException", message="in use")

    assert reason_words(version) == "replaced"
