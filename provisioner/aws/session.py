"""The SDK session of a target: Region, credentials, client configuration.

Credentials come from wherever the SDK finds them: environment, profile, SSO, web identity, containers, instance
metadata; a role on top of them is assumed by us, so that it is refreshed before it expires. Every client, and the
signer of the direct transport, takes them from one :class:`Identity`.
"""

from __future__ import annotations

import asyncio
import base64
import math
import os
import re
import time
from binascii import crc32
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from aiobotocore.credentials import AioCredentials, AioRefreshableCredentials
from aiobotocore.session import AioSession
from botocore import exceptions as sdk

import provisioner
from provisioner.aws.faces import Limits
from provisioner.aws.http import ClientConfig
from provisioner.aws.inspection import Credentials
from provisioner.aws.losses import causes, lost
from provisioner.aws.secrets import Secrets
from provisioner.aws.timeouts import now_s
from provisioner.aws.wire import clean
from provisioner.core.verdict import Reply, Verdict, judge
from provisioner.errors import ConfigurationError, CredentialsError, OutageError, ProvisionerError, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from botocore.credentials import ReadOnlyCredentials

    from provisioner.aws.network import Network, Profile
    from provisioner.aws.sts import Assumed
    from provisioner.config.target import Target

SERVICE = "cleanroomsml"

REGIONS = (
    "us-east-1",
    "us-east-2",
    "us-west-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
)
"""Regions that have the service (AWS General Reference, "AWS Clean Rooms ML endpoints"). The SDK knows none of them."""

ROLE_SESSION = "provisioner"

ROLE_DURATION_S = 3600
"""A role that is assumed from another role's credentials lasts one hour at most (IAM, role chaining)."""

ROLE_ATTEMPTS = 3
"""Assuming a role changes nothing, so the SDK may repeat it: a hiccup of STS does not end a run."""

AUXILIARY_TIMEOUTS_S = (5.0, 10.0)
"""To connect to STS, IAM or the like, and for a reply."""

ADVISORY_S = 15 * 60
"""Credentials that expire within this are refreshed beside the calls (botocore,
``_DEFAULT_ADVISORY_REFRESH_TIMEOUT``), or in the last quarter of their life where that is shorter."""

MANDATORY_S = 10 * 60
"""Credentials that expire within this are not used (botocore, ``_DEFAULT_MANDATORY_REFRESH_TIMEOUT``), nor in the last
eighth of their life where that is shorter."""

STAGGER_S = 4 * 60
"""Targets that were opened together renew their credentials over this time, each at its own moment, not in one wave."""

LONGEST_LIFE_S = 12 * 3600
"""No role session lasts longer (STS, AssumeRole). Credentials that say so are looked at again after this."""

REFRESH_PAUSE_S = 5.0
"""All calls in flight meet an expired token at once; within this after a refresh the answer is that refresh's. A fetch
that failed while the credentials in hand are still good is not repeated sooner either."""

_CREDENTIALS_HINT = "Set AWS_PROFILE or the keys in the environment, or `profile` in the target's configuration"


def open_session(target: Target) -> AioSession:
    """A fresh SDK session for ``target``: it reads the environment and the configuration files anew.

    Endpoints that environment or files set (``AWS_ENDPOINT_URL*``) are ignored: they are a way to hijack requests.

    Raises:
        ConfigurationError: the profile does not exist, or the AWS configuration file is broken.
    """
    unset_empty_variables()
    session = AioSession(profile=target.profile or None)
    session.set_default_client_config(ClientConfig())
    session.set_config_variable("ignore_configured_endpoint_urls", value=True)
    session.user_agent_extra = f"provisioner/{provisioner.__version__}"
    try:
        session.get_scoped_config()
    except sdk.ProfileNotFound as error:
        hint = "The profiles are in ~/.aws/config and ~/.aws/credentials"
        raise ConfigurationError(
            "there is no such AWS profile", where=target.name, why=str(error), hint=hint
        ) from error
    except sdk.BotoCoreError as error:
        raise ConfigurationError("the AWS configuration cannot be read", where=target.name, why=str(error)) from error
    return session


def plain_endpoint(url: str) -> str:
    """``url`` in the one form that is signed and sent alike: scheme and host in lower case, no slash at the end.

    The SDK signs the host as HTTP sends it, in lower case, but sends it as it was configured, and puts its path behind
    whatever slashes stand at the end.
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), "", "")) if url else ""


def unset_empty_variables() -> None:
    """Take AWS variables that are set to nothing out of the environment.

    Schedulers and containers set them so to say "none". The SDK takes some of them for values: a profile without a
    name, a number that is none, an empty Region that hides the profile's.
    """
    for name in [name for name, value in os.environ.items() if name.startswith("AWS_") and not value]:
        del os.environ[name]


def region_of(target: Target, session: AioSession) -> str:
    """The Region of ``target``: its own, the SDK's (AWS_DEFAULT_REGION, profile), or else AWS_REGION.

    Raises:
        ConfigurationError: none of them is set, or it cannot be part of a host name.
    """
    region = target.region or session.get_config_variable("region") or os.environ.get("AWS_REGION", "")
    if not region:
        known = ", ".join(REGIONS)
        hint = f"Set `region` in the target's configuration, or AWS_DEFAULT_REGION; the service is available in {known}"
        raise ConfigurationError("no Region is set", where=target.name, hint=hint)
    if not _REGION.fullmatch(region):
        hint = "A Region is a name such as us-east-1, without blanks and line breaks"
        raise ConfigurationError("this is not a Region", where=target.name, why=repr(region), hint=hint)
    return str(region)


_REGION = re.compile("(?![0-9-])[A-Za-z0-9-]{1,62}[A-Za-z0-9]")
"""A label of a host name. The SDK's own check lets a line break at the end pass, and so into a signed header."""

_ACCOUNT_BITS = 40
_UNUSED_BITS = 7
"""Where an access key id holds its account, in base 32 behind the prefix: a one bit, the account, seven bits of
something else (Aidan Steele, "AWS Access Key ID formats", 2020). Older key ids begin with a zero bit and hold none."""


def account_of_key(access_key_id: str) -> str:
    """The account that an access key id holds, twelve digits; "" where it holds none."""
    try:
        value = int.from_bytes(base64.b32decode(access_key_id[4:20])[:6], "big")
    except ValueError:
        return ""
    if access_key_id[:4] not in {"AKIA", "ASIA"} or not value >> (_ACCOUNT_BITS + _UNUSED_BITS):
        return ""
    account = value >> _UNUSED_BITS & (1 << _ACCOUNT_BITS) - 1
    return f"{account:012d}" if account < 10**12 else ""


def region_notice(region: str) -> tuple[str, ...]:
    """A warning when ``region`` is not known to have the service. Not an error: the list may grow."""
    if region in REGIONS:
        return ()
    return (f"Region {region} is not known to have Clean Rooms ML; known are {', '.join(REGIONS)}",)


def client_config(limits: Limits) -> ClientConfig:
    """How a client is set up: one attempt, no client-side rate limit, the pool and time-outs of ``limits``."""
    return ClientConfig(
        connect_timeout=limits.connect_timeout_s,
        read_timeout=limits.read_timeout_s,
        max_pool_connections=limits.max_connections,
        retries={"total_max_attempts": 1, "mode": "standard"},
    )


def renewal_s(target: str, life_s: float) -> float:
    """How long before their end the credentials of ``target`` are renewed that live for ``life_s``."""
    later_s = STAGGER_S * crc32(target.encode()) / 2**32
    return min(ADVISORY_S - later_s, life_s / 4)


class Identity(AioCredentials):  # type: ignore[misc]  # the SDK has no types
    """The credentials of a target, current whenever they are asked for. An SDK credentials object itself.

    Obligations: :meth:`get_frozen_credentials` may be called at any time by any number of tasks; fresh credentials are
    fetched once, however many ask, also when that fails: it fails all who waited for it. How early they are fetched
    depends on how long they live (``ADVISORY_S``, ``MANDATORY_S``) and on the target (``STAGGER_S``). Until the
    mandatory period begins, the fetch runs beside the calls, and none waits for it; a failed fetch leaves the old ones
    in place.

    Args:
        target: whose.
        region: of the STS that is asked to assume the target's role.
        network: where the first credentials come from; later ones come from a fresh session.

    Attributes:
        generation: changes when :meth:`refresh` replaced the credentials.
        secrets: the session tokens in use, the last one and the one before.
    """

    def __init__(self, target: Target, region: str, network: Network) -> None:
        super().__init__("unused", "unused", method="provisioner")
        self._target = target
        self._region = region
        self._network = network
        self._profile: Profile | None = None
        self._source: Any = None
        self._current: ReadOnlyCredentials | None = None
        self._lock = asyncio.Lock()
        self._fetch: asyncio.Task[None] | None = None
        self._life_s = 0.0
        self._renew_at = self._unusable_at = math.inf
        self._refreshed_at = -math.inf
        self._changed = False
        self.generation = 0
        self.secrets = Secrets()

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Key, secret and token that are valid now.

        Raises:
            CredentialsError: there are none, or they could not be refreshed.
        """
        if self._current is None:
            async with self._lock:
                if self._current is None:
                    source = await self._load()
                    self._take(source, await self._freeze(source))
        if now_s() >= self._renew_at and (self._fetch is None or self._fetch.done()):
            self._fetch = asyncio.create_task(self._renew())
            self._fetch.add_done_callback(_note)
        if now_s() >= self._unusable_at and self._fetch is not None:
            await asyncio.shield(self._fetch)
        return self._current

    async def refresh(self) -> bool:
        """Fetch credentials anew from where they come from, because the service refused these as expired.

        Returns:
            Whether they are other ones now.

        Raises:
            CredentialsError: there are none any more.
        """
        async with self._lock:
            if now_s() >= self._refreshed_at + REFRESH_PAUSE_S:
                before = self._current
                fresh = await self._load()
                self._take(fresh, await self._freeze(fresh))
                self._changed = before != self._current
                self.generation += 1
                self._refreshed_at = now_s()
            return self._changed

    def describe(self) -> Credentials:
        """What is known of the credentials in use; they were asked for before."""
        assert self._current is not None  # noqa: S101  see above
        origin = str(getattr(self._source, "method", "") or "unknown")
        return Credentials(
            origin=origin,
            temporary=bool(self._current.token),
            left_s=_left_s(self._source),
            account_id=account_of_key(self._current.access_key),
        )

    async def _renew(self) -> None:
        """Fetch for all who ask meanwhile. What :meth:`refresh` replaced in between is not put back."""
        source = self._source
        self._renew_at = min(now_s() + REFRESH_PAUSE_S, self._unusable_at)
        fresh = await self._freeze(source)
        if source is self._source:
            self._take(source, fresh)

    def _take(self, source: Any, credentials: ReadOnlyCredentials) -> None:  # noqa: ANN401  the SDK has no types
        """Use ``credentials`` from now on, and plan when to fetch others."""
        now = now_s()
        left_s = _left_s(source)
        fresh = credentials != self._current or source is not self._source
        if fresh:
            self._life_s = left_s
        tokens = [each.token for each in (self._current, credentials) if each is not None]
        self.secrets = Secrets(tokens)
        self._source, self._current = source, credentials
        self._unusable_at = now + left_s - min(MANDATORY_S, self._life_s / 8)
        soonest = now if fresh else now + REFRESH_PAUSE_S
        self._renew_at = min(self._unusable_at, max(soonest, now + left_s - renewal_s(self._target.name, self._life_s)))

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)

    async def _load(self) -> Any:  # noqa: ANN401  the SDK has no types
        profile = self._profile = self._network.profile(self._target, instead_of=self._profile)
        try:
            source = await profile.credentials()
        except Exception as error:
            raise self._refused(error) from error
        if source is None:
            raise CredentialsError("no AWS credentials were found", where=self._target.name, hint=_CREDENTIALS_HINT)
        return self._role(source, profile) if self._target.assume_role_arn else source

    async def _freeze(self, source: Any) -> ReadOnlyCredentials:  # noqa: ANN401  the SDK has no types
        try:
            credentials: ReadOnlyCredentials = await source.get_frozen_credentials()
        except ProvisionerError:
            raise
        except Exception as error:
            raise self._refused(error) from error
        for what, value in (("access key id", credentials.access_key), ("session token", credentials.token or "")):
            if not (value.isascii() and value.isprintable()) or " " in value:
                hint = "As a rule it is a line break at the end: set it anew without one"
                raise ConfigurationError(f"the {what} cannot be sent in a header", where=self._target.name, hint=hint)
        return credentials

    def _role(self, source: Any, profile: Profile) -> Role:  # noqa: ANN401  the SDK has no types
        """The role of the target, from the credentials of ``source``."""
        target = self._target
        params = {
            "RoleArn": target.assume_role_arn,
            "RoleSessionName": ROLE_SESSION,
            "DurationSeconds": ROLE_DURATION_S,
        }
        if target.external_id:
            params["ExternalId"] = target.external_id

        async def assume() -> Assumed:
            await self._freeze(source)  # so that what fails below is the role, not what it is assumed with
            try:
                return await profile.assume_role(self._region, target.sts_endpoint_url, params)
            except Exception as error:
                hint = f"The role {target.assume_role_arn} must trust the caller (sts:AssumeRole, external id)"
                raise self._refused(error, hint) from error

        return Role(assume)

    def _refused(
        self, error: Exception, hint: str = _CREDENTIALS_HINT
    ) -> ConfigurationError | CredentialsError | OutageError:
        target = self._target
        if isinstance(error, ConfigurationError):
            return error
        if (lost := _unanswered(error)) is not None:
            what = "the credentials could not be fetched, because their service is out of reach"
            outage = OutageError(
                what, where=target.name, why=clean(str(error)), hint="Check the network, then run again"
            )
            if lost.is_hopeless:
                outage.reason = Reason.CONFIGURATION
                outage.hint = "Check the Region, sts_endpoint_url, certificates and any proxy in between"
            return outage
        profile = target.profile or os.environ.get("AWS_PROFILE", "")
        if isinstance(error, sdk.SSOError | sdk.TokenRetrievalError):
            hint = f"Run `aws sso login{f' --profile {profile}' if profile else ''}`"
        elif isinstance(error, sdk.ClientError) and profile and hint == _CREDENTIALS_HINT:
            hint = f"Check the roles that the profile {profile} assumes (role_arn, source_profile, external_id)"
        return CredentialsError("no valid AWS credentials", where=target.name, why=clean(str(error)), hint=hint)


class Role:
    """A role that is assumed whenever its credentials are asked for.

    Args:
        assume: assumes it.

    Attributes:
        method: how it comes by credentials, in the SDK's words.
        ends_at: when the last ones expire, seconds since the epoch.
    """

    method = "sts-assume-role"

    def __init__(self, assume: Callable[[], Awaitable[Assumed]]) -> None:
        self._assume = assume
        self.ends_at = 0.0

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """New ones."""
        keys, self.ends_at = await self._assume()
        return keys


def _unanswered(error: Exception) -> Reply | None:
    """How the service that hands out credentials did not answer; None where it did, or was not asked."""
    for one in causes(error):
        if isinstance(one, sdk.ConnectionError | sdk.HTTPClientError):
            return lost(one)
        if isinstance(one, sdk.ClientError):
            reply = Reply(
                status=one.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0),
                code=one.response.get("Error", {}).get("Code", ""),
            )
            return reply if judge(reply) in {Verdict.THROTTLED, Verdict.AMBIGUOUS} else None
    return None


def _left_s(source: Any) -> float:  # noqa: ANN401  the SDK has no types
    """Seconds until the credentials of ``source`` expire, rounded down; infinite for those that never do.

    The SDK says only whether they expire within a given time, so that is asked until the seconds are known.
    """
    if isinstance(source, Role):
        return float(max(0, int(source.ends_at - time.time())))
    if not isinstance(source, AioRefreshableCredentials):
        return math.inf
    least, most = 0, LONGEST_LIFE_S
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if source.refresh_needed(middle) else (middle, most)
    return float(least)


def _note(fetch: asyncio.Task[None]) -> None:
    """Retrieve a failure that no call waits for: it is reported when the credentials in hand are no longer usable."""
    if not fetch.cancelled():
        fetch.exception()


def auxiliary_config(attempts: int, mode: Literal["standard", "adaptive"] = "standard") -> ClientConfig:
    """How a client of STS, IAM or the like is set up, which sends each call up to ``attempts`` times.

    Args:
        attempts: of each call.
        mode: of the SDK's retries; ``adaptive`` also lowers the rate of all calls when one is throttled.
    """
    connect_s, read_s = AUXILIARY_TIMEOUTS_S
    return ClientConfig(
        connect_timeout=connect_s,
        read_timeout=read_s,
        retries={"total_max_attempts": attempts, "mode": mode},
    )


def auxiliary_limits() -> Limits:
    """The same bounds, for a connection without the SDK."""
    connect_s, read_s = AUXILIARY_TIMEOUTS_S
    return Limits(max_connections=1, connect_timeout_s=connect_s, read_timeout_s=read_s)


class FixedProvider:
    """Puts a credentials object at the head of a session's credential chain."""

    METHOD = "provisioner"
    CANONICAL_NAME = None

    def __init__(self, credentials: AioCredentials) -> None:
        self._credentials = credentials

    async def load(self) -> AioCredentials:
        """That object: the chain behind it is never asked."""
        return self._credentials


def use_credentials(session: AioSession, credentials: AioCredentials) -> None:
    """Make every client of ``session`` take its credentials from ``credentials``."""
    chain = session.get_component("credential_provider")
    chain.insert_before(chain.providers[0].METHOD, FixedProvider(credentials))
