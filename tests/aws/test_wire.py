"""Reading replies off the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.parsers import RestJSONParser
from hypothesis import given
from hypothesis import strategies as st

from provisioner.aws import wire
from provisioner.core.verdict import Reply

NOW = 1_795_000_000.0

CODES = st.text(st.sampled_from("abcXYZ#:/."), max_size=12)

MEMBERS = st.dictionaries(
    st.sampled_from(["message", "Message", "code", "Code", "__type", "quotaName", "other"]), CODES, max_size=5
)


@given(st.none() | CODES, MEMBERS, st.sampled_from([400, 402, 403, 409, 429]))
def test_code_and_message_are_those_of_botocore(header: str | None, members: dict[str, str], status: int) -> None:
    """What the SDK makes of an error's headers and body is what we make of it."""
    headers = {} if header is None else {"x-amzn-errortype": header}
    body = json.dumps(members).encode()
    told = RestJSONParser().parse({"status_code": status, "headers": headers, "body": body}, None)["Error"]
    invented = header is None and not {"code", "Code", "__type"} & set(members)

    reply = wire.read(status, headers, body, NOW)

    assert reply.code == ("" if invented else told["Code"])
    if members:
        assert reply.message == told["Message"]


ADVICE: list[tuple[dict[str, str], dict[str, Any], float | None]] = [
    ({}, {}, None),
    ({"x-amz-retry-after": "2500"}, {}, 2.5),
    ({"retry-after": "3"}, {}, 3.0),
    ({"retry-after": "Thu, 19 Nov 2026 00:00:30 GMT", "date": "Thu, 19 Nov 2026 00:00:00 GMT"}, {}, 30.0),
    ({"retry-after": "Thu, 19 Nov 2026 00:00:00 GMT", "date": "Thu, 19 Nov 2026 00:01:00 GMT"}, {}, 0.0),
    ({"retry-after": "soon"}, {}, None),
    ({"retry-after": "-1"}, {}, None),
    ({"retry-after": "nan"}, {}, None),
    ({"x-amz-retry-after": "1e999"}, {}, None),
    ({}, {"retryAfterSeconds": 4}, 4.0),
    ({}, {"retryAfterSeconds": "x"}, None),
    ({}, {"retryAfterSeconds": True}, None),
    ({"x-amz-retry-after": "1000", "retry-after": "9"}, {"retryAfterSeconds": 7}, 1.0),
]


@pytest.mark.parametrize(("headers", "members", "seconds"), ADVICE)
def test_advice_is_read_in_its_three_forms(
    headers: dict[str, str], members: dict[str, Any], seconds: float | None
) -> None:
    """Milliseconds, seconds, a date by the server's own clock, or a member; nonsense is no advice."""
    assert wire.read(429, headers, json.dumps(members).encode(), NOW).retry_after_s == seconds


def test_a_date_without_the_servers_clock_is_read_by_ours() -> None:
    """A Retry-After date is counted from our own time when the reply has no Date."""
    headers = {"retry-after": "Thu, 19 Nov 2026 00:00:00 GMT"}
    then = wire.http_date(headers["retry-after"])
    assert then is not None

    assert wire.read(503, headers, b"", then - 12).retry_after_s == 12


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["x-amzn-errortype", "retry-after", "date"]), st.text()),
    st.binary(),
)
def test_nothing_that_a_server_sends_raises(status: int, headers: dict[str, str], body: bytes) -> None:
    """Any status, header and body is read, and the status is kept."""
    assert wire.read(status, headers, body, NOW).status == status


def test_deep_nesting_is_no_reply() -> None:
    """A body nested beyond any limit is unreadable, not a crash."""
    bomb = b"[" * 100_000

    assert wire.read(200, {}, b'{"configuredModelAlgorithmArn":' + bomb, NOW) == Reply(200)
    assert wire.read(400, {}, b'{"code":' + bomb, NOW).code == ""


@pytest.mark.parametrize("value", ["", "x", None, 5, ["arn:aws:x"]])
def test_what_is_not_an_arn_is_not_readable(value: object) -> None:
    """Only a text that is an ARN makes a 2xx a creation."""
    assert wire.read(200, {}, json.dumps({"configuredModelAlgorithmArn": value}).encode(), NOW).arn == ""


def test_a_message_is_bounded() -> None:
    """A page of HTML in place of an error does not fill the ledger."""
    quota = json.dumps({"quotaName": "q" * 100_000}).encode()

    assert len(wire.read(502, {}, b"x" * 100_000, NOW).message) == wire.MESSAGE_LIMIT
    assert len(wire.read(402, {}, quota, NOW).quota_name) == wire.MESSAGE_LIMIT


@pytest.mark.parametrize("separator", ["\n", "\\n", "'"])
def test_a_refused_signature_does_not_tell_the_token(separator: str) -> None:
    """AWS repeats the canonical request when it refuses a signature; the session token in it goes no further."""
    told = (
        f"The Canonical String should have been{separator}X-Amz-Security-Token:IQoJ/secret+=={separator}{separator}host"
    )
    bodies = [json.dumps({"message": told}).encode(), told.encode()]

    messages = [wire.read(403, {"x-amzn-errortype": "SignatureDoesNotMatch"}, body, NOW).message for body in bodies]

    assert all("secret" not in message and "Canonical" in message and "host" in message for message in messages)


@pytest.mark.parametrize(
    "told",
    [
        "You sent: X-Amz-Security-Token: IQoJ/secret+==\r\nHost: x",
        'You sent: {"X-Amz-Security-Token": "IQoJ/secret+==", "Host": "x"}',
        'You sent: {\\"X-Amz-Security-Token\\": \\"IQoJ/secret+==\\", \\"Host\\": \\"x\\"}',
        "You sent: http://user:secret@proxy:3128 Host: x",
    ],
)
def test_a_gateway_that_repeats_the_request_does_not_tell_secrets(told: str) -> None:
    """Headers that come back in an error page, as lines or as JSON, and passwords in URLs, go no further."""
    messages = [
        wire.read(400, {}, body, NOW).message for body in (told.encode(), json.dumps({"message": told}).encode())
    ]

    assert all("secret" not in message and "You sent" in message and "Host" in message for message in messages)
