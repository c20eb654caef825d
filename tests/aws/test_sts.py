"""AssumeRole without the SDK: what it sends is what the SDK sends, and what is not settled is left to the SDK."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from botocore.credentials import ReadOnlyCredentials

from provisioner.aws import Sharing, connect
from provisioner.aws.pool import Place
from provisioner.aws.route import STS, Route, Unsupported, find_route
from provisioner.aws.session import open_session
from provisioner.aws.sts import Assumed, DirectSts
from provisioner.config.target import Target
from provisioner.errors import ConfigurationError, CredentialsError, OutageError
from tests.aws.conftest import limits_of
from tests.aws.server import BODY, Server, allowed, close, hang, http, reset, send
from tests.aws.sts import Sts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.aws.conftest import Open
    from tests.aws.server import Action, Line

ROLE = "arn:aws:iam::111122223333:role/path/provisioner"
SDK_ONLY = frozenset({"amz-sdk-invocation-id", "amz-sdk-request", "accept", "connection"})
"""Headers that STS does without: they count the SDK's attempts, or are HTTP's own."""


@pytest.fixture
def by_sdk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on, every role is assumed by the SDK."""

    def leave_it() -> None:
        monkeypatch.setattr("provisioner.aws.network.find_route", lambda *_: Unsupported("a test"))

    return leave_it


async def opened(url: str, **fields: str) -> None:
    """Open a target that assumes a role at ``url``, and close it."""
    target = {"region": "us-east-1", "assume_role_arn": ROLE, "sts_endpoint_url": url} | fields
    async with connect(Target(**target), limits_of()):  # type: ignore[arg-type]
        pass


async def test_the_request_is_the_sdks(by_sdk: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters, path, scope of the signature, signed headers and user agent are the SDK's."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a+token/of=1")
    stub = Sts()
    async with Server(stub) as sts:
        await opened(sts.url, external_id="x 1+é")
        by_sdk()
        await opened(sts.url, external_id="x 1+é")

    ours, theirs = sts.requests
    heads = [
        {name: text for name, text in request.headers.items() if name not in SDK_ONLY | {"x-amz-date"}}
        for request in (ours, theirs)
    ]
    signed = [head.pop("authorization").partition(", Signature=")[0] for head in heads]
    agents = [head.pop("user-agent").partition(" md/")[0] for head in heads]
    assert stub.asked[0] == stub.asked[1]
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    assert heads[0] == heads[1]
    assert signed[0] == signed[1]
    assert agents[0] == agents[1]


SETTINGS: list[tuple[str, dict[str, str]]] = [
    ("us-east-1", {}),
    ("eu-north-1", {"AWS_USE_FIPS_ENDPOINT": "true"}),
    ("us-west-2", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}),
    ("us-east-1", {"AWS_STS_REGIONAL_ENDPOINTS": "regional"}),
    ("us-gov-west-1", {}),
    ("cn-north-1", {}),
]


@pytest.mark.parametrize(("region", "variables"), SETTINGS, ids=[f"{r} {' '.join(v)}" for r, v in SETTINGS])
async def test_the_endpoint_is_the_sdks(
    region: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIPS, dual-stack, regional endpoints and partitions lead to the URL and signature scope that the SDK uses."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    session, sent = open_session(Target()), []

    async def intercept(request: Any, **_: object) -> None:
        sent.append(request)
        raise ConnectionError

    async with session.create_client("sts", region) as client:
        client.meta.events.register("before-send.sts", intercept)
        with pytest.raises(ConnectionError):
            await client.assume_role(RoleArn=ROLE, RoleSessionName="aa")
    route = find_route(session, region, "", STS)

    assert isinstance(route, Route)
    assert route.url + "/" == sent[0].url
    assert f"/{route.region}/sts/aws4_request" in sent[0].headers["Authorization"].decode()


@pytest.mark.parametrize(
    ("region", "variables"),
    [
        ("us-east-1", {"AWS_STS_REGIONAL_ENDPOINTS": "legacy"}),
        ("aws-global", {}),
        ("fips-us-east-1", {}),
        ("us-east-1", {"HTTPS_PROXY": "http://proxy.example:3128"}),
    ],
)
def test_what_only_the_sdk_understands_is_left_to_it(
    region: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The global endpoint of old, pseudo-Regions and proxies are the SDK's."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert isinstance(find_route(open_session(Target()), region, "", STS), Unsupported)


async def test_a_role_is_assumed_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes past a proxy that is set."""
    async with Server(Sts()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        await opened("http://localhost:1")

        assert [request.path for request in proxy.requests] == ["http://localhost:1/"]


async def test_a_proxy_that_is_no_url_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what is said, and no lack of credentials."""
    monkeypatch.setenv("HTTP_PROXY", "http://user:word@host:port")
    with pytest.raises(ConfigurationError) as raised:
        await opened("http://localhost:1")

    assert "HTTPS_PROXY" in str(raised.value)
    assert "word" not in str(raised.value)


def refusal(status: int, code: str) -> Action:
    """STS refuses, in its wire form."""
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>not &lt;you&gt;</Message></Error>"
    body = f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{error}</ErrorResponse>'
    return send(http(status, body.encode(), {"content-type": "text/xml"}))


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "AccessDenied"), (400, "ValidationError"), (403, "ExpiredToken"), (403, "RegionDisabledException")],
)
async def test_a_refusal_is_asked_for_once_and_said_as_the_sdk_says_it(
    by_sdk: Callable[[], None], status: int, code: str
) -> None:
    """It settles the matter; the words are those that people look up."""
    texts = []
    async with Server(refusal(status, code)) as sts:
        for _ in range(2):
            with pytest.raises(CredentialsError) as raised:
                await opened(sts.url)
            texts.append(str(raised.value))
            by_sdk()

    assert len(sts.requests) == 2
    assert texts[0] == texts[1]
    assert "not <you>" in texts[0]


UNSETTLED: dict[str, Action] = {
    "hung up": close(),
    "reset": reset(),
    "no HTTP": close(b"hello"),
    "500": refusal(500, "InternalFailure"),
    "503": send(http(503, b"<html>in trouble</html>")),
    "throttled": refusal(400, "Throttling"),
    "no XML": send(http(200, b"{}")),
    "no credentials": send(http(200, b"<AssumeRoleResponse/>")),
    "a gateway": send(http(403, b"<html><body>no</body></html>")),
    "a bomb": send(
        http(200, b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;</a>')
    ),
}


@pytest.mark.parametrize("case", UNSETTLED)
async def test_what_settles_nothing_is_asked_again_by_the_sdk(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No reply, trouble, and what cannot be read: the SDK calls again, as often as it may."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    async with Server(UNSETTLED[case], Sts()) as sts:
        await opened(sts.url)

    assert len(sts.requests) == 2


async def test_an_outage_takes_as_many_attempts_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and the SDK's together are those that an AssumeRole may have."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    async with Server(refusal(500, "InternalFailure")) as sts:
        with pytest.raises(OutageError):
            await opened(sts.url)

    assert len(sts.requests) == 3


async def test_a_reply_that_is_late_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time-out is that of the SDK's call."""
    monkeypatch.setattr("provisioner.aws.session.AUXILIARY_TIMEOUTS_S", (5.0, 0.05))
    async with Server(hang(), Sts()) as sts:
        await opened(sts.url)

    assert [request.connection for request in sts.requests] == [1, 2]


@pytest.mark.parametrize(
    "role",
    ["arn:aws:iam::444455556666:role/path/provisioner", "arn:aws:iam::111122223333:role/path/another"],
)
async def test_the_credentials_of_another_role_are_not_taken(role: str, open_at: Open) -> None:
    """A connection that mixes up its replies brings those of another target: creates would go into its account."""
    stub, asked = Sts(), list[object]()

    async def mixed_up(line: Line) -> None:
        stub.role_arn = "" if asked else role
        asked.append(line.request)
        await stub(line)

    async with Server(mixed_up) as sts, Server() as server:
        fields = {"assume_role_arn": ROLE, "sts_endpoint_url": sts.url}
        async with open_at(server.url, fields) as aws:
            await aws.creates.create(BODY, allowed)

        assert len(asked) == 2
        assert "Credential=ASIA2/" in server.requests[0].headers["authorization"]


async def test_targets_that_open_together_share_connections() -> None:
    """A connection that is free serves the next AssumeRole."""
    stub = Sts()
    async with Server(stub) as sts, Sharing() as sharing:
        for number in range(5):
            target = Target(name=f"t{number}", region="us-east-1", assume_role_arn=ROLE, sts_endpoint_url=f"{sts.url}/")
            async with connect(target, limits_of(), sharing):
                pass

        assert (stub.assumed, sts.connections) == (5, 1)


async def test_a_call_that_is_cancelled_leaves_no_reply_behind() -> None:
    """Its connection ends with it: the next role gets its own credentials."""
    stub, go_on = Sts(), asyncio.Event()

    async def slow(line: Line) -> None:
        await go_on.wait()
        await stub(line)

    async with Server(slow) as sts, Sharing() as sharing:
        target = Target(region="us-east-1", assume_role_arn=ROLE, sts_endpoint_url=sts.url)
        opening = asyncio.create_task(connect(target, limits_of(), sharing).__aenter__())
        await sts.arrived.wait()
        opening.cancel()
        await asyncio.wait([opening])
        go_on.set()
        async with connect(target, limits_of(), sharing):
            pass

        assert sts.requests[-1].connection == 2


async def test_the_callers_credentials_may_change() -> None:
    """Each call is signed with those that are valid when it is made."""
    async with Server(Sts()) as sts, Sharing() as sharing:
        route = find_route(open_session(Target()), "us-east-1", sts.url, STS)
        assert isinstance(route, Route)
        direct = DirectSts(route, sharing.network.pool(Place("127.0.0.1", sts.port, None), limits_of()), 5.0)
        params = {"RoleArn": ROLE, "RoleSessionName": "provisioner"}
        for key in ("AKIAONE", "AKIATWO"):
            found = await direct.assume_role(params, ReadOnlyCredentials(key, "s", None))
            assert isinstance(found, Assumed)

    signers = [request.headers["authorization"].split("Credential=")[1].split("/")[0] for request in sts.requests]
    assert signers == ["AKIAONE", "AKIATWO"]
