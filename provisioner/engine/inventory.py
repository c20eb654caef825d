"""Reads what AWS holds in one target: List page by page, Get for chosen ARNs, each call at the gate's turn.

A listing that breaks off is marked as incomplete: a failed List never means "nothing there".
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

import anyio
import msgspec

from provisioner.aws.faces import CallError
from provisioner.core.inventory import Found
from provisioner.core.ownership import take_tag
from provisioner.core.verdict import Loss, Reply, Verdict, judge
from provisioner.engine.retry import end_call, read_again
from provisioner.errors import ProvisionerError, Reason
from provisioner.manifest.definition import Definition
from provisioner.manifest.problems import InvalidDefinitionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from provisioner.aws.faces import Described, Listed
    from provisioner.core.ownership import OwnershipTag
    from provisioner.engine.target import ReadableTarget

READERS = 8
"""Gets under way at once: enough to hide 200 ms of latency at 40 a second."""
BARREN_PAGES = 20
"""Pages in a row without a new algorithm after which a List is taken to be endless."""
GONE = "ResourceNotFoundException"
"""The only error code that proves that an algorithm does not exist: another 404 may come from a gateway."""

T = TypeVar("T")


class Listing(msgspec.Struct, frozen=True):
    """What List shows; ``complete`` if every page was read."""

    items: tuple[Listed, ...]
    complete: bool
    failure: CallError | None = None


class IncompleteListError(ProvisionerError):
    """List could not be read to its end, so what the account holds is not known, and nothing is concluded from it.

    Args:
        target: its name.
        failure: what the last call met, None where the pages have no end.
    """

    def __init__(self, target: str, failure: CallError | None) -> None:
        what = "List could not be read to its end, so what the account holds is not known"
        reply = failure.reply if failure else Reply(message="its pages have no end")
        wrong = reply.is_strange or reply.loss is Loss.NO_SUCH_HOST
        hint = "Check the Region, the endpoint URL and any proxy in between" if wrong else "Run again"
        super().__init__(what, where=target, why=str(failure or reply), hint=hint)
        self.reason = Reason.CONFIGURATION if wrong else Reason.UNFINISHED


class Absent(msgspec.Struct, frozen=True):
    """What Get does not report: ``unread`` are the ARNs that could not be read, ``gone`` those that do not exist."""

    unread: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


class Details(msgspec.Struct, frozen=True):
    """What Get reports; ``unread`` are the ARNs that could not be read, ``gone`` those that do not exist."""

    found: tuple[Found, ...]
    unread: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


def user_tags(algorithm: Described, ownership_tag: str) -> tuple[dict[str, str], OwnershipTag | None]:
    """The user's tags of an algorithm, without those of AWS, and its ownership tag."""
    tags = {key: value for key, value in algorithm.tags.items() if not key.lower().startswith("aws:")}
    tag = take_tag(tags, ownership_tag)
    return tags, tag


def described(algorithm: Described, ownership_tag: str) -> Found:
    """Reduce what Get returns to digests and the ownership tag."""
    tags, tag = user_tags(algorithm, ownership_tag)
    try:
        digest = Definition.from_request(algorithm.body).canonical().digest
    except InvalidDefinitionError:
        digest = ""
    return Found(
        arn=algorithm.arn,
        name=algorithm.name,
        created_at=algorithm.created_at,
        tag=tag,
        digest=digest,
        tags_digest=Definition.digest_of_tags(tags),
    )


class Inventory:
    """Reads one target.

    Args:
        target: which one.
        ownership_tag: key of the ownership tag, "" for none.
    """

    def __init__(self, target: ReadableTarget, ownership_tag: str) -> None:
        self._target = target
        self._ownership_tag = ownership_tag

    async def listing(self, keep: Callable[[Listed], bool]) -> Listing:
        """Every listed algorithm for which ``keep`` is true. May be cancelled at any point.

        Raises:
            CallError: List is denied, so that a retry is pointless.
        """
        kept: list[Listed] = []
        token, tokens, arns, barren = "", set[str](), set[str](), 0
        while True:
            try:
                page = await self._read("list", self._target.aws.control.list_algorithms, token)
            except CallError as error:
                _refuse_final(error)
                self._target.observer.read_failed("list", "", str(error))
                return Listing(tuple(kept), complete=False, failure=error)
            new = [item for item in page.items if item.arn not in arns]
            kept += filter(keep, new)
            arns.update(item.arn for item in new)
            token, barren = page.next_token, 0 if new else barren + 1
            if not token:
                return Listing(tuple(kept), complete=True)
            if token in tokens or barren >= BARREN_PAGES:
                self._target.observer.read_failed("list", "", "its pages do not end")
                return Listing(tuple(kept), complete=False)
            tokens.add(token)

    async def details(self, arns: Sequence[str]) -> Details:
        """Get each of ``arns``. May be cancelled at any point.

        Raises:
            CallError: Get is denied, so that a retry is pointless.
            IntegrityError: one of them is in another account or Region.
            ConfigurationError: they show that another target is in this place.
        """
        found: list[Found] = []
        absent = await self.describe(arns, lambda one: found.append(described(one, self._ownership_tag)))
        return Details(tuple(found), absent.unread, absent.gone)

    async def describe(self, arns: Sequence[str], take: Callable[[Described], None]) -> Absent:
        """Get each of ``arns`` and give ``take`` what is read, in any order. Raises as :meth:`details` does."""
        for arn in arns:
            await self._target.place.confirm(arn)
        failed: dict[str, CallError] = {}
        waiting = iter(dict.fromkeys(arns))

        async def reader() -> None:
            for arn in waiting:
                try:
                    algorithm = await self._read("get", self._target.aws.control.get_algorithm, arn)
                except CallError as error:
                    failed[arn] = error
                    if judge(error.reply) is Verdict.DENIED:
                        return
                else:
                    take(algorithm)

        async with anyio.create_task_group() as group:
            for _ in range(min(READERS, len(arns))):
                group.start_soon(reader)
        for error in failed.values():
            _refuse_final(error)
        gone = frozenset(arn for arn, error in failed.items() if _is_gone(error))
        unread = failed.keys() - gone
        for arn in unread:
            self._target.observer.read_failed("get", arn, str(failed[arn]))
        return Absent(frozenset(unread), gone)

    async def _read(self, kind: str, call: Callable[[str], Awaitable[T]], argument: str) -> T:
        """One read call at the gate's turn, with retries.

        Raises:
            CallError: of the last attempt.
        """
        gate, observer = self._target.reads, self._target.observer

        async def attempt() -> T:
            started_at = await gate.turn()
            observer.call_sent(kind)
            try:
                result = await call(argument)
            except CallError as error:
                end_call(gate, started_at, error.reply, observer)
                raise
            gate.accepted(started_at)
            return result

        async with gate.slot():
            return await read_again(gate, attempt)


def _is_gone(error: CallError) -> bool:
    return error.reply.status == HTTPStatus.NOT_FOUND and error.reply.code == GONE


def _refuse_final(error: CallError) -> None:
    if judge(error.reply) is Verdict.DENIED:
        raise error
