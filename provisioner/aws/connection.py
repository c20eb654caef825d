"""Opens a target: session, credentials, clients, and the transport for creates."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import aioboto3
from botocore import exceptions as sdk

from provisioner.aws.faces import Aws
from provisioner.aws.sdk import OneRequest, SdkControl, SdkCreates, keep_replies
from provisioner.aws.session import (
    SERVICE,
    Identity,
    check_endpoint,
    client_config,
    open_session,
    region_notice,
    region_of,
    sts_client,
    use_identity,
)
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from provisioner.aws.faces import Limits, Target


@asynccontextmanager
async def open_target(target: Target, limits: Limits) -> AsyncIterator[Aws]:
    """Connect to ``target``. See :func:`provisioner.aws.connect`."""
    for url in filter(None, [target.endpoint_url, target.sts_endpoint_url]):
        check_endpoint(url, target.name)
    session = open_session(target)
    region = region_of(target, session)
    identity = Identity(target, region)
    await identity.get_frozen_credentials()
    use_identity(session, identity)
    config = client_config(limits, http_session_cls=OneRequest)
    endpoint = target.endpoint_url or None
    opened = aioboto3.Session(botocore_session=session).client(SERVICE, region, endpoint_url=endpoint, config=config)
    try:
        client = await opened.__aenter__()
    except (sdk.BotoCoreError, ValueError) as error:
        raise ConfigurationError("no client can be made", where=target.name, why=str(error)) from error
    try:
        keep_replies(client)
        yield Aws(
            creates=SdkCreates(client, identity, limits),
            control=SdkControl(client, partial(sts_client, session, target, region), limits),
            region=region,
            endpoint=client.meta.endpoint_url,
            notices=region_notice(region),
            refresh_credentials=identity.refresh,
        )
    finally:
        await opened.__aexit__(None, None, None)
