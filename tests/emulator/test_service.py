"""How calls end: checks, faults, counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.emulator.behaviour import Behaviour
from provisioner.emulator.keys import credentials, issue
from provisioner.emulator.service import Service
from provisioner.emulator.state import Accounts
from provisioner.emulator.store import StateFileError
from provisioner.emulator.wire import Call

from .support import ALGORITHMS, ROLE, create_call, now, seeded, signed

if TYPE_CHECKING:
    from provisioner.emulator.service import Result
    from provisioner.emulator.state import Algorithm
    from provisioner.emulator.wire import HttpResponse


def _service(**switches: Any) -> Service:
    return Service(Behaviour(**switches), Accounts(seeded()))


def _body(reply: HttpResponse) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(reply.body)
    return body


def _create(service: Service, name: str = "algorithm", at: float | None = None, **more: object) -> Result:
    return service.handle(create_call(name, **more), now() if at is None else at)


def _names(service: Service) -> list[str]:
    return [algorithm.name for algorithm in service.accounts.algorithms]


@pytest.mark.parametrize(
    ("fault", "ending", "status", "code", "made"),
    [
        ("ok", "answer", 200, None, 1),
        ("throttle", "answer", 429, "ThrottlingException", 0),
        ("bare_throttle", "answer", 429, None, 0),
        ("slow_down", "answer", 503, "SlowDown", 0),
        ("lost_reply", "close", 0, None, 1),
        ("lost_request", "close", 0, None, 0),
        ("late", "close", 0, None, 0),
        ("late_error:504", "answer", 504, "InternalServiceException", 0),
        ("hang", "hang", 0, None, 1),
        ("hang_without_effect", "hang", 0, None, 0),
        ("reset", "reset", 0, None, 1),
        ("reset_without_effect", "reset", 0, None, 0),
        ("error", "answer", 500, "InternalServiceException", 1),
        ("error:503", "answer", 503, "ServiceUnavailableException", 1),
        ("error_without_effect", "answer", 500, "InternalServiceException", 0),
        ("truncated", "answer", 200, None, 1),
        ("no_arn", "answer", 200, None, 1),
        ("html", "answer", 200, None, 1),
        ("cut_reply", "cut", 200, None, 1),
        ("foreign_arn", "answer", 200, None, 1),
        ("repeated_arn", "answer", 200, None, 1),
        ("quota", "answer", 402, "ServiceQuotaExceededException", 0),
        ("denied", "answer", 403, "AccessDeniedException", 0),
        ("denied_role", "answer", 403, "AccessDeniedException", 0),
        ("expired_token", "answer", 403, "ExpiredTokenException", 0),
        ("conflict", "answer", 409, "ConflictException", 0),
    ],
)
def test_each_fault(fault: str, ending: str, status: int, code: str | None, made: int) -> None:
    """A scripted fault decides the ending, the status, the error code and whether an algorithm is made."""
    service = _service(script=(fault,))
    result = _create(service)

    assert result.ending == ending
    assert service.calls == {"create": {status: 1}}
    assert len(service.accounts.algorithms) == made
    if status:
        assert (result.response.status, result.response.headers.get("x-amzn-errortype")) == (status, code)
    (record,) = service.creates
    assert (record.status, record.fault, bool(record.arn)) == (status, fault, bool(made))


def test_script_covers_every_fault() -> None:
    """The table above leaves no fault out."""
    from provisioner.emulator.behaviour import FAULTS

    (mark,) = [mark for mark in test_each_fault.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    assert {row[0].partition(":")[0] for row in mark.args[1]} == set(FAULTS)


def test_wrong_arns() -> None:
    """Each kind of wrong 200 is wrong in its own way, and each is about a create that was executed."""
    service = _service(script=("ok", "truncated", "no_arn", "html", "foreign_arn", "repeated_arn"))
    first, truncated, no_arn, html, foreign, repeated = (_create(service, f"n{n}").response for n in range(6))

    with pytest.raises(msgspec.DecodeError):
        _body(truncated)
    assert _body(no_arn) == {}
    assert (html.content_type, html.body[:6]) == ("text/html", b"<html>")
    assert ":999999999999:" in _body(foreign)["configuredModelAlgorithmArn"]
    assert _body(repeated) == _body(first)
    assert len(service.accounts.algorithms) == 6


def test_same_arn_is_no_second_algorithm() -> None:
    """Where a second create returns the first ARN, the truth has one algorithm and one create that made it."""
    service = _service(names="same")
    replies = [_create(service).response for _ in range(2)]

    assert _body(replies[0]) == _body(replies[1])
    assert len(service.accounts.algorithms) == 1
    assert [bool(record.arn) for record in service.creates] == [True, False]


def test_late_create_takes_effect_after_the_delay() -> None:
    """A late create takes effect when its delay is over, with that time as its time of creation."""
    service = _service(script=("late",), late_delay=60.0)
    start = now()
    _create(service, "late", at=start)

    service.handle(signed("GET", ALGORITHMS), start + 59)
    assert _names(service) == []
    service.handle(signed("GET", ALGORITHMS), start + 60)

    assert [algorithm.created_at for algorithm in service.accounts.algorithms] == [start + 60]


def test_late_tags_and_deletes_take_effect_after_the_delay() -> None:
    """Tag, untag and delete calls can be late too: the connection closes, and the change is there after the delay."""
    service = _service(tag_script=("late",), untag_script=("late",), delete_script=("late",), late_delay=60.0)
    arn = _body(_create(service, tags={"old": "1"}).response)["configuredModelAlgorithmArn"]
    path = arn.replace("/", "%2F").replace(":", "%3A")
    start = now()
    results = [
        service.handle(signed("POST", f"/tags/{path}", b'{"tags":{"new":"2"}}'), start),
        service.handle(signed("DELETE", f"/tags/{path}?tagKeys=old"), start + 1),
        service.handle(signed("DELETE", f"{ALGORITHMS}/{path}"), start + 2),
    ]
    algorithm = service.accounts.algorithms[0]
    seen = [(dict(algorithm.tags), algorithm.deleted_at)]
    for later in (60, 61, 62):
        service.handle(signed("GET", ALGORITHMS), start + later)
        seen.append((dict(algorithm.tags), algorithm.deleted_at))

    assert [result.ending for result in results] == ["close"] * 3
    assert seen == [
        ({"old": "1"}, None),
        ({"old": "1", "new": "2"}, None),
        ({"new": "2"}, None),
        ({"new": "2"}, start + 62),
    ]


def test_late_create_can_come_too_late() -> None:
    """A late create of a name that was taken meanwhile has no effect where names are unique."""
    service = _service(script=("late",), late_delay=1.0)
    start = now()
    _create(service, at=start)
    _create(service, at=start + 0.5)
    service.handle(signed("GET", ALGORITHMS), start + 2)

    assert len(service.accounts.algorithms) == 1


def test_lost_reply_of_a_conflict_is_lost_too() -> None:
    """A lost reply hides an error too."""
    service = _service(script=("ok", "lost_reply"))
    _create(service)

    assert _create(service).ending == "close"
    assert len(service.accounts.algorithms) == 1


def test_rate_is_per_operation_and_target() -> None:
    """Each account, Region and operation has its own token bucket."""
    service = _service(rate=1.0, burst=1.0, read_rate=1.0, read_burst=1.0)
    start = now()
    body = msgspec.json.encode({"name": "a", "roleArn": ROLE})
    calls = [
        signed("POST", ALGORITHMS, body),
        signed("POST", ALGORITHMS, body),
        signed("POST", ALGORITHMS, body, region="eu-west-1"),
        signed("POST", ALGORITHMS, body, keys=credentials("111122223333")),
        signed("GET", ALGORITHMS),
        signed("GET", ALGORITHMS),
    ]

    assert [service.handle(call, start).response.status for call in calls] == [200, 429, 200, 200, 200, 429]


def test_throttled_call_spends_no_name() -> None:
    """A throttled create makes nothing and does not take its name."""
    service = _service(rate=1.0)
    start = now()

    statuses = [_create(service, name, start + at).response.status for name, at in (("a", 0), ("b", 0.5), ("b", 1.0))]

    assert statuses == [200, 429, 200]
    assert _names(service) == ["a", "b"]


def test_throttles_can_be_a_share_of_all() -> None:
    """A share of creates is throttled whatever the rate; other calls are not."""
    service = _service(throttled=1.0)

    assert _create(service).response.status == 429
    assert service.handle(signed("GET", ALGORITHMS), now()).response.status == 200


@pytest.mark.parametrize(
    ("form", "headers", "members"),
    [
        ("Retry-After", {"Retry-After": "3"}, {}),
        ("x-amz-retry-after", {"x-amz-retry-after": "2500"}, {}),
        ("retryAfterSeconds", {}, {"retryAfterSeconds": 3}),
    ],
)
def test_advice_in_a_throttle(form: str, headers: dict[str, str], members: dict[str, int]) -> None:
    """The advice is in the chosen header or member, in its unit: seconds, or milliseconds."""
    reply = _create(_service(throttled=1.0, bare_throttles=True, retry_after=2.5, retry_after_form=form)).response

    assert (reply.headers, _body(reply)) == (headers, {"message": "Rate exceeded", **members})


def test_bare_throttle_has_no_code() -> None:
    """A 429 without a code has neither the header nor a code in the body."""
    reply = _create(_service(throttled=1.0, bare_throttles=True)).response

    assert reply.headers == {}
    assert list(_body(reply)) == ["message"]


def test_denied_role_names_pass_role() -> None:
    """Only creates with a denied role are refused, and the message names iam:PassRole and the role."""
    service = _service(denied_roles=(ROLE,))
    denied = _create(service).response
    other = _create(service, roleArn=ROLE + "2").response

    assert (denied.status, denied.headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
    assert "iam:PassRole" in _body(denied)["message"]
    assert ROLE in _body(denied)["message"]
    assert other.status == 200


def test_denied_names_the_action() -> None:
    """Where everything is denied, each refusal names its own action."""
    service = _service(denied=True)
    replies = [_create(service).response, service.handle(signed("GET", ALGORITHMS), now()).response]

    assert [reply.status for reply in replies] == [403, 403]
    assert "cleanrooms-ml:CreateConfiguredModelAlgorithm" in _body(replies[0])["message"]
    assert "cleanrooms-ml:ListConfiguredModelAlgorithms" in _body(replies[1])["message"]


def test_single_actions_can_be_denied() -> None:
    """An action can be denied by name; the others work."""
    service = _service(denied_actions=("cleanrooms-ml:ListConfiguredModelAlgorithms",))
    listed = service.handle(signed("GET", ALGORITHMS), now()).response

    assert (listed.status, listed.headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
    assert "cleanrooms-ml:ListConfiguredModelAlgorithms" in _body(listed)["message"]
    assert _create(service).response.status == 200


def test_only_some_actions_can_be_allowed() -> None:
    """What is not allowed is denied. A create needs the permission to pass its role, and to tag what has tags."""
    create, tag = "cleanrooms-ml:CreateConfiguredModelAlgorithm", "cleanrooms-ml:TagResource"
    for allowed, tags, missing in [
        ((create, "iam:PassRole"), {}, ""),
        ((create, "iam:PassRole"), {"a": "b"}, tag),
        ((create, tag), {"a": "b"}, "iam:PassRole"),
        ((tag, "iam:PassRole"), {"a": "b"}, create),
        ((create, tag, "iam:PassRole"), {"a": "b"}, ""),
    ]:
        service = _service(allowed_actions=allowed)
        created = service.handle(create_call("a", tags=tags), now()).response
        listed = service.handle(signed("GET", ALGORITHMS), now()).response

        assert (created.status, listed.status) == (403 if missing else 200, 403)
        assert not missing or f"not authorized to perform: {missing} " in _body(created)["message"]


def test_conflict_of_a_delete_names_the_association() -> None:
    """A scripted conflict of a delete is about an association, not about a name."""
    service = _service(delete_script=("conflict",))
    arn = _body(_create(service).response)["configuredModelAlgorithmArn"].replace("/", "%2F").replace(":", "%3A")
    deleted = service.handle(signed("DELETE", f"{ALGORITHMS}/{arn}"), now()).response

    assert (deleted.status, "association" in _body(deleted)["message"]) == (409, True)
    assert len(service.accounts.algorithms) == 1


def test_order_of_refusals() -> None:
    """The signature is checked before the rate, the rate before the model, the model before the permission."""
    service = _service(rate=0.001, denied=True)
    unsigned = msgspec.structs.replace(create_call(), headers={})

    statuses = [
        service.handle(unsigned, now()).response.status,
        service.handle(signed("POST", ALGORITHMS, b"{}"), now()).response.status,
        service.handle(signed("POST", ALGORITHMS, b"{}"), now()).response.status,
        service.handle(signed("POST", ALGORITHMS, b"{}", region="eu-west-1"), now()).response.status,
        service.handle(signed("POST", ALGORITHMS, create_call().body, region="eu-west-2"), now()).response.status,
    ]

    assert statuses == [403, 400, 429, 400, 403]


@pytest.mark.parametrize("size", ["0", "101", "-1", "--5", "5-", "-", "", "x", "\u0663", "9" * 5000])
def test_page_size_that_is_no_size(size: str) -> None:
    """A maxResults that is not an integer from 1 to 100 is answered 400, however it is spelled."""
    call = signed("GET", f"{ALGORITHMS}?maxResults={quote(size)}")
    response = _service().handle(call, now()).response

    assert (response.status, response.headers["x-amzn-errortype"]) == (400, "ValidationException")


_NAMES = st.sampled_from(
    [
        *("name", "roleArn", "tags", "trainingContainerConfig", "imageUri", "metricDefinitions", "regex", "tagKeys"),
        *("ResourcesPerPage", "PaginationToken", "TagFilters", "Key", "Values", "ResourceTypeFilters"),
        *("ResourceARNList", "maxResults", "nextToken", "Action", "RoleArn", "RoleSessionName", "DurationSeconds"),
    ]
)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("1.x")
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.text(max_size=3), inner),
    max_leaves=8,
)
_TARGETS = st.sampled_from([ALGORITHMS, f"{ALGORITHMS}/x", "/tags/x", "/tags/arn%3Aaws", "/"])
_QUERIES = st.dictionaries(_NAMES, st.text(max_size=6), max_size=2)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(["GET", "POST", "DELETE"]), _TARGETS, _QUERIES, _JSON, st.booleans(), st.booleans())
def test_any_request_has_a_response(
    method: str,
    path: str,
    query: dict[str, str],
    body: object,
    form: bool,  # noqa: FBT001
    tagging: bool,  # noqa: FBT001
) -> None:
    """No request makes the endpoint fail: what is wrong with it is answered as the caller's mistake."""
    text = urlencode(query).encode()
    call = Call(
        method,
        path if form else f"{path}?{text.decode()}",
        {"x-amz-target": "ResourceGroupsTaggingAPI_20170126.GetResources"} if tagging else {},
        text if form else json.dumps(body).encode(),
    )
    service = "tagging" if tagging else "sts" if path == "/" else "cleanrooms-ml"
    scope = f"{credentials().access_key_id}/20260101/us-east-1/{service}/aws4_request"
    authorization = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={'0' * 64}"
    call.headers = {**call.headers, "authorization": authorization}

    assert _service(verify=False).handle(call, now()).response.status < 500


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"7", b"[" * 100_000])
def test_body_that_is_no_json_object(body: bytes) -> None:
    """A body that is not a JSON object is answered 400."""
    reply = _service().handle(signed("POST", ALGORITHMS, body), now()).response

    assert (reply.status, reply.headers["x-amzn-errortype"]) == (400, "SerializationException")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", ALGORITHMS),
        ("GET", "/"),
        ("GET", "/nothing"),
        ("POST", ALGORITHMS + "/x"),
        ("GET", "/tags"),
        ("GET", "*"),
    ],
)
def test_unknown_operation(method: str, target: str) -> None:
    """A request for no operation of the service is refused, whatever its signature."""
    assert _service().handle(signed(method, target), now()).response.status in {400, 404}


def test_service_of_the_signature_must_match() -> None:
    """A signature for another service is refused, by each of the services."""
    service = _service()
    wrong = service.handle(signed("GET", ALGORITHMS, service="s3"), now()).response
    sts = service.handle(signed("POST", "/", b"Action=GetCallerIdentity"), now()).response

    assert (wrong.status, wrong.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")
    assert (sts.status, b"<Code>SignatureDoesNotMatch</Code>" in sts.body) == (403, True)


def test_tokens_expire_by_age() -> None:
    """A switch expires all tokens issued before a time; long-lived keys stay valid."""
    service = _service(tokens_since=now() + 1)
    session = issue("arn:aws:iam::123456789012:role/x", "s", now(), 900)

    assert service.handle(signed("GET", ALGORITHMS, keys=session), now()).response.status == 403
    assert service.handle(signed("GET", ALGORITHMS), now()).response.status == 200


def test_clock_of_the_endpoint_can_be_off() -> None:
    """With the endpoint's clock ten minutes ahead, a signature made now has expired."""
    reply = _create(_service(clock_offset=600.0)).response

    assert "Signature expired" in _body(reply)["message"]


def test_signatures_can_go_unverified() -> None:
    """Without verification any signature is accepted, and a call without one is still refused."""
    service = _service(verify=False)
    forged = signed("GET", ALGORITHMS, keys=credentials()._replace(secret_access_key="wrong"))
    unsigned = msgspec.structs.replace(forged, headers={})

    assert [service.handle(call, now()).response.status for call in (forged, unsigned)] == [200, 403]


def test_behaviour_changes_between_calls() -> None:
    """A new behaviour applies from the next call on."""
    service = _service()
    statuses = [_create(service, "a").response.status]
    service.behaviour = Behaviour(quota=1)
    statuses.append(_create(service, "b").response.status)
    service.behaviour = Behaviour()
    statuses.append(_create(service, "b").response.status)

    assert statuses == [200, 402, 200]


def test_random_faults_affect_valid_calls_only() -> None:
    """A call that is refused draws no random fault."""
    service = _service(hang=1.0)

    assert service.handle(signed("POST", ALGORITHMS, b"{}"), now()).response.status == 400
    assert _create(service).ending == "hang"


def test_faults_replay_with_the_seed() -> None:
    """The same seed and calls give the same endings and the same ARNs."""

    def run(seed: int) -> list[tuple[str, str]]:
        service = Service(Behaviour(reset=0.3, error=0.3, seed=seed), Accounts(seeded(seed)))
        for number in range(30):
            _create(service, f"n{number}")
        return [(record.fault, record.arn) for record in service.creates]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_every_call_is_counted() -> None:
    """Every call is counted by operation and status, including unknown operations."""
    service = _service()
    arn = _body(_create(service).response)["configuredModelAlgorithmArn"].replace("/", "%2F").replace(":", "%3A")
    for method, target in (
        ("GET", ALGORITHMS),
        ("GET", f"{ALGORITHMS}/{arn}"),
        ("GET", f"/tags/{arn}"),
        ("DELETE", f"/tags/{arn}?tagKeys=x"),
        ("DELETE", f"{ALGORITHMS}/{arn}"),
        ("DELETE", f"{ALGORITHMS}/{arn}"),
        ("GET", "/nothing"),
    ):
        service.handle(signed(method, target), now())
    service.handle(signed("POST", f"/tags/{arn}", b'{"tags":{}}'), now())

    assert service.calls == {
        "create": {200: 1},
        "list": {200: 1},
        "get": {200: 1},
        "list_tags": {200: 1},
        "untag": {200: 1},
        "delete": {200: 1, 404: 1},
        "unknown": {404: 1},
        "tag": {404: 1},
    }


def test_read_script() -> None:
    """A script names the page of a sweep that fails."""
    service = _service(list_script=("ok", "error:503", "hang"))

    results = [service.handle(signed("GET", ALGORITHMS), now()) for _ in range(4)]

    assert [(result.ending, result.response.status) for result in results[:2]] == [("answer", 200), ("answer", 503)]
    assert [result.ending for result in results[2:]] == ["hang", "answer"]


def test_state_that_cannot_be_saved_is_a_server_error() -> None:
    """When the state file is full, creates answer 500 and make nothing."""

    def save(_: Algorithm) -> None:
        raise StateFileError("full")

    service = Service(Behaviour(), Accounts(seeded(), save))

    assert _create(service).response.status == 500
    assert service.accounts.algorithms == []


def test_latency_is_left_to_the_front() -> None:
    """The service does not wait: it returns how long the front has to."""
    assert _create(_service(latency=30.0)).delay_s == 30.0
