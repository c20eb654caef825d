"""What the SDKs rely on: dates, timestamps, names of errors, ARNs, lags."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.exceptions import ClientError, ConnectionClosedError

from provisioner.emulator import Behaviour, credentials
from provisioner.emulator.signature import SERVICE_NAME

from .support import REGION, client, definition

if TYPE_CHECKING:
    from provisioner.emulator import Emulator

TEN_MINUTES = timedelta(minutes=10)
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1"
LEEWAY = timedelta(seconds=60)
"""The time that a busy machine may take between a call and a look at the clock."""


def _date(metadata: dict[str, Any]) -> datetime:
    return parsedate_to_datetime(metadata["ResponseMetadata"]["HTTPHeaders"]["date"])


def _off(seconds: float) -> Behaviour:
    return Behaviour(clock_offset=seconds, verify=False)


@pytest.mark.parametrize("offset", [0.0, 600.0, -600.0])
def test_every_response_has_the_date_of_the_endpoint(emulator: Emulator, offset: float) -> None:
    """The Date header of a success and of an error follows the endpoint's clock, from which SDKs correct their own."""
    emulator.behaviour = _off(offset)
    cleanrooms = client(emulator.url)
    listed = cleanrooms.list_configured_model_algorithms()
    with pytest.raises(ClientError) as caught:
        cleanrooms.list_configured_model_algorithms(nextToken="x")

    expected = datetime.now(UTC) + timedelta(seconds=offset)
    assert abs(_date(listed) - expected) < LEEWAY
    assert abs(_date(caught.value.response) - expected) < LEEWAY


def test_a_skewed_clock_is_visible_in_the_refusal(emulator: Emulator) -> None:
    """A client whose signature is refused for its age learns the endpoint's time from the same response."""
    emulator.behaviour = Behaviour(clock_offset=600.0)
    with pytest.raises(ClientError, match="Signature expired") as caught:
        client(emulator.url).list_configured_model_algorithms()

    assert abs(_date(caught.value.response) - datetime.now(UTC) - TEN_MINUTES) < LEEWAY


def test_times_in_bodies_are_the_endpoints(emulator: Emulator) -> None:
    """CreateTime and the expiration of a session follow the endpoint's clock too."""
    emulator.behaviour = _off(600.0)
    cleanrooms = client(emulator.url)
    arn = cleanrooms.create_configured_model_algorithm(**definition())["configuredModelAlgorithmArn"]
    made = cleanrooms.get_configured_model_algorithm(configuredModelAlgorithmArn=arn)["createTime"]
    keys = client(emulator.url, service="sts").assume_role(
        RoleArn="arn:aws:iam::123456789012:role/x", RoleSessionName="run", DurationSeconds=900
    )["Credentials"]

    assert abs(made - datetime.now(UTC) - TEN_MINUTES) < LEEWAY
    assert abs(keys["Expiration"] - datetime.now(UTC) - timedelta(minutes=25)) < LEEWAY


def _raw(emulator: Emulator, method: str, path: str, body: str = "", service: str = SERVICE_NAME) -> bytes:
    """The body of a response as it is on the wire."""
    keys, host = credentials(), emulator.url.removeprefix("http://")
    request = AWSRequest(method, emulator.url + path, headers={"Host": host}, data=body.encode())
    SigV4Auth(BotocoreCredentials(keys.access_key_id, keys.secret_access_key), service, REGION).add_auth(request)
    connection = HTTPConnection(host)
    connection.request(method, path, body.encode(), dict(request.headers))
    answer = connection.getresponse().read()
    connection.close()
    return answer


def test_times_end_in_z(emulator: Emulator) -> None:
    """Timestamps are UTC with a Z, the only form that every SDK reads."""
    client(emulator.url).create_configured_model_algorithm(**definition())
    listed = msgspec.json.decode(_raw(emulator, "GET", "/configured-model-algorithms"))["configuredModelAlgorithms"][0]
    form = "Action=AssumeRole&RoleArn=arn:aws:iam::123456789012:role/x&RoleSessionName=run"
    assumed = _raw(emulator, "POST", "/", form, "sts").decode()

    for time in (listed["createTime"], listed["updateTime"], assumed.split("Expiration>")[1].removesuffix("</")):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)


def test_the_500_has_the_models_name(emulator: Emulator) -> None:
    """The 500 is InternalServiceException, which newer models know."""
    emulator.behaviour = Behaviour(script=("error",))
    with pytest.raises(ClientError) as caught:
        client(emulator.url).create_configured_model_algorithm(**definition())

    assert caught.value.response["Error"]["Code"] == "InternalServiceException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eusc-de-east-1", "aws-eusc"), ("us-iso-east-1", "aws-iso"), ("us-isob-east-1", "aws-iso-b")],
)
def test_arns_have_the_partition_of_their_region(emulator: Emulator, region: str, partition: str) -> None:
    """An algorithm of a sovereign or isolated Region has its partition in its ARN, and so has the caller."""
    made = client(emulator.url, region=region).create_configured_model_algorithm(**definition())
    identity = client(emulator.url, region=region, service="sts").get_caller_identity()

    assert made["configuredModelAlgorithmArn"].startswith(f"arn:{partition}:cleanrooms-ml:{region}:")
    assert identity["Arn"].startswith(f"arn:{partition}:iam:")


def _names(emulator: Emulator) -> list[str]:
    listed = client(emulator.url).list_configured_model_algorithms()["configuredModelAlgorithms"]
    return sorted(each["name"] for each in listed)


def test_list_lags_behind_creates_and_get_does_not(emulator: Emulator) -> None:
    """A new algorithm is in Get at once, and in List when the lag is over."""
    cleanrooms = client(emulator.url)
    emulator.behaviour = Behaviour(list_lag=3600.0)
    arn = cleanrooms.create_configured_model_algorithm(**definition())["configuredModelAlgorithmArn"]

    assert _names(emulator) == []
    assert cleanrooms.get_configured_model_algorithm(configuredModelAlgorithmArn=arn)["name"] == "algorithm"
    emulator.behaviour = Behaviour()
    assert _names(emulator) == ["algorithm"]


def test_list_lags_behind_deletes_and_get_does_not(emulator: Emulator) -> None:
    """A deleted algorithm is gone from Get at once, and from List when the lag is over; its name is free at once."""
    cleanrooms = client(emulator.url)
    emulator.behaviour = Behaviour(list_delete_lag=3600.0)
    arn = cleanrooms.create_configured_model_algorithm(**definition())["configuredModelAlgorithmArn"]
    cleanrooms.delete_configured_model_algorithm(configuredModelAlgorithmArn=arn)

    assert _names(emulator) == ["algorithm"]
    with pytest.raises(cleanrooms.exceptions.ResourceNotFoundException):
        cleanrooms.get_configured_model_algorithm(configuredModelAlgorithmArn=arn)
    cleanrooms.create_configured_model_algorithm(**definition())
    assert _names(emulator) == ["algorithm", "algorithm"]
    emulator.behaviour = Behaviour()
    assert _names(emulator) == ["algorithm"]


def test_metric_definitions_come_back_in_another_order(emulator: Emulator) -> None:
    """With the switch, Get never returns metricDefinitions as they were sent; arguments keep their order."""
    metrics = [{"name": f"m{number}", "regex": "x=(.*)"} for number in range(3)]
    container = {
        "imageUri": IMAGE,
        "arguments": ["1", "2"],
        "metricDefinitions": metrics,
    }
    cleanrooms = client(emulator.url)
    made = cleanrooms.create_configured_model_algorithm(**definition(trainingContainerConfig=container))
    emulator.behaviour = Behaviour(shuffle_metrics=True)

    for _ in range(10):
        got = cleanrooms.get_configured_model_algorithm(**_arn_of(made))["trainingContainerConfig"]
        assert got["metricDefinitions"] != metrics
        assert sorted(got["metricDefinitions"], key=str) == metrics
        assert got["arguments"] == ["1", "2"]


def _arn_of(made: dict[str, Any]) -> dict[str, str]:
    """The parameters that name what a create made."""
    return {"configuredModelAlgorithmArn": made["configuredModelAlgorithmArn"]}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_metric_definitions_without_another_order_stay(emulator: Emulator, count: int) -> None:
    """Where there is no other order, shuffling changes nothing and ends."""
    container = {
        "imageUri": IMAGE,
        "metricDefinitions": [{"name": "m", "regex": "x=(.*)"}] * count,
    }
    cleanrooms = client(emulator.url)
    made = cleanrooms.create_configured_model_algorithm(**definition(trainingContainerConfig=container))
    emulator.behaviour = Behaviour(shuffle_metrics=True)

    got = cleanrooms.get_configured_model_algorithm(**_arn_of(made))
    assert got["trainingContainerConfig"] == container


@pytest.mark.parametrize(
    ("script", "executed"), [("lost_reply", True), ("lost_request", False), ("error:503", True), ("throttle", False)]
)
def test_tag_calls_take_faults(emulator: Emulator, script: str, executed: bool) -> None:  # noqa: FBT001
    """TagResource and UntagResource have scripts of their own, and are executed or not as the fault says."""
    cleanrooms = client(emulator.url)
    arn = cleanrooms.create_configured_model_algorithm(**definition(tags={"old": "1"}))["configuredModelAlgorithmArn"]
    emulator.behaviour = Behaviour(tag_script=(script,), untag_script=(script,))
    for call in (
        partial(cleanrooms.tag_resource, resourceArn=arn, tags={"new": "2"}),
        partial(cleanrooms.untag_resource, resourceArn=arn, tagKeys=["old"]),
    ):
        with pytest.raises((ClientError, ConnectionClosedError)):
            call()

    tags = cleanrooms.list_tags_for_resource(resourceArn=arn)["tags"]
    assert tags == ({"new": "2"} if executed else {"old": "1"})
    assert emulator.truth.count("tag") == emulator.truth.count("untag") == 1


@pytest.mark.parametrize("key", ["aws:x", "AWS:cloudformation:stack-name"])
def test_tags_of_aws_cannot_be_changed(emulator: Emulator, key: str) -> None:
    """Keys with the prefix that AWS reserves can be neither set nor removed."""
    cleanrooms = client(emulator.url)
    arn = cleanrooms.create_configured_model_algorithm(**definition())["configuredModelAlgorithmArn"]

    with pytest.raises(ClientError, match="ValidationException"):
        cleanrooms.tag_resource(resourceArn=arn, tags={key: "1"})
    with pytest.raises(ClientError, match="ValidationException"):
        cleanrooms.untag_resource(resourceArn=arn, tagKeys=[key])


def test_many_tags_can_be_removed_at_once(emulator: Emulator) -> None:
    """UntagResource takes up to 200 keys, as its model says, whether or not they exist."""
    cleanrooms = client(emulator.url)
    arn = cleanrooms.create_configured_model_algorithm(**definition(tags={"k1": "v", "stay": "v"}))[
        "configuredModelAlgorithmArn"
    ]
    cleanrooms.untag_resource(resourceArn=arn, tagKeys=[f"k{number}" for number in range(200)])

    assert cleanrooms.list_tags_for_resource(resourceArn=arn)["tags"] == {"stay": "v"}
    with pytest.raises(ClientError, match="ValidationException"):
        cleanrooms.untag_resource(resourceArn=arn, tagKeys=[f"k{number}" for number in range(201)])
