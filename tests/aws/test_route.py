"""The direct transport's route, beside what the SDK's own client does with the same configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from provisioner.aws import connect
from provisioner.aws.route import Route, Unsupported, find_route
from provisioner.aws.session import open_session
from provisioner.config.target import Target
from provisioner.errors import ConfigurationError
from tests.aws.conftest import limits_of
from tests.aws.server import BODY, Server, allowed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.aws.conftest import Open


SETTINGS: list[tuple[str, dict[str, str]]] = [
    ("us-east-1", {}),
    ("eu-north-1", {"AWS_USE_FIPS_ENDPOINT": "true"}),
    ("us-west-2", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}),
    ("us-east-2", {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"}),
    ("us-gov-west-1", {}),
    ("cn-north-1", {}),
    ("us-iso-east-1", {}),
    ("mars-central-1", {}),
]


async def by_the_sdk(region: str) -> tuple[str, str]:
    """The URL that the SDK's client sends a create to, and the scope of its signature."""
    sent: list[Any] = []

    async def intercept(request: Any, **_: object) -> None:
        sent.append(request)
        raise ConnectionError

    async with connect(Target(region=region), limits_of(), direct=False) as aws:
        client = await aws.control._clients.service()  # type: ignore[attr-defined]
        client.meta.events.register("before-send.cleanroomsml", intercept)
        await aws.creates.create(BODY, allowed)
    (request,) = sent
    scope = request.headers["Authorization"].decode().split("Credential=")[1].split(", ")[0]
    return request.url, "/".join(scope.split("/")[2:])


@pytest.mark.parametrize(("region", "variables"), SETTINGS, ids=[f"{r} {' '.join(v)}" for r, v in SETTINGS])
async def test_endpoint_and_scope_are_the_sdks(
    region: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIPS, dual-stack and every partition lead to the URL and signature scope that the SDK uses."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    route = find_route(open_session(Target()), region, "")

    assert isinstance(route, Route)
    assert (route.url, f"{route.region}/cleanrooms-ml/aws4_request") == await by_the_sdk(region)


@pytest.mark.parametrize(
    ("region", "variables", "reason"),
    [
        ("fips-us-east-1", {}, "pseudo-Region"),
        ("us-east-1", {"HTTPS_PROXY": "http://proxy.example:3128"}, "proxy"),
    ],
)
def test_what_the_direct_transport_cannot_honour_is_said(
    region: str, variables: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting that only the SDK understands is a reason, in words, to leave creates to the SDK."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    route = find_route(open_session(Target()), region, "")

    assert isinstance(route, Unsupported)
    assert reason in route.reason


@pytest.mark.parametrize("proxy", ["http://user:word@host:port", "http://user:wo/rd@host:1", "http://[host", "http://"])
def test_a_proxy_that_is_no_url_is_a_configuration_error(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before anything is sent, and without the password that may stand in it."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(ConfigurationError) as raised:
        find_route(open_session(Target()), "us-east-1", "")

    assert "HTTPS_PROXY" in str(raised.value)
    assert "word" not in str(raised.value)


async def test_a_setting_for_the_sdk_alone_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a proxy, creates go through the SDK, and a notice says why."""
    async with Server() as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")
        async with connect(Target(region="us-east-1", endpoint_url="http://localhost:1"), limits_of()) as aws:
            reply = await aws.creates.create(BODY, allowed)

        assert "SdkCreates" in repr(aws)
        assert any("a proxy is set for the endpoint" in notice for notice in aws.notices)
        assert reply.arn


async def test_the_direct_transport_is_the_default(open_at: Open, *, direct: bool) -> None:
    """Nothing needs to be said for the fast transport to be used, and then there is no notice."""
    async with open_at("http://localhost:1") as aws:
        assert ("DirectCreates" in repr(aws)) is direct
        assert aws.notices == ()
        assert aws.endpoint == "http://localhost:1"


async def test_the_user_agent_is_the_sdks(open_at: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS sees the SDK's name and generation, ours, and the application id that the user configured."""
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "nightly")
    async with Server() as server, open_at(server.url) as aws:
        await aws.creates.create(BODY, allowed)

        agent = server.requests[0].headers["user-agent"]
        assert "aiobotocore/" in agent
        assert "provisioner/" in agent
        assert "app/nightly" in agent


async def test_a_configuration_file_is_honoured(open_at: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session token, Region and keys of a profile reach the signature."""
    (tmp_path / "config").write_text("[profile p]\nregion = eu-west-1\n")
    (tmp_path / "credentials").write_text(
        "[p]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = s\naws_session_token = tok/en+1==\n"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with Server() as server, open_at(server.url, {"profile": "p", "region": ""}) as aws:
        await aws.creates.create(BODY, allowed)

        headers = server.requests[0].headers
        assert aws.region == "eu-west-1"
        assert "Credential=AKIDPROFILE/" in headers["authorization"]
        assert "/eu-west-1/cleanrooms-ml/" in headers["authorization"]
        assert "x-amz-security-token" in headers["authorization"]
        assert headers["x-amz-security-token"] == "tok/en+1=="
