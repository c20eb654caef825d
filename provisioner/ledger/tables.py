"""The tables of a ledger, the same in every store: what is copied from one to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from provisioner.core.entry import Entry
from provisioner.core.versions import Happening, Version
from provisioner.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[Any, ...]
"""The values of a row, or of a key: texts, numbers, bytes, None. A stamp is the JSON of it, as builtins."""


class Table(NamedTuple):
    """The columns of a table, in the order of :class:`Row`; the first ``keys`` of them are its key."""

    columns: tuple[str, ...]
    keys: int

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the key."""
        return self.columns[: self.keys]


_ENTRY = tuple(name for name in Entry.__struct_fields__ if name != "incoming")

TABLES: dict[str, Table] = {
    "entries": Table(_ENTRY, 2),
    "incoming": Table(_ENTRY, 2),
    "versions": Table(Version.__struct_fields__, 1),
    "history": Table(("seq", *Happening.__struct_fields__), 1),
    "runs": Table(("run_id", "command", "started_at", "ended_at", "exit_code", "summary"), 1),
    "problems": Table(
        ("run_id", "seq", "source", "line", "name", "code", "message", "column_", "target", "severity"), 2
    ),
    "samples": Table(("run_id", "samples"), 1),
    "paces": Table(("target", "family", "state"), 2),
    "places": Table(("target", "kind", "region", "account_id"), 1),
    "pauses": Table(("target", "until", "since", "reason"), 1),
    "finished": Table(("target", "fingerprint", "changes", "lines"), 1),
    "changes": Table(("target", "commits"), 1),
}


BESIDE = ("pauses",)
"""Those of them that others write beside whoever holds the lease."""


class CopyableLedger(Ledger, Protocol):
    """A ledger whose rows can be read and replaced as they are stored, by no rule but the order of their keys."""

    async def rows(self, table: str, after: Row | None, limit: int) -> list[Row]:
        """At most ``limit`` rows of a table in the order of their keys, behind the key ``after`` if it is given."""
        ...

    async def replace_rows(self, table: str, after: Row | None, upto: Row | None, rows: Sequence[Row]) -> None:
        """Put ``rows`` in the place of those behind the key ``after`` up to the key ``upto``; None: to the end."""
        ...
