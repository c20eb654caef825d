"""AssumeRole over the connections of the direct transport.

It is the first call for every target with a role. Through the SDK the first one takes 0.3 s of CPU and 10 MB, and every
other one 1.5 ms more. What is read here is a reply that settles the matter: credentials, or a refusal. Whatever else
happens, the SDK calls again, with its retries and its words.
"""

from __future__ import annotations

import time
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError

from provisioner.aws.connection import UnreadableError
from provisioner.aws.direct import encoded, head_of, signature
from provisioner.aws.pool import UnconnectedError
from provisioner.aws.route import STS
from provisioner.aws.sigv4 import Signer
from provisioner.core.verdict import Reply, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from provisioner.aws.connection import Response
    from provisioner.aws.pool import Pool
    from provisioner.aws.route import Route

OPERATION = "AssumeRole"
CONTENT_TYPE = "application/x-www-form-urlencoded; charset=utf-8"


class Assumed(NamedTuple):
    """What an assumed role has: the keys, and when they expire, seconds since the epoch."""

    keys: ReadOnlyCredentials
    ends_at: float


class DirectSts:
    """STS, as the callers of one profile reach it.

    Args:
        route: to it.
        pool: the connections there.
        read_timeout_s: for a reply.
    """

    def __init__(self, route: Route, pool: Pool, read_timeout_s: float) -> None:
        self._route = route
        self._pool = pool
        self._read_timeout_s = read_timeout_s
        self._head = encoded([*head_of(route, "POST"), f"Content-Type: {CONTENT_TYPE}"])
        self._keys: ReadOnlyCredentials | None = None
        self._signer: Signer

    async def assume_role(self, params: Mapping[str, Any], keys: ReadOnlyCredentials) -> Assumed | None:
        """The role's credentials; None where no reply settles whether there are any.

        Args:
            params: of the operation.
            keys: of the caller.

        Raises:
            ClientError: STS refuses.
        """
        body = urlencode({"Action": OPERATION, "Version": STS.version, **params}).encode()
        try:
            response = await self._pool.exchange(partial(self._request, body, keys), self._read_timeout_s)
        except (UnconnectedError, OSError, UnreadableError):
            return None
        return _answer(response, params["RoleArn"])

    def _request(self, body: bytes, keys: ReadOnlyCredentials) -> bytes:
        if keys != self._keys:
            route = self._route
            self._signer = Signer(route.url, route.region, STS.signing_name, CONTENT_TYPE, keys)
            self._keys = keys
        signed = signature(self._signer, body, time.time(), keys.token)
        return self._head + encoded([*signed, f"Content-Length: {len(body)}", ""]) + body


def assumed(credentials: Mapping[str, Any]) -> Assumed:
    """The credentials in an answer of the SDK.

    Raises:
        KeyError: the answer lacks some of them.
    """
    keys = ReadOnlyCredentials(credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])
    return Assumed(keys, credentials["Expiration"].timestamp())


def _answer(response: Response, role_arn: str) -> Assumed | None:
    """What ``response`` settles: one with the credentials of another role is the reply to another request.

    Raises:
        ClientError: it is a refusal.
    """
    try:
        # A connection reads 1 MiB at most, and expat bounds what entities expand to.
        tree = ET.fromstring(response.body)  # noqa: S314
        if response.status == HTTPStatus.OK:
            if not _is_session(_members(tree, "AssumedRoleUser")["Arn"], role_arn):
                return None
            found = _members(tree, "Credentials")
            return assumed({**found, "Expiration": datetime.fromisoformat(found["Expiration"])})
    except (ET.ParseError, KeyError, ValueError):
        return None
    error = _members(tree, "Error")
    reply = Reply(status=response.status, code=error.get("Code", ""))
    if not reply.code or judge(reply) in {Verdict.THROTTLED, Verdict.AMBIGUOUS}:
        return None
    raise ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": response.status}}, OPERATION)


def _is_session(arn: str, role_arn: str) -> bool:
    """Whether ``arn`` is a session of the role, whose path it leaves out."""
    return arn.split(":")[4:5] == role_arn.split(":")[4:5] and arn.split("/")[1:2] == role_arn.split("/")[-1:]


def _members(tree: ET.Element, name: str) -> dict[str, str]:
    """The texts in the first element with this name, in whatever namespace."""
    found = tree.iterfind(f".//{{*}}{name}/*")
    return {member.tag.rpartition("}")[2]: member.text or "" for member in found}
