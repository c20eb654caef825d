"""Reads what AWS holds in one target: List page by page, Get for chosen ARNs, each call at the gate's turn.

A listing that breaks off is marked as incomplete: a failed List never means "nothing there".

GetResources, read beside List, spares a Get for each algorithm: the tags tell whose it is, by which definition it was
made, and how it is tagged. It proves nothing, since its index lags, omits what exists and shows what is gone. Only what
List shows is taken from it, and who is about to report a difference asks Get first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
import msgspec

from provisioner.aws.faces import CallError
from provisioner.core.inventory import Found
from provisioner.core.names import folded
from provisioner.core.ownership import OwnershipTag, take_tag
from provisioner.core.verdict import BEFORE_FIRST_BYTE, HOPELESS, Reply, Verdict, is_denial, is_gone, judge
from provisioner.engine.retry import end_call, read_again
from provisioner.errors import ProvisionerError, Reason
from provisioner.manifest.definition import Definition
from provisioner.manifest.problems import InvalidDefinitionError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence

    from provisioner.aws.faces import Described, Listed
    from provisioner.engine.observer import Observer
    from provisioner.engine.target import OpenTarget

READERS = 8
"""Gets under way at once: enough to hide 200 ms of latency at 40 a second."""
BARREN_PAGES = 20
"""Pages in a row without a new algorithm after which a List or GetResources is taken to be endless."""
GET_RESOURCES = "get_resources"

_UNPROVEN = (
    "that Get does not find an algorithm proves nothing here, because the credentials may be of another account: "
    "set account_id in the target's configuration to have that checked"
)

T = TypeVar("T")


class _Row(Protocol):
    """A row of List or GetResources."""

    @property
    def arn(self) -> str:
        """Of the algorithm."""


RowT_co = TypeVar("RowT_co", bound=_Row, covariant=True)


class _Page(Protocol[RowT_co]):
    """A page of List or GetResources."""

    @property
    def items(self) -> Sequence[RowT_co]:
        """Its rows."""

    @property
    def next_token(self) -> str:
        """Of the next page; "" ends them."""


class Listing(msgspec.Struct, frozen=True):
    """What List shows; ``complete`` if every page was read."""

    items: tuple[Listed, ...]
    complete: bool
    failure: CallError | None = None


class Contents(msgspec.Struct, frozen=True):
    """What List shows of an account.

    Attributes:
        by_name: the algorithms, by the form in which names are compared.
        arns: of all of them.
        began_at: when the reading began (monotonic).
    """

    by_name: dict[str, list[Listed]]
    arns: frozenset[str]
    began_at: float


class IncompleteListError(ProvisionerError):
    """List could not be read to its end, so what the account holds is not known, and nothing is concluded from it.

    Args:
        target: its name.
        failure: what the last call met, None where the pages have no end.
    """

    def __init__(self, target: str, failure: CallError | None) -> None:
        what = "List could not be read to its end, so what the account holds is not known"
        reply = failure.reply if failure else Reply(message="its pages have no end")
        wrong = reply.is_hopeless
        hint = "Check the Region, the endpoint URL, certificates and any proxy in between" if wrong else "Run again"
        super().__init__(what, where=target, why=str(failure or reply), hint=hint)
        self.reason = Reason.CONFIGURATION if wrong else Reason.UNFINISHED


class _EndlessError(Exception):
    """The pages of a call do not end."""

    def __init__(self) -> None:
        super().__init__("its pages do not end")


class Descriptions(msgspec.Struct, frozen=True):
    """What Get returns; ``unread`` are the ARNs that could not be read, ``gone`` those that do not exist."""

    found: tuple[Described, ...]
    unread: frozenset[str]
    gone: frozenset[str]


class Details(msgspec.Struct, frozen=True):
    """What Get reports, reduced; ``unread`` are the ARNs that could not be read, ``gone`` those that do not exist."""

    found: tuple[Found, ...]
    unread: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


class Account(msgspec.Struct, frozen=True):
    """What a target holds: what List shows, and what is known of each algorithm.

    Attributes:
        listing: what List shows.
        tagged: by ARN, the listed algorithms with an ownership tag, as GetResources shows them: perhaps as they were.
        read: what Get reported of others.
    """

    listing: Listing
    tagged: dict[str, Found]
    read: Details = Details(())

    @property
    def untagged(self) -> set[str]:
        """The other listed ARNs: of a fresh reading, those that only Get can tell about."""
        return {item.arn for item in self.listing.items} - self.tagged.keys()

    @property
    def details(self) -> Details:
        """All that is known: by Get, and by the tags where Get was not asked."""
        return Details((*self.read.found, *self.tagged.values()), self.read.unread, self.read.gone)


class _Tags(msgspec.Struct, frozen=True):
    """The tags of an algorithm: the ownership tag, the user's, and their digest. AWS's own are left out."""

    ownership: OwnershipTag | None
    user: tuple[tuple[str, str], ...]
    digest: str


def _split(tags: Mapping[str, str], ownership_tag: str) -> _Tags:
    user = {key: value for key, value in tags.items() if not key.lower().startswith("aws:")}
    ownership = take_tag(user, ownership_tag)
    return _Tags(ownership, tuple(sorted(user.items())), Definition.digest_of_tags(user))


def described(algorithm: Described, ownership_tag: str) -> Found:
    """Reduce what Get returns to digests and the ownership tag."""
    tags = _split(algorithm.tags, ownership_tag)
    try:
        digest = Definition.from_request(algorithm.body).canonical().digest
    except InvalidDefinitionError:
        digest = ""
    return Found(
        arn=algorithm.arn,
        name=algorithm.name,
        created_at=algorithm.created_at,
        tag=tags.ownership,
        digest=digest,
        tags_digest=tags.digest,
        tags=tags.user,
    )


def definition_of(algorithm: Described, ownership_tag: str) -> dict[str, Any]:
    """The definition in what Get returns, by the API's names, with the user's tags."""
    definition: dict[str, Any] = msgspec.json.decode(algorithm.body)
    return {**definition, "tags": dict(_split(algorithm.tags, ownership_tag).user)}


def _tagged(item: Listed, tags: _Tags, tag: OwnershipTag) -> Found:
    """What List and the tags tell of an algorithm; the digest of its definition is the ownership tag's."""
    return Found(item.arn, item.name, item.created_at, tag, tag.digest, tags.digest, tags.user)


class _Progress:
    """How far the reading of an account has come, for the observer."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._listed = self._tagged = 0
        observer.waiting_began("reading the account", 0.0)

    def list(self, count: int) -> None:
        """List has shown so many more."""
        self._listed += count
        self._show()

    def tag(self, count: int) -> None:
        """GetResources has shown so many more with an ownership tag."""
        self._tagged += count
        self._show()

    def _show(self) -> None:
        self._observer.waiting_changed(f"reading the account: {self._listed} listed, {self._tagged} tagged")


class Inventory:
    """Reads one target.

    Args:
        target: which one.
        ownership_tag: key of the ownership tag, "" for none.
    """

    def __init__(self, target: OpenTarget, ownership_tag: str) -> None:
        self._target = target
        self._ownership_tag = ownership_tag
        self._unreachable = set[str]()

    async def contents(self) -> Contents:
        """Everything that List shows. May be cancelled at any point.

        Raises:
            CallError: List is denied, so that a retry is pointless.
            IncompleteListError: it could not be read to its end.
            IntegrityError, ConfigurationError: see :meth:`listing`.
        """
        began_at = self._target.clock.monotonic()
        listing = await self.listing(lambda _: True)
        if not listing.complete:
            raise IncompleteListError(self._target.name, listing.failure)
        by_name: dict[str, list[Listed]] = {}
        for item in listing.items:
            by_name.setdefault(folded(item.name), []).append(item)
        return Contents(by_name, frozenset(item.arn for item in listing.items), began_at)

    async def listing(self, keep: Callable[[Listed], bool], seen: Callable[[int], None] = lambda _: None) -> Listing:
        """Every listed algorithm for which ``keep`` is true. May be cancelled at any point.

        Args:
            keep: which ones.
            seen: is told of each page how many it added.

        Raises:
            CallError: List is denied, so that a retry is pointless.
            IntegrityError: the credentials, which were not known to be of this account, are of another one.
            ConfigurationError: List shows that another target is in this place.
        """
        kept: list[Listed] = []
        try:
            async for page in self._pages("list", self._target.aws.control.list_algorithms):
                if page and not self._target.place.checked:
                    await self._target.place.show(page[0].arn)
                kept += filter(keep, page)
                seen(len(page))
        except CallError as error:
            _refuse_final(error)
            self._target.observer.read_failed("list", "", str(error))
            return Listing(tuple(kept), complete=False, failure=error)
        except _EndlessError as error:
            self._target.observer.read_failed("list", "", str(error))
            return Listing(tuple(kept), complete=False)
        return Listing(tuple(kept), complete=True)

    async def account(self) -> Account:
        """Read List, and GetResources beside it where that is offered. May be cancelled at any point.

        What GetResources does not show with an ownership tag is ``untagged``; all is where it cannot be called.

        Raises:
            CallError: List is denied, so that a retry is pointless.
            IntegrityError: one of the tagged algorithms is in another account or Region.
            ConfigurationError: they show that another target is in this place.
        """
        progress, tags = _Progress(self._target.observer), dict[str, _Tags]()
        refusal: ProvisionerError | None = None
        try:
            async with anyio.create_task_group() as group:
                if self._target.aws.has_tagging:
                    group.start_soon(self._read_tags, tags, progress)
                try:
                    listing = await self.listing(lambda _: True, progress.list)
                except ProvisionerError as error:  # raised below, as it is rather than in a group
                    refusal = error
                    group.cancel_scope.cancel()
        finally:
            self._target.observer.waiting_ended()
        if refusal is not None:
            raise refusal
        tagged = {}
        for item in listing.items:
            found = tags.get(item.arn)
            if found is not None and found.ownership is not None:
                await self._target.place.confirm(item.arn)
                tagged[item.arn] = _tagged(item, found, found.ownership)
        return Account(listing, tagged)

    async def prove(self, account: Account, arns: Collection[str]) -> Account:
        """``account`` with what Get reports of ``arns`` in place of what their tags tell.

        Raises:
            CallError, IntegrityError, ConfigurationError: see :meth:`details`.
        """
        if not arns:
            return account
        self._target.observer.waiting_began(f"reading algorithms one by one: {len(arns)}", 0.0)
        try:
            new = await self.details(sorted(arns))
        finally:
            self._target.observer.waiting_ended()
        old = account.read
        read = Details((*old.found, *new.found), old.unread | new.unread, old.gone | new.gone)
        return Account(account.listing, {arn: one for arn, one in account.tagged.items() if arn not in arns}, read)

    async def _read_tags(self, tags: dict[str, _Tags], progress: _Progress) -> None:
        """Add to ``tags`` what GetResources shows with an ownership tag. Whatever goes wrong leaves the rest to Get."""
        shared: dict[str, _Tags] = {}
        try:
            async for page in self._pages(GET_RESOURCES, self._target.aws.control.tagged):
                before = len(tags)
                for item in page:
                    split = _split(item.tags, self._ownership_tag)
                    if split.ownership is not None:
                        # Many algorithms have the same user tags; these are kept once.
                        same = shared.setdefault(split.digest, split)
                        tags[item.arn] = _Tags(split.ownership, same.user, same.digest)
                progress.tag(len(tags) - before)
        except CallError as error:
            if is_denial(error.reply.code):
                cost = "so Get is called for each algorithm: a hundred calls in place of one"
                hint = "Allow tag:GetResources to save them"
                self._target.observer.notice_found(f"GetResources is denied, {cost} ({error.reply}). {hint}")
            else:
                self._target.observer.read_failed(GET_RESOURCES, "", str(error))
        except _EndlessError as error:
            self._target.observer.read_failed(GET_RESOURCES, "", str(error))

    async def _pages(self, kind: str, call: Callable[[str], Awaitable[_Page[RowT_co]]]) -> AsyncIterator[list[RowT_co]]:
        """The rows of each page whose ARNs are new.

        Raises:
            CallError: a page could not be read.
            _EndlessError: a token comes again, or nothing new does.
        """
        token, tokens, arns, barren = "", set[str](), set[str](), 0
        while True:
            page = await self._read(kind, call, token)
            new = [item for item in page.items if item.arn not in arns]
            arns.update(item.arn for item in new)
            yield new
            token, barren = page.next_token, 0 if new else barren + 1
            if not token:
                return
            if token in tokens or barren >= BARREN_PAGES:
                raise _EndlessError
            tokens.add(token)

    async def details(self, arns: Sequence[str]) -> Details:
        """Get each of ``arns``, and keep digests and tags. May be cancelled at any point.

        Raises:
            CallError, IntegrityError, ConfigurationError: see :meth:`descriptions`.
        """
        read = await self.descriptions(arns)
        return Details(tuple(described(one, self._ownership_tag) for one in read.found), read.unread, read.gone)

    async def descriptions(self, arns: Sequence[str]) -> Descriptions:
        """Get each of ``arns``, and keep everything. May be cancelled at any point.

        Raises:
            CallError: Get is denied, so that a retry is pointless.
            IntegrityError: one of them is in another account or Region.
            ConfigurationError: they show that another target is in this place.
        """
        for arn in arns:
            await self._target.place.confirm(arn)
        found: list[Described] = []
        failed: dict[str, CallError] = {}
        waiting = iter(dict.fromkeys(arns))

        async def reader() -> None:
            for arn in waiting:
                try:
                    found.append(await self._read("get", self._target.aws.control.get_algorithm, arn))
                except CallError as error:
                    failed[arn] = error
                    if judge(error.reply) is Verdict.DENIED:
                        return

        async with anyio.create_task_group() as group:
            for _ in range(min(READERS, len(arns))):
                group.start_soon(reader)
        for error in failed.values():
            _refuse_final(error)
        gone = await self._proven([one.arn for one in found], {arn for arn in failed if is_gone(failed[arn].reply)})
        unread = failed.keys() - gone
        for arn in unread:
            self._target.observer.read_failed("get", arn, str(failed[arn]))
        return Descriptions(tuple(found), frozenset(unread), gone)

    async def _proven(self, there: Sequence[str], missing: set[str]) -> frozenset[str]:
        """Those of ``missing``, which Get does not find, that are certainly gone; ``there`` are those that it found."""
        place = self._target.place
        if there and not place.checked:
            await place.show(there[0])
        if missing and not place.checked:
            self._target.observer.notice_found(_UNPROVEN)
            return frozenset()
        return frozenset(missing)

    async def _read(self, kind: str, call: Callable[[str], Awaitable[T]], argument: str) -> T:
        """One read call at the gate's turn, with retries.

        Raises:
            CallError: of the last attempt.
        """
        gate, observer, final = self._target.reads, self._target.observer, HOPELESS
        if kind == GET_RESOURCES:
            # Where its endpoint is out of reach, as in a private network, Get does the work: no waiting for the first.
            gate, final = self._target.tagging, HOPELESS if argument else BEFORE_FIRST_BYTE

        async def attempt() -> T:
            started_at = await gate.turn()
            observer.call_sent(kind)
            try:
                result = await call(argument)
            except CallError as error:
                end_call(gate, started_at, error.reply, observer)
                self._watch_outage(kind, error.reply)
                raise
            gate.accepted(started_at)
            self._watch_outage(kind, None)
            return result

        async with gate.slot():
            return await read_again(gate, attempt, final)

    def _watch_outage(self, kind: str, failure: Reply | None) -> None:
        """Report that calls of ``kind`` get no reply, or get one again. GetResources has Get in its place."""
        if failure is not None and failure.loss is not None and failure.loss not in HOPELESS:
            if kind not in self._unreachable | {GET_RESOURCES}:
                self._unreachable.add(kind)
                self._target.observer.outage_began(kind, str(failure))
        elif kind in self._unreachable:
            self._unreachable.remove(kind)
            self._target.observer.outage_ended(kind)


def _refuse_final(error: CallError) -> None:
    if judge(error.reply) is Verdict.DENIED:
        raise error
