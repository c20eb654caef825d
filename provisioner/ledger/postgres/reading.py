"""What is read from the ledger: each question is one statement whose answer is one JSON text, see text.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from provisioner.core.entry import Entry, Stamp, State
from provisioner.core.pause import Pause
from provisioner.core.place import Place
from provisioner.core.problem import Problem
from provisioner.core.versions import Happening, Role, Version
from provisioner.ledger import FinishedManifest, RunRecord
from provisioner.ledger.postgres.connection import Statement
from provisioner.ledger.postgres.text import decode, encode, written
from provisioner.ledger.postgres.text import read as plain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from provisioner.core.recording import Key
    from provisioner.ledger.postgres.connection import Rows


class Read(Protocol):
    """Runs a statement that reads."""

    async def __call__(self, sql: str, *parameters: object) -> Rows:
        """Its rows."""
        ...


_Row = tuple[str, str, State, str, str, str, str, Stamp | None, float, str, str, str, str, str]
_ROWS = list[_Row]
_STATES = {str(state): state for state in State}
_ENTRY = """json_build_array(target, name, state, digest, tags_digest, arn, attempt, sent, updated_at, run_id, code,
    message, tag_keys, request_id)"""


def _columns(struct: type[Any], *, of: str = "") -> str:
    return ", ".join(f"'{name}', {of}{name}" for name in struct.__struct_fields__)


_VERSION = f"json_build_object({_columns(Version)})"
_HAPPENING = f"json_build_object({_columns(Happening)})"
_GIVEN = "ARRAY(SELECT json_array_elements_text(%s::json))"


async def look_up(read: Read, target: str, names: Sequence[str]) -> dict[str, Entry]:
    """The entries of ``names``; unknown names are left out."""
    sql = f"SELECT json_agg({_ENTRY})::text FROM entries WHERE target = %s AND name = ANY({_GIVEN})"  # noqa: S608  constants
    return {entry.name: entry for entry in _entries((await read(sql, written(target), encode(names)))[0][0])}


async def registered(read: Read, target: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The two digests, concatenated, and the ARN, of the entries of ``names`` that are created."""
    rows = await read(
        f"""SELECT json_object_agg(name, json_build_array(digest || tags_digest, arn))::text
        FROM entries WHERE target = %s AND name = ANY({_GIVEN}) AND state = 'created'""",  # noqa: S608  constants
        written(target),
        encode(names),
    )
    return decode(rows[0][0], dict[str, tuple[str, str]])


async def incoming(read: Read, target: str) -> dict[str, Entry]:
    """The replacements of entries of ``target`` that are under way or came to nothing."""
    rows = await read(f"SELECT json_agg({_ENTRY})::text FROM incoming WHERE target = %s", written(target))  # noqa: S608
    return {entry.name: entry for entry in _entries(rows[0][0], incoming=True)}


async def versions(
    read: Read, target: str, names: Sequence[str] | None, roles: Collection[Role] | None
) -> list[Version]:
    """Older versions in ``target``, of ``names`` and with ``roles`` if these are given, the latest change first."""
    conditions, parameters = ["target = %s"], [written(target)]
    for column, values in (("name", names), ("role", roles)):
        if values is not None:
            conditions.append(f"{column} = ANY({_GIVEN})")
            parameters.append(encode(list(values)))
    order = "ORDER BY updated_at DESC, arn"
    sql = f"SELECT json_agg({_VERSION} {order})::text FROM versions WHERE {' AND '.join(conditions)}"  # noqa: S608
    return decode((await read(sql, *parameters))[0][0], list[Version])


async def superseded(read: Read) -> dict[str, int]:
    """How many superseded versions each target has."""
    rows = await read("SELECT target, count(*) FROM versions WHERE role = 'superseded' GROUP BY target")
    return {plain(target): count for target, count in rows}


async def history(read: Read, target: str, name: str) -> list[Happening]:
    """What happened to an entry, the oldest first."""
    sql = f"SELECT json_agg({_HAPPENING} ORDER BY seq)::text FROM history WHERE target = %s AND name = %s"  # noqa: S608
    return decode((await read(sql, written(target), written(name)))[0][0], list[Happening])


async def named(read: Read, arn: str) -> list[Key]:
    """The entries that have, or ever had, the algorithm ``arn``; two of the tables are read to their end for it."""
    rows = await read(
        """SELECT target, name FROM entries WHERE arn = %s
        UNION SELECT target, name FROM versions WHERE arn = %s
        UNION SELECT target, name FROM history WHERE arn = %s ORDER BY target, name""",
        *[written(arn)] * 3,
    )
    return [(plain(target), plain(name)) for target, name in rows]


async def targets(read: Read) -> list[str]:
    """The targets that have entries, in order.

    One index seek for each target, where SELECT DISTINCT would read every entry.
    """
    rows = await read(
        """WITH RECURSIVE known (target) AS (
            (SELECT target FROM entries ORDER BY target LIMIT 1)
            UNION ALL SELECT (SELECT entries.target FROM entries WHERE entries.target > known.target
                ORDER BY entries.target LIMIT 1) FROM known WHERE known.target IS NOT NULL)
        SELECT target FROM known WHERE target IS NOT NULL"""
    )
    return [plain(target) for (target,) in rows]


async def page(read: Read, target: str, after: str | None, states: Collection[State] | None, limit: int) -> list[Entry]:
    """At most ``limit`` entries of ``target`` in order of name, after the name ``after`` (None: from the start)."""
    conditions, parameters = ["target = %s"], [written(target)]
    if after is not None:
        conditions.append("name > %s")
        parameters.append(written(after))
    if states is not None:
        conditions.append(f"state = ANY({_GIVEN})")
        parameters.append(encode(sorted(states)))
        if State.CREATED not in states:
            conditions.append("state <> 'created'")
    rows = await read(
        f"""SELECT json_agg({_ENTRY} ORDER BY name)::text FROM (
            SELECT * FROM entries WHERE {" AND ".join(conditions)} ORDER BY name LIMIT {limit}) AS found""",  # noqa: S608
        *parameters,
    )
    return _entries(rows[0][0])


async def counts(read: Read) -> dict[str, dict[State, int]]:
    """How many entries each target has in each state."""
    found: dict[str, dict[State, int]] = {}
    for target, state, count in await read("SELECT target, state, count(*) FROM entries GROUP BY target, state"):
        found.setdefault(plain(target), {})[_STATES[state]] = count
    return found


async def runs(read: Read, limit: int, prefix: str) -> list[RunRecord]:
    """The latest runs whose id begins with ``prefix``, newest first."""
    sql = "SELECT * FROM runs WHERE starts_with(run_id, %s) ORDER BY run_id DESC LIMIT %s"
    return [RunRecord(*row) for row in await read(sql, written(prefix), limit)]


async def problems(read: Read, run_id: str, after: int, limit: int) -> list[tuple[int, Problem]]:
    """At most ``limit`` problems of a run with their sequence numbers, after number ``after``."""
    rows = await read(
        """SELECT json_agg(json_build_array(seq, json_build_object('source', source, 'line', line, 'name', name,
            'code', code, 'message', message, 'column', column_, 'target', target, 'severity', severity))
            ORDER BY seq)::text
        FROM (SELECT * FROM problems WHERE run_id = %s AND seq > %s ORDER BY seq LIMIT %s) AS found""",
        written(run_id),
        after,
        limit,
    )
    return decode(rows[0][0], list[tuple[int, Problem]])


async def samples(read: Read, run_id: str) -> bytes:
    """The samples of a run, b"" if there are none."""
    rows = await read("SELECT samples FROM samples WHERE run_id = %s", written(run_id))
    return bytes(rows[0][0]) if rows else b""


async def learned(read: Read, target: str, family: str) -> bytes | None:
    """What the pacer of (target, family) learned."""
    rows = await read("SELECT state FROM paces WHERE target = %s AND family = %s", written(target), written(family))
    return bytes(rows[0][0]) if rows else None


async def finished(read: Read, target: str) -> FinishedManifest | None:
    """The manifest that was finished last in ``target``."""
    rows = await read("SELECT fingerprint, changes, lines FROM finished WHERE target = %s", written(target))
    return FinishedManifest(*rows[0]) if rows else None


async def places(read: Read) -> dict[str, Place]:
    """Where each target is."""
    rows = await read("SELECT target, kind, region, account_id FROM places")
    return {plain(target): Place(*rest) for target, *rest in rows}


async def pauses(read: Read) -> dict[str, Pause]:
    """Which targets are paused, or were."""
    rows = await read("SELECT target, until, since, reason FROM pauses")
    return {plain(target): Pause(until, since, plain(reason)) for target, until, since, reason in rows}


async def targets_left(read: Read, job: str, targets: Collection[str]) -> int:
    """How many of ``targets`` have no result yet in a job."""
    rows = await read(
        f"SELECT count(*) FROM job_targets WHERE job = %s AND result IS NULL AND target = ANY({_GIVEN})",  # noqa: S608  constants
        written(job),
        encode(list(targets)),
    )
    return int(rows[0][0])


async def exit_codes(read: Read, job: str, targets: Collection[str]) -> list[int | None]:
    """With what each of ``targets`` ended in a job, None for each that has no result."""
    rows = await read(
        f"SELECT (result->>'exit_code')::int FROM job_targets WHERE job = %s AND target = ANY({_GIVEN})",  # noqa: S608  constants
        written(job),
        encode(list(targets)),
    )
    return [code for (code,) in rows]


async def changes(read: Read, target: str) -> int:
    """How many commits have had facts about ``target``."""
    rows = await read("SELECT commits FROM changes WHERE target = %s", written(target))
    return int(rows[0][0]) if rows else 0


class Known(NamedTuple):
    """What the ledger has of the keys and ARNs that the facts of a commit name; see :func:`question`."""

    entries: dict[Key, Entry]
    holders: dict[str, Key | None]
    incoming: dict[Key, Entry]
    versions: dict[str, Version]


def question(keys: Collection[Key], arns: Collection[str], replaced: Collection[Key]) -> Statement:
    """The statement that asks for what facts are about. What need not be asked costs the server nothing.

    Args:
        keys: of entries.
        arns: of these, and of those entries, it is asked which entry or which older version has each.
        replaced: keys of entries whose replacement is asked for.
    """
    of_keys, of_arns = (encode(list(keys)),), (encode(list(arns)), encode(list(keys)))
    parts: list[tuple[str, tuple[str, ...]]] = [
        (f"SELECT json_agg({_ENTRY}) FROM entries {_OF_KEYS}", of_keys if keys else ()),  # noqa: S608  constants
        (
            f"""SELECT json_agg(json_build_array(arn, target, name)) FROM entries
            WHERE arn = ANY({_ARNS}) AND arn <> '' AND state IN ('created', 'drifted')""",  # noqa: S608  constants
            of_arns if keys or arns else (),
        ),
        (f"SELECT json_agg({_ENTRY}) FROM incoming {_OF_KEYS}", (encode(list(replaced)),) if replaced else ()),  # noqa: S608
        (f"SELECT json_agg({_VERSION}) FROM versions WHERE arn = ANY({_ARNS})", of_arns if keys or arns else ()),  # noqa: S608
    ]
    columns = [f"({sql})::text" if given else "NULL" for sql, given in parts]
    return Statement(f"SELECT {', '.join(columns)}", tuple(value for _, given in parts for value in given))


def known(answer: Rows, cached: Mapping[Key, Entry]) -> Known:
    """What the ``answer`` to :func:`question` says, and the entries that were ``cached``."""
    ((entries, holders, replacements, versions),) = answer
    return Known(
        {**cached, **{(entry.target, entry.name): entry for entry in _entries(entries)}},
        {arn: (target, name) for arn, target, name in decode(holders, list[tuple[str, str, str]])},
        {(entry.target, entry.name): entry for entry in _entries(replacements, incoming=True)},
        {version.arn: version for version in decode(versions, list[Version])},
    )


_KEYS = "SELECT one ->> 0, one ->> 1 FROM json_array_elements(%s::json) AS given (one)"
_OF_KEYS = f"WHERE (target, name) IN ({_KEYS})"
_ARNS = f"""ARRAY(SELECT json_array_elements_text(%s::json)
    UNION SELECT given.arn FROM entries AS given WHERE (given.target, given.name) IN ({_KEYS}))"""  # noqa: S608  constants


def _entries(raw: str | None, *, incoming: bool = False) -> list[Entry]:
    return [Entry(*row, incoming=incoming) for row in decode(raw, _ROWS)]
