"""When a target stops sending."""

from __future__ import annotations

import tracemalloc

import pytest

from provisioner.core.verdict import Loss, Reply, Verdict, is_about_role, judge
from provisioner.engine.breaker import OUTAGE_S, Admission, Breaker
from provisioner.engine.sending import quota_text
from provisioner.errors import Reason

A, B, C = (f"arn:aws:iam::123456789012:role/{name}" for name in "abc")

PASS_ROLE = Reply(status=403, code="AccessDeniedException", message="not authorized to perform: iam:PassRole on x")
REFUSED = Reply(status=403, code="AccessDeniedException", message="not authorized to perform: cleanrooms-ml:Create")
SIGNATURE = Reply(status=403, code="InvalidSignatureException", message="iam:PassRole is not what this is about")
EXPIRED = Reply(status=403, code="ExpiredTokenException", message="expired")
CREATED = Reply(status=200, arn="arn", request_id="r")
REJECTED = Reply(status=400, code="ValidationException", request_id="r")
QUOTA = Reply(status=402, code="ServiceQuotaExceededException", request_id="r")
CONFLICT = Reply(status=409, code="ConflictException", request_id="r")
THROTTLED = Reply(status=429)
FAULT = Reply(status=500, code="InternalFailure", request_id="r")
NO_REPLY = Reply(loss=Loss.READ_TIMEOUT)
DNS = Reply(loss=Loss.NO_SUCH_HOST, message="no such host")
REFUSED_CONNECTION = Reply(loss=Loss.REFUSED)
NO_CREDENTIALS = Reply(loss=Loss.CREDENTIALS, message="none found")


def after(*replies: Reply, role: str = A, breaker: Breaker | None = None) -> Breaker:
    """A breaker after ``replies``, one a second."""
    breaker = breaker or Breaker("https://endpoint")
    for second, reply in enumerate(replies):
        breaker.record(role, reply, judge(reply), float(second))
    return breaker


def halt_code(breaker: Breaker) -> Reason | None:
    """The exit code of the halt, None while the target may go on."""
    return breaker.halt.reason if breaker.halt else None


@pytest.mark.parametrize(
    ("replies", "blocked"),
    [
        ([], False),
        ([PASS_ROLE] * 2, False),
        ([PASS_ROLE] * 3, True),
        ([PASS_ROLE] * 2 + [CREATED] + [PASS_ROLE] * 2, False),
        ([PASS_ROLE] * 2 + [REJECTED] + [PASS_ROLE], False),
        ([PASS_ROLE] * 2 + [QUOTA] + [PASS_ROLE], False),
        ([PASS_ROLE, THROTTLED, PASS_ROLE, NO_REPLY, PASS_ROLE], True),
        ([PASS_ROLE, PASS_ROLE, DNS, PASS_ROLE], True),
        ([REFUSED] * 2, False),
        ([SIGNATURE] * 3, False),
    ],
)
def test_three_refusals_in_a_row_block_a_role(replies: list[Reply], blocked: bool) -> None:  # noqa: FBT001  a table
    """A role is blocked by three PassRole refusals that no sign of permission interrupts; other answers are no sign."""
    assert (after(*replies).admission(A) is Admission.BLOCKED) is blocked


def test_a_blocked_role_blocks_no_other() -> None:
    """Three refusals of one role say nothing final of another, and halt nothing."""
    breaker = after(*[PASS_ROLE] * 3)

    assert breaker.admission(B) is not Admission.BLOCKED
    assert breaker.halt is None


def test_permission_for_one_role_says_nothing_of_another() -> None:
    """A create with another role interrupts the refusals over all roles, and not those of this one."""
    breaker = after(PASS_ROLE, PASS_ROLE)
    after(CREATED, role=B, breaker=breaker)
    after(PASS_ROLE, breaker=breaker)

    assert breaker.admission(A) is Admission.BLOCKED
    assert breaker.halt is None


def test_probation_begins_with_the_first_refusal_and_ends_with_permission() -> None:
    """After a refusal every role is probed one at a time; once one is permitted, only those that were refused."""
    breaker = Breaker()
    assert (breaker.admission(A), breaker.admission(B)) == (Admission.FREE, Admission.FREE)

    after(PASS_ROLE, breaker=breaker)
    assert (breaker.admission(A), breaker.admission(B)) == (Admission.ROLE_PROBE, Admission.ROLE_PROBE)

    after(CREATED, role=B, breaker=breaker)
    assert (breaker.admission(A), breaker.admission(B)) == (Admission.ROLE_PROBE, Admission.FREE)

    after(CREATED, breaker=breaker)
    assert (breaker.admission(A), breaker.admission(B)) == (Admission.FREE, Admission.FREE)


def test_a_refusal_of_everything_puts_every_role_on_probation() -> None:
    """After one general denial each role is probed one create at a time."""
    breaker = after(REFUSED)

    assert (breaker.admission(A), breaker.admission(B)) == (Admission.ROLE_PROBE, Admission.ROLE_PROBE)


@pytest.mark.parametrize(
    ("calls", "code"),
    [
        ([(A, PASS_ROLE)] * 3 + [(B, PASS_ROLE)], None),
        ([(A, PASS_ROLE)] * 3 + [(B, PASS_ROLE)] * 2, Reason.DENIED),
        ([(A, PASS_ROLE), (B, PASS_ROLE), (C, PASS_ROLE), (A, PASS_ROLE), (B, PASS_ROLE)], Reason.DENIED),
        ([(A, PASS_ROLE)] * 3 + [(C, CREATED)] + [(B, PASS_ROLE)] * 2, None),
        ([(A, REFUSED)] * 2, None),
        ([(A, REFUSED), (B, REFUSED), (C, REFUSED)], Reason.DENIED),
        ([(A, REFUSED), (B, CREATED), (A, REFUSED), (A, REFUSED)], None),
        ([(A, SIGNATURE)] * 3, Reason.DENIED),
        ([(A, REFUSED), (A, PASS_ROLE), (A, REFUSED), (A, PASS_ROLE)], None),
        ([(A, REFUSED), (A, PASS_ROLE), (A, REFUSED), (A, PASS_ROLE), (A, PASS_ROLE)], Reason.DENIED),
        ([(A, EXPIRED)] * 9, None),
        ([(A, REJECTED)] * 50, None),
    ],
)
def test_refusals_of_everything_halt(calls: list[tuple[str, Reply]], code: Reason | None) -> None:
    """Three general denials in a row, or five refusals in a row over any roles, halt with 77; never more than five."""
    breaker = Breaker()
    for role, reply in calls:
        after(reply, role=role, breaker=breaker)

    assert halt_code(breaker) is code


def test_a_denial_tells_what_was_refused_and_what_to_do() -> None:
    """The halt carries the service's words and the permissions to check."""
    breaker = after(*[REFUSED] * 3)

    assert breaker.halt is not None
    assert "not authorized to perform" in breaker.halt.what
    assert "iam:PassRole" in breaker.halt.what


def test_a_denial_about_roles_names_the_role_and_what_the_managed_policy_passes() -> None:
    """A halt for roles that may not be passed names the last one, and the names that the managed policy allows."""
    breaker = Breaker()
    for role in (A, B, C, A, B):
        after(PASS_ROLE, role=role, breaker=breaker)

    assert breaker.halt is not None
    assert f"Allow iam:PassRole on {B} with iam:PassedToService" in breaker.halt.what
    assert "passes only roles named cleanrooms-ml*, then run again" in breaker.halt.what


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ([DNS] * 2, None),
        ([DNS] * 3, Reason.CONFIGURATION),
        ([DNS, REFUSED_CONNECTION, DNS], Reason.CONFIGURATION),
        ([NO_CREDENTIALS] * 3, Reason.DENIED),
        ([CREATED] + [DNS] * 9, None),
        ([FAULT] + [DNS] * 9, None),
        ([CREATED] + [NO_CREDENTIALS] * 3, Reason.DENIED),
        ([NO_REPLY] + [DNS] * 3, Reason.CONFIGURATION),
        ([DNS, DNS, NO_REPLY, DNS, DNS], None),
    ],
)
def test_an_endpoint_that_was_never_reached_halts_at_once(replies: list[Reply], code: Reason | None) -> None:
    """Three failures in a row to reach what never answered are a wrong configuration; afterwards they are an outage."""
    assert halt_code(after(*replies)) is code


@pytest.mark.parametrize(
    ("times", "code"),
    [
        ([0.0, OUTAGE_S], None),
        ([0.0, OUTAGE_S + 1], Reason.UNFINISHED),
        ([0.0, 1.0, 2.0, OUTAGE_S - 1], None),
    ],
)
def test_a_long_outage_stops_the_target(times: list[float], code: Reason | None) -> None:
    """An endpoint that has answered may be out of reach for a limited time; then the target halts with 75."""
    breaker = after(CREATED)
    for now in times:
        breaker.record(A, DNS, Verdict.NOT_CREATED, now)

    assert halt_code(breaker) is code


def test_any_reply_ends_an_outage() -> None:
    """The time of an outage restarts after every reply."""
    breaker = after(CREATED)
    for now, reply in [(0.0, DNS), (100.0, THROTTLED), (150.0, DNS), (260.0, DNS)]:
        breaker.record(A, reply, judge(reply), now)
    assert breaker.halt is None

    breaker.record(A, DNS, Verdict.NOT_CREATED, 150.0 + OUTAGE_S + 1)

    assert halt_code(breaker) is Reason.UNFINISHED


def test_an_unreachable_endpoint_is_named() -> None:
    """The halt names the endpoint and what to check."""
    breaker = after(*[DNS] * 3)

    assert breaker.halt is not None
    assert "https://endpoint cannot be reached: no_such_host no such host" in breaker.halt.what
    assert "Region" in breaker.halt.what


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ([Reply(status=404)] * 2, None),
        ([Reply(status=404)] * 3, Reason.CONFIGURATION),
        ([Reply(status=301), Reply(status=407), Reply(status=403)], Reason.CONFIGURATION),
        ([Reply(status=404), Reply(status=404), CREATED, Reply(status=404)], None),
        ([Reply(status=429)] * 3, None),
        ([Reply(status=404, request_id="r")] * 3, None),
        ([Reply(status=404, code="ResourceNotFoundException")] * 3, None),
        ([Reply(status=502)] * 3, None),
    ],
)
def test_strangers_halt(replies: list[Reply], code: Reason | None) -> None:
    """Three replies in a row with neither an error code nor a request id come from a wrong host: 78."""
    assert halt_code(after(*replies)) is code


def test_ten_doubts_in_a_row_open_the_circuit() -> None:
    """Each create without a sure answer leaves an open entry: after ten in a row everything is probed one at a time."""
    assert after(*[NO_REPLY] * 9).admission(A) is Admission.FREE
    assert after(*[NO_REPLY] * 10).admission(A) is Admission.PROBE
    assert after(*[FAULT, NO_REPLY] * 5).admission(A) is Admission.PROBE


@pytest.mark.parametrize("sure", [CREATED, THROTTLED, REJECTED, CONFLICT, REFUSED, EXPIRED])
def test_any_sure_answer_closes_the_circuit(sure: Reply) -> None:
    """Doubts count in a row: one sure answer, also a conflict or a throttle, starts the count again."""
    breaker = after(*[NO_REPLY] * 12, sure)

    assert breaker.admission(A) is not Admission.PROBE
    assert breaker.probe_delay_s() == 0.0
    assert after(*[NO_REPLY] * 9, breaker=breaker).admission(A) is not Admission.PROBE


def test_a_failure_to_reach_leaves_the_circuit_open() -> None:
    """A create that never left proves nothing of the server's health."""
    assert after(*[FAULT] * 10, DNS).admission(A) is Admission.PROBE


def test_probes_come_further_and_further_apart_and_then_the_target_stops() -> None:
    """An open circuit probes after 1, 2, 4, 8, 16 and 30 seconds; the sixth probe without an answer halts with 75."""
    breaker = after(*[NO_REPLY] * 9)
    delays = [breaker.probe_delay_s()]
    while breaker.halt is None:
        after(NO_REPLY, breaker=breaker)
        delays.append(breaker.probe_delay_s())

    assert delays[:-1] == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    assert halt_code(breaker) is Reason.UNFINISHED


def test_conflicts_are_no_doubts() -> None:
    """A 409 is a sure answer, however many there are."""
    breaker = after(*[CONFLICT] * 50)

    assert breaker.admission(A) is Admission.FREE
    assert breaker.halt is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("algorithms", 5.0, "the quota of 5 for algorithms is reached. Raise the quota, then run again"),
        ("algorithms", None, "the quota for algorithms is reached: no more than 5. Raise the quota, then run again"),
        ("", 5.0, "a service quota of 5 is reached: no more than 5. Raise the quota, then run again"),
    ],
)
def test_a_quota_is_named_once(name: str, value: float | None, says: str) -> None:
    """What AWS says of it is repeated where name and value do not say it already."""
    reply = Reply(status=402, quota_name=name, quota_value=value, message="no more than 5.")

    assert quota_text(reply, replaces=False) == says


def test_the_first_halt_stays() -> None:
    """The first halt of a target is the one that is reported."""
    assert halt_code(after(*[DNS] * 3, *[REFUSED] * 3)) is Reason.CONFIGURATION


@pytest.mark.parametrize(
    ("reply", "about_role"), [(PASS_ROLE, True), (REFUSED, False), (SIGNATURE, False), (NO_CREDENTIALS, False)]
)
def test_what_is_about_one_role(reply: Reply, about_role: bool) -> None:  # noqa: FBT001  a table
    """A 403 is about one role when it speaks of PassRole and not of the signature or the credentials."""
    assert is_about_role(reply) is about_role


def test_a_breaker_tells_its_state() -> None:
    """The text of a breaker has its counts and its halt."""
    assert repr(after(PASS_ROLE, NO_REPLY)) == "Breaker(refusals=1 unanswered=1 unreached=0 halt=None)"


def test_roles_that_work_are_not_kept() -> None:
    """Memory is the same for any number of roles in a manifest: only those that are refused are remembered."""
    breaker = Breaker("https://endpoint")
    tracemalloc.start()
    try:
        for number in range(10_000):
            breaker.record(f"{A}{number}", CREATED, Verdict.CREATED, float(number))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 64 * 1024


def test_a_machine_without_files_says_nothing_about_the_endpoint() -> None:
    """This machine's own limit never passes for an endpoint that was never reached; it halts as an outage does."""
    no_files = Reply(loss=Loss.FILES, message="Too many open files")

    breaker = after(*[no_files] * 10, DNS, DNS)
    assert halt_code(breaker) is None
    assert halt_code(after(DNS, breaker=breaker)) is Reason.CONFIGURATION
    halted = after(*[no_files] * (int(OUTAGE_S) + 3))
    assert halt_code(halted) is Reason.UNFINISHED
    assert halted.halt is not None
    assert "ulimit -n" in halted.halt.what
