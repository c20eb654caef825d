"""What one name's records in a ledger must have, whatever happened to it: they follow from the state machine. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.core.entry import State
from provisioner.core.ownership import check_place
from provisioner.core.versions import Role
from provisioner.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.core.entry import Entry
    from provisioner.core.place import Place
    from provisioner.core.versions import Version

_WITH_REASON = frozenset({State.FAILED, State.PARKED})


def contradictions(
    entry: Entry | None, incoming: Entry | None, versions: Sequence[Version], place: Place | None = None
) -> list[str]:
    """The contradictions among the records of one name, as sentences; none if they are consistent.

    Args:
        entry: the entry, None if there is none.
        incoming: its replacement, None if there is none.
        versions: its older versions.
        place: of its target, None if it is not known.
    """
    if entry is None:
        left = ["a replacement"] * (incoming is not None) + ["older versions"] * bool(versions)
        return [f"{' and '.join(left)} without an entry"] if left else []
    found = _of_entry(entry)
    if incoming is not None:
        found += [f"its replacement: {what}" for what in _of_entry(incoming)]
    if entry.exists and any(version.arn == entry.arn for version in versions):
        found.append(f"{entry.arn} is both the current algorithm and an older version")
    arns = [entry.arn, *[version.arn for version in versions if version.role is Role.SUPERSEDED]]
    return found + [what for arn in arns if arn and place is not None and (what := _out_of_place(arn, place))]


def _of_entry(entry: Entry) -> list[str]:
    found = []
    if entry.exists and not entry.arn:
        found.append(f"it is {entry.state} and has no ARN")
    if entry.unresolved and not (entry.attempt and entry.sent):
        found.append(f"it is {entry.state} and has no attempt")
    if entry.state in _WITH_REASON and not entry.code:
        found.append(f"it is {entry.state} and has no reason")
    return found


def _out_of_place(arn: str, place: Place) -> str:
    try:
        check_place(arn, region=place.region, account_id=place.account_id)
    except IntegrityError as error:
        return f"{arn}: {error.why}" if error.why else error.what
    return ""
