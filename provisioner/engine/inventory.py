"""Looks at what AWS holds in one target: List page by page, Get where it is asked for, at the pacer's turn.

A survey that breaks off says so: a failed List never means "nothing there".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio
import msgspec
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential
from tenacity.wait import wait_base

from provisioner.aws.faces import CallError
from provisioner.core.ownership import OwnershipTag, check_place, read_tag
from provisioner.core.verdict import Loss, Reply, Verdict, judge
from provisioner.manifest.definition import Definition
from provisioner.manifest.problems import InvalidDefinitionError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from provisioner.aws.faces import Described, Listed
    from provisioner.engine.site import Site
    from provisioner.engine.tally import Tally
    from provisioner.pacing.gate import Gate

READ_ATTEMPTS = 8
"""Attempts at one page or one Get before it is given up."""
RETRY_MAX_S = 20.0
"""Longest wait between them; full jitter (Brooker, "Exponential Backoff And Jitter")."""
READERS = 8
"""Gets under way at once: enough to hide 200 ms of latency at 40 a second."""

T = TypeVar("T")

log = structlog.get_logger()


class Found(msgspec.Struct, frozen=True):
    """An algorithm as Get tells of it.

    Attributes:
        arn, name, created_at: of the algorithm.
        tag: our tag, None when it bears none.
        digest: of its definition without tags; "" when it is none that we could have made.
        tags_digest: of its tags without the ownership tag.
    """

    arn: str
    name: str
    created_at: float
    tag: OwnershipTag | None
    digest: str
    tags_digest: str

    @property
    def age_order(self) -> tuple[float, str]:
        """Sorts the oldest first."""
        return self.created_at, self.arn


class Listing(msgspec.Struct, frozen=True):
    """What List told; ``complete`` only when every page was read."""

    items: tuple[Listed, ...]
    complete: bool


class Details(msgspec.Struct, frozen=True):
    """What Get told; ``unread`` are the ARNs that it could not be asked for. One that is gone is in neither."""

    found: tuple[Found, ...]
    unread: frozenset[str] = frozenset()


def described(algorithm: Described, ownership_tag: str) -> Found:
    """What Get told, as digests and a tag."""
    tags = {key: value for key, value in algorithm.tags.items() if not key.lower().startswith("aws:")}
    tag = read_tag(tags.pop(ownership_tag, "")) if ownership_tag else None
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


class Survey:
    """Reads of one target.

    Args:
        site: its calls and the gate before reads.
        tally: counts the calls.
        ownership_tag: key of the tag that bears our tag, "" for none.
    """

    def __init__(self, site: Site, tally: Tally, ownership_tag: str) -> None:
        self._site = site
        self._tally = tally
        self._ownership_tag = ownership_tag
        self._log = log.bind(target=site.target)

    async def listing(self, keep: Callable[[Listed], bool]) -> Listing:
        """Every algorithm that ``keep`` wants. May be cancelled at any point.

        Raises:
            CallError: List is refused, which no repetition mends.
        """
        kept: list[Listed] = []
        token, seen = "", set[str]()
        while True:
            try:
                page = await self._read("list", self._site.aws.control.list_algorithms, token)
            except CallError as error:
                _refuse_final(error)
                self._log.warning("list.broke_off", why=str(error))
                return Listing(tuple(kept), complete=False)
            kept += filter(keep, page.items)
            token = page.next_token
            if not token or token in seen:
                return Listing(tuple(kept), complete=not token)
            seen.add(token)

    async def details(self, arns: Sequence[str]) -> Details:
        """Get each of ``arns``. May be cancelled at any point.

        Raises:
            CallError: Get is refused, which no repetition mends.
            IntegrityError: one of them lies in another account or Region.
        """
        account_id = self._site.account_id or self._tally.account_id
        for arn in arns:
            account_id = check_place(arn, region=self._site.aws.region, account_id=account_id)
        found: list[Found] = []
        unread: set[str] = set()
        refused: list[CallError] = []
        waiting = iter(dict.fromkeys(arns))

        async def reader() -> None:
            for arn in waiting:
                try:
                    algorithm = await self._read("get", self._site.aws.control.get_algorithm, arn)
                except CallError as error:
                    self._unread(error, arn, unread, refused)
                    if refused:
                        return
                else:
                    found.append(described(algorithm, self._ownership_tag))

        async with anyio.create_task_group() as group:
            for _ in range(min(READERS, len(arns))):
                group.start_soon(reader)
        if refused:
            raise refused[0]
        return Details(tuple(found), frozenset(unread))

    def _unread(self, error: CallError, arn: str, unread: set[str], refused: list[CallError]) -> None:
        if error.reply.status == 404:  # noqa: PLR2004  Not Found: deleted since it was listed
            return
        if judge(error.reply) is Verdict.DENIED:
            refused.append(error)
        else:
            self._log.warning("get.failed", arn=arn, why=str(error))
            unread.add(arn)

    async def _read(self, kind: str, call: Callable[[str], Awaitable[T]], argument: str) -> T:
        """One read call at the pacer's turn, tried again while that may help.

        Raises:
            CallError: it did not help.
        """
        gate = self._site.reads

        async def attempt() -> T:
            started_at = await gate.turn()
            self._tally.calls[kind] += 1
            try:
                result = await call(argument)
            except CallError as error:
                tell(gate, started_at, error.reply)
                raise
            gate.accepted(started_at)
            return result

        async with gate.slot():
            retrying = AsyncRetrying(
                retry=retry_if_exception(_may_pass),
                stop=stop_after_attempt(READ_ATTEMPTS),
                wait=_Wait(gate),
                reraise=True,
            )
            return await retrying(attempt)


def tell(gate: Gate, started_at: float, reply: Reply) -> None:
    """Tell a gate how a call ended."""
    if judge(reply) is Verdict.THROTTLED:
        gate.throttled(started_at, reply.retry_after_s)
    elif reply.loss in {Loss.READ_TIMEOUT, Loss.CONNECT_TIMEOUT}:
        gate.timed_out(started_at)
    elif reply.loss is not None or reply.status >= 500:  # noqa: PLR2004  5xx
        gate.dropped(started_at)
    else:
        gate.accepted(started_at)


def _refuse_final(error: CallError) -> None:
    if judge(error.reply) is Verdict.DENIED:
        raise error


def _may_pass(error: BaseException) -> bool:
    """Whether a failed read may succeed when it is tried again."""
    again = {Verdict.THROTTLED, Verdict.NOT_CREATED, Verdict.AMBIGUOUS}
    return isinstance(error, CallError) and judge(error.reply) in again


class _Wait(wait_base):
    """The pacer's next turn after a throttle, full jitter after anything else."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._jitter = wait_random_exponential(multiplier=0.5, max=RETRY_MAX_S)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        throttled = isinstance(error, CallError) and judge(error.reply) is Verdict.THROTTLED
        return self._gate.wait(retry_state) if throttled else self._jitter(retry_state)
