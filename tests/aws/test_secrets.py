"""What a server repeats of a request."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from provisioner.aws import CallError
from provisioner.aws.secrets import HIDDEN, Secrets
from provisioner.cli.log_file import LogFile
from provisioner.cli.logs import Logs
from provisioner.core.verdict import Verdict
from provisioner.engine.observer import Attempt
from provisioner.report.events import EventLog
from tests.aws.server import BODY, Server, allowed, close, http, refuse, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.core.verdict import Reply
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
    "cut off": lambda token: token[:38] + "...",
    "from the middle": lambda token: token[30:70],
    "in lines": lambda token: "\n ".join(token[n : n + 40] for n in range(0, len(token), 40)),
    "in short lines": lambda token: "\n ".join(token[n : n + 10] for n in range(0, len(token), 10)),
    "as character references": lambda token: "".join(f"&#{ord(one)};" for one in token),
    "as escapes": lambda token: "".join(f"\\u{ord(one):04x}" for one in token),
    "as a list": lambda token: repr(list(token)),
}


HIDDEN_AS_A_WHOLE = {"in lines", "in short lines", "as character references", "as escapes", "as a list"}


def letters(text: str) -> str:
    """The letters and digits of ``text``, without what may stand between those of a token."""
    plain = html.unescape(text).replace("\\\\u00", "\\u00").replace("\\\\", "\\")
    return "".join(filter(str.isalnum, re.sub(r"\\u00(..)", lambda found: chr(int(found[1], 16)), plain)))


def leaks(text: str, written: str) -> bool:
    """Whether twelve characters in a row of the token, as ``written``, are in ``text``."""
    return any(written[n : n + 12] in text for n in range(len(written) - 11) if written[n : n + 12].isalnum())


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Callable[[Reply], str]]:
    """What a log file has of an attempt at the lowest level, by its reply."""
    file = LogFile(str(tmp_path / "log"))
    Logs("debug", "json", file=file)

    def log(reply: Reply) -> str:
        events = EventLog("default", "r", lambda: 0.0)
        events.attempt_ended(Attempt("create", "a", "id", 1, Verdict.AMBIGUOUS, reply, 0.1))
        assert file.finish(10.0)
        return (tmp_path / "log").read_text()

    yield log
    structlog.reset_defaults()


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_repeats_the_token_makes_nobody_else_repeat_it(
    open_at: Open, monkeypatch: pytest.MonkeyPatch, logged: Callable[[Reply], str], way: str
) -> None:
    """Wherever in a reply the session token stands, and however it is written, it goes no further, nor into a log."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    written = WAYS[way](TOKEN)
    flat = written.replace("\n", "")
    script = [
        refuse(403, "AccessDenied", message=f"I heard {written} here"),
        refuse(403, f"Bad.{flat}", {"x-amzn-requestid": f"r{flat}"}, message="no"),
        send(http(502, f"<html>{written}</html>".encode())),
        close(f"HTTP/1.1 200 {flat}\0\r\n\r\n".encode()),
        send(http(200, json.dumps({"configuredModelAlgorithmArn": f"arn:{written}"}).encode())),
        refuse(403, "AccessDenied", message=f"I heard {written} here"),
    ]
    async with Server(*script) as server, open_at(server.url) as aws:
        replies = [await aws.creates.create(BODY, allowed) for _ in range(5)]
        with pytest.raises(CallError) as raised:
            await aws.control.list_algorithms()

    texts = [*map(repr, replies), *map(logged, replies), str(raised.value)]
    assert not [text for text in texts if leaks(text, written) or leaks(letters(text), TOKEN)]
    if way not in HIDDEN_AS_A_WHOLE:
        assert "I heard" in texts[0]
        assert "I heard" in texts[5]


@given(st.text(), st.text(st.sampled_from("abcXYZ019+/="), max_size=60))
def test_what_is_no_token_stays(text: str, token: str) -> None:
    """Text that holds nothing of a token is not touched."""
    if token not in text:
        assert Secrets([token]).remove(text) == text
    assert Secrets([TOKEN]).remove(f"{text} not authorized to perform") == f"{text} not authorized to perform"
    assert Secrets([TOKEN]).remove(f"x {TOKEN} y") == f"x {HIDDEN} y"
