"""What the endpoint holds: the algorithms of each account and Region. Pure, synchronous, with no clock.

Deleted algorithms stay on record: a test can ask what ever existed, and the readers that lag still see them. Pages are
ordered by the random ids that the service mints, an order that means nothing.
"""

from __future__ import annotations

import base64
import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping  # noqa: TC003 - aliases and fields are needed at run time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import msgspec

from provisioner.emulator.model import partition
from provisioner.emulator.tags import check_tags, reserved_keys
from provisioner.emulator.wire import ApiError, not_found, validation_error

if TYPE_CHECKING:
    from random import Random

Names = Literal["unique", "duplicates", "same"]

PAGE = 100
"""Algorithms on a page of List; the model's upper bound of maxResults."""

QUOTA_NAME = "Active configured model algorithms per Region"
"""The name of quota L-CDB92F4A in the service's documentation."""

KIND = "configured-model-algorithm"


class Algorithm(msgspec.Struct, gc=False):
    """A configured model algorithm, alive or deleted.

    Args:
        arn: minted by the service.
        name: not necessarily unique.
        account_id: twelve digits.
        region: such as us-east-1.
        created_at: when the create took effect, seconds since the epoch by the machine's clock.
        definition: the JSON of the create call, without members that the service does not know.
        tags: the current ones.
        deleted_at: None while it is alive.
    """

    arn: str
    name: str
    account_id: str
    region: str
    created_at: float
    definition: msgspec.Raw
    tags: dict[str, str] = {}
    deleted_at: float | None = None

    @property
    def request(self) -> dict[str, Any]:
        """The parameters of the create call."""
        request: dict[str, Any] = msgspec.json.decode(self.definition)
        return request


class ListPage(msgspec.Struct, frozen=True):
    """One page of algorithms. ``next_token`` is None on the last."""

    algorithms: list[Algorithm]
    next_token: str | None


def _keep_in_memory(_: Algorithm) -> None:
    """Saves nothing."""


class TargetState:
    """The algorithms of one account and Region, alive and deleted.

    Args:
        account_id: twelve digits.
        region: such as us-east-1.
        random: mints the ids.
        save: called with each algorithm that was made or changed, before the call is answered. If it raises, the change
            does not take place.
    """

    def __init__(
        self, account_id: str, region: str, random: Random, save: Callable[[Algorithm], None] = _keep_in_memory
    ) -> None:
        self.account_id = account_id
        self.region = region
        self._random = random
        self._save = save
        self._all: dict[str, Algorithm] = {}
        self._alive: dict[str, Algorithm] = {}
        self._by_name: dict[str, list[Algorithm]] = {}
        self._order: list[str] = []
        self._sorted = True
        self._former_tags: dict[str, list[tuple[float, dict[str, str]]]] = {}

    def __repr__(self) -> str:
        return f"TargetState({self.account_id}, {self.region}, {len(self._alive)} algorithms)"

    def __len__(self) -> int:
        return len(self._alive)

    def restore(self, algorithm: Algorithm) -> None:
        """Takes in an algorithm from a file; it is not saved again."""
        self._index(algorithm)

    def create(
        self, request: Mapping[str, Any], now: float, *, names: Names = "unique", quota: int = 0
    ) -> tuple[Algorithm, bool]:
        """Creates an algorithm from a checked request.

        Args:
            request: the parameters of the call.
            now: when it takes effect.
            names: what a second create of a name does; see :class:`~provisioner.emulator.behaviour.Behaviour`.
            quota: algorithms that may be alive at once; 0 means no quota.

        Returns:
            The algorithm, and whether it is new: with ``names="same"`` it may be the first of its name.

        Raises:
            ApiError: 400 for tags, 409 for a name that is taken, 402 at the quota.
        """
        tags = dict(request.get("tags", {}))
        check_tags(tags)
        name = request["name"]
        namesakes = self._by_name.get(name)
        if namesakes and names == "unique":
            raise conflict(name)
        if namesakes and names == "same":
            return namesakes[0], False
        if quota and len(self._alive) >= quota:
            raise quota_exceeded(quota)
        definition = msgspec.Raw(msgspec.json.encode(request))
        algorithm = Algorithm(self._mint(), name, self.account_id, self.region, now, definition, tags)
        self._save(algorithm)
        self._index(algorithm)
        return algorithm, True

    def get(self, arn: str) -> Algorithm:
        """The living algorithm of an ARN.

        Raises:
            ApiError: 404.
        """
        algorithm = self._alive.get(arn)
        if algorithm is None:
            raise not_found(arn)
        return algorithm

    def page(self, visible: Callable[[Algorithm], bool], token: str | None = None, limit: int = PAGE) -> ListPage:
        """One page of the ``visible`` algorithms, deleted ones included.

        The token names the last ARN of the page before, so that creates and deletes between two pages neither repeat an
        algorithm nor hide one that was there all along.

        Raises:
            ApiError: 400 for a token that is not of this account and Region.
        """
        if not self._sorted:
            self._order.sort()
            self._sorted = True
        found: list[Algorithm] = []
        start = bisect_right(self._order, self._cursor(token)) if token else 0
        for index in range(start, len(self._order)):
            algorithm = self._all[self._order[index]]
            if not visible(algorithm):
                continue
            if len(found) == limit:
                return ListPage(found, self._token(found[-1].arn))
            found.append(algorithm)
        return ListPage(found, None)

    def find(self, arns: Iterable[str]) -> list[Algorithm]:
        """The algorithms of these ARNs, deleted ones included; unknown ARNs are left out."""
        return [self._all[arn] for arn in arns if arn in self._all]

    def delete(self, arn: str, now: float) -> None:
        """Deletes an algorithm.

        Raises:
            ApiError: 404.
        """
        algorithm = self.get(arn)
        self._save(msgspec.structs.replace(algorithm, deleted_at=now))
        algorithm.deleted_at = now
        del self._alive[arn]
        self._by_name[algorithm.name].remove(algorithm)

    def tag(self, arn: str, tags: Mapping[str, str], now: float) -> None:
        """Adds tags; a key that exists gets the new value.

        Raises:
            ApiError: 404, or 400 for tags that are not allowed.
        """
        algorithm = self.get(arn)
        check_tags(tags, algorithm.tags.keys())
        self._retag(algorithm, {**algorithm.tags, **tags}, now)

    def untag(self, arn: str, keys: Iterable[str], now: float) -> None:
        """Removes tags; keys that do not exist are ignored.

        Raises:
            ApiError: 404, or 400 for a key with the prefix that AWS reserves.
        """
        algorithm = self.get(arn)
        gone = set(keys)
        if reserved := reserved_keys(gone):
            raise validation_error(*reserved)
        self._retag(algorithm, {key: value for key, value in algorithm.tags.items() if key not in gone}, now)

    def tags_at(self, algorithm: Algorithm, time: float) -> dict[str, str]:
        """The tags that an algorithm had at a time, as far back as this process remembers."""
        for changed_at, before in self._former_tags.get(algorithm.arn, ()):
            if changed_at > time:
                return before
        return algorithm.tags

    def was_ever_tagged(self, algorithm: Algorithm) -> bool:
        """Whether an algorithm has or had a tag, as far back as this process remembers."""
        return bool(algorithm.tags) or algorithm.arn in self._former_tags or bool(algorithm.request.get("tags"))

    def _retag(self, algorithm: Algorithm, tags: dict[str, str], now: float) -> None:
        self._save(msgspec.structs.replace(algorithm, tags=tags))
        self._former_tags.setdefault(algorithm.arn, []).append((now, algorithm.tags))
        algorithm.tags = tags

    def _index(self, algorithm: Algorithm) -> None:
        self._all[algorithm.arn] = algorithm
        self._order.append(algorithm.arn)
        self._sorted = False
        if algorithm.deleted_at is None:
            self._alive[algorithm.arn] = algorithm
            self._by_name.setdefault(algorithm.name, []).append(algorithm)

    def _mint(self) -> str:
        prefix = f"arn:{partition(self.region)}:cleanrooms-ml:{self.region}:{self.account_id}:{KIND}/"
        while True:
            arn = f"{prefix}{UUID(int=self._random.getrandbits(128), version=4)}"
            if arn not in self._all:
                return arn

    def _token(self, arn: str) -> str:
        return base64.urlsafe_b64encode(arn.encode()).decode()

    def _cursor(self, token: str) -> str:
        try:
            arn = base64.b64decode(token, altchars=b"-_", validate=True).decode()
        except ValueError:
            arn = ""
        if f":{self.region}:{self.account_id}:" not in arn:
            raise validation_error(f"Value '{token}' at 'nextToken' failed to satisfy constraint: invalid token")
        return arn


class Accounts:
    """All accounts and Regions, and everything that ever existed in them.

    Args:
        random: mints the ids.
        save: see :class:`TargetState`.
        restored: what a file holds, oldest first.
    """

    def __init__(
        self, random: Random, save: Callable[[Algorithm], None] = _keep_in_memory, restored: Iterable[Algorithm] = ()
    ) -> None:
        self._random = random
        self._save = save
        self._targets: dict[tuple[str, str], TargetState] = {}
        self._late: list[tuple[float, int, Callable[[float], None]]] = []
        self._late_count = 0
        self.algorithms: list[Algorithm] = []
        for algorithm in restored:
            self.algorithms.append(algorithm)
            self.target(algorithm.account_id, algorithm.region).restore(algorithm)

    def target(self, account_id: str, region: str) -> TargetState:
        """The state of one account and Region, made when it is first asked for."""
        key = (account_id, region)
        if key not in self._targets:
            self._targets[key] = TargetState(account_id, region, self._random, self._save)
        return self._targets[key]

    def execute_at(self, time: float, effect: Callable[[float], None]) -> None:
        """Schedules ``effect`` at ``time``: it takes place before the first call that arrives then or later."""
        self._late_count += 1
        heapq.heappush(self._late, (time, self._late_count, effect))

    def advance(self, now: float) -> None:
        """Executes what was due up to ``now``."""
        while self._late and self._late[0][0] <= now:
            time, _, effect = heapq.heappop(self._late)
            effect(time)

    @property
    def waiting(self) -> int:
        """The number of effects still to come."""
        return len(self._late)


def conflict(name: str) -> ApiError:
    """409: the name is taken."""
    message = f"A configured model algorithm with the name {name} already exists."
    return ApiError(HTTPStatus.CONFLICT, "ConflictException", message)


def in_use() -> ApiError:
    """409: the algorithm cannot be deleted."""
    message = "The configured model algorithm cannot be deleted because an association depends on it."
    return ApiError(HTTPStatus.CONFLICT, "ConflictException", message)


def quota_exceeded(quota: int) -> ApiError:
    """402: there are as many algorithms as the quota allows."""
    message = f"You have reached the quota of {quota} for {QUOTA_NAME}."
    members = {"quotaName": QUOTA_NAME, "quotaValue": float(quota)}
    return ApiError(HTTPStatus.PAYMENT_REQUIRED, "ServiceQuotaExceededException", message, members=members)
