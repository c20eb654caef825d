"""What a reply means: every row of the fault model's table, and what holds for all replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.verdict import BEFORE_FIRST_BYTE, CREDENTIAL_CODES, THROTTLE_CODES, Loss, Reply, Verdict, judge

ARN = "arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/1f2e3d"

TABLE: list[tuple[str, Reply, Verdict]] = [
    ("created", Reply(200, arn=ARN), Verdict.CREATED),
    ("created with another 2xx", Reply(201, arn=ARN), Verdict.CREATED),
    ("parameter error before sending", Reply(loss=Loss.PARAMETERS), Verdict.NOT_CREATED),
    ("credential error before sending", Reply(loss=Loss.CREDENTIALS), Verdict.NOT_CREATED),
    ("DNS failure", Reply(loss=Loss.DNS), Verdict.NOT_CREATED),
    ("no such host", Reply(loss=Loss.NO_SUCH_HOST), Verdict.NOT_CREATED),
    ("refused", Reply(loss=Loss.REFUSED), Verdict.NOT_CREATED),
    ("its intent was too old", Reply(loss=Loss.STALE), Verdict.NOT_CREATED),
    ("no file descriptor left", Reply(loss=Loss.FILES), Verdict.NOT_CREATED),
    ("connect timeout", Reply(loss=Loss.CONNECT_TIMEOUT), Verdict.NOT_CREATED),
    ("proxy refusal", Reply(loss=Loss.PROXY), Verdict.NOT_CREATED),
    ("TLS handshake failure", Reply(loss=Loss.HANDSHAKE), Verdict.NOT_CREATED),
    ("untrusted certificate, proxy that forbids", Reply(loss=Loss.MISCONFIGURED), Verdict.NOT_CREATED),
    ("credentials that could not be fetched", Reply(loss=Loss.UNFETCHED), Verdict.NOT_CREATED),
    ("ExpiredToken", Reply(403, code="ExpiredTokenException"), Verdict.NOT_CREATED),
    ("ExpiredToken with 400", Reply(400, code="ExpiredToken"), Verdict.NOT_CREATED),
    ("429 with a code", Reply(429, code="ThrottlingException"), Verdict.THROTTLED),
    ("429 without a code", Reply(429), Verdict.THROTTLED),
    ("429 with an unknown code", Reply(429, code="Whatever"), Verdict.THROTTLED),
    *[(f"throttle code {code}", Reply(400, code=code), Verdict.THROTTLED) for code in sorted(THROTTLE_CODES)],
    ("503 SlowDown", Reply(503, code="SlowDown"), Verdict.THROTTLED),
    ("400 ValidationException", Reply(400, code="ValidationException"), Verdict.REJECTED),
    ("413", Reply(413), Verdict.REJECTED),
    ("402", Reply(402, code="ServiceQuotaExceededException"), Verdict.QUOTA),
    ("402 without a code", Reply(402), Verdict.QUOTA),
    ("403", Reply(403, code="AccessDeniedException"), Verdict.DENIED),
    *[(f"{status} without a code", Reply(status), Verdict.AMBIGUOUS) for status in (400, 401, 403, 404, 405, 410)],
    ("404 with a code", Reply(404, code="ResourceNotFoundException"), Verdict.REJECTED),
    ("signature refused", Reply(403, code="SignatureDoesNotMatch"), Verdict.DENIED),
    ("unknown key", Reply(403, code="UnrecognizedClientException"), Verdict.DENIED),
    ("read timeout", Reply(loss=Loss.READ_TIMEOUT), Verdict.AMBIGUOUS),
    ("reset after the first byte", Reply(loss=Loss.RESET), Verdict.AMBIGUOUS),
    ("closed after the first byte", Reply(loss=Loss.CLOSED), Verdict.AMBIGUOUS),
    ("TLS error after the handshake", Reply(loss=Loss.TLS), Verdict.AMBIGUOUS),
    ("unknown loss", Reply(loss=Loss.UNKNOWN), Verdict.AMBIGUOUS),
    *[(f"{status}", Reply(status), Verdict.AMBIGUOUS) for status in (408, 409, 500, 502, 503, 504)],
    ("409 with its code", Reply(409, code="ConflictException"), Verdict.AMBIGUOUS),
    ("500 with a throttle code", Reply(500, code="ThrottlingException"), Verdict.AMBIGUOUS),
    ("503 with another code", Reply(503, code="ServiceUnavailable"), Verdict.AMBIGUOUS),
    ("5xx with an expired token", Reply(500, code="ExpiredToken"), Verdict.AMBIGUOUS),
    ("2xx without a readable ARN", Reply(200), Verdict.AMBIGUOUS),
    ("redirect", Reply(307), Verdict.AMBIGUOUS),
    ("nothing known at all", Reply(), Verdict.AMBIGUOUS),
]


@pytest.mark.parametrize(("reply", "verdict"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_each_reply_has_its_verdict(reply: Reply, verdict: Verdict) -> None:
    """Every case of the table has the verdict of its row."""
    assert judge(reply) is verdict


def test_every_loss_is_in_the_table() -> None:
    """No way of losing a reply is left unjudged."""
    assert {reply.loss for _, reply, _ in TABLE} >= set(Loss)


@given(st.sampled_from(sorted(set(Loss) - BEFORE_FIRST_BYTE)), st.text(), st.integers(0, 599))
def test_a_loss_after_the_first_byte_is_never_a_no(loss: Loss, code: str, status: int) -> None:
    """Once bytes may have left and no reply was read, nothing else in the reply makes it safe to send again."""
    assert judge(Reply(status, loss=loss, code=code)) is Verdict.AMBIGUOUS


@given(st.integers(500, 599), st.text() | st.sampled_from(sorted(CREDENTIAL_CODES | THROTTLE_CODES)))
def test_a_server_error_is_a_no_only_when_it_says_slow_down(status: int, code: str) -> None:
    """A server that failed may have created first; only a 503 with a throttle code says that it did not begin."""
    expected = Verdict.THROTTLED if status == 503 and code in THROTTLE_CODES else Verdict.AMBIGUOUS

    assert judge(Reply(status, code=code)) is expected


def test_a_reply_tells_itself() -> None:
    """The text of a reply is enough for a log line."""
    assert str(Reply(403, code="AccessDeniedException", message="no")) == "403 AccessDeniedException no"
    assert str(Reply(loss=Loss.RESET)) == "reset"
    assert str(Reply()) == "no reply"
