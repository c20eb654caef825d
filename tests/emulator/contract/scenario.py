"""What every front of the state must do; ``call`` is a client of any SDK.

The story is written with ``await``; a synchronous client is driven by :func:`run_synchronously`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    Call = Callable[..., Awaitable[dict[str, Any]]]

ROLE = "arn:aws:iam::123456789012:role/access"
FULL = {
    "name": "full",
    "description": "everything",
    "roleArn": ROLE,
    "trainingContainerConfig": {
        "imageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1",
        "entrypoint": ["python3", "train.py"],
        "arguments": ["--epochs", "10"],
        "metricDefinitions": [{"name": "auc", "regex": "auc=(.*)"}],
    },
    "inferenceContainerConfig": {"imageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/infer:1"},
    "kmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "tags": {"owner": "équipe", "a/b": "c d"},
}
MISSING = "arn:aws:cleanrooms-ml:us-east-1:123456789012:configured-model-algorithm/none"


async def scenario(call: Call) -> None:
    """The life of algorithms, from create to delete."""
    arns = await _create(call)
    await _read(call, arns)
    await _tag(call, arns["full"])
    await _page(call, set(arns.values()))
    await _refuse(call)
    await _delete(call, arns["full"])


async def _create(call: Call) -> dict[str, str]:
    arns = {"full": (await call("create_configured_model_algorithm", **FULL))["configuredModelAlgorithmArn"]}
    for number in range(6):
        name = f"small {number}"
        reply = await call("create_configured_model_algorithm", name=name, roleArn=ROLE)
        arns[name] = reply["configuredModelAlgorithmArn"]
    assert len(set(arns.values())) == 7
    assert all(arn.startswith("arn:aws:cleanrooms-ml:us-east-1:123456789012:") for arn in arns.values())
    return arns


async def _read(call: Call, arns: dict[str, str]) -> None:
    got = await call("get_configured_model_algorithm", configuredModelAlgorithmArn=arns["full"])
    assert {name: got[name] for name in FULL} == FULL
    assert got["configuredModelAlgorithmArn"] == arns["full"]
    assert got["createTime"] == got["updateTime"]
    small = await call("get_configured_model_algorithm", configuredModelAlgorithmArn=arns["small 0"])
    assert small["tags"] == {}
    assert "description" not in small


async def _tag(call: Call, arn: str) -> None:
    await call("tag_resource", resourceArn=arn, tags={"a/b": "new", "x": ""})
    await call("untag_resource", resourceArn=arn, tagKeys=["owner", "not there"])
    tags = (await call("list_tags_for_resource", resourceArn=arn))["tags"]
    assert tags == {"a/b": "new", "x": ""}


async def _page(call: Call, arns: set[str]) -> None:
    found: list[str] = []
    more: dict[str, str] = {}
    for _ in range(4):
        page = await call("list_configured_model_algorithms", maxResults=2, **more)
        found += [summary["configuredModelAlgorithmArn"] for summary in page["configuredModelAlgorithms"]]
        if "nextToken" not in page:
            break
        more = {"nextToken": page["nextToken"]}
    assert sorted(found) == sorted(arns)


async def _refuse(call: Call) -> None:
    await _refused(409, "ConflictException", call("create_configured_model_algorithm", **FULL))
    await _refused(400, "ValidationException", call("create_configured_model_algorithm", name="x" * 64, roleArn=ROLE))
    await _refused(400, "ValidationException", call("list_configured_model_algorithms", nextToken="x"))
    await _refused(
        404, "ResourceNotFoundException", call("get_configured_model_algorithm", configuredModelAlgorithmArn=MISSING)
    )
    await _refused(404, "ResourceNotFoundException", call("tag_resource", resourceArn=MISSING, tags={}))


async def _delete(call: Call, arn: str) -> None:
    await call("delete_configured_model_algorithm", configuredModelAlgorithmArn=arn)
    await _refused(
        404, "ResourceNotFoundException", call("delete_configured_model_algorithm", configuredModelAlgorithmArn=arn)
    )
    again = (await call("create_configured_model_algorithm", **FULL))["configuredModelAlgorithmArn"]
    assert again != arn


async def _refused(status: int, code: str, reply: Awaitable[dict[str, Any]]) -> None:
    with pytest.raises(ClientError) as caught:
        await reply
    response = caught.value.response
    assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (status, code)
    assert response["Error"]["Message"]


def run_synchronously(story: Coroutine[Any, Any, None]) -> None:
    """Runs a story whose awaits never suspend."""
    with pytest.raises(StopIteration):
        story.send(None)


def synchronous(client: Any) -> Call:
    """The calls of a boto3 client, to be awaited."""

    async def call(operation: str, **parameters: Any) -> dict[str, Any]:
        reply: dict[str, Any] = getattr(client, operation)(**parameters)
        return reply

    return call


def asynchronous(client: Any) -> Call:
    """The calls of an aioboto3 client."""

    async def call(operation: str, **parameters: Any) -> dict[str, Any]:
        reply: dict[str, Any] = await getattr(client, operation)(**parameters)
        return reply

    return call
