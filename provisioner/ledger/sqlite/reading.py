"""What is read from the ledger, synchronously: each function is one statement with one result row.

The sqlite3 module releases the GIL for every step of a statement, and waits up to 5 ms to get it back while the event
loop is busy (``sys.getswitchinterval``). A thousand rows fetched one by one beside a busy loop take 3 s; as one JSON
text they take 14 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from provisioner.core.entry import Entry, Stamp, State
from provisioner.core.place import Place
from provisioner.core.problem import Problem
from provisioner.ledger import FinishedManifest, RunRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from provisioner.ledger.sqlite.database import Connection

Key = tuple[str, str]
"""Target and name."""

_STATES = {str(state): state for state in State}
_Row = tuple[str, State, str, str, str, str, Stamp | None, float, str, str, str]
_ROWS = msgspec.json.Decoder(list[_Row])
_DIGESTS = msgspec.json.Decoder(dict[str, str])
_COLUMNS = "name, state, digest, tags_digest, arn, attempt, json(sent), updated_at, run_id, code, message"
_ENTRIES = f"json_group_array(json_array({_COLUMNS}))"
_NAMED = "FROM json_each(?) AS wanted CROSS JOIN entries ON target = ? AND name = wanted.value"


def ledger_id(connection: Connection) -> str:
    """The id in the ownership tags of what this ledger created."""
    return str(connection.execute("SELECT value FROM meta WHERE key = 'ledger_id'").fetchone()[0])


CHANGES = "changes of "
"""Prefix of the key in ``meta`` under which a target's commits are counted."""


def changes(connection: Connection, target: str) -> int:
    """How many commits have had facts about ``target``."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (CHANGES + target,)).fetchone()
    return int(row[0]) if row else 0


def entries_by_name(connection: Connection, target: str, names: Sequence[str]) -> dict[str, Entry]:
    """The entries of ``names``; unknown names are left out."""
    rows = _rows(connection, f"SELECT {_ENTRIES} {_NAMED}", (_text(names), target))
    return {row[0]: Entry(target, *row) for row in rows}


def digests_by_name(connection: Connection, target: str, names: Sequence[str]) -> dict[str, str]:
    """The two digests, concatenated, of the entries of ``names`` that are created."""
    found = connection.execute(
        f"SELECT json_group_object(name, digest || tags_digest) {_NAMED} AND state = 'created'",
        (_text(names), target),
    )
    return _DIGESTS.decode(found.fetchone()[0])


def targets(connection: Connection) -> list[str]:
    """The targets that have entries, in order.

    One index seek for each target, where SELECT DISTINCT would read every entry.
    """
    return [
        str(target)
        for target in _json(
            connection,
            """WITH RECURSIVE known (target) AS (
                SELECT min(target) FROM entries
                UNION ALL SELECT (SELECT min(target) FROM entries WHERE target > known.target) FROM known
                WHERE known.target IS NOT NULL)
            SELECT json_group_array(target) FROM known WHERE target IS NOT NULL""",
        )
    ]


def page(
    connection: Connection, target: str, after: str | None, states: Collection[State] | None, limit: int
) -> list[Entry]:
    """At most ``limit`` entries of ``target`` in order of name, after the name ``after`` (None: from the start)."""
    conditions, parameters = ["target = ?"], [target]
    if after is not None:
        conditions.append("name > ?")
        parameters.append(after)
    if states is not None:
        conditions.append("state IN (SELECT value FROM json_each(?))")
        parameters.append(_text(sorted(states)))
        if State.CREATED not in states:
            conditions.append("state != 'created'")
    rows = _rows(
        connection,
        f"""SELECT {_ENTRIES} FROM (
            SELECT * FROM entries WHERE {" AND ".join(conditions)} ORDER BY name LIMIT {limit})""",  # noqa: S608  constants
        parameters,
    )
    return [Entry(target, *row) for row in rows]


def counts(connection: Connection) -> dict[str, dict[State, int]]:
    """How many entries each target has in each state."""
    found: dict[str, dict[State, int]] = {}
    for target, state, count in _json(
        connection,
        """SELECT json_group_array(json_array(target, state, n))
        FROM (SELECT target, state, count(*) AS n FROM entries GROUP BY target, state)""",
    ):
        found.setdefault(target, {})[_STATES[state]] = count
    return found


def holders(connection: Connection, arns: Iterable[str]) -> dict[str, Key | None]:
    """Which entry with an existing algorithm holds each of ``arns``; those that none holds are left out."""
    rows = _json(
        connection,
        """SELECT json_group_array(json_array(arn, target, name))
        FROM json_each(?) AS wanted CROSS JOIN entries INDEXED BY entries_by_arn
        ON arn = wanted.value AND arn != '' AND state IN ('created', 'drifted')""",
        (_text(arns),),
    )
    return {arn: (target, name) for arn, target, name in rows}


def runs(connection: Connection, limit: int) -> list[RunRecord]:
    """The latest runs, newest first."""
    rows = connection.execute("SELECT * FROM runs ORDER BY run_id DESC LIMIT ?", (limit,)).fetchall()
    return [RunRecord(*row) for row in rows]


def problems(connection: Connection, run_id: str, after: int, limit: int) -> list[tuple[int, Problem]]:
    """At most ``limit`` problems of a run with their sequence numbers, after number ``after``."""
    rows = _json(
        connection,
        """SELECT json_group_array(json_array(seq, source, line, name, code, message, column_, target, severity))
        FROM (SELECT * FROM problems WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?)""",
        (run_id, after, limit),
    )
    return [(seq, Problem(*rest)) for seq, *rest in rows]


def learned(connection: Connection, target: str, family: str) -> bytes | None:
    """What the pacer of (target, family) learned."""
    row = connection.execute("SELECT state FROM paces WHERE target = ? AND family = ?", (target, family)).fetchone()
    return None if row is None else bytes(row[0])


def finished(connection: Connection, target: str) -> FinishedManifest | None:
    """The manifest that was finished last in ``target``."""
    row = connection.execute("SELECT fingerprint, changes, lines FROM finished WHERE target = ?", (target,)).fetchone()
    return None if row is None else FinishedManifest(*row)


def places(connection: Connection) -> dict[str, Place]:
    """Where each target is."""
    rows = _json(connection, "SELECT json_group_array(json_array(target, kind, region, account_id)) FROM places")
    return {target: Place(*rest) for target, *rest in rows}


def _rows(connection: Connection, sql: str, parameters: Sequence[Any]) -> list[_Row]:
    return _ROWS.decode(connection.execute(sql, parameters).fetchone()[0])


def _json(connection: Connection, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
    rows: list[Any] = msgspec.json.decode(connection.execute(sql, parameters).fetchone()[0])
    return rows


def _text(values: Iterable[str]) -> str:
    return msgspec.json.encode(list(values)).decode()
