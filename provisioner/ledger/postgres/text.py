"""Text on its way to PostgreSQL and back: JSON, and no NUL.

Rows travel as JSON in one parameter and come back as one JSON text, which costs a fraction of a value at a time.
PostgreSQL stores every character but NUL, which a name or a message may have. So NUL and the escape character itself
are written as two characters. The order of texts stays that of their code points.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from provisioner.errors import LedgerError

T = TypeVar("T")

_ESCAPED = {"\x00": "\x010", "\x01": "\x011"}
_WRITTEN = str.maketrans(_ESCAPED)
# As both msgspec and PostgreSQL write the two characters in JSON.
_MARKS = (rb"\u0000", rb"\u0001")


def written(text: str) -> str:
    """``text`` as PostgreSQL can store it."""
    return text.translate(_WRITTEN) if "\x00" in text or "\x01" in text else text


def read(text: str) -> str:
    """The opposite of :func:`written`."""
    return text.replace("\x010", "\x00").replace("\x011", "\x01") if "\x01" in text else text


def encode(value: object) -> str:
    """``value`` as JSON whose texts PostgreSQL can store.

    Raises:
        UnicodeEncodeError: a text is not Unicode.
    """
    raw = msgspec.json.encode(value)
    if any(mark in raw for mark in _MARKS):
        raw = msgspec.json.encode(_mapped(msgspec.json.decode(raw), written))
    return raw.decode()


def decode(raw: str | None, kind: type[T]) -> T:
    """The value of type ``kind`` that JSON from PostgreSQL stands for; of no rows at all, an empty one.

    Raises:
        LedgerError: it stands for none, so it is not what the store wrote.
    """
    if raw is None:
        return kind()
    try:
        if "\\u0001" in raw:
            return msgspec.convert(_mapped(msgspec.json.decode(raw), read), kind)
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        hint = "Restore a backup of the database, or run `provisioner rebuild`"
        raise LedgerError("the ledger is damaged", why=str(error), hint=hint) from error


def _mapped(value: Any, change: Any) -> Any:  # noqa: ANN401  any JSON
    match value:
        case str():
            return change(value)
        case list():
            return [_mapped(item, change) for item in value]
        case dict():
            return {change(key): _mapped(item, change) for key, item in value.items()}
        case _:
            return value
