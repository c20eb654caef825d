"""What names a ledger: a path, or something that was meant to be no path."""

from __future__ import annotations

import re

NO_PATH = re.compile(
    r"""
    [^/]*? (?P<url> [a-z][a-z0-9+.-]+:/+ )
    | [\s"'<]* (?P<words> postgres(?:ql)?(?: : | // ) | \w+\s*= (?= .* \s\w+\s*= ) )
    """,
    re.ASCII | re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
"""How the name of a ledger begins that is meant to be no path: a URL, also a mistyped one, or one with something before
it, such as quotes that no shell has removed, ``jdbc:`` or ``DATABASE_URL=``; or the ``host=... password=...`` of libpq.
Its groups may be printed; what surrounds them may be a password."""
