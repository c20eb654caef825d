"""AWS: the one package that knows the SDK and its HTTP library.

:func:`connect` opens a target and gives two faces: :class:`Creates`, the hot call, and :class:`Control`, all others.
:func:`inspect` opens one to look at what a run needs there. :func:`objects` opens S3, :func:`organization` the list of
accounts.
Importing this package loads neither SDK nor HTTP library; opening a target does.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from provisioner.aws.faces import Aws, CallError, Control, Creates, Described, Limits, Listed, Page, Tagged, TaggedPage
from provisioner.aws.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioner.aws.inspection import Inspection
    from provisioner.aws.organizations import Organization
    from provisioner.aws.s3 import S3
    from provisioner.config.target import Target

__all__ = [
    "Aws",
    "CallError",
    "Control",
    "Creates",
    "Described",
    "Limits",
    "Listed",
    "Page",
    "Sharing",
    "Tagged",
    "TaggedPage",
    "connect",
    "inspect",
    "objects",
    "organization",
]


@asynccontextmanager
async def connect(
    target: Target, limits: Limits, sharing: Sharing | None = None, *, direct: bool = True
) -> AsyncIterator[Aws]:
    """Open ``target``: find its Region and credentials, assume its role, make its clients.

    Nothing of Clean Rooms ML is called. STS is called only to assume a role that the target names.

    Args:
        target: where to.
        limits: of the connections.
        sharing: with other targets; None for a target that shares nothing.
        direct: send creates by the direct transport where it can honour what is configured for the SDK; a notice says
            where it cannot. False leaves them to the SDK.

    Yields:
        The open target; see :class:`Aws`.

    Raises:
        ConfigurationError: unknown profile, no Region, a value that no host name or header may hold.
        CredentialsError: no credentials, or the role cannot be assumed.
    """
    from provisioner.aws.target import open_target

    async with AsyncExitStack() as stack:
        if sharing is None:
            sharing = await stack.enter_async_context(Sharing())
        yield await stack.enter_async_context(open_target(target, limits, sharing.network, direct=direct))


@asynccontextmanager
async def inspect(target: Target, limits: Limits, *, endpoint_url: str = "") -> AsyncIterator[Inspection]:
    """Open ``target`` for reading: find its Region. Credentials are looked for at the first call.

    Args:
        target: where to.
        limits: of the connections.
        endpoint_url: of the services that the target names no endpoint of: IAM, ECR, KMS, Service Quotas. "" is the
            SDK's own.

    Yields:
        The open target; see :class:`provisioner.aws.inspection.Inspection`.

    Raises:
        ConfigurationError: unknown profile, no Region, a value that no host name may hold.
    """
    from provisioner.aws.account import open_inspection

    async with open_inspection(target, limits, endpoint_url) as inspection:
        yield inspection


def objects() -> S3:
    """S3, for manifests and results; see :class:`provisioner.aws.s3.S3`. Nothing is called yet."""
    from provisioner.aws.s3 import S3

    return S3()


@asynccontextmanager
async def organization(region: str, endpoint_url: str) -> AsyncIterator[Organization]:
    """Open AWS Organizations with the credentials of the usual environment.

    Args:
        region: whose partition's endpoint is called: the service has one in each.
        endpoint_url: of the service; "" is the SDK's own.

    Raises:
        ConfigurationError: the AWS configuration is broken, or there can be no such endpoint.
        CredentialsError: there are no credentials.
    """
    from provisioner.aws.organizations import open_organization

    async with open_organization(region, endpoint_url) as opened:
        yield opened
