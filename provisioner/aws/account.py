"""An inspection through the SDK. See :class:`provisioner.aws.inspection.Inspection` for the obligations."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from botocore import exceptions as sdk
from botocore import xform_name

from provisioner.aws import inspection
from provisioner.aws.clock import ServerClock
from provisioner.aws.faces import CallError
from provisioner.aws.network import Caller, Wanted
from provisioner.aws.quotas import SERVICE_CODE
from provisioner.aws.sdk import SdkControl, seen
from provisioner.aws.session import Identity, auxiliary_config, region_notice, region_of
from provisioner.aws.sharing import Sharing
from provisioner.aws.target import Clients
from provisioner.aws.wire import http_date
from provisioner.core.place import real_region
from provisioner.core.roles import SERVICE_PRINCIPAL
from provisioner.core.verdict import Loss, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from provisioner.aws.faces import Limits, Page, TaggedPage
    from provisioner.aws.inspection import Credentials
    from provisioner.aws.network import Network
    from provisioner.config.target import Target
    from provisioner.core.images import Image

_T = TypeVar("_T")

QUOTA_CODE = "L-CDB92F4A"
"""Configured model algorithms per Region, 1,000 by default (Service Quotas, AWS Clean Rooms ML)."""

ATTEMPTS = 2
"""All calls read, so the SDK may repeat one."""


class SdkInspection:
    """An open target.

    Args:
        target: which one.
        region: that was found for it.
        caller: the target, as the one that calls.
        network: where the SDK's clients are opened.
        limits: of the connections to Clean Rooms ML and the tagging API.
        endpoint_url: of every other service; "" is the SDK's own.
    """

    def __init__(
        self,
        target: Target,
        region: str,
        caller: Caller,
        *,
        network: Network,
        limits: Limits,
        endpoint_url: str,
    ) -> None:
        self._target = target
        self._region = region
        self._caller = caller
        self._network = network
        self._clients = Clients(target, region, network, limits)
        self._control = SdkControl(self._clients, caller)
        self._endpoint_url = endpoint_url
        self.region = real_region(region)
        self.notices = region_notice(region)
        self.clock_ahead_s: float | None = None

    async def credentials(self) -> Credentials:
        """What is known of the credentials."""
        await self._caller.identity.get_frozen_credentials()
        return self._caller.identity.describe()

    async def caller(self) -> inspection.Caller:
        """Whose they are."""
        operation = "GetCallerIdentity"
        try:
            sts = await self._clients.sts()
        except (sdk.BotoCoreError, ValueError) as error:
            raise _unmade(operation, error) from error
        self._listen(sts)
        return await self._call(sts, operation, {}, _caller)

    async def list_algorithms(self, next_token: str = "") -> Page:
        """One page."""
        self._listen(await self._clients.service())
        return await self._control.list_algorithms(next_token)

    async def tagged(self) -> TaggedPage:
        """The first page."""
        return await self._control.tagged()

    async def quota(self) -> float:
        """How many algorithms the account may hold."""
        params = {"ServiceCode": SERVICE_CODE, "QuotaCode": QUOTA_CODE}
        try:
            return await self._ask("service-quotas", "GetServiceQuota", params, _quota)
        except CallError as error:
            if error.reply.code != "NoSuchResourceException":
                raise
        return await self._ask("service-quotas", "GetAWSDefaultServiceQuota", params, _quota)

    async def role(self, name: str) -> tuple[str, dict[str, Any]]:
        """A role's ARN and trust policy."""
        return await self._ask("iam", "GetRole", {"RoleName": name}, _role)

    async def simulate(self, principal: str, actions: Sequence[str], resource: str) -> dict[str, str]:
        """How IAM decides."""
        context = {
            "ContextKeyName": "iam:PassedToService",
            "ContextKeyValues": [SERVICE_PRINCIPAL],
            "ContextKeyType": "string",
        }
        params = {
            "PolicySourceArn": principal,
            "ActionNames": list(actions),
            "ResourceArns": [resource],
            "ContextEntries": [context],
        }
        return await self._ask("iam", "SimulatePrincipalPolicy", params, _decisions)

    async def find_image(self, image: Image) -> None:
        """Look an image up."""
        params = {
            "registryId": image.account_id,
            "repositoryName": image.repository,
            "imageIds": [{"imageDigest": image.digest} if image.digest else {"imageTag": image.tag}],
        }
        await self._ask("ecr", "DescribeImages", params, lambda _: None, image.region)

    async def key_state(self, arn: str) -> str:
        """The state of a KMS key."""
        return await self._ask("kms", "DescribeKey", {"KeyId": arn}, _key_state)

    async def _ask(
        self, service: str, operation: str, params: dict[str, Any], read: Callable[[Any], _T], region: str = ""
    ) -> _T:
        try:
            client = await self._client(service, region or self._region)
        except (sdk.BotoCoreError, ValueError) as error:
            raise _unmade(operation, error) from error
        return await self._call(client, operation, params, read)

    async def _call(self, client: Any, operation: str, params: dict[str, Any], read: Callable[[Any], _T]) -> _T:  # noqa: ANN401  no SDK types
        try:
            with self._caller.calling():
                answer = await getattr(client, xform_name(operation))(**params)
        except Exception as error:
            raise CallError(operation, self._caller.identity.secrets.redact(seen(error))) from error
        try:
            return read(answer)
        except (KeyError, TypeError, ValueError) as error:
            raise CallError(operation, Reply(message="the reply cannot be read")) from error

    async def _client(self, service: str, region: str) -> Any:  # noqa: ANN401  the SDK has no types
        wanted = Wanted(service, region, self._endpoint_url, auxiliary_config(ATTEMPTS))
        return await self._network.client(self._target, wanted)

    def _listen(self, client: Any) -> None:  # noqa: ANN401  the SDK has no types
        client.meta.events.register("before-parse", self._look_at_clock, unique_id="clock")

    def _look_at_clock(self, response_dict: dict[str, Any], **_: object) -> None:
        server = http_date(response_dict["headers"].get("date", ""))
        if server is not None:
            self.clock_ahead_s = time.time() - server


def _unmade(operation: str, error: Exception) -> CallError:
    """No client can be made of this Region and endpoint."""
    return CallError(operation, Reply(loss=Loss.PARAMETERS, message=str(error)))


def _caller(answer: Any) -> inspection.Caller:  # noqa: ANN401  the SDK has no types
    return inspection.Caller(str(answer["Account"]), str(answer["Arn"]))


def _key_state(answer: Any) -> str:  # noqa: ANN401  the SDK has no types
    return str(answer["KeyMetadata"]["KeyState"])


def _quota(answer: Any) -> float:  # noqa: ANN401  the SDK has no types
    return float(answer["Quota"]["Value"])


def _role(answer: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401  the SDK has no types
    return str(answer["Role"]["Arn"]), dict(answer["Role"]["AssumeRolePolicyDocument"])


def _decisions(answer: Any) -> dict[str, str]:  # noqa: ANN401  the SDK has no types
    return {one["EvalActionName"]: one["EvalDecision"] for one in answer["EvaluationResults"]}


@asynccontextmanager
async def open_inspection(target: Target, limits: Limits, endpoint_url: str) -> AsyncIterator[SdkInspection]:
    """Open ``target`` for reading. See :func:`provisioner.aws.inspect`."""
    async with Sharing() as sharing:
        network = sharing.network
        region = region_of(target, network.profile(target).session)
        caller = Caller(Identity(target, region, network), ServerClock())
        try:
            yield SdkInspection(target, region, caller, network=network, limits=limits, endpoint_url=endpoint_url)
        finally:
            await caller.identity.close()
