"""GetResources of the resource groups tagging API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.aws import CallError, Tagged, TaggedPage, connect
from provisioner.config.target import Target
from provisioner.core.verdict import Loss, Verdict, judge
from provisioner.emulator import Behaviour, credentials, running
from tests.aws.conftest import limits_of
from tests.aws.server import ARN, Server, close, hang, http, refuse, send
from tests.emulator.support import client, definition

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from provisioner.aws import Aws
    from tests.aws.server import Action

JSON_1_1 = {"content-type": "application/x-amz-json-1.1"}
RESOURCE = {"ResourceARN": ARN, "Tags": [{"Key": "k", "Value": "v"}, {"Key": "aws:x", "Value": ""}]}


def open_tagging(url: str, **options: Any) -> AbstractAsyncContextManager[Aws]:
    """A target whose tagging API is at ``url``."""
    return connect(Target(region="us-east-1", tagging_endpoint_url=url), limits_of(**options))


def answer(**members: Any) -> Action:
    """Answer 200 with ``members``."""
    return send(http(body=json.dumps(members).encode(), headers=JSON_1_1))


async def test_a_page_is_read() -> None:
    """It asks for algorithms alone, a hundred a page; rows with all tags and the token of the next page come back."""
    script = (
        answer(ResourceTagMappingList=[RESOURCE, {"ResourceARN": ARN}], PaginationToken="t+/="),
        answer(ResourceTagMappingList=[], PaginationToken=""),
    )
    async with Server(*script) as server, open_tagging(server.url) as aws:
        first = await aws.control.tagged()
        second = await aws.control.tagged(first.next_token)

        rows = (Tagged(ARN, {"k": "v", "aws:x": ""}), Tagged(ARN, {}))
        assert (first, second) == (TaggedPage(rows, "t+/="), TaggedPage(()))
        assert [request.headers["x-amz-target"] for request in server.requests] == [
            "ResourceGroupsTaggingAPI_20170126.GetResources"
        ] * 2
        asked = {"ResourceTypeFilters": ["cleanrooms-ml:configured-model-algorithm"], "ResourcesPerPage": 100}
        assert [json.loads(request.body) for request in server.requests] == [asked, asked | {"PaginationToken": "t+/="}]
        assert "/us-east-1/tagging/aws4_request" in server.requests[0].headers["authorization"]


@pytest.mark.parametrize(
    "fault",
    [
        answer(),
        answer(ResourceTagMappingList=None),
        answer(ResourceTagMappingList=[{"Tags": []}]),
        answer(ResourceTagMappingList=[{"ResourceARN": ARN, "Tags": [{"Key": "k"}]}]),
        send(http(body=b"<html>")),
        send(http(body=b"")),
        close(http()[:-3]),
        refuse(500),
    ],
)
async def test_a_page_that_was_not_read_is_never_an_empty_page(fault: Action) -> None:
    """Whatever goes wrong raises, after one request."""
    async with Server(fault) as server, open_tagging(server.url) as aws:
        with pytest.raises(CallError):
            await aws.control.tagged()

        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("code", "verdict"), [("ThrottledException", Verdict.THROTTLED), ("AccessDeniedException", Verdict.REJECTED)]
)
async def test_a_refusal_carries_its_code(code: str, verdict: Verdict) -> None:
    """The code is in the body, as JSON 1.1 has it, and the status is 400."""
    fault = send(http(400, json.dumps({"__type": code, "Message": "no"}).encode(), JSON_1_1))
    async with Server(fault) as server, open_tagging(server.url) as aws:
        with pytest.raises(CallError) as raised:
            await aws.control.tagged()

    reply = raised.value.reply
    assert (reply.status, reply.code, reply.message) == (400, code, "no")
    assert judge(reply) is verdict


async def test_a_lost_reply_carries_its_loss() -> None:
    """A call that hangs is one request, given up after the read time-out."""
    async with Server(hang()) as server, open_tagging(server.url, connect_timeout_s=0.3, read_timeout_s=0.2) as aws:
        with pytest.raises(CallError) as raised:
            await aws.control.tagged()

    assert raised.value.reply.loss is Loss.READ_TIMEOUT
    assert len(server.requests) == 1


async def test_an_api_that_no_client_can_be_made_for_is_an_error_of_the_call() -> None:
    """List may still work: the caller goes on without tags."""
    async with open_tagging("https://a..b") as aws:
        with pytest.raises(CallError):
            await aws.control.tagged()


@pytest.mark.parametrize(
    ("urls", "called"),
    [
        ({}, True),
        ({"endpoint_url": "https://own"}, False),
        ({"endpoint_url": "https://own", "tagging_endpoint_url": "https://tags"}, True),
        ({"tagging_endpoint_url": "https://tags"}, True),
    ],
)
async def test_where_it_is_called(urls: dict[str, Any], *, called: bool) -> None:
    """With AWS by default; beside an endpoint of one's own only where one is named for it."""
    async with connect(Target(region="us-east-1", **urls), limits_of()) as aws:
        assert aws.has_tagging is called


async def test_it_reads_what_the_embedded_endpoint_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both APIs on one URL, and a clock that is wrong by an hour: the second request is signed by the server's."""
    for name, value in credentials().environment().items():
        monkeypatch.setenv(name, value)
    with running() as emulator:
        made = client(emulator.url).create_configured_model_algorithm(**definition(tags={"k": "v"}))
        emulator.behaviour = Behaviour(clock_offset=3600.0)
        async with open_tagging(emulator.url) as aws:
            page = await aws.control.tagged()

        assert page == TaggedPage((Tagged(made["configuredModelAlgorithmArn"], {"k": "v"}),))
