"""Keeps session tokens out of what a server says: it may repeat a request, in any words.

The encodings are those of programs that repeat requests (SECURITY.md). A server that means to show the token otherwise
has it anyway.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from provisioner.core.verdict import Reply

SHINGLE = 12
"""Letters and digits in a row that give a token away. Encodings for URLs, JSON and HTML change other characters only,
and a token of AWS has hundreds of letters and digits, with few others between them."""

HIDDEN = "\N{HORIZONTAL ELLIPSIS}"

_RUN = re.compile(f"[A-Za-z0-9]{{{SHINGLE},}}")
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
_OTHERS = re.compile("[^A-Za-z0-9]+")
_ORDINARY = re.compile(r"arn:[-a-z]+:cleanrooms-ml:[-a-z0-9]+:[0-9]{12}:configured-model-algorithm/[-0-9a-f]{36}")
"""ARNs as the service gives them, in which no token fits; only others are searched for one."""


class Secrets:
    """The tokens that were sent, and what gives them away.

    Args:
        tokens: the session tokens.
    """

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._tokens = tuple(filter(None, tokens))

    # Made for the first error of a target, and then kept: they take seven times as much memory as the token. They are
    # texts rather than the set of all their parts, which would be a megabyte for each of a thousand targets.

    @cached_property
    def _own(self) -> str:
        return "\n".join(self._tokens).lower()

    @cached_property
    def _forms(self) -> str:
        return "\n".join(form for token in self._tokens for form in _forms(token)).lower()

    def remove(self, text: str) -> str:
        """``text`` without any part of a token, whichever way it is written.

        What shows a token only when it is decoded, or when the characters between its parts are left out, is hidden as
        a whole.
        """
        hidden = set(_shingles(_bare(text))).difference(_shingles(text))
        if any(part in self._own for part in hidden):
            return HIDDEN
        for token in self._tokens:
            text = text.replace(token, HIDDEN)
        return _RUN.sub(self._hide, text) if self._forms else text

    def _hide(self, run: re.Match[str]) -> str:
        return HIDDEN if any(part in self._forms for part in _shingles(run[0])) else run[0]

    def redact(self, reply: Reply) -> Reply:
        """``reply`` with nothing of a token in the texts that the server chose."""
        if not self._tokens or not (reply.code or reply.message or (reply.arn and not _ORDINARY.fullmatch(reply.arn))):
            return reply
        names = ("code", "message", "request_id", "quota_name", "arn")
        return msgspec.structs.replace(reply, **{name: self.remove(getattr(reply, name)) for name in names})

    def __repr__(self) -> str:
        return f"Secrets({len(self._tokens)} tokens)"


def _forms(token: str) -> Iterator[str]:
    """The token as it is, in hexadecimal, and in base 64 wherever it begins in what is encoded."""
    data = token.encode()
    yield token
    yield data.hex()
    for before in range(3):
        yield b64encode(b"\0" * before + data).decode()


def _bare(text: str) -> str:
    """The letters and digits of ``text``, once character references and escapes are decoded."""
    decoded = _ESCAPED.sub(lambda found: chr(int(found[1] or found[2], 16)), html.unescape(text))
    return _OTHERS.sub("", decoded)


def _shingles(text: str) -> Iterator[str]:
    """Every row of ``SHINGLE`` letters and digits in ``text``, in lower case."""
    for run in _RUN.findall(text.lower()):
        for at in range(len(run) - SHINGLE + 1):
            yield run[at : at + SHINGLE]
