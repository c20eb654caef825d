"""One operation on its way through the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.core.conclusion import History

if TYPE_CHECKING:
    from provisioner.core.entry import Entry, Outcome
    from provisioner.core.versions import Version
    from provisioner.manifest.reader import Row


class Job:
    """One thing to be sent for one name: a create, a replacement, a change of tags.

    Attributes:
        row: the definition and where it stands in the manifest.
        name, role: of the definition.
        arn: the one that its entry has or had at the beginning; "" if none.
        incoming: whether it replaces the algorithm of the entry.
        parked: whether an earlier run was refused it at a quota, as the ledger has it until it is sent again.
        outcome: of the definition when the operation is done.
        counted: its outcome until then; None if it has none.
        failure, failure_text: why it failed; "" if it did not.
        attempts: made in this run.
        history: how they ended.
        entry: as it is recorded: after the intent of the last attempt of a create, before that of a change of tags.
    """

    __slots__ = (
        "arn",
        "attempts",
        "counted",
        "entry",
        "failure",
        "failure_text",
        "history",
        "incoming",
        "name",
        "outcome",
        "parked",
        "role",
        "row",
    )

    def __init__(
        self,
        row: Row,
        arn: str = "",
        *,
        outcome: Outcome,
        incoming: bool = False,
        parked: bool = False,
        entry: Entry | None = None,
    ) -> None:
        self.row = row
        self.arn = arn
        self.name = row.definition.name
        self.role = row.definition.role_arn
        self.incoming = incoming
        self.parked = parked
        self.outcome = outcome
        self.counted: Outcome | None = None
        self.failure = self.failure_text = ""
        self.attempts = 0
        self.history = History()
        self.entry = entry


class Deletion:
    """The deletion of one superseded version.

    Attributes:
        version: as it is recorded.
        name: of its entry.
        role: "": none is concerned.
        incoming: it replaces nothing.
        attempts: made in this run.
        history: how they ended.
    """

    __slots__ = ("attempts", "history", "incoming", "name", "role", "version")

    def __init__(self, version: Version) -> None:
        self.version = version
        self.name = version.name
        self.role = ""
        self.incoming = False
        self.attempts = 0
        self.history = History()
