"""The same story through every front: our own, moto's server, moto in the process; boto3 and aioboto3."""

from __future__ import annotations

import json
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import aioboto3
import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count

from provisioner.emulator import running
from provisioner.emulator.moto import register
from tests.emulator.support import ONE_ATTEMPT, client, sdk_arguments
from tests.moto import moto_server

from .scenario import MISSING, asynchronous, run_synchronously, scenario, synchronous

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _own_front() -> Iterator[str]:
    with running() as emulator:
        yield emulator.url


@pytest.fixture(params=[_own_front, moto_server], ids=["front", "moto-server"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every front that speaks HTTP."""
    with request.param() as where:
        yield where


def test_boto3(url: str) -> None:
    """The story holds for boto3 over HTTP, whichever front serves it."""
    cleanrooms = client(url)
    try:
        run_synchronously(scenario(synchronous(cleanrooms)))
    finally:
        cleanrooms.close()


async def test_aioboto3(url: str) -> None:
    """The story holds for aioboto3 over HTTP, whichever front serves it."""
    async with aioboto3.Session().client("cleanroomsml", **sdk_arguments(url)) as cleanrooms:
        await scenario(asynchronous(cleanrooms))


def test_boto3_under_mock_aws() -> None:
    """The story holds for boto3 without a socket, under moto's mock; the next mock starts empty."""
    register()
    register()
    for _ in range(2):
        with mock_aws():
            cleanrooms = boto3.client("cleanroomsml", region_name="us-east-1", config=ONE_ATTEMPT)
            run_synchronously(scenario(synchronous(cleanrooms)))


def test_regions_are_apart_under_mock_aws() -> None:
    """Under moto each Region has its own algorithms, too."""
    register()
    with mock_aws():
        arns = {
            boto3.client("cleanroomsml", region_name=region).create_configured_model_algorithm(
                name="a", roleArn="arn:aws:iam::123456789012:role/access"
            )["configuredModelAlgorithmArn"]
            for region in ("us-east-1", "eu-west-2")
        }

    assert {arn.split(":")[3] for arn in arns} == {"us-east-1", "eu-west-2"}


def test_every_response_has_a_request_id_and_a_date(url: str) -> None:
    """Every response of every front, including errors, has its own request id and a date."""
    cleanrooms = client(url)
    try:
        _check_metadata(cleanrooms)
    finally:
        cleanrooms.close()


def test_every_response_has_a_request_id_and_a_date_under_mock_aws() -> None:
    """The same without a socket."""
    register()
    with mock_aws():
        _check_metadata(boto3.client("cleanroomsml", region_name="us-east-1", config=ONE_ATTEMPT))


def _check_metadata(cleanrooms: Any) -> None:
    replies = [cleanrooms.list_configured_model_algorithms()]
    with pytest.raises(ClientError) as caught:
        cleanrooms.get_configured_model_algorithm(configuredModelAlgorithmArn=MISSING)
    replies.append(caught.value.response)
    metadata = [reply["ResponseMetadata"] for reply in replies]

    assert len({each["RequestId"] for each in metadata}) == 2
    assert all(parsedate_to_datetime(each["HTTPHeaders"]["date"]).tzinfo for each in metadata)


@pytest.mark.parametrize(
    "region", ["us-east-1", "sa-east-1", "ap-southeast-4", "cn-north-1", "us-gov-west-1", "us-iso-east-1"]
)
def test_every_region_of_moto_has_algorithms(region: str) -> None:
    """Under moto the service is in every Region that botocore knows, whether or not AWS has it there."""
    register()
    with mock_aws():
        cleanrooms = boto3.client("cleanroomsml", region_name=region, config=ONE_ATTEMPT)
        arn = cleanrooms.create_configured_model_algorithm(name="a", roleArn="arn:aws:iam::123456789012:role/access")[
            "configuredModelAlgorithmArn"
        ]

    assert arn.split(":")[3] == region


def test_motos_policies_are_enforced() -> None:
    """Where moto authorizes calls, an action that a policy allows works, and any other answers 403."""
    register()
    with mock_aws():
        _call_with_policy()


@set_initial_no_auth_action_count(3)
def _call_with_policy() -> None:
    iam = boto3.client("iam", region_name="us-east-1")
    allowed = {"Effect": "Allow", "Action": "cleanrooms-ml:ListConfiguredModelAlgorithms", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.create_user(UserName="reader")
    iam.put_user_policy(UserName="reader", PolicyName="list", PolicyDocument=policy)
    keys = iam.create_access_key(UserName="reader")["AccessKey"]
    cleanrooms = boto3.client(
        "cleanroomsml",
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        config=ONE_ATTEMPT,
    )

    assert cleanrooms.list_configured_model_algorithms()["configuredModelAlgorithms"] == []
    with pytest.raises(ClientError) as caught:
        cleanrooms.create_configured_model_algorithm(name="a", roleArn="arn:aws:iam::123456789012:role/access")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert "cleanrooms-ml:CreateConfiguredModelAlgorithm" in str(caught.value)
