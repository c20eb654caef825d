"""Region, endpoint and credentials of a target."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from provisioner.aws import CallError, Sharing, connect
from provisioner.aws.session import REGIONS, Identity
from provisioner.config.target import Target
from provisioner.core.place import real_region
from provisioner.core.verdict import Loss
from provisioner.errors import ConfigurationError, CredentialsError, ProvisionerError, Reason
from tests.aws.certificates import Authority
from tests.aws.conftest import limits_of
from tests.aws.proxy import Proxy
from tests.aws.server import BODY, Server, allowed, created, http, refuse, send
from tests.aws.sts import Sts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.aws.conftest import Open
    from tests.aws.server import Line


ROLE = "arn:aws:iam::111122223333:role/provisioner"

SHORT = timedelta(minutes=8)
"""The life of credentials that are to end in a test: so short that the SDK, which has a clock of its own, fetches them
anew whenever it is asked."""

LAST_QUARTER_S = 6.5 * 60
"""After this they are in the last quarter of their life."""

NEARLY_OVER_S = 7.5 * 60
"""After this they are in the last eighth of their life."""

LOCAL = "http://localhost:1"


class Clock:
    """The clock that credentials are watched by.

    Attributes:
        now_s: what it shows; it moves when a test moves it.
        step_s: by how much it moves whenever somebody looks.
    """

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.step_s = 0.0

    def __call__(self) -> float:
        """Look at it."""
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Trusted by nobody yet."""
    return Authority(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock in place of the machine's."""
    clock = Clock()
    monkeypatch.setattr("provisioner.aws.session.now_s", clock)
    return clock


async def open_and_close(**fields: str) -> tuple[str, tuple[str, ...]]:
    """Region and notices of a target."""
    async with connect(Target(**({"region": "us-east-1"} | fields)), limits_of()) as aws:  # type: ignore[arg-type]
        return aws.region, aws.notices


async def test_a_configured_endpoint_is_ignored_unless_asked_for(
    open_at: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS_ENDPOINT_URL, its service form and endpoint_url in the files never redirect a call."""
    async with Server() as hijacker, Server(Sts()) as sts, Server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", hijacker.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLEANROOMSML", hijacker.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", hijacker.url)
        (tmp_path / "config").write_text(f"[default]\nendpoint_url = {hijacker.url}\n")
        target = {"sts_endpoint_url": sts.url, "assume_role_arn": ROLE}
        async with open_at(server.url, target) as aws:
            await aws.creates.create(BODY, allowed)
            assert await aws.control.caller_account() == "123456789012"
        async with open_at("", {"endpoint_url": ""}) as aws:
            assert aws.endpoint == "https://cleanrooms-ml.us-east-1.amazonaws.com"

        assert hijacker.connections == 0
        assert len(server.requests) == 1


@pytest.mark.parametrize("field", ["endpoint_url", "sts_endpoint_url"])
@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://10.0.0.1:8080",
        "http://127.evil.example",
        "ftp://localhost",
        "localhost:80",
        "https://",
        "https://host/\r\nX-Evil: 1",
    ],
)
def test_an_endpoint_is_https_or_on_this_machine(field: str, url: str) -> None:
    """No target with any other endpoint exists, whoever makes it."""
    with pytest.raises(ValueError, match=r"endpoint|http"):
        Target(**{field: url})  # type: ignore[arg-type]


async def test_no_region_names_those_that_exist() -> None:
    """Without a Region there is one clear line that lists the Regions of the service."""
    with pytest.raises(ConfigurationError) as raised:
        await open_and_close(region="")

    assert all(region in str(raised.value) for region in REGIONS)
    assert raised.value.reason is Reason.CONFIGURATION


async def test_the_region_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_REGION, which containers set, counts when nothing else tells; AWS_DEFAULT_REGION goes before it."""
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    assert (await open_and_close(region=""))[0] == "eu-west-2"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert (await open_and_close(region=""))[0] == "eu-west-1"


async def test_a_region_without_the_service_is_a_warning() -> None:
    """A Region that is not on the list opens with one notice: the list may have grown."""
    region, notices = await open_and_close(region="sa-east-1")

    assert region == "sa-east-1"
    assert [notice for notice in notices if "sa-east-1" in notice] == list(notices)
    assert len(notices) == 1


@pytest.mark.parametrize("region", ["us east 1", "us-east-1\n", "us-east-1/", "us-east-1.evil.example", "-", "a" * 64])
async def test_what_is_no_region_is_a_configuration_error(region: str, *, direct: bool) -> None:
    """A Region that cannot be part of a host name is refused before anything is sent."""
    with pytest.raises(ConfigurationError):
        async with connect(Target(region=region), limits_of(), direct=direct):
            pass


@pytest.mark.parametrize("variable", ["AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"])
@pytest.mark.parametrize("value", ["tok\n", "tok\r\nX-Evil: 1", "to\tk", "t\u00f6k", "two words"])
async def test_what_no_header_may_hold_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, *, direct: bool
) -> None:
    """A key or token with a line break, as a secret that was pasted has, is told before anything is sent, unquoted."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as raised:
        async with connect(Target(region="us-east-1"), limits_of(), direct=direct):
            pass

    assert value not in str(raised.value)


EMPTY = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_CA_BUNDLE",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_MAX_ATTEMPTS",
    "AWS_RETRY_MODE",
    "AWS_METADATA_SERVICE_TIMEOUT",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_USE_FIPS_ENDPOINT",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "REQUESTS_CA_BUNDLE",
)


@pytest.mark.parametrize(
    "names", [EMPTY, *(pytest.param((name,), marks=pytest.mark.torture) for name in EMPTY)], ids=["all", *EMPTY]
)
async def test_a_variable_that_is_set_to_nothing_is_not_set(
    open_at: Open, names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that exports empty variables changes nothing: the profile's Region and keys count."""
    (tmp_path / "config").write_text("[default]\nregion = eu-west-1\n")
    for name in names:
        monkeypatch.setenv(name, "")
    async with Server() as server, Server(Sts()) as sts:
        async with open_at(server.url, {"region": "", "sts_endpoint_url": sts.url}) as aws:
            reply = await aws.creates.create(BODY, allowed)

            assert aws.region == "eu-west-1"
            assert await aws.control.caller_account() == "123456789012"
        assert reply.arn


async def test_an_unknown_profile_is_a_configuration_error() -> None:
    """A profile that does not exist is named, with the place to look."""
    with pytest.raises(ConfigurationError) as raised:
        await open_and_close(profile="nowhere")

    assert "nowhere" in str(raised.value)
    assert "~/.aws/config" in str(raised.value)


async def test_a_broken_configuration_file_is_a_configuration_error(tmp_path: Path) -> None:
    """An AWS configuration file that cannot be parsed is named."""
    (tmp_path / "config").write_text("[default\nregion")
    with pytest.raises(ConfigurationError):
        await open_and_close()


async def test_missing_credentials_end_with_77(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials there is one clear line and a next step, before anything is sent."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(CredentialsError) as raised:
        await open_and_close()

    assert raised.value.reason is Reason.DENIED
    assert "AWS_PROFILE" in str(raised.value)


async def test_half_credentials_end_with_77(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key without its secret is missing credentials, not a crash."""
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CredentialsError):
        await open_and_close()


async def test_a_failing_credential_process_ends_with_77(tmp_path: Path) -> None:
    """A helper program that fails is credentials that are missing."""
    (tmp_path / "config").write_text("[profile p]\ncredential_process = false\n")
    with pytest.raises(CredentialsError):
        await open_and_close(profile="p")


async def test_the_password_of_a_proxy_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever hands out credentials is asked through a proxy that is set, and the HTTP library quotes its URL."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
    monkeypatch.setenv("HTTP_PROXY", "http://user:pass-word@host:port")
    with pytest.raises(ProvisionerError) as raised:
        await open_and_close()

    assert "@host:port" in str(raised.value)
    assert "word" not in str(raised.value)


async def test_an_expired_sso_token_says_how_to_log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SSO profile without a valid login names the command that mends it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config").write_text(
        "[profile p]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\n"
        "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://example.awsapps.com/start\n"
    )
    with pytest.raises(CredentialsError) as raised:
        await open_and_close(profile="p")

    assert "aws sso login --profile p" in str(raised.value)


async def test_container_credentials_are_used(open_at: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials of an ECS or EKS task reach the signature."""
    given = {"AccessKeyId": "ASIACONTAINER", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with Server(send(http(body=json.dumps(given).encode()))) as container, Server() as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{container.url}/credentials")
        async with open_at(server.url) as aws:
            await aws.creates.create(BODY, allowed)

        assert "Credential=ASIACONTAINER/" in server.requests[0].headers["authorization"]


async def test_a_role_is_assumed_once_with_its_external_id(open_at: Open) -> None:
    """Creates are signed with the role's credentials; STS is asked once, with the external id and our session name."""
    stub = Sts()
    async with Server(stub) as sts, Server() as server:
        target = {"assume_role_arn": ROLE, "external_id": "x-1", "sts_endpoint_url": sts.url}
        async with open_at(server.url, target) as aws:
            await asyncio.gather(*[aws.creates.create(BODY, allowed) for _ in range(5)])
            await aws.control.caller_account()

        (assume, _) = stub.asked
        assert assume["RoleArn"] == ROLE
        assert assume["ExternalId"] == "x-1"
        assert assume["RoleSessionName"] == "provisioner"
        assert assume["DurationSeconds"] == "3600"
        assert all("Credential=ASIA1/" in request.headers["authorization"] for request in server.requests)
        assert "Credential=AKIDEXAMPLE/" in sts.requests[0].headers["authorization"]
        assert "Credential=ASIA1/" in sts.requests[1].headers["authorization"]


async def test_roles_are_assumed_in_a_chain(
    authority: Authority, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each role of a profile's chain is assumed with the one before it, the target's last; also when all have expired.

    The calls that the SDK makes for a profile go to AWS whatever the configuration says, here through a proxy.
    """
    (tmp_path / "config").write_text(
        "[profile base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = s\n"
        f"[profile hub]\nrole_arn = {ROLE}-hub\nsource_profile = base\nregion = us-east-1\nendpoint_url = {LOCAL}\n"
        f"[profile spoke]\nrole_arn = {ROLE}-spoke\nsource_profile = hub\nregion = us-east-1\nexternal_id = x-2\n"
    )
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", LOCAL)
    stub, host = Sts(), "sts.us-east-1.amazonaws.com"
    async with (
        Server(stub, tls=authority.server(host)) as sts,
        Proxy(port_of={f"{host}:443": sts.port}) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        fields = {"region": "us-east-1", "profile": "spoke", "external_id": "x-1"}
        async with Sharing() as sharing:
            identity = Identity(Target(**fields, assume_role_arn=ROLE), "us-east-1", sharing.network)  # type: ignore[arg-type]
            key = (await identity.get_frozen_credentials()).access_key
            at_first = chain(stub, sts)
            stub.valid_for = SHORT
            await identity.refresh()
            clock.now_s += NEARLY_OVER_S
            renewed = (await identity.get_frozen_credentials()).access_key
            last = stub.assumed
            at_last = chain(stub, sts)[-3:]
            stub.denied = True
            with pytest.raises(CredentialsError) as raised:
                await open_and_close(**fields, assume_role_arn=ROLE)

    assert at_first == [("AKIDBASE", "-hub", ""), ("ASIA1", "-spoke", "x-2"), ("ASIA2", "", "x-1")]
    assert at_last == [("AKIDBASE", "-hub", ""), (f"ASIA{last - 2}", "-spoke", "x-2"), (f"ASIA{last - 1}", "", "x-1")]
    assert (key, renewed) == ("ASIA3", f"ASIA{last}")
    assert "Check the roles that the profile spoke assumes (role_arn, source_profile, external_id)" in str(raised.value)


def chain(stub: Sts, sts: Server) -> list[tuple[str, str, str]]:
    """Whose key has assumed which role, with which external id."""
    return [
        (
            request.headers["authorization"].split("=")[1].split("/")[0],
            call["RoleArn"].removeprefix(ROLE),
            call.get("ExternalId", ""),
        )
        for request, call in zip(sts.requests, stub.asked, strict=True)
    ]


async def test_a_role_that_may_not_be_assumed_ends_with_77(open_at: Open) -> None:
    """A refused AssumeRole names the role, before anything is sent to the service."""
    stub = Sts()
    stub.denied = True
    async with Server(stub) as sts, Server() as server:
        with pytest.raises(CredentialsError) as raised:
            async with open_at(server.url, {"assume_role_arn": ROLE, "sts_endpoint_url": sts.url}):
                pass

        assert ROLE in str(raised.value)
        assert server.requests == []


async def test_role_credentials_are_refreshed_before_they_expire(open_at: Open, clock: Clock) -> None:
    """Credentials at the very end of their life are not used: the next create waits for fresh ones."""
    stub = Sts(valid_for=SHORT)
    async with Server(stub) as sts, Server() as server:
        async with open_at(server.url, {"assume_role_arn": ROLE, "sts_endpoint_url": sts.url}) as aws:
            at_start = stub.assumed
            stub.valid_for = timedelta(hours=1)
            clock.now_s += NEARLY_OVER_S
            await asyncio.gather(*[aws.creates.create(BODY, allowed) for _ in range(4)])

        assert stub.assumed == at_start + 1
        assert all(f"Credential=ASIA{at_start + 1}/" in request.headers["authorization"] for request in server.requests)


async def test_role_credentials_are_refreshed_without_a_stall(open_at: Open, clock: Clock) -> None:
    """In the last quarter of their life creates go on with the old credentials while one fetch runs beside them."""
    stub = Sts(valid_for=SHORT)
    go_on = asyncio.Event()
    go_on.set()

    async def slow(line: Line) -> None:
        await go_on.wait()
        await stub(line)

    async with Server(slow) as sts, Server() as server:
        async with open_at(server.url, {"assume_role_arn": ROLE, "sts_endpoint_url": sts.url}) as aws:
            at_start = stub.assumed
            go_on.clear()
            clock.now_s += LAST_QUARTER_S
            replies = await asyncio.gather(*[aws.creates.create(BODY, allowed) for _ in range(4)])
            go_on.set()

        keys = {request.headers["authorization"].split("=")[1].split("/")[0] for request in server.requests}
        assert all(reply.arn for reply in replies)
        assert keys == {f"ASIA{at_start}"}


async def test_credentials_that_live_for_minutes_are_not_fetched_all_the_time(clock: Clock) -> None:
    """How early credentials are renewed depends on their own life, though it is shorter than the SDK's periods."""
    stub = Sts(valid_for=timedelta(minutes=5))
    async with Server(stub) as sts, Sharing() as sharing:
        identity = Identity(target_at(sts), "us-east-1", sharing.network)
        await identity.get_frozen_credentials()
        at_start = stub.assumed
        for _ in range(10):
            await identity.get_frozen_credentials()
            clock.now_s += 20
        await identity.close()

    assert stub.assumed == at_start


def target_at(sts: Server) -> Target:
    """A target with a role, at this STS."""
    return Target(assume_role_arn=ROLE, sts_endpoint_url=sts.url)


async def test_a_fetch_that_fails_leaves_the_old_credentials(clock: Clock) -> None:
    """While the credentials in hand are good, a refusal of STS fails no create, and is not asked for at once again."""
    stub = Sts(valid_for=SHORT)
    async with Server(stub) as sts, Sharing() as sharing:
        identity = Identity(target_at(sts), "us-east-1", sharing.network)
        before = await identity.get_frozen_credentials()
        stub.denied = True
        clock.now_s += LAST_QUARTER_S
        at_start = len(stub.asked)
        during = await identity.get_frozen_credentials()
        assert identity._fetch is not None
        await asyncio.gather(identity._fetch, return_exceptions=True)
        after = await identity.get_frozen_credentials()
        await identity.close()

        assert before == during == after
        assert len(stub.asked) - at_start <= 1


async def test_credentials_that_cannot_be_refreshed_send_nothing(open_at: Open, clock: Clock) -> None:
    """When they must be refreshed and cannot, a create is a loss before the first byte, not an exception."""
    stub = Sts(valid_for=SHORT)
    async with Server(stub) as sts, Server() as server:
        async with open_at(server.url, {"assume_role_arn": ROLE, "sts_endpoint_url": sts.url}) as aws:
            stub.denied = True
            clock.now_s += NEARLY_OVER_S
            reply = await aws.creates.create(BODY, allowed)

        assert reply.loss is Loss.CREDENTIALS
        assert reply.concerns_credentials
        assert server.requests == []


async def test_credentials_that_cannot_be_refreshed_are_asked_for_once(open_at: Open, clock: Clock) -> None:
    """All creates that wait for fresh credentials share one fetch, and its failure: they do not queue for the next."""
    stub = Sts(valid_for=SHORT)
    async with Server(stub) as sts, open_at(LOCAL, {"assume_role_arn": ROLE, "sts_endpoint_url": sts.url}) as aws:
        stub.denied = True
        clock.now_s += NEARLY_OVER_S
        before = len(stub.asked)
        replies = await asyncio.gather(*[aws.creates.create(BODY, allowed) for _ in range(8)])

        assert {reply.loss for reply in replies} == {Loss.CREDENTIALS}
        assert len(stub.asked) == before + 1


async def test_a_cancelled_create_takes_no_credentials_from_others(open_at: Open, clock: Clock) -> None:
    """The fetch that a create started goes on for those that wait beside it when that create is cancelled."""
    stub = Sts(valid_for=SHORT)
    asked, go_on = asyncio.Event(), asyncio.Event()
    go_on.set()

    async def slow(line: Line) -> None:
        asked.set()
        await go_on.wait()
        await stub(line)

    async with Server(slow) as sts, Server() as server:
        async with open_at(server.url, {"assume_role_arn": ROLE, "sts_endpoint_url": sts.url}) as aws:
            clock.now_s += NEARLY_OVER_S
            asked.clear()
            go_on.clear()
            stub.valid_for = timedelta(hours=1)
            before = stub.assumed
            first, second = (asyncio.create_task(aws.creates.create(BODY, allowed)) for _ in range(2))
            await asked.wait()
            first.cancel()
            go_on.set()
            reply = await second

        assert reply.arn
        assert first.cancelled()
        assert stub.assumed == before + 1


async def test_an_open_that_is_cancelled_ends_its_fetch(clock: Clock) -> None:
    """A fetch of credentials that opening a target began does not go on when the target is not opened."""
    stub = Sts(valid_for=SHORT)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(line: Line) -> None:
        if stub.assumed:
            asked.set()
            await go_on.wait()
        await stub(line)

    async with Server(slow) as sts:
        target = Target(region="us-east-1", assume_role_arn=ROLE, sts_endpoint_url=sts.url)
        clock.step_s = SHORT.total_seconds()  # so that credentials are over when they are used, and others are fetched
        opening = asyncio.create_task(connect(target, limits_of()).__aenter__())
        await asyncio.wait_for(asked.wait(), 10)
        opening.cancel()
        await asyncio.wait([opening])
        left = [task for task in asyncio.all_tasks() if "Identity._renew" in repr(task)]
        go_on.set()

        assert opening.cancelled()
        assert left == []


async def test_an_expired_token_is_replaced_when_asked(open_at: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forced refresh reads the environment anew and says that it changed; the next create uses what it found."""
    async with Server(refuse(403, "ExpiredTokenException", message="old"), created()) as server:
        async with open_at(server.url) as aws:
            first = await aws.creates.create(BODY, allowed)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDFRESH")
            changed = await asyncio.gather(aws.refresh_credentials(), aws.refresh_credentials())
            second = await aws.creates.create(BODY, allowed)

        assert first.expired
        assert all(changed)
        assert second.arn
        assert "Credential=AKIDFRESH/" in server.requests[1].headers["authorization"]


async def test_a_role_is_assumed_anew_when_asked_once_for_all(open_at: Open) -> None:
    """However many creates met the expired token, a forced refresh assumes the role once."""
    stub = Sts()
    async with Server(stub) as sts:
        async with open_at(LOCAL, {"assume_role_arn": ROLE, "sts_endpoint_url": sts.url}) as aws:
            changed = await asyncio.gather(*[aws.refresh_credentials() for _ in range(20)])

        assert set(changed) == {True}
        assert stub.assumed == 2


async def test_a_refresh_that_finds_the_same_says_so(open_at: Open) -> None:
    """Static keys that are refused as expired stay refused: sending again is no use."""
    async with open_at(LOCAL) as aws:
        assert await aws.refresh_credentials() is False


async def test_a_refresh_that_finds_none_raises(open_at: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that are gone by then end with 77."""
    async with open_at(LOCAL) as aws:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(CredentialsError):
            await aws.refresh_credentials()


async def test_no_secret_is_shown(open_at: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a reply nor an error nor the open target repeats a secret or a token."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "tok/en+1==")
    async with Server(refuse(403, "AccessDenied", message="no")) as server, open_at(server.url) as aws:
        reply = await aws.creates.create(BODY, allowed)
        texts = [repr(reply), repr(aws), repr(aws.creates)]
        with pytest.raises(CallError) as raised:
            await aws.control.list_algorithms()
        texts += [str(raised.value), repr(raised.value.reply)]

        assert not any("tok/en" in text or "wJalr" in text for text in texts)


@pytest.mark.parametrize(
    ("region", "real"), [("us-east-1", "us-east-1"), ("fips-us-east-1", "us-east-1"), ("us-west-2-fips", "us-west-2")]
)
def test_a_pseudo_region_is_the_real_one_in_arns(region: str, real: str) -> None:
    """Targets are compared by the Region that ARNs name."""
    assert real_region(region) == real
