"""Calls that are not creates."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.aws import CallError, Described, Listed, Page, connect
from provisioner.config.target import Target
from provisioner.core.verdict import Loss, Verdict, judge
from tests.aws.conftest import limits_of
from tests.aws.server import ARN, Server, allowed, close, hang, http, refuse, send
from tests.aws.sts import Sts

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from provisioner.aws import Aws
    from tests.aws.server import Action

ROW = {
    "configuredModelAlgorithmArn": ARN,
    "name": "churn é",
    "createTime": "2026-11-23T10:00:00.500Z",
    "updateTime": "2026-11-23T10:00:01Z",
}

CREATED_AT = 1795428000.5

DEFINITION = {
    "name": "churn é",
    "description": "",
    "roleArn": "arn:aws:iam::123456789012:role/access",
    "trainingContainerConfig": {
        "imageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/a:1",
        "entrypoint": ["python"],
        "metricDefinitions": [{"name": "loss", "regex": "loss=(.*)"}],
    },
    "inferenceContainerConfig": {"imageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/b:1"},
    "kmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1",
}


def open_control(url: str, **options: Any) -> AbstractAsyncContextManager[Aws]:
    """A target at ``url``."""
    return connect(Target(region="us-east-1", endpoint_url=url, sts_endpoint_url=url), limits_of(**options))


def answer(**members: Any) -> Action:
    """Answer 200 with ``members``."""
    return send(http(body=json.dumps(members).encode()))


async def test_a_page_of_list_is_read() -> None:
    """Rows, times and the token of the next page come back; token and size go out."""
    rows = [ROW | {"description": "d"}, ROW]
    script = answer(configuredModelAlgorithms=rows, nextToken="t+/="), answer(configuredModelAlgorithms=[])
    async with Server(*script) as server, open_control(server.url) as aws:
        first = await aws.control.list_algorithms()
        second = await aws.control.list_algorithms(first.next_token, page_size=7)

        row = Listed(ARN, "churn é", "d", CREATED_AT, CREATED_AT + 0.5)
        assert first == Page((row, Listed(ARN, "churn é", "", CREATED_AT, CREATED_AT + 0.5)), "t+/=")
        assert second == Page(())
        assert [request.path for request in server.requests] == [
            "/configured-model-algorithms?maxResults=100",
            "/configured-model-algorithms?maxResults=7&nextToken=t%2B%2F%3D",
        ]


@pytest.mark.parametrize(
    "fault",
    [
        answer(),
        answer(configuredModelAlgorithms=None),
        answer(configuredModelAlgorithms=[{"name": "no ARN"}]),
        answer(message="an error page behind a 200"),
        send(http(body=b"<html>")),
        send(http(body=b"")),
        send(http(body=b"\xff")),
        send(http(body=b"[]")),
        close(http()[:-3]),
        send(http(200, b'{"configuredModelAlgorithms": [], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
        refuse(429, "ThrottlingException"),
        refuse(500),
        refuse(403, "AccessDeniedException"),
    ],
)
async def test_a_page_that_was_not_read_is_never_an_empty_page(fault: Action) -> None:
    """Whatever goes wrong with List raises: absence is not concluded from it."""
    async with Server(fault) as server, open_control(server.url) as aws:
        with pytest.raises(CallError):
            await aws.control.list_algorithms()

        assert len(server.requests) == 1


async def test_get_gives_the_definition_and_its_tags_apart() -> None:
    """The body is what a create would send, without tags; the ARN is escaped in the path."""
    reply = answer(**(ROW | DEFINITION | {"tags": {"k": "v"}}))
    async with Server(reply) as server, open_control(server.url) as aws:
        described = await aws.control.get_algorithm(ARN)

        assert json.loads(described.body) == DEFINITION
        assert described == Described(ARN, "churn é", described.body, {"k": "v"}, CREATED_AT, CREATED_AT + 0.5)
        assert server.requests[0].path == f"/configured-model-algorithms/{ARN.replace(':', '%3A').replace('/', '%2F')}"


async def test_a_get_about_another_algorithm_proves_nothing() -> None:
    """The reply to another request, on a connection that mixes them up, is no description, and not "gone"."""
    other = ROW | DEFINITION | {"configuredModelAlgorithmArn": f"{ARN}0"}
    async with Server(answer(**other)) as server, open_control(server.url) as aws:
        with pytest.raises(CallError, match="cannot be read") as raised:
            await aws.control.get_algorithm(ARN)

        assert raised.value.reply.code == ""


async def test_delete_deletes_once() -> None:
    """A delete is one DELETE of the ARN."""
    async with Server(send(http(200, b""))) as server, open_control(server.url) as aws:
        await aws.control.delete_algorithm(ARN, allowed)

        assert [request.method for request in server.requests] == ["DELETE"]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (refuse(404, "ResourceNotFoundException", message="gone"), 404, "ResourceNotFoundException"),
        (refuse(409, "ConflictException", message="in use"), 409, "ConflictException"),
        (refuse(429, ""), 429, ""),
    ],
)
async def test_a_refusal_carries_its_reply(fault: Action, status: int, code: str) -> None:
    """The caller decides by the reply: status, code, message and advice are in the error, with the ARN."""
    async with Server(fault) as server, open_control(server.url) as aws:
        with pytest.raises(CallError) as raised:
            await aws.control.get_algorithm(ARN)
        reply = await aws.control.delete_algorithm(ARN, allowed)

        assert (raised.value.reply.status, raised.value.reply.code) == (status, code)
        assert ARN in str(raised.value)
        assert (reply.status, reply.code) == (status, code)
        assert len(server.requests) == 2


async def test_a_lost_reply_carries_its_loss() -> None:
    """A read that hangs is one request, given up after the read time-out."""
    async with Server(hang()) as server, open_control(server.url, connect_timeout_s=0.3, read_timeout_s=0.2) as aws:
        with pytest.raises(CallError) as raised:
            await aws.control.list_algorithms()

        assert raised.value.reply.loss is Loss.READ_TIMEOUT
        assert judge(raised.value.reply) is Verdict.AMBIGUOUS
        assert len(server.requests) == 1


async def test_the_account_is_asked_of_sts_when_asked_for() -> None:
    """STS is called for the account, and only then."""
    stub = Sts()
    async with Server(stub) as server, open_control(server.url) as aws:
        assert server.connections == 0
        assert await aws.control.caller_account() == "123456789012"
        assert [call["Action"] for call in stub.asked] == ["GetCallerIdentity"]


async def test_an_account_that_sts_does_not_tell_raises() -> None:
    """A refusal of STS carries its status and code."""
    stub = Sts()
    stub.denied = True
    async with Server(stub) as server, open_control(server.url) as aws:
        with pytest.raises(CallError) as raised:
            await aws.control.caller_account()

    assert (raised.value.reply.status, raised.value.reply.code) == (403, "AccessDenied")


async def test_an_sts_that_is_not_there_raises() -> None:
    """No STS is an error of the call, not of the program."""
    async with open_control("http://localhost:1") as aws:
        with pytest.raises(CallError) as raised:
            await aws.control.caller_account()

    assert raised.value.reply.loss is Loss.REFUSED
