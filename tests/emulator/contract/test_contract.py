"""The same story through every front: our own, moto's server, moto in the process; boto3 and aioboto3."""

from __future__ import annotations

from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import aioboto3
import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

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
