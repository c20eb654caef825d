"""List over the connections of the direct transport.

It is the first call in every target, and as a rule the only one that is not a create. Through the SDK it takes 3 ms of
CPU, as much as all else that opens a target.
"""

from __future__ import annotations

import datetime as dt  # noqa: TC003  msgspec reads the field types at run time
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

from provisioner.aws import wire
from provisioner.aws.direct import encoded, head_of, pool_of, signature, unsent
from provisioner.aws.faces import Listed, Page
from provisioner.aws.losses import lost
from provisioner.aws.pool import UnconnectedError
from provisioner.aws.sigv4 import Signer
from provisioner.core.verdict import SKEW_CODES, Reply
from provisioner.errors import ConfigurationError, CredentialsError, OutageError

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

    from provisioner.aws.faces import Limits
    from provisioner.aws.network import Caller, Network
    from provisioner.aws.route import Route


class _Row(msgspec.Struct, rename="camel"):
    configured_model_algorithm_arn: str
    name: str
    create_time: dt.datetime
    update_time: dt.datetime
    description: str | None = None


class _List(msgspec.Struct, rename="camel"):
    configured_model_algorithms: list[_Row]
    next_token: str | None = None


_list = msgspec.json.Decoder(_List, strict=False)
"""Not strict, because times come as numbers or as texts."""


class DirectList:
    """Lists the algorithms of one target.

    Args:
        route: to the service.
        caller: the target.
        limits: of the connections.
        network: that has them.
    """

    def __init__(self, route: Route, caller: Caller, limits: Limits, network: Network) -> None:
        self._route = route
        self._caller = caller
        self._read_timeout_s = limits.read_timeout_s
        self._pool = pool_of(route, limits, network)

    async def ask(self, next_token: str, page_size: int) -> tuple[bytes | None, Reply]:
        """Call once: the body, None where there is to be no page; and the reply. Nothing that happens is raised."""
        params = {"maxResults": str(page_size)} | ({"nextToken": next_token} if next_token else {})
        query, now = urlencode(params, quote_via=quote, safe="-_.~"), 0.0

        def request() -> bytes:
            nonlocal now
            now = time.time()
            return self._request(query, credentials, now)

        try:
            credentials = await self._caller.identity.get_frozen_credentials()
            response = await self._pool.exchange(request, self._read_timeout_s)
        except (ConfigurationError, CredentialsError, OutageError, UnconnectedError) as error:
            return None, unsent(error)
        except Exception as error:  # noqa: BLE001  see above
            return None, lost(error)
        reply = wire.read(response.status, response.headers, response.body, now)
        if reply.code in SKEW_CODES:
            self._caller.clock.learn(response.headers.get("date", ""), now)
        return response.body if HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES else None, reply

    def _request(self, query: str, credentials: ReadOnlyCredentials, now: float) -> bytes:
        route = self._route
        service = route.service.signing_name
        signer = Signer(route.url, route.region, service, "", credentials, method="GET", query=query)
        signed = signature(signer, b"", now + self._caller.clock.offset_s, credentials.token)
        return encoded([*head_of(route, "GET", query), *signed, ""])


def page_of(body: bytes) -> Page:
    """The page in a 200.

    Raises:
        ValueError, RecursionError: there is none, which is not an empty page: absence is never concluded from what
            cannot be read.
    """
    found = _list.decode(body)
    rows = found.configured_model_algorithms
    items = [
        Listed(
            arn=row.configured_model_algorithm_arn,
            name=row.name,
            description=row.description or "",
            created_at=row.create_time.timestamp(),
            updated_at=row.update_time.timestamp(),
        )
        for row in rows
    ]
    return Page(items=tuple(items), next_token=found.next_token or "")
