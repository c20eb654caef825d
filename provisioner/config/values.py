"""The values of settings: durations, rates, endpoints, and what each may look like."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from provisioner.config.texts import text
from provisioner.core.hours import TIME

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_DURATION = re.compile(f"(?:{_DURATION_PART.pattern})+")
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
"""The hosts of this machine, where plain http is allowed."""


_A_DURATION = "a duration such as 90s, 6m or 1h30m"
Duration = Annotated[str, text(_DURATION.pattern, _A_DURATION)]
OptionalDuration = Annotated[str, text(f"({_DURATION.pattern})?", _A_DURATION)]
"""The same; "" is none."""
Key = Annotated[str, Meta(max_length=128)]
MAX_RATE = 100_000.0
"""Creates per second, more than anybody reaches (raw sockets on one core: 62,000). TOML has infinity, which is not a
rate."""
Rate = Annotated[float, Meta(ge=0, le=MAX_RATE)]
Share = Annotated[float, Meta(gt=0, le=1)]
TimeOfDay = Annotated[str, text(TIME, 'a time of day from 00:00 to 23:59, in quotes, such as "08:00"')]


def seconds(duration: str) -> float:
    """The length of a duration such as ``90s``, ``6m`` or ``1h30m``.

    Raises:
        ValueError: it is not a duration.
    """
    if not _DURATION.fullmatch(duration):
        msg = f"{duration!r} is not a duration: write 90s, 6m or 1h30m"
        raise ValueError(msg)
    return sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION_PART.findall(duration))


@lru_cache(maxsize=64)
def check_endpoint(url: str) -> None:
    """Refuse an endpoint that is not https, or http on this machine: a definition names roles and keys.

    The messages do not repeat the URL, which may contain a password. A thousand targets have the same few.

    Raises:
        ValueError: it is neither, or more than scheme, host, port and path.
    """
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError("an endpoint may only contain printable ASCII characters; percent-encode the others")
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an endpoint must not have a user, password, query or fragment")
    if not parts.hostname or parts.scheme not in {"http", "https"} or parts.port == 0:
        raise ValueError("an endpoint looks like https://host or http://127.0.0.1:8080")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError(f"plain http is for this machine only, not for {parts.hostname}; use https")


def check_endpoint_if_set(url: str) -> None:
    """Check an endpoint; "" stands for the SDK's own."""
    if url:
        check_endpoint(url)


Url = Annotated[str, Meta(extra={"check": check_endpoint_if_set})]
