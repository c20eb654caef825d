"""AWS: the one package that knows the SDK and its HTTP library.

:func:`connect` opens a target and gives two faces: :class:`Creates`, the hot call, and :class:`Control`, all others.
Importing this package loads neither SDK nor HTTP library; opening a target does.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from provisioner.aws.faces import Aws, CallError, Control, Creates, Described, Limits, Listed, Page, Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = [
    "Aws",
    "CallError",
    "Control",
    "Creates",
    "Described",
    "Limits",
    "Listed",
    "Page",
    "Target",
    "connect",
]


@asynccontextmanager
async def connect(
    target: Target,
    *,
    max_connections: int = 256,
    connect_timeout_s: float = 5.0,
    read_timeout_s: float = 20.0,
    direct: bool = True,
) -> AsyncIterator[Aws]:
    """Open ``target``: find its Region and credentials, assume its role, make its clients.

    Nothing of Clean Rooms ML is called. STS is called only to assume a role that the target names.

    Args:
        target: where to.
        max_connections: size of the pool; to be the cap of creates in flight.
        connect_timeout_s: seconds for name, connection and TLS handshake.
        read_timeout_s: seconds for a reply.
        direct: send creates by the direct transport where it can honour what is configured for the SDK; a notice tells
            where it cannot. False leaves them to the SDK.

    Yields:
        The open target; see :class:`Aws`.

    Raises:
        ConfigurationError: unknown profile, no Region, an endpoint that is neither https nor on this machine.
        CredentialsError: no credentials, or the role cannot be assumed.
    """
    from provisioner.aws.target import open_target

    limits = Limits(max_connections=max_connections, connect_timeout_s=connect_timeout_s, read_timeout_s=read_timeout_s)
    async with open_target(target, limits, direct=direct) as aws:
        yield aws
