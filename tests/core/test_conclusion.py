"""What follows from the reply to a deletion or a change of tags, by table; creates are in the engine's tests."""

from __future__ import annotations

import pytest

from provisioner.core.conclusion import UNANSWERED_LIMIT, Conclusion, History, Next, conclude_delete, conclude_tags
from provisioner.core.entry import Event, Outcome
from provisioner.core.verdict import Loss, Reply, Verdict

# status, code or loss -> verdict, of a deletion: event, next; of a change of tags: event, next, outcome
TABLE = """
    200 -                          DONE         gone done     update done   updated
    204 -                          DONE         gone done     update done   updated
    404 ResourceNotFoundException  -            gone done     -      done   pending
    404 NoSuchBucket               REJECTED     keep done     drift  done   failed
    404 -                          AMBIGUOUS    -    resend   -      resend -
    400 ValidationException        REJECTED     keep done     drift  done   failed
    400 ResourceNotFoundException  REJECTED     keep done     drift  done   failed
    400 -                          AMBIGUOUS    -    resend   -      resend -
    402 ServiceQuotaExceededException REJECTED  keep done     drift  done   failed
    403 AccessDeniedException      DENIED       keep done     -      done   pending
    403 -                          AMBIGUOUS    -    resend   -      resend -
    409 ConflictException          REJECTED     keep done     drift  done   failed
    409 -                          AMBIGUOUS    -    resend   -      resend -
    429 -                          THROTTLED    -    resend   -      resend -
    400 ThrottlingException        THROTTLED    -    resend   -      resend -
    503 SlowDown                   THROTTLED    -    resend   -      resend -
    400 ExpiredTokenException      NOT_CREATED  -    resend   -      resend -
    403 SignatureDoesNotMatch      NOT_CREATED  -    resend   -      resend -
    500 InternalServerException    AMBIGUOUS    -    resend   -      resend -
    503 -                          AMBIGUOUS    -    resend   -      resend -
    302 -                          AMBIGUOUS    -    resend   -      resend -
    0   read_timeout               AMBIGUOUS    -    resend   -      resend -
    0   reset                      AMBIGUOUS    -    resend   -      resend -
    0   refused                    NOT_CREATED  -    resend   -      resend -
    0   dns                        NOT_CREATED  -    resend   -      resend -
    0   stale                      NOT_CREATED  -    resend   -      resend -
"""
RULES = [line.split() for line in TABLE.split("\n") if line.strip()]


def reply_of(status: str, code: str) -> Reply:
    """The reply of a line of the table."""
    if status == "0":
        return Reply(loss=Loss(code))
    return Reply(status=int(status), code="" if code == "-" else code, request_id="r")


def told(conclusion: Conclusion) -> tuple[list[Event], Next, Outcome | None]:
    """Events, next step and outcome."""
    return list(conclusion.events), conclusion.next, conclusion.outcome


@pytest.mark.parametrize("rule", RULES, ids=[f"{rule[0]} {rule[1]}" for rule in RULES])
def test_a_deletion(rule: list[str]) -> None:
    """Only the service's own answer that it does not exist, or a success, says that it is gone."""
    status, code, verdict, event, next_, *_ = rule
    conclusion = conclude_delete(reply_of(status, code), History())

    assert told(conclusion) == ([] if event == "-" else [Event(event)], Next(next_), None)
    assert conclusion.verdict is (Verdict.DONE if verdict == "-" else Verdict(verdict))


@pytest.mark.parametrize("rule", RULES, ids=[f"{rule[0]} {rule[1]}" for rule in RULES])
def test_a_change_of_tags(rule: list[str]) -> None:
    """What is refused fails, what is denied stays for the next run, and everything else is sent again as it is."""
    status, code, verdict, _, _, event, next_, outcome = rule
    conclusion = conclude_tags(reply_of(status, code), History())
    expected = None if outcome == "-" else Outcome(outcome)

    assert told(conclusion) == ([] if event == "-" else [Event(event)], Next(next_), expected)
    assert conclusion.verdict is (Verdict.REJECTED if verdict == "-" else Verdict(verdict))


@pytest.mark.parametrize("unanswered", range(UNANSWERED_LIMIT + 2))
@pytest.mark.parametrize("reply", [Reply(status=500, request_id="r"), Reply(loss=Loss.READ_TIMEOUT), Reply(status=404)])
def test_it_is_given_up_without_an_answer(reply: Reply, unanswered: int) -> None:
    """After four attempts without an answer the next run is the better retry; nothing is taken for done."""
    history = History(unanswered=unanswered)
    gives_up = unanswered >= UNANSWERED_LIMIT

    assert told(conclude_delete(reply, history)) == (
        ([Event.KEEP], Next.DONE, None) if gives_up else ([], Next.RESEND, None)
    )
    assert told(conclude_tags(reply, history)) == (
        ([], Next.DONE, Outcome.AMBIGUOUS) if gives_up else ([], Next.RESEND, None)
    )


def test_a_clock_that_was_corrected_and_is_refused_again_is_a_denial() -> None:
    """The second refusal of a signature is about the credentials."""
    history = History(clock_refused=True)
    refused = Reply(status=403, code="SignatureDoesNotMatch", request_id="r")

    assert conclude_delete(refused, history).verdict is Verdict.DENIED
    assert conclude_tags(refused, history).outcome is Outcome.PENDING
