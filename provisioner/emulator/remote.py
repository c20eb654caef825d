"""The control API of an endpoint in another process: its truth and its switches, over plain HTTP."""

from __future__ import annotations

from typing import Any
from urllib.request import Request, urlopen

import msgspec

from provisioner.emulator.behaviour import Behaviour
from provisioner.emulator.front import CONTROL, Truth

TIMEOUT_S = 30


def truth_at(url: str) -> Truth:
    """A copy of the truth of the endpoint at ``url``.

    Raises:
        OSError: nothing answers there.
    """
    return msgspec.json.decode(_ask(url, "truth"), type=Truth)


def behaviour_at(url: str) -> Behaviour:
    """The current switches of the endpoint at ``url``.

    Raises:
        OSError: nothing answers there.
    """
    return msgspec.json.decode(_ask(url, "behaviour"), type=Behaviour)


def change_at(url: str, **switches: Any) -> Behaviour:  # noqa: ANN401 - the types of the fields of Behaviour
    """Changes the named switches of the endpoint at ``url``; returns all of them.

    Raises:
        OSError: nothing answers there, or a value is refused (urllib.error.HTTPError).
    """
    return msgspec.json.decode(_ask(url, "behaviour", switches), type=Behaviour)


def _ask(url: str, what: str, changes: dict[str, Any] | None = None) -> bytes:
    body = None if changes is None else msgspec.json.encode(changes)
    request = Request(f"{url}{CONTROL}{what}", data=body, method="GET" if body is None else "PATCH")  # noqa: S310 - http to loopback
    with urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 - the same
        answer: bytes = response.read()
    return answer
