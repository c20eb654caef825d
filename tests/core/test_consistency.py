"""What the records of one name must have."""

from __future__ import annotations

import pytest

from provisioner.core.consistency import contradictions
from provisioner.core.entry import Entry, Stamp, State
from provisioner.core.place import Place
from provisioner.core.versions import Role, Version

ARN = "arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/a"
OLDER = "arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/b"


def entry(state: State, **fields: object) -> Entry:
    """An entry that has what every state needs, but for ``fields``."""
    known = {"arn": ARN, "attempt": "x-1", "sent": Stamp(1.0), "code": "quota", **fields}
    return Entry("t", "a", state, "d", "t", **known)  # type: ignore[arg-type]


def version(arn: str, role: Role = Role.SUPERSEDED) -> Version:
    """An older version of it."""
    return Version(arn, "t", "a", role, "replaced")


@pytest.mark.parametrize("state", list(State))
def test_what_has_everything_is_sound(state: State) -> None:
    """In every state, with a replacement and older versions beside it."""
    older = [version(OLDER), version(f"{ARN}-old", Role.DELETED)]
    place = Place("aws", "us-east-1", "123456789012")

    assert contradictions(entry(state), entry(State.SENT, arn=""), older, place) == []
    assert contradictions(None, None, []) == []


@pytest.mark.parametrize(
    ("kept", "incoming", "older", "found"),
    [
        (entry(State.CREATED, arn=""), None, [], "it is created and has no ARN"),
        (entry(State.DRIFTED, arn=""), None, [], "it is drifted and has no ARN"),
        (entry(State.SENT, attempt=""), None, [], "it is sent and has no attempt"),
        (entry(State.AMBIGUOUS, sent=None), None, [], "it is ambiguous and has no attempt"),
        (entry(State.FAILED, code=""), None, [], "it is failed and has no reason"),
        (entry(State.PARKED, code=""), None, [], "it is parked and has no reason"),
        (entry(State.CREATED), entry(State.SENT, attempt=""), [], "its replacement: it is sent and has no attempt"),
        (entry(State.CREATED), None, [version(ARN)], f"{ARN} is both the current algorithm and an older version"),
        (None, None, [version(OLDER)], "older versions without an entry"),
        (None, entry(State.SENT), [version(OLDER)], "a replacement and older versions without an entry"),
        (entry(State.CREATED, arn=ARN.replace("east", "west")), None, [], "the target is in us-east-1"),
        (entry(State.CREATED), None, [version(OLDER.replace("12:", "13:"))], "the target is account 123456789012"),
        (entry(State.CREATED, arn="nonsense"), None, [], "this is not the ARN of a configured model algorithm"),
    ],
)
def test_what_cannot_be(kept: Entry | None, incoming: Entry | None, older: list[Version], found: str) -> None:
    """Each contradiction is one sentence."""
    (said,) = contradictions(kept, incoming, older, Place("aws", "us-east-1", "123456789012"))

    assert found in said
