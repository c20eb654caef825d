"""What a server repeats of a request."""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.aws import CallError
from provisioner.aws.secrets import HIDDEN, Secrets
from tests.aws.server import BODY, Server, allowed, close, http, refuse, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.aws.conftest import Open


TOKEN = "IQoJb3JpZ2luX2VjEPz//////////wEaCXVzLWVhc3QtMSJHMEUCIQDc7secretsecretPq+8Zk3mKz0xFhYw/Tq9uN1vB5rL2dA=="

WAYS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "for a URL": quote_plus,
    "for a URL twice": lambda token: quote(quote(token, safe=""), safe=""),
    "in lower case": str.lower,
    "for HTML": html.escape,
    "for JSON": lambda token: json.dumps({"t": token}).replace("/", "\\/"),
    "in base 64": lambda token: b64encode(token.encode()).decode(),
    "with what stands before it, in base 64": lambda token: urlsafe_b64encode(f"Token={token}".encode()).decode(),
    "in hexadecimal": lambda token: token.encode().hex(),
    "cut off": lambda token: token[:40] + "...",
    "from the middle": lambda token: token[30:70],
    "in lines": lambda token: "\n ".join(token[n : n + 40] for n in range(0, len(token), 40)),
}


def leaks(text: str, written: str) -> bool:
    """Whether twelve characters in a row of the token, as ``written``, are in ``text``."""
    return any(written[n : n + 12] in text for n in range(len(written) - 11) if written[n : n + 12].isalnum())


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_repeats_the_token_makes_nobody_else_repeat_it(
    open_at: Open, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Wherever in a reply the session token stands, and however it is written, it goes no further."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    written = WAYS[way](TOKEN)
    flat = written.replace("\n", "")
    script = [
        refuse(403, "AccessDenied", message=f"I saw {written} here"),
        refuse(403, f"Bad.{flat}", {"x-amzn-requestid": f"r{flat}"}, message="no"),
        send(http(502, f"<html>{written}</html>".encode())),
        close(f"HTTP/1.1 200 {flat}\0\r\n\r\n".encode()),
        refuse(403, "AccessDenied", message=f"I saw {written} here"),
    ]
    async with Server(*script) as server, open_at(server.url) as aws:
        texts = [repr(await aws.creates.create(BODY, allowed)) for _ in range(4)]
        with pytest.raises(CallError) as raised:
            await aws.control.list_algorithms()

    assert not [text for text in [*texts, str(raised.value)] if leaks(text, written)]
    assert "I saw" in texts[0]


@given(st.text(), st.text(st.sampled_from("abcXYZ019+/="), max_size=60))
def test_what_is_no_token_stays(text: str, token: str) -> None:
    """Text that holds nothing of a token is not touched."""
    if token not in text:
        assert Secrets([token]).remove(text) == text
    assert Secrets([TOKEN]).remove(f"{text} not authorized to perform") == f"{text} not authorized to perform"
    assert Secrets([TOKEN]).remove(f"x {TOKEN} y") == f"x {HIDDEN} y"
