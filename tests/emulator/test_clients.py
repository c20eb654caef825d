"""What clients rely on that they did not write: dates, request ids, error names."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.exceptions import ClientError

from provisioner.emulator import Behaviour, credentials, running
from provisioner.emulator.signature import SERVICE_NAME

from .support import REGION, client, definition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.emulator import Emulator

TEN_MINUTES = timedelta(minutes=10)
LEEWAY = timedelta(seconds=60)
"""What a busy machine may need between a call and a look at its clock."""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An endpoint in a thread."""
    with running() as endpoint:
        yield endpoint


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


def test_a_failure_of_the_service_has_the_models_name(emulator: Emulator) -> None:
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
