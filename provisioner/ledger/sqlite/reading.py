"""What is read from the ledger, synchronously: each function is one statement with one result row.

The sqlite3 module releases the GIL for every step of a statement, and waits up to 5 ms to get it back while the event
loop is busy (``sys.getswitchinterval``). A thousand rows fetched one by one beside a busy loop take 3 s; as one JSON
text they take 14 ms.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from provisioner.core.entry import Entry, Stamp, State
from provisioner.core.pause import Pause
from provisioner.core.place import Place
from provisioner.core.problem import Problem
from provisioner.core.versions import Happening, Role, Version
from provisioner.ledger import FinishedManifest, RunRecord
from provisioner.ledger.sqlite.database import damaged

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from provisioner.core.recording import Key
    from provisioner.ledger.sqlite.database import Connection

T = TypeVar("T")

_Row = tuple[str, State, str, str, str, str, Stamp | None, float, str, str, str, str, str]
_ROWS = msgspec.json.Decoder(list[_Row])
_DIGESTS = msgspec.json.Decoder(dict[str, tuple[str, str]])
_COLUMNS = """name, state, digest, tags_digest, arn, attempt, json(sent), updated_at, run_id, code, message, tag_keys,
    request_id"""
_ENTRIES = f"json_group_array(json_array({_COLUMNS}))"
_VERSIONS = msgspec.json.Decoder(list[Version])
_HISTORY = msgspec.json.Decoder(list[Happening])
_VERSION = "json_group_array(json_object({}))".format(
    ", ".join(f"'{name}', {'json(sent)' if name == 'sent' else name}" for name in Version.__struct_fields__)
)
_HAPPENING, _PLACE, _PAUSE = (
    ", ".join(f"'{name}', {name}" for name in kind.__struct_fields__) for kind in (Happening, Place, Pause)
)
_PROBLEM = ", ".join(f"'{name}', {'column_' if name == 'column' else name}" for name in Problem.__struct_fields__)
_NAMED = "FROM json_each(?) AS wanted CROSS JOIN entries ON target = ? AND name = wanted.value"


class Stored(NamedTuple):
    """What the facts of a commit are about.

    Attributes:
        entries: those that were asked for, as far as they are known.
        holders: which entry with an existing algorithm holds each ARN; those that none holds are left out.
        any_version: whether there is any older version.
    """

    entries: dict[Key, Entry]
    holders: dict[str, Key]
    any_version: bool


_STORED = msgspec.json.Decoder(list[tuple[str, _Row]])
_HOLDERS = msgspec.json.Decoder(list[tuple[str, str, str]])
_OF_FACTS = f"""SELECT
    (SELECT json_group_array(json_array(target, json_array({_COLUMNS})))
        FROM json_each(?) AS named CROSS JOIN json_each(named.value) AS wanted
        CROSS JOIN entries ON target = named.key AND name = wanted.value),
    (SELECT json_group_array(json_array(arn, target, name))
        FROM json_each(?) AS wanted CROSS JOIN entries INDEXED BY entries_by_arn
        ON arn = wanted.value AND arn != '' AND state IN ('created', 'drifted')),
    EXISTS (SELECT 1 FROM versions)"""  # noqa: S608  constants


def stored(connection: Connection, keys: Collection[Key], arns: Collection[str]) -> Stored:
    """What a commit needs to know of ``keys`` and ``arns``, read with one statement: see the head of this module."""
    names = {target: [name for _, name in group] for target, group in groupby(sorted(keys), lambda key: key[0])}
    wanted = (msgspec.json.encode(names).decode(), _text(arns))
    entries, held, any_version = connection.execute(_OF_FACTS, wanted).fetchone()
    return Stored(
        {(target, row[0]): Entry(target, *row) for target, row in _STORED.decode(entries)},
        {arn: (target, name) for arn, target, name in _HOLDERS.decode(held)},
        bool(any_version),
    )


def ledger_id(connection: Connection) -> str:
    """The id in the ownership tags of what this ledger created."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'ledger_id'").fetchone()
    if not (row and row[0]):
        raise damaged("it has no id")
    return str(row[0])


def moved_to(connection: Connection) -> str:
    """Where the ledger has moved to, "" while it is here."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'moved_to'").fetchone()
    return str(row[0]) if row else ""


CHANGES = "changes of "
"""Prefix of the key in ``meta`` under which a target's commits are counted."""


def changes(connection: Connection, target: str) -> int:
    """How many commits have had facts about ``target``."""
    sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?"
    row = connection.execute(sql, (CHANGES + target,)).fetchone()
    return int(row[0]) if row else 0


def condition(connection: Connection) -> str:
    """The same text, the same entries: who wrote last, and the number of commits with facts so far."""
    sql = "SELECT value FROM meta WHERE key = 'epoch'"
    epoch = connection.execute(sql).fetchone()
    count = "SELECT total(value) FROM meta WHERE substr(key, 1, length(?)) = ?"
    return f"{epoch[0] if epoch else ''}/{connection.execute(count, (CHANGES, CHANGES)).fetchone()[0]:.0f}"


def entries_by_name(connection: Connection, target: str, names: Sequence[str]) -> dict[str, Entry]:
    """The entries of ``names``; unknown names are left out."""
    rows = _rows(connection, f"SELECT {_ENTRIES} {_NAMED}", (_text(names), target))
    return {row[0]: Entry(target, *row) for row in rows}


def incoming(connection: Connection, target: str) -> dict[str, Entry]:
    """The replacements of entries of ``target`` that are under way or came to nothing."""
    rows = _rows(connection, f"SELECT {_ENTRIES} FROM incoming WHERE target = ?", (target,))  # noqa: S608  constants
    return {row[0]: Entry(target, *row, incoming=True) for row in rows}


def incoming_by_key(connection: Connection, keys: Collection[Key]) -> dict[Key, Entry]:
    """The replacements of the entries with these ``keys``."""
    found = {target: incoming(connection, target) for target in {target for target, _ in keys}}
    return {(target, name): found[target][name] for target, name in keys if name in found[target]}


def versions(
    connection: Connection, target: str, names: Sequence[str] | None, roles: Collection[Role] | None
) -> list[Version]:
    """Older versions in ``target``, of ``names`` and with ``roles`` if these are given, the latest change first."""
    conditions, parameters = ["target = ?"], [target]
    if roles == {Role.SUPERSEDED}:
        conditions.append("role = 'superseded'")  # spelled out, so that the partial index serves
    elif roles is not None:
        conditions.append("role IN (SELECT value FROM json_each(?))")
        parameters.append(_text(sorted(roles)))
    if names is not None:
        conditions.append("name IN (SELECT value FROM json_each(?))")
        parameters.append(_text(names))
    where = " AND ".join(conditions)
    sql = f"SELECT {_VERSION} FROM (SELECT * FROM versions WHERE {where} ORDER BY updated_at DESC, arn)"  # noqa: S608  constants
    return _VERSIONS.decode(connection.execute(sql, parameters).fetchone()[0])


def versions_by_arn(connection: Connection, arns: Iterable[str]) -> dict[str, Version]:
    """The older versions with these ``arns``; unknown ones are left out."""
    sql = f"SELECT {_VERSION} FROM versions WHERE arn IN (SELECT value FROM json_each(?))"  # noqa: S608  constants
    found = _VERSIONS.decode(connection.execute(sql, (_text(arns),)).fetchone()[0])
    return {version.arn: version for version in found}


def superseded(connection: Connection) -> dict[str, int]:
    """How many superseded versions each target has."""
    found = _json(
        list[tuple[str, int]],
        connection,
        """SELECT json_group_array(json_array(target, n)) FROM
        (SELECT target, count(*) AS n FROM versions WHERE role = 'superseded' GROUP BY target)""",
    )
    return dict(found)


def history(connection: Connection, target: str, name: str) -> list[Happening]:
    """What happened to an entry, the oldest first."""
    found = connection.execute(
        f"""SELECT json_group_array(json_object({_HAPPENING}))
        FROM (SELECT * FROM history WHERE target = ? AND name = ? ORDER BY rowid)""",  # noqa: S608  constants
        (target, name),
    )
    return _HISTORY.decode(found.fetchone()[0])


def named(connection: Connection, arn: str) -> list[Key]:
    """The entries that have, or ever had, the algorithm ``arn``; two of the tables are read to their end for it."""
    return _json(
        list[tuple[str, str]],
        connection,
        """SELECT json_group_array(json_array(target, name)) FROM (
            SELECT target, name FROM entries WHERE arn = ?
            UNION SELECT target, name FROM versions WHERE arn = ?
            UNION SELECT target, name FROM history WHERE arn = ?)""",
        (arn, arn, arn),
    )


def digests_by_name(connection: Connection, target: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The two digests, concatenated, and the ARN, of the entries of ``names`` that are created."""
    found = connection.execute(
        f"SELECT json_group_object(name, json_array(digest || tags_digest, arn)) {_NAMED} AND state = 'created'",
        (_text(names), target),
    )
    return _DIGESTS.decode(found.fetchone()[0])


def targets(connection: Connection) -> list[str]:
    """The targets that have entries, in order.

    One index seek for each target, where SELECT DISTINCT would read every entry.
    """
    return _json(
        list[str],
        connection,
        """WITH RECURSIVE known (target) AS (
            SELECT min(target) FROM entries
            UNION ALL SELECT (SELECT min(target) FROM entries WHERE target > known.target) FROM known
            WHERE known.target IS NOT NULL)
        SELECT json_group_array(target) FROM known WHERE target IS NOT NULL""",
    )


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
        list[tuple[str, State, int]],
        connection,
        """SELECT json_group_array(json_array(target, state, n))
        FROM (SELECT target, state, count(*) AS n FROM entries GROUP BY target, state)""",
    ):
        found.setdefault(target, {})[state] = count
    return found


def runs(connection: Connection, limit: int, prefix: str) -> list[RunRecord]:
    """The latest runs whose id begins with ``prefix``, newest first."""
    sql = "SELECT * FROM runs WHERE substr(run_id, 1, length(?)) = ? ORDER BY run_id DESC LIMIT ?"
    rows = connection.execute(sql, (prefix, prefix, limit)).fetchall()
    fields = RunRecord.__struct_fields__
    return [msgspec.convert(dict(zip(fields, row, strict=True)), RunRecord) for row in rows]


def problems(connection: Connection, run_id: str, after: int, limit: int) -> list[tuple[int, Problem]]:
    """At most ``limit`` problems of a run with their sequence numbers, after number ``after``."""
    return _json(
        list[tuple[int, Problem]],
        connection,
        f"""SELECT json_group_array(json_array(seq, json_object({_PROBLEM})))
        FROM (SELECT * FROM problems WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?)""",  # noqa: S608  constants
        (run_id, after, limit),
    )


def samples(connection: Connection, run_id: str) -> bytes:
    """The samples of a run, b"" if there are none."""
    row = connection.execute("SELECT samples FROM samples WHERE run_id = ?", (run_id,)).fetchone()
    return bytes(row[0]) if row else b""


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
    sql = f"SELECT json_group_array(json_array(target, json_object({_PLACE}))) FROM places"  # noqa: S608  constants
    return dict(_json(list[tuple[str, Place]], connection, sql))


def pauses(connection: Connection) -> dict[str, Pause]:
    """Which targets are paused, or were."""
    sql = f"SELECT json_group_array(json_array(target, json_object({_PAUSE}))) FROM pauses"  # noqa: S608  constants
    return dict(_json(list[tuple[str, Pause]], connection, sql))


def _rows(connection: Connection, sql: str, parameters: Sequence[Any]) -> list[_Row]:
    return _ROWS.decode(connection.execute(sql, parameters).fetchone()[0])


def _json(kind: type[T], connection: Connection, sql: str, parameters: Sequence[Any] = ()) -> T:
    return msgspec.json.decode(connection.execute(sql, parameters).fetchone()[0], type=kind)


def _text(values: Iterable[object]) -> str:
    return msgspec.json.encode(list(values)).decode()
