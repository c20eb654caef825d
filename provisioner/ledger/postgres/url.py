"""The URL of a PostgreSQL ledger, without anything of the driver: its parts, and how it is printed."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from provisioner.errors import ConfigurationError

SCHEMES = ("postgresql://", "postgres://")
DEFAULT_SCHEMA = "provisioner"
"""The schema of the database that holds the ledger. Another one is named by ``?schema=NAME``, so that one database may
hold several ledgers. It is no parameter of libpq."""

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_HOST = r"(?:[\w.%-]*|\[[\w:.%]*\])(?::\d*)?"
_PRINTABLE = re.compile(
    rf"postgres(?:ql)?://(?:(?P<user>[\w.%+-]*)(?::(?P<password>[^@/?#\s]*))?@)?(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"(?P<database>/[\w.%+-]*)?(?:\?(?P<parameters>[^?#\s]*))?",
    re.ASCII,
)
_SHOWN = re.compile(r"(?:dbname|host|hostaddr|port|schema|service|user)=[\w.,:/%+-]*", re.ASCII)
"""Parameters that tell one ledger from another. All others, passwords among them, are left out."""


class Url(NamedTuple):
    """What a URL says.

    Attributes:
        conninfo: the URL as libpq reads it.
        schema: see :data:`DEFAULT_SCHEMA`.
        name: for people, without a password.
    """

    conninfo: str
    schema: str
    name: str


def parsed(text: str) -> Url:
    """The parts of the URL ``text``.

    Raises:
        ConfigurationError: its schema cannot be the name of one.
    """
    base, _, query = text.partition("?")
    parameters = query.split("&") if query else []
    others = [one for one in parameters if not one.startswith("schema=")]
    schemas = [unquote(one.removeprefix("schema=")) for one in parameters if one.startswith("schema=")]
    schema = schemas[-1] if schemas else DEFAULT_SCHEMA
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
        raise ConfigurationError(
            f"a ledger cannot be in the schema {schema!r}",
            where=printable_url(text),
            hint="Use lowercase letters, digits and _, as in ?schema=team_a",
        )
    return Url("?".join([base, "&".join(others)]) if others else base, schema, printable_url(text))


def printable_url(text: str) -> str:
    """The URL ``text`` as it may be printed.

    A password may stand in several places, and in a URL that is not well formed anywhere: of one that is not plain only
    the scheme is left.
    """
    found = _PRINTABLE.fullmatch(text)
    if found is None:
        return f"{text.partition('://')[0]}://…"
    user = f"{found['user']}@" if found["user"] else ""
    shown = [one for one in (found["parameters"] or "").split("&") if _SHOWN.fullmatch(one)]
    parameters = f"?{'&'.join(shown)}" if shown else ""
    return f"postgresql://{user}{found['hosts']}{found['database'] or ''}{parameters}"


def has_password(text: str) -> bool:
    """Whether a password stands in the URL ``text``, or may: in one that is not plain it may be anywhere."""
    found = _PRINTABLE.fullmatch(text)
    if found is None:
        return True
    names = [unquote(one.partition("=")[0]) for one in (found["parameters"] or "").split("&")]
    return bool(found["password"]) or any(name.endswith("password") for name in names)
