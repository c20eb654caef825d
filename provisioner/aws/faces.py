"""What the rest of the product sees of AWS: two interfaces, and the values that pass through them. No SDK type does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from provisioner.core.verdict import SKEW_CODES, reason_of
from provisioner.errors import ProvisionerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from provisioner.core.verdict import Reply


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the connections to one target.

    Attributes:
        max_connections: size of the pool; more creates at once than this only queue.
        connect_timeout_s: seconds for name, connection and TLS handshake together.
        read_timeout_s: seconds for the reply. A drain must end within 25 s, so connect + read is to stay below that.
    """

    max_connections: int
    connect_timeout_s: float
    read_timeout_s: float


SIGNATURE_AGE_S = 2.0
"""How old a signature may be when its request leaves. A process that stood still between the last look at its lease and
the write must not send a request that AWS takes for a fresh one. A live process signs and writes within a millisecond,
and no pause of a loaded machine or of the garbage collector comes near two seconds; a lease is trusted for longer."""


class Creates(Protocol):
    """Sends creates. Every transport keeps these promises, and one contract suite proves them on each."""

    async def create(self, body: bytes, may_send: Callable[[], None]) -> Reply:
        """Send one create and report what was seen of it.

        - ``body`` is the complete, validated JSON body, ownership tag included. It is not changed.
        - ``may_send`` is called when the request is signed and its connection open, immediately before the first byte
          is written, and only then. Whatever it raises propagates; no byte has left then, and the connection serves
          the next create. A signature that is older than ``SIGNATURE_AGE_S`` by then is discarded: the request is
          signed again, and ``may_send`` asked again.
        - At most one HTTP request leaves for a call. Nothing below sends it again: no SDK retry, reconnect, redirect.
        - Nothing else that happens to the call is raised. A failure is a Reply with a Loss, or with the server's
          status. A Loss of the first group (``BEFORE_FIRST_BYTE``) means that no byte of the request can have left.
        - Any number of calls may run at once; more than ``Limits.max_connections`` queue.
        - The call ends within both time-outs of :class:`Limits` together, however slowly its reply trickles in, apart
          from what precedes it: the queue, a wait for fresh credentials.

        Raises:
            asyncio.CancelledError: the caller was cancelled. Whether bytes left is then unknown.
        """
        ...


class Listed(msgspec.Struct, frozen=True):
    """One row of List. Times are seconds since the epoch, by the server's clock."""

    arn: str
    name: str
    description: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0


class Page(msgspec.Struct, frozen=True):
    """One page of List. Only a page whose ``next_token`` is "" ends a sweep."""

    items: tuple[Listed, ...]
    next_token: str = ""


class Tagged(msgspec.Struct, frozen=True):
    """One row of GetResources: an algorithm with all its tags, AWS's own too. It may be gone."""

    arn: str
    tags: dict[str, str]


class TaggedPage(msgspec.Struct, frozen=True):
    """One page of GetResources. A page may be empty and not the last: only a ``next_token`` of "" ends them."""

    items: tuple[Tagged, ...]
    next_token: str = ""


class Described(msgspec.Struct, frozen=True):
    """What Get returns for one algorithm.

    Attributes:
        arn: the algorithm.
        name: its name.
        body: the definition as a create takes it (JSON, wire names), without tags.
        tags: user tags and AWS tags.
        created_at: seconds since the epoch, by the server's clock.
        updated_at: the same.
    """

    arn: str
    name: str
    body: bytes
    tags: dict[str, str]
    created_at: float = 0.0
    updated_at: float = 0.0


_SIGNATURE_HINT = "Check this machine's clock against a time server, then the secret access key"


class CallError(ProvisionerError):
    """A call other than a create failed. Raised by :class:`Control`; the caller decides whether to send it again.

    Args:
        operation: the API operation.
        reply: what was seen of it; ``status`` 404 means that the algorithm is not there.
        where: what the call was about, an ARN as a rule.
    """

    def __init__(self, operation: str, reply: Reply, where: str = "") -> None:
        hint = _SIGNATURE_HINT if reply.code in SKEW_CODES else ""
        super().__init__(f"{operation} failed", where=where, why=str(reply), hint=hint)
        self.operation = operation
        self.reply = reply
        self.reason = reason_of(reply)


class Control(Protocol):
    """Every call that is not a create. One attempt each, no SDK retry. Changes report a Reply; reads raise."""

    async def list_algorithms(self, next_token: str = "", page_size: int = 100) -> Page:
        """One page of List, at most 100 rows, in no particular order.

        Raises:
            CallError: no page was read. That never means "nothing there".
        """
        ...

    async def get_algorithm(self, arn: str) -> Described:
        """Everything about one algorithm.

        Raises:
            CallError: it could not be read; ``reply.status`` is 404 when there is no such algorithm.
        """
        ...

    async def tagged(self, next_token: str = "") -> TaggedPage:
        """One page of GetResources, at most 100 algorithms that have or had a tag. Only where :attr:`Aws.has_tagging`.

        Its index lags, may omit what exists, and may show what is gone: it never proves absence.

        Raises:
            CallError: no page was read.
        """
        ...

    async def delete_algorithm(self, arn: str, may_send: Callable[[], None]) -> Reply:
        """Delete one algorithm and report what was seen of it.

        ``may_send`` is called when the request is signed, as in :meth:`Creates.create`, and what it raises propagates.
        Deleting twice changes nothing, so a connection that was closed may be tried a second time below.
        """
        ...

    async def tag_algorithm(self, arn: str, tags: Mapping[str, str], may_send: Callable[[], None]) -> Reply:
        """Set ``tags`` of one algorithm, and leave its others; otherwise as :meth:`delete_algorithm`."""
        ...

    async def untag_algorithm(self, arn: str, keys: Sequence[str], may_send: Callable[[], None]) -> Reply:
        """Remove the tags with these ``keys``; otherwise as :meth:`delete_algorithm`."""
        ...

    async def published_rate(self) -> float | None:
        """Creates per second that Service Quotas publishes for this account and Region; None when it has none."""
        ...

    async def caller_account(self) -> str:
        """The account of the credentials, twelve digits, by STS GetCallerIdentity.

        Raises:
            CallError: STS did not answer, or refused.
        """
        ...


class Aws(msgspec.Struct, frozen=True, kw_only=True):
    """One target, open. See :func:`provisioner.aws.connect`.

    Attributes:
        creates: the transport for creates.
        control: every other call.
        region: the Region that was found.
        endpoint: where Clean Rooms ML is called.
        account_id: of the credentials, as far as their key id shows it; "" where it does not.
        has_tagging: whether :meth:`Control.tagged` may be called.
        notices: what the user should know, one sentence each; none is an error.
        refresh_credentials: fetches credentials again after the service refused these as expired, and returns whether
            they changed; if they did not, sending again is no use. Raises CredentialsError when there are none left.
    """

    creates: Creates
    control: Control
    region: str
    endpoint: str
    account_id: str = ""
    has_tagging: bool = False
    notices: tuple[str, ...]
    refresh_credentials: Callable[[], Awaitable[bool]]

    def __repr__(self) -> str:
        return f"Aws(region={self.region!r}, endpoint={self.endpoint!r}, creates={type(self.creates).__name__})"
