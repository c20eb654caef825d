"""The SDK transport: creates through aioboto3, and every call that is not a create.

The SDK validates, signs and sends; what comes back is read by :mod:`provisioner.aws.wire` from the raw reply, because
the SDK's parser drops what its service model does not know (retry advice, newer error codes).
"""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from botocore import exceptions as sdk
from botocore import xform_name

from provisioner.aws import quotas as service_quotas
from provisioner.aws import tagging, wire
from provisioner.aws.faces import SIGNATURE_AGE_S, CallError, Described, Listed, Page
from provisioner.aws.http import before_write
from provisioner.aws.listing import page_of
from provisioner.aws.losses import lost
from provisioner.aws.network import current_caller
from provisioner.aws.sigv4 import sign_again
from provisioner.aws.timeouts import now_s
from provisioner.core.verdict import SKEW_CODES, Loss, Reply
from provisioner.errors import ConfigurationError, CredentialsError, OutageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from provisioner.aws.faces import Limits, TaggedPage
    from provisioner.aws.listing import DirectList
    from provisioner.aws.network import Caller
    from provisioner.aws.target import Clients
    from provisioner.core.verdict import Line

_T = TypeVar("_T")
_Answer = TypeVar("_Answer")

_DEFINITION = ("name", "description", "roleArn", "trainingContainerConfig", "inferenceContainerConfig", "kmsKeyArn")

_raw: ContextVar[list[Reply]] = ContextVar("raw")
"""Where the running call finds the reply as it was read before the SDK's parser worked on it."""


class _StaleSignatureError(Exception):
    """The signature was too old when the request could leave. Nothing has left."""


class _Sending:
    """A create on its way through the SDK.

    Attributes:
        signed_at: when the SDK began to sign it.
        refusal: what ``may_send`` raised, None when it let the create pass.
        stale: whether the signature was discarded.
        line: over which it left; None before.
    """

    def __init__(self, may_send: Callable[[], None]) -> None:
        self._may_send = may_send
        self.signed_at = 0.0
        self.refusal: BaseException | None = None
        self.stale = False
        self.line: Line | None = None

    def check(self, line: Line) -> None:
        """Ask whether the create may leave over ``line``; called when that is open."""
        self.line = line
        try:
            self._may_send()
        except BaseException as error:
            self.refusal = error
            raise
        self.stale = now_s() - self.signed_at > SIGNATURE_AGE_S
        if self.stale:
            raise _StaleSignatureError


_sending: ContextVar[_Sending] = ContextVar("sending")


def handle(client: Any) -> None:  # noqa: ANN401  the SDK has no types
    """Have creates of ``client`` checked before they leave, and all replies read before the SDK's parser works.

    What is done is done for the caller of the running task; see :class:`provisioner.aws.network.Caller`.
    """
    events, service = client.meta.events, client.meta.service_model.service_id.hyphenize()
    events.register(f"before-sign.{service}", _note_signing)
    events.register(f"before-send.{service}", _arm)
    events.register(f"before-send.{service}", _correct_time)
    events.register(f"before-parse.{service}", _keep)


def _note_signing(**_: object) -> None:
    if sending := _sending.get(None):
        sending.signed_at = now_s()


def _arm(**_: object) -> None:
    """Have the create checked at its connection; not earlier: signing may fetch credentials over another one."""
    if sending := _sending.get(None):
        before_write.set(sending.check)


async def _correct_time(request: Any, **_: object) -> None:  # noqa: ANN401  the SDK has no types
    """Sign again where this machine's clock is known to be wrong: the SDK signs by no other."""
    caller = current_caller()
    if caller.clock.offset_s:
        credentials = await caller.identity.get_frozen_credentials()
        sign_again(request, credentials, time.time() + caller.clock.offset_s)


def _keep(response_dict: dict[str, Any], **_: object) -> None:
    """Read the reply of the running call."""
    kept = _raw.get(None)
    if kept is None:
        return
    headers, now = response_dict["headers"], time.time()
    reply = wire.read(response_dict["status_code"], headers, response_dict["body"] or b"", now)
    if reply.code in SKEW_CODES:
        current_caller().clock.learn(headers.get("date", ""), now)
    kept.append(reply)


class SdkCreates:
    """Creates through the SDK's client. See :class:`provisioner.aws.Creates` for the obligations."""

    def __init__(self, client: Any, caller: Caller, limits: Limits) -> None:  # noqa: ANN401  the SDK has no types
        self._client = client
        self._caller = caller
        self._places = asyncio.Semaphore(limits.max_connections)

    async def create(self, body: bytes, may_send: Callable[[], None]) -> Reply:
        """Send one create."""
        try:
            params = msgspec.json.decode(body, type=dict[str, Any])
            await self._caller.identity.get_frozen_credentials()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Reply(loss=Loss.PARAMETERS, message=str(error))
        except (ConfigurationError, CredentialsError, OutageError) as error:
            return lost(error)
        # The place in the pool is taken before the SDK signs, so that no signature grows old in the queue.
        async with self._places:
            return await _mutate(self._client.create_configured_model_algorithm, params, may_send, self._caller)


async def _mutate(
    method: Any,  # noqa: ANN401  the SDK has no types
    params: dict[str, Any],
    may_send: Callable[[], None],
    caller: Caller,
) -> Reply:
    """Call once, checked by ``may_send`` when it is signed; a signature that was too old by then is made again."""
    while True:
        sending = _Sending(may_send)
        token = _sending.set(sending)
        try:
            reply = caller.identity.secrets.redact((await _call(method, params, caller))[1])
        finally:
            _sending.reset(token)
            before_write.set(None)
        if sending.refusal is not None:
            raise sending.refusal
        if not sending.stale:
            return reply if reply.loss else msgspec.structs.replace(reply, line=sending.line)


class SdkControl:
    """Calls that are not creates. See :class:`provisioner.aws.Control` for the obligations.

    Args:
        clients: of the target.
        caller: the target.
        listing: lists without the SDK; None where only the SDK can.
    """

    def __init__(self, clients: Clients, caller: Caller, listing: DirectList | None = None) -> None:
        self._clients = clients
        self._caller = caller
        self._listing = listing

    async def list_algorithms(self, next_token: str = "", page_size: int = 100) -> Page:
        """One page of List."""
        operation = "ListConfiguredModelAlgorithms"
        if self._listing is not None:
            return await self._answer(operation, partial(self._listing.ask, next_token, page_size), page_of)
        params = {"maxResults": page_size} | ({"nextToken": next_token} if next_token else {})
        return await self._ask(await self._clients.service(), operation, params, _page)

    async def get_algorithm(self, arn: str) -> Described:
        """Everything about one algorithm."""
        params = {"configuredModelAlgorithmArn": arn}
        read = partial(_described, arn)
        return await self._ask(await self._clients.service(), "GetConfiguredModelAlgorithm", params, read)

    async def tagged(self, next_token: str = "") -> TaggedPage:
        """One page of GetResources."""
        try:
            client = await self._clients.tagging()
        except ConfigurationError as error:
            raise self._failed(tagging.OPERATION, lost(error)) from error
        return await self._ask(client, tagging.OPERATION, tagging.params(next_token), tagging.page)

    async def delete_algorithm(self, arn: str, may_send: Callable[[], None]) -> Reply:
        """Delete one algorithm."""
        return await self._change("DeleteConfiguredModelAlgorithm", {"configuredModelAlgorithmArn": arn}, may_send)

    async def tag_algorithm(self, arn: str, tags: Mapping[str, str], may_send: Callable[[], None]) -> Reply:
        """Set tags of one algorithm."""
        return await self._change("TagResource", {"resourceArn": arn, "tags": dict(tags)}, may_send)

    async def untag_algorithm(self, arn: str, keys: Sequence[str], may_send: Callable[[], None]) -> Reply:
        """Remove tags of one algorithm."""
        return await self._change("UntagResource", {"resourceArn": arn, "tagKeys": list(keys)}, may_send)

    async def _change(self, operation: str, params: dict[str, Any], may_send: Callable[[], None]) -> Reply:
        try:
            await self._caller.identity.get_frozen_credentials()
            method = getattr(await self._clients.service(), xform_name(operation))
        except (ConfigurationError, CredentialsError, OutageError) as error:
            return lost(error)
        return await _mutate(method, params, may_send, self._caller)

    async def caller_account(self) -> str:
        """The account of the credentials."""
        try:
            sts = await self._clients.sts()
            answer, reply = await _call(sts.get_caller_identity, {}, self._caller)
        except Exception as error:
            raise self._failed("GetCallerIdentity", lost(error)) from error
        if answer is None or "Account" not in answer:
            raise self._failed("GetCallerIdentity", reply)
        return str(answer["Account"])

    async def published_rate(self) -> float | None:
        """Creates per second, as Service Quotas has it."""
        with self._caller.calling():
            return await service_quotas.ask(self._clients.quotas)

    async def _ask(
        self,
        client: Any,  # noqa: ANN401  the SDK has no types
        operation: str,
        params: dict[str, Any],
        read: Callable[[dict[str, Any]], _T],
    ) -> _T:
        call = partial(_call, getattr(client, xform_name(operation)), params, self._caller)
        return await self._answer(operation, call, read, params.get("configuredModelAlgorithmArn", ""))

    async def _answer(
        self,
        operation: str,
        call: Callable[[], Awaitable[tuple[_Answer | None, Reply]]],
        read: Callable[[_Answer], _T],
        where: str = "",
    ) -> _T:
        """What ``read`` makes of the answer to ``call``."""
        clock = self._caller.clock
        offset_s = clock.offset_s
        answer, reply = await call()
        if answer is None and clock.offset_s != offset_s:
            # Refused for the time of its signature, so nothing was done; the next one is made by the server's clock.
            answer, reply = await call()
        if answer is None:
            raise self._failed(operation, reply, where)
        try:
            return read(answer)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            unreadable = Reply(status=reply.status, message="the reply cannot be read", request_id=reply.request_id)
            raise self._failed(operation, unreadable, where) from error

    def _failed(self, operation: str, reply: Reply, where: str = "") -> CallError:
        return CallError(operation, self._caller.identity.secrets.redact(reply), where)


def _page(answer: dict[str, Any]) -> Page:
    """A reply without the list is not an empty page: absence is never concluded from what cannot be read."""
    return Page(
        items=tuple(_listed(row) for row in answer["configuredModelAlgorithms"]),
        next_token=answer.get("nextToken", ""),
    )


def _listed(row: dict[str, Any]) -> Listed:
    return Listed(
        arn=row["configuredModelAlgorithmArn"],
        name=row["name"],
        description=row.get("description", ""),
        created_at=row["createTime"].timestamp(),
        updated_at=row["updateTime"].timestamp(),
    )


def _described(arn: str, answer: dict[str, Any]) -> Described:
    """A reply about another algorithm is the reply to another request: it proves nothing about ``arn``."""
    if answer["configuredModelAlgorithmArn"] != arn:
        raise ValueError(answer["configuredModelAlgorithmArn"])
    return Described(
        arn=answer["configuredModelAlgorithmArn"],
        name=answer["name"],
        body=msgspec.json.encode({key: answer[key] for key in _DEFINITION if key in answer}),
        tags=answer.get("tags", {}),
        created_at=answer["createTime"].timestamp(),
        updated_at=answer["updateTime"].timestamp(),
    )


async def _call(method: Any, params: dict[str, Any], caller: Caller) -> tuple[dict[str, Any] | None, Reply]:  # noqa: ANN401  no SDK types
    """Call once. The SDK's answer, None when it made none of the reply; and what was seen on the wire."""
    kept: list[Reply] = []
    token = _raw.set(kept)
    try:
        with caller.calling():
            answer = await method(**params)
    except Exception as error:  # noqa: BLE001  the contract: nothing that happens to the call is raised
        return None, kept[0] if kept else seen(error)
    finally:
        _raw.reset(token)
    return answer, kept[0] if kept else Reply(loss=Loss.UNKNOWN, message="the reply was not seen")


def seen(error: Exception) -> Reply:
    """What ``error`` says when no reply was kept: an error of another service, or a loss."""
    if isinstance(error, sdk.ClientError):
        details, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        return Reply(
            status=meta.get("HTTPStatusCode", 0),
            code=str(details.get("Code", "")),
            message=wire.clean(str(details.get("Message", ""))),
            request_id=meta.get("RequestId", ""),
        )
    return lost(error)
