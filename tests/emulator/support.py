"""What these tests share: a definition, signed calls, clients of the SDK."""

from __future__ import annotations

import time
from random import Random
from typing import Any

import boto3
import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials

from provisioner.emulator import DEFAULT_ACCOUNT, Credentials, credentials
from provisioner.emulator.signature import SERVICE_NAME
from provisioner.emulator.wire import Call

ROLE = "arn:aws:iam::123456789012:role/access"
REGION = "us-east-1"
ALGORITHMS = "/configured-model-algorithms"
ONE_ATTEMPT = Config(retries={"total_max_attempts": 1}, read_timeout=5)


def definition(name: str = "algorithm", **more: object) -> dict[str, Any]:
    """The parameters of a create."""
    return {"name": name, "roleArn": ROLE, **more}


def signed(
    method: str,
    target: str,
    body: bytes = b"",
    *,
    keys: Credentials | None = None,
    region: str = REGION,
    service: str = SERVICE_NAME,
) -> Call:
    """A call signed now by botocore's signer, for the host "endpoint"."""
    keys = keys or credentials()
    request = AWSRequest(method, f"http://endpoint{target}", headers={"Host": "endpoint"}, data=body)
    signer = SigV4Auth(
        BotocoreCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token or None), service, region
    )
    signer.add_auth(request)
    return Call(method, target, {name.lower(): value for name, value in request.headers.items()}, body)


def create_call(name: str = "algorithm", **more: object) -> Call:
    """A signed create."""
    return signed("POST", ALGORITHMS, msgspec.json.encode(definition(name, **more)))


def now() -> float:
    """The time that signatures are made at."""
    return time.time()


def sdk_arguments(url: str, account_id: str = DEFAULT_ACCOUNT, region: str = REGION) -> dict[str, Any]:
    """What a client of boto3 or aioboto3 needs to talk to the endpoint."""
    keys = credentials(account_id)
    return {
        "endpoint_url": url,
        "region_name": region,
        "aws_access_key_id": keys.access_key_id,
        "aws_secret_access_key": keys.secret_access_key,
        "config": ONE_ATTEMPT,
    }


def client(url: str, account_id: str = DEFAULT_ACCOUNT, region: str = REGION, service: str = "cleanroomsml") -> Any:
    """A boto3 client that sends each call once."""
    return boto3.client(service, **sdk_arguments(url, account_id, region))


def seeded(seed: int = 0) -> Random:
    """A generator that replays."""
    return Random(seed)  # noqa: S311 - tests need no secrets
