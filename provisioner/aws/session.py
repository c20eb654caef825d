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
import time
from typing import TYPE_CHECKING, Any

from aiobotocore.credentials import AioCredentials, AioRefreshableCredentials
from aiobotocore.session import AioSession
from botocore import exceptions as sdk
from botocore.utils import validate_region_name

import provisioner
from provisioner.aws.http import ClientConfig
from provisioner.errors import ConfigurationError, CredentialsError

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

    from provisioner.aws.faces import Limits
    from provisioner.config.settings import Target

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

ADVISORY_S = 15 * 60
"""Credentials that expire within this are refreshed without haste (botocore, ``_DEFAULT_ADVISORY_REFRESH_TIMEOUT``)."""

MANDATORY_S = 10 * 60
"""Credentials that expire within this are not used (botocore, ``_DEFAULT_MANDATORY_REFRESH_TIMEOUT``)."""

REFRESH_PAUSE_S = 5.0
"""All calls in flight meet an expired token at once; within this after a refresh the answer is that refresh's."""

_CREDENTIALS_HINT = "Set AWS_PROFILE or the keys in the environment, or `profile` in the target's configuration"


def open_session(target: Target) -> AioSession:
    """A fresh SDK session for ``target``: it reads the environment and the configuration files anew.

    Endpoints that environment or files set (``AWS_ENDPOINT_URL*``) are ignored: they are a way to hijack requests.

    Raises:
        ConfigurationError: the profile does not exist, or the AWS configuration file is broken.
    """
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


def region_of(target: Target, session: AioSession) -> str:
    """The Region of ``target``: its own, the SDK's (AWS_DEFAULT_REGION, profile), or else AWS_REGION.

    Raises:
        ConfigurationError: none of them tells, or it cannot be part of a host name.
    """
    region = target.region or session.get_config_variable("region") or os.environ.get("AWS_REGION", "")
    if not region:
        known = ", ".join(REGIONS)
        hint = f"Set `region` in the target's configuration, or AWS_DEFAULT_REGION; the service is in {known}"
        raise ConfigurationError("no Region is set", where=target.name, hint=hint)
    try:
        validate_region_name(region)
    except sdk.InvalidRegionError as error:
        raise ConfigurationError("this is not a Region", where=target.name, why=str(error)) from error
    return str(region)


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


class Identity(AioCredentials):  # type: ignore[misc]  # the SDK has no types
    """The credentials of a target, current whenever they are asked for. An SDK credentials object itself.

    Obligations: :meth:`get_frozen_credentials` may be called at any time by any number of tasks; fresh credentials are
    fetched once, however many ask, also when that fails: it fails all who waited for it. While those in hand are still
    good for the SDK's mandatory period (10 minutes), the fetch runs beside the calls and none waits for it. A failed
    fetch leaves the old ones in place.

    Args:
        target: whose.
        region: of the STS that is asked to assume the target's role.
        session: where the first credentials come from; later ones come from a fresh session.

    Attributes:
        generation: changes when :meth:`refresh` replaced the credentials.
    """

    def __init__(self, target: Target, region: str, session: AioSession) -> None:
        super().__init__("unused", "unused", method="provisioner")
        self._target = target
        self._region = region
        self._session: AioSession | None = session
        self._source: Any = None
        self._current: ReadOnlyCredentials | None = None
        self._lock = asyncio.Lock()
        self._fetch: asyncio.Task[None] | None = None
        self._refreshed_at = -math.inf
        self._changed = False
        self.generation = 0

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Key, secret and token that are valid now.

        Raises:
            CredentialsError: there are none, or they could not be refreshed.
        """
        if self._source is None:
            async with self._lock:
                if self._source is None:
                    self._source = await self._load()
        if not self._expires_within(ADVISORY_S):
            self._current = await self._freeze(self._source)
            return self._current
        if self._fetch is None or self._fetch.done():
            self._fetch = asyncio.create_task(self._renew())
            self._fetch.add_done_callback(_note)
        if self._current is None or self._expires_within(MANDATORY_S):
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
            if time.monotonic() >= self._refreshed_at + REFRESH_PAUSE_S:
                before = self._current
                fresh = await self._load()
                self._current = await self._freeze(fresh)
                self._source = fresh
                self._changed = before != self._current
                self.generation += 1
                self._refreshed_at = time.monotonic()
            return self._changed

    async def _renew(self) -> None:
        """Fetch for all who ask meanwhile. What :meth:`refresh` replaced in between is not put back."""
        source = self._source
        fresh = await self._freeze(source)
        if source is self._source:
            self._current = fresh

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)

    def _expires_within(self, seconds: int) -> bool:
        return isinstance(self._source, AioRefreshableCredentials) and self._source.refresh_needed(seconds)

    async def _load(self) -> Any:  # noqa: ANN401  the SDK has no types
        session, self._session = self._session or open_session(self._target), None
        try:
            source = await session.get_credentials()
        except Exception as error:
            raise self._refused(error) from error
        if source is None:
            raise CredentialsError("no AWS credentials were found", where=self._target.name, hint=_CREDENTIALS_HINT)
        return await self._assume(source, session) if self._target.assume_role_arn else source

    async def _freeze(self, source: Any) -> ReadOnlyCredentials:  # noqa: ANN401  the SDK has no types
        try:
            return await source.get_frozen_credentials()
        except Exception as error:
            raise self._refused(error) from error

    async def _assume(self, source: Any, session: AioSession) -> AioRefreshableCredentials:  # noqa: ANN401  the SDK has no types
        async def fetch() -> dict[str, str]:
            return await self._assume_once(session)

        await self._freeze(source)
        try:
            metadata = await fetch()
        except Exception as error:
            raise self._refused(error) from error
        return AioRefreshableCredentials.create_from_metadata(metadata, refresh_using=fetch, method="sts-assume-role")

    async def _assume_once(self, session: AioSession) -> dict[str, str]:
        params = {
            "RoleArn": self._target.assume_role_arn,
            "RoleSessionName": ROLE_SESSION,
            "DurationSeconds": ROLE_DURATION_S,
        }
        if self._target.external_id:
            params["ExternalId"] = self._target.external_id
        async with sts_client(session, self._target, self._region, ROLE_ATTEMPTS) as sts:
            credentials = (await sts.assume_role(**params))["Credentials"]
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "expiry_time": credentials["Expiration"].isoformat(),
        }

    def _refused(self, error: Exception) -> CredentialsError:
        target = self._target
        hint = _CREDENTIALS_HINT
        if isinstance(error, sdk.SSOError | sdk.TokenRetrievalError):
            hint = f"Run `aws sso login{f' --profile {target.profile}' if target.profile else ''}`"
        elif target.assume_role_arn:
            hint = f"The role {target.assume_role_arn} must trust the caller (sts:AssumeRole, external id)"
        return CredentialsError("no valid AWS credentials", where=target.name, why=str(error), hint=hint)


def _note(fetch: asyncio.Task[None]) -> None:
    """Take notice of a failure that nobody waited for; it is told when the credentials in hand are no good any more."""
    if not fetch.cancelled():
        fetch.exception()


def sts_client(session: AioSession, target: Target, region: str, attempts: int) -> Any:  # noqa: ANN401  no SDK types
    """A client of STS at the target's endpoint, which sends each call up to ``attempts`` times."""
    config = ClientConfig(
        connect_timeout=5, read_timeout=10, retries={"total_max_attempts": attempts, "mode": "standard"}
    )
    return session.create_client("sts", region_name=region, endpoint_url=target.sts_endpoint_url or None, config=config)


class IdentityProvider:
    """Puts an :class:`Identity` at the head of a session's credential chain."""

    METHOD = "provisioner"
    CANONICAL_NAME = None

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def load(self) -> Identity:
        """The identity: the chain behind it is never asked."""
        return self._identity


def use_identity(session: AioSession, identity: Identity) -> None:
    """Make every client of ``session`` take its credentials from ``identity``."""
    chain = session.get_component("credential_provider")
    chain.insert_before(chain.providers[0].METHOD, IdentityProvider(identity))
