"""What names a ledger: a path, or something that was meant to be no path."""

from __future__ import annotations

import re

NO_PATH = re.compile(r"\s*(?:[a-z][a-z0-9+.-]+:/+|\w+\s*=(?=.*\s\w+\s*=))", re.ASCII | re.DOTALL | re.IGNORECASE)
"""How the name of a ledger begins that is meant to be no path: a URL, also a mistyped one, or the
``host=... password=...`` of libpq. What matches may be printed; what follows may be a password."""
