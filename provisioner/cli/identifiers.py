"""Identifiers for names that may contain anything: what Terraform and CloudFormation call a resource. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

SHORT = 8
"""Hex digits of a digest behind an identifier that does not say the whole name. Of two names that are otherwise alike,
one pair in four billion has the same; then all 64 are taken."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What an identifier may look like.

    Attributes:
        other: a run of characters that it may not contain.
        filler: stands in their place.
        first: what it may begin with.
        mark: before the digest.
        plain: a name that is an identifier already, and cannot be taken for one with a digest.
    """

    other: re.Pattern[str]
    filler: str
    first: re.Pattern[str]
    mark: str
    plain: re.Pattern[str]


TERRAFORM = Dialect(
    other=re.compile(r"[^A-Za-z0-9_-]+"),
    filler="_",
    first=re.compile(r"[A-Za-z_]"),
    mark="_",
    plain=re.compile(r"(?!.*_[0-9a-f]{8,}\Z)[A-Za-z_][A-Za-z0-9_-]*"),
)
"""Letters, digits, underscores and hyphens, not beginning with a digit or hyphen. HCL allows letters of every script;
files and people do better with these."""
CLOUDFORMATION = Dialect(
    other=re.compile(r"[^A-Za-z0-9]+"),
    filler="",
    first=re.compile(r"[A-Za-z]"),
    mark="X",
    plain=re.compile(r"(?!.*X[0-9a-f]{8,}\Z)[A-Za-z][A-Za-z0-9]*"),
)
"""Letters and digits only."""


class Identifiers:
    """Makes an identifier of each name.

    The same name has the same identifier in every export, whatever else is exported: where something of the name is
    lost, a digest of the whole name is put behind it.

    Args:
        dialect: what they may look like.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._used: set[str] = set()

    def of(self, name: str) -> str:
        """An identifier that no other name has had."""
        dialect = self._dialect
        if dialect.plain.fullmatch(name):
            return name
        readable = dialect.other.sub(dialect.filler, name).strip("_-") or "algorithm"
        if not dialect.first.match(readable):
            readable = f"a{dialect.filler}{readable}"
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
        found = f"{readable}{dialect.mark}{digest[:SHORT]}"
        if found in self._used:
            found = f"{readable}{dialect.mark}{digest}"
        self._used.add(found)
        return found
