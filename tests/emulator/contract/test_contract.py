"""The same story through every front: our own, moto's server, moto in the process; boto3 and aioboto3."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import aioboto3
import boto3
import pytest
from moto import mock_aws
from moto.core.base_backend import BackendDict
from moto.server import ThreadedMotoServer

from provisioner.emulator import running
from provisioner.emulator.moto import register
from tests.emulator.support import ONE_ATTEMPT, client, sdk_arguments

from .scenario import asynchronous, run_synchronously, scenario, synchronous

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _own_front() -> Iterator[str]:
    with running() as emulator:
        yield emulator.url


@contextmanager
def _moto_server() -> Iterator[str]:
    register()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        BackendDict.reset()  # moto's server keeps its state in the process
        server.stop()


@pytest.fixture(params=[_own_front, _moto_server], ids=["front", "moto-server"])
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
    """Under moto, too, each Region has its own algorithms."""
    register()
    with mock_aws():
        arns = {
            boto3.client("cleanroomsml", region_name=region).create_configured_model_algorithm(
                name="a", roleArn="arn:aws:iam::123456789012:role/access"
            )["configuredModelAlgorithmArn"]
            for region in ("us-east-1", "eu-west-2")
        }

    assert {arn.split(":")[3] for arn in arns} == {"us-east-1", "eu-west-2"}
