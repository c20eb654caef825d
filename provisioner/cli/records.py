"""What the commands that find things show of an entry or an older version: as an object of JSON, and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioner.core.entry import Entry, State
from provisioner.core.versions import DESTROYED, PRUNED, REPLACED, Role, Version
from provisioner.report.recommended import PLAIN
from provisioner.report.summary import iso
from provisioner.report.text import FINISH_DESTROY

if TYPE_CHECKING:
    from provisioner.core.versions import Happening


def entry_record(entry: Entry) -> dict[str, Any]:
    """An entry as an object of JSON; ``incoming`` is there only for a replacement."""
    return {
        "target": entry.target,
        "name": entry.name,
        "state": entry.state.value,
        "arn": entry.arn,
        "code": entry.code,
        "message": entry.message,
        "adopted": entry.adopted,
        **({"incoming": True} if entry.incoming else {}),
        "digest": entry.digest,
        "tags_digest": entry.tags_digest,
        "attempt": entry.attempt,
        "sent_at": iso(entry.sent.wall) if entry.sent else "",
        "request_id": entry.request_id,
        "updated_at": iso(entry.updated_at),
        "run_id": entry.run_id,
    }


def version_record(version: Version) -> dict[str, Any]:
    """An older version as an object of JSON."""
    return {
        "target": version.target,
        "name": version.name,
        "role": version.role.value,
        "arn": version.arn,
        "reason": version.reason,
        "adopted": version.adopted,
        "code": version.code,
        "message": version.message,
        "digest": version.digest,
        "tags_digest": version.tags_digest,
        "attempt": version.attempt,
        "deletion": version.deletion,
        "sent_at": iso(version.sent.wall) if version.sent and version.deletion else "",
        "request_id": version.request_id,
        "updated_at": iso(version.updated_at),
        "run_id": version.run_id,
    }


def event_record(event: Happening) -> dict[str, Any]:
    """An event of the history of an entry as an object of JSON."""
    return {
        "at": iso(event.at),
        "run_id": event.run_id,
        "event": event.event,
        "arn": event.arn,
        "attempt": event.attempt,
        "code": event.code,
        "message": event.message,
        "request_id": event.request_id,
    }


def state_words(one: Entry | Version) -> str:
    """The state, and in brackets where the algorithm comes from if it is not from a reply to a create."""
    if isinstance(one, Version):
        return one.role.value
    mark = ""
    if one.incoming:
        mark = "replacement"
    elif one.adopted:
        mark = "adopted"
    elif one.state is State.CREATED:
        mark = one.code
    return f"{one.state.value} ({mark})" if mark else one.state.value


def reason_words(one: Entry | Version) -> str:
    """Why it is in its state, "" where there is nothing to explain."""
    if isinstance(one, Version):
        if one.role is Role.DELETED:
            return one.reason
        if one.code or one.message:
            return f"{one.reason}, not deleted: {_error(one.code, one.message)}"
        return f"{one.reason}, {_way_out(one)}"
    if one.state is State.CREATED:
        return ""
    return one.message if one.code == one.state else _error(one.code, one.message)


def _way_out(version: Version) -> str:
    """What deletes ``version``, or why it stays."""
    if version.adopted:
        return "left because it was adopted: --adopted deletes it"
    if version.reason in {PRUNED, DESTROYED}:
        return f"and not deleted yet: `{PLAIN.command(FINISH_DESTROY)}` deletes it"
    unless = ", unless --keep keeps it" if version.reason == REPLACED else ""
    return f"and not deleted yet: `apply` with --on-change replace or --prune deletes it{unless}"


def _error(code: str, message: str) -> str:
    return ": ".join(part for part in (code, message) if part)
