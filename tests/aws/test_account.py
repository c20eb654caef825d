"""An inspection of a target's account: over HTTP, against moto's services and a stub of what moto lacks."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from provisioner.aws import CallError, inspect
from provisioner.aws.inspection import Caller
from provisioner.config.target import Target
from provisioner.core.images import Image
from provisioner.core.verdict import Loss
from provisioner.errors import CredentialsError
from tests.aws.conftest import limits_of
from tests.aws.server import Server
from tests.aws.services import (
    ACCOUNT,
    DENIED,
    DENIED_JSON,
    LIST,
    ROLE,
    TRUST,
    USER,
    Refusal,
    Services,
    assumed,
    caller,
    decided,
    page,
    quota,
    role,
)
from tests.moto import moto_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from provisioner.aws.inspection import Inspection

ENDPOINTS = ("endpoint_url", "sts_endpoint_url", "tagging_endpoint_url")
IMAGE = Image(ACCOUNT, "us-east-1", "train", "1", "")
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000"


@asynccontextmanager
async def inspecting(url: str, **fields: Any) -> AsyncIterator[Inspection]:
    """An inspection of a target whose every service is at ``url``."""
    target = Target(**({"region": "us-east-1"} | dict.fromkeys(ENDPOINTS, url) | fields))
    async with inspect(target, limits_of(), endpoint_url=url) as inspection:
        yield inspection


@pytest.fixture
def moto() -> Iterator[str]:
    """A server of moto."""
    with moto_server() as url:
        yield url


def at(url: str, service: str) -> Any:
    """A client that prepares what an inspection is to find."""
    return boto3.client(service, region_name="us-east-1", endpoint_url=url)


async def test_motos_services_are_read(moto: str) -> None:
    """Caller, List, tags, role, image and key are read as STS, the tagging API, IAM, ECR and KMS write them."""
    at(moto, "iam").create_role(RoleName="access", Path="/a/", AssumeRolePolicyDocument=json.dumps(TRUST))
    at(moto, "ecr").create_repository(repositoryName="train")
    at(moto, "ecr").put_image(repositoryName="train", imageTag="1", imageManifest="{}", imageManifestMediaType="m")
    key = at(moto, "kms").create_key()["KeyMetadata"]["Arn"]
    async with inspecting(moto) as inspection:
        found = await inspection.role("access")
        await inspection.find_image(IMAGE)

        assert (await inspection.caller()).account_id == ACCOUNT
        assert (await inspection.list_algorithms()).items == ()
        assert (await inspection.tagged()).items == ()
        assert found == (f"arn:aws:iam::{ACCOUNT}:role/a/access", TRUST)
        assert await inspection.key_state(key) == "Enabled"
        at(moto, "kms").disable_key(KeyId=key.rpartition("/")[2])
        assert await inspection.key_state(key) == "Disabled"


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda inspection: inspection.role("nobody"), "NoSuchEntity"),
        (lambda inspection: inspection.find_image(Image(ACCOUNT, "us-east-1", "none", "1", "")), "RepositoryNotFound"),
        (lambda inspection: inspection.find_image(Image(ACCOUNT, "us-east-1", "train", "2", "")), "ImageNotFound"),
        (lambda inspection: inspection.key_state(KEY), "NotFound"),
    ],
)
async def test_what_is_missing_has_the_code_of_its_service(
    moto: str, ask: Callable[[Inspection], Awaitable[object]], code: str
) -> None:
    """A role, repository, image or key that is not there is a CallError with the service's own code."""
    at(moto, "ecr").create_repository(repositoryName="train")
    async with inspecting(moto) as inspection:
        with pytest.raises(CallError) as raised:
            await ask(inspection)

    assert raised.value.reply.code.removesuffix("Exception") == code


async def test_a_quota_is_that_of_the_account_or_the_default() -> None:
    """The default is asked for only where the account has no value of its own."""
    services = Services(GetServiceQuota=quota(50.0), GetAWSDefaultServiceQuota=quota(1000.0))
    async with Server(services) as server, inspecting(server.url) as inspection:
        assert await inspection.quota() == 50.0
        services.answers["GetServiceQuota"] = Refusal(400, "NoSuchResourceException")
        assert await inspection.quota() == 1000.0

    assert json.loads(services.sent[0]) == {"ServiceCode": "cleanrooms-ml", "QuotaCode": "L-CDB92F4A"}
    assert services.asked == ["GetServiceQuota"] * 2 + ["GetAWSDefaultServiceQuota"]


async def test_a_simulation_gives_a_decision_for_each_action() -> None:
    """The simulation is of one principal and one resource, as if the service were passed to."""
    services = Services(SimulatePrincipalPolicy=decided("implicitDeny"))
    async with Server(services) as server, inspecting(server.url) as inspection:
        decisions = await inspection.simulate(USER, ["iam:PassRole"], ROLE)

    assert decisions["iam:PassRole"] == "implicitDeny"
    assert "ContextKeyName=iam%3APassedToService" in services.sent[0]
    assert "cleanrooms-ml.amazonaws.com" in services.sent[0]


PERMISSIONS: list[tuple[str, Refusal, Callable[[Inspection], Awaitable[object]]]] = [
    (LIST, Refusal(403, "AccessDeniedException"), lambda inspection: inspection.list_algorithms()),
    ("GetResources", DENIED_JSON, lambda inspection: inspection.tagged()),
    ("GetRole", DENIED, lambda inspection: inspection.role("access")),
    ("SimulatePrincipalPolicy", DENIED, lambda inspection: inspection.simulate(USER, ["iam:PassRole"], ROLE)),
    ("DescribeImages", DENIED_JSON, lambda inspection: inspection.find_image(IMAGE)),
    ("DescribeKey", DENIED_JSON, lambda inspection: inspection.key_state(KEY)),
    ("GetServiceQuota", DENIED_JSON, lambda inspection: inspection.quota()),
]


@pytest.mark.parametrize(("operation", "refusal", "ask"), PERMISSIONS, ids=[each[0] for each in PERMISSIONS])
async def test_a_missing_permission_is_told_from_an_answer(
    operation: str, refusal: Refusal, ask: Callable[[Inspection], Awaitable[object]]
) -> None:
    """Each call without its permission is a CallError with an AccessDenied code, sent once."""
    services = Services(**{operation: refusal})
    async with Server(services) as server, inspecting(server.url) as inspection:
        with pytest.raises(CallError) as raised:
            await ask(inspection)

    assert "AccessDenied" in raised.value.reply.code
    assert services.asked == [operation]


async def test_a_reply_that_cannot_be_read_is_no_crash() -> None:
    """A gateway that answers 200 with something else is a CallError, as every other failure."""
    services = Services(GetServiceQuota={}, GetRole="<Nothing/>", DescribeKey={})
    async with Server(services) as server, inspecting(server.url) as inspection:
        for ask in (inspection.quota(), inspection.role("a"), inspection.key_state(KEY)):
            with pytest.raises(CallError):
                await ask


async def test_a_service_out_of_reach_is_a_loss() -> None:
    """A service that does not listen is reported with its loss, not raised by the SDK."""
    async with inspecting("http://localhost:1") as inspection:
        with pytest.raises(CallError) as raised:
            await inspection.key_state(KEY)

    assert raised.value.reply.loss is Loss.REFUSED


@pytest.mark.parametrize(
    ("field", "ask"),
    [
        ("sts_endpoint_url", lambda inspection: inspection.caller()),
        ("tagging_endpoint_url", lambda inspection: inspection.tagged()),
    ],
)
async def test_a_host_that_no_client_can_be_made_for_is_an_error_of_the_call(
    field: str, ask: Callable[[Inspection], Awaitable[object]]
) -> None:
    """The SDK refuses the name of the host before anything is sent; the other calls are not concerned."""
    async with Server(Services()) as server, inspecting(server.url, **{field: "https://a..b"}) as inspection:
        with pytest.raises(CallError):
            await ask(inspection)
        await inspection.list_algorithms()


async def test_the_clock_is_compared_with_the_last_reply() -> None:
    """The difference is known from a refusal too, and not before the first reply."""
    services = Services(**{LIST: Refusal(403, "AccessDeniedException")})
    services.date = formatdate(time.time() - 3600, usegmt=True)
    async with Server(services) as server, inspecting(server.url) as inspection:
        assert inspection.clock_ahead_s is None
        with pytest.raises(CallError):
            await inspection.list_algorithms()
        assert inspection.clock_ahead_s == pytest.approx(3600, abs=5)
        services.date = formatdate(time.time() + 60, usegmt=True)
        await inspection.caller()
        assert inspection.clock_ahead_s == pytest.approx(-60, abs=5)


async def test_pages_and_callers_are_passed_on() -> None:
    """A page has its token, and a caller the ARN of its session."""
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/me"
    services = Services(**{LIST: page("a", "b", next_token="t")}, GetCallerIdentity=caller(session))
    async with Server(services) as server, inspecting(server.url) as inspection:
        first = await inspection.list_algorithms()

        assert ([item.name for item in first.items], first.next_token) == (["a", "b"], "t")
        assert await inspection.caller() == Caller(ACCOUNT, session)


async def test_credentials_are_described_without_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they were found, whether they are temporary, and how long they last, as far as that is known."""
    async with inspecting("http://localhost:1") as inspection:
        keys = await inspection.credentials()
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    async with inspecting("http://localhost:1") as inspection:
        session = await inspection.credentials()

    assert (keys.origin, keys.temporary, keys.left_s) == ("env", False, float("inf"))
    assert (session.temporary, session.left_s) == (True, float("inf"))
    assert "token" not in repr(session)


async def test_every_call_is_signed_by_the_role_of_the_target() -> None:
    """The role of a target is assumed once, and signs the calls to every service."""
    services = Services(AssumeRole=assumed())
    async with Server(services) as server, inspecting(server.url, assume_role_arn=ROLE) as inspection:
        found = await inspection.credentials()
        await inspection.role("a")
        await inspection.quota()
        await inspection.find_image(IMAGE)
        await inspection.caller()
        await inspection.list_algorithms()
        await inspection.tagged()

    assert (found.origin, found.temporary) == ("sts-assume-role", True)
    assert services.signed_by == ["AKIDEXAMPLE", *["ASIA1"] * 6]


async def test_no_credentials_are_noticed_at_the_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target opens without credentials; asking for them fails as it would fail a run."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with inspecting("http://localhost:1") as inspection:
        with pytest.raises(CredentialsError):
            await inspection.credentials()


async def test_a_session_token_that_is_repeated_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a service repeats of the session token does not reach a message."""
    token = "FwoGZXIvYXdzEXAMPLEtokenWithManyLettersAndDigits0123456789"
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    services = Services(GetRole=Refusal(400, token))
    async with Server(services) as server, inspecting(server.url) as inspection:
        await inspection.credentials()
        with pytest.raises(CallError) as raised:
            await inspection.role("a")

    assert token not in str(raised.value)


async def test_endpoints_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_ENDPOINT_URL and its forms for the services redirect no call of an inspection."""
    async with Server() as hijacker, Server(Services(GetRole=role())) as server:
        for name in ("", "_IAM", "_KMS", "_ECR", "_STS", "_SERVICE_QUOTAS", "_RESOURCE_GROUPS_TAGGING_API"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL{name}", hijacker.url)
        async with inspecting(server.url) as inspection:
            await inspection.role("a")
            await inspection.quota()
            await inspection.caller()
            await inspection.tagged()

        assert hijacker.connections == 0
