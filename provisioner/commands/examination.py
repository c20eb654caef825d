"""The examination of one target by ``doctor``: makes the calls; ``core/checks.py`` says what the answers mean."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec

from provisioner import aws
from provisioner.aws.faces import CallError
from provisioner.commands.needs import MOST, Needs
from provisioner.commands.resources import Resources
from provisioner.core import checks
from provisioner.core.checks import NAMES, Check, Demand
from provisioner.core.place import Place
from provisioner.engine.observer import Observer
from provisioner.engine.retry import end_call, read_again
from provisioner.errors import ProvisionerError, first_error
from provisioner.fleet.fleet import CONNECT_TIMEOUT_S, unlearned_gate
from provisioner.fleet.places import kind_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from provisioner.aws.faces import Page
    from provisioner.aws.inspection import Caller, Inspection
    from provisioner.config.target import Target
    from provisioner.core.verdict import Reply
    from provisioner.fleet.places import Claims
    from provisioner.manifest.reader import Manifest

CALLS_AT_ONCE = 4
"""For each target. IAM has one rate for a whole account, which others use too."""
OF_TARGET = tuple(name for name in NAMES if name not in {"configuration", "ledger", "organizations"})
OF_MANIFEST = frozenset({"manifest", "role", "image", "key"})
OF_AWS = frozenset({"quota", "role", "image", "key"})
"""Checks that ask what AWS alone has: with an endpoint of one's own there is nobody to ask."""
NOT_ASKED = {"account": "a run with this endpoint does not ask STS", "quota": "List was not read to its end"}
"""Why a check was not made that nothing else kept from being made."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is examined.

    Attributes:
        target: which one.
        embedded: whether it uses the embedded endpoint.
        manifest: as the target reads it; None for none.
        skip: names of checks to leave out, with the calls that only they need.
        read_timeout_s: how long to wait for a reply.
        services_url: endpoint of IAM, ECR, KMS and Service Quotas; "" is AWS's own.
    """

    target: Target
    embedded: bool
    manifest: Manifest | None
    skip: frozenset[str]
    read_timeout_s: float
    services_url: str


class Inventory(msgspec.Struct):
    """What List showed: the names, and whether all pages were read."""

    names: list[str] = []
    complete: bool = False


class Examination:
    """The checks of one target.

    Args:
        subject: what is examined.
        claims: the places of all targets.

    Attributes:
        quota: how many algorithms may exist; None if Service Quotas was not asked, or gave no answer.
    """

    def __init__(self, subject: Subject, claims: Claims) -> None:
        self.quota: float | None = None
        self._subject = subject
        self._target = subject.target
        self._claims = claims
        self._kind = kind_of(subject.target, embedded=subject.embedded)
        self._on_aws = self._kind == "aws" or bool(subject.services_url)
        self._limiter = anyio.CapacityLimiter(CALLS_AT_ONCE)
        self._found: list[Check] = []
        self._caller: Caller | None = None
        self._inventory: Inventory | None = None
        self._refusal: Reply | None = None
        self._gave_up = False

    async def checks(self) -> list[Check]:
        """Make all checks that can be made; the others are skipped with the reason."""
        limits = aws.Limits(
            max_connections=CALLS_AT_ONCE,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            read_timeout_s=self._subject.read_timeout_s,
        )
        needs = Needs()
        try:
            async with aws.inspect(self._target, limits, endpoint_url=self._subject.services_url) as account:
                if await self._has_credentials(account):
                    await self._look_around(account)
                    needs = await self._read()
                    await self._look_closely(account, needs)
        except (ProvisionerError, BaseExceptionGroup) as group:
            self._give_up(checks.failed("configuration", first_error(group)))
        self._explain(needs)
        return sorted(self._found, key=lambda check: NAMES.index(check.name))

    def _add(self, check: Check) -> None:
        if check.name not in self._subject.skip:
            self._found.append(msgspec.structs.replace(check, target=self._target.name))

    def _give_up(self, check: Check) -> None:
        """Report what keeps the rest from being checked, even if its own check was to be left out."""
        self._gave_up = True
        self._found.append(msgspec.structs.replace(check, target=self._target.name))

    def _wants(self, name: str) -> bool:
        return name not in self._subject.skip and (self._on_aws or name not in OF_AWS)

    # What every run needs.

    async def _has_credentials(self, account: Inspection) -> bool:
        """Check the credentials, and the place that they lead to; whether there are any."""
        try:
            found = await account.credentials()
        except ProvisionerError as error:
            self._give_up(checks.failed("credentials", error))
            return False
        self._add(checks.credentials(found.origin, temporary=found.temporary, left_s=found.left_s))
        self._check_place(Place(self._kind, account.region, self._target.account_id or found.account_id))
        return True

    async def _look_around(self, account: Inspection) -> None:
        """Account, List, tagging, Region, clock."""
        looks = (self._check_account, self._check_list, self._check_tagging)
        await self._each([partial(look, account) for look in looks])
        self._add(checks.region(account.region, account.notices if self._on_aws else (), self._refusal))
        self._add(checks.clock(account.clock_ahead_s))

    def _check_place(self, place: Place) -> None:
        try:
            known, _ = self._claims.add(self._target.name, place)
        except ProvisionerError as error:
            self._add(checks.failed("place", error))
        else:
            self._add(checks.ok("place", f"{known.region}, account {known.account_id or 'unknown'}"))

    async def _check_account(self, account: Inspection) -> None:
        target = self._target
        asked_by_a_run = bool(target.account_id or target.assume_role_arn or target.sts_endpoint_url)
        if not (asked_by_a_run or self._on_aws) or not (self._wants("account") or self._wants("role")):
            return
        try:
            self._caller = await account.caller()
        except CallError as error:
            self._add(checks.no_account(error.reply, guarded=bool(target.account_id)))
        else:
            self._add(checks.account(self._caller.account_id, self._caller.arn, target.account_id))

    async def _check_list(self, account: Inspection) -> None:
        if not self._wants("list"):
            return
        try:
            self._inventory = await _inventory(account, whole=self._wants("quota"))
        except CallError as error:
            self._refusal = error.reply
            self._add(checks.no_listing(error.reply))
        else:
            self._add(checks.listing(len(self._inventory.names), complete=self._inventory.complete))

    async def _check_tagging(self, account: Inspection) -> None:
        if not (self._target.has_tagging and self._wants("tagging")):
            return
        try:
            await account.tagged()
        except CallError as error:
            self._add(checks.no_tagging(error.reply))
        else:
            self._add(checks.tagging())

    # What the definitions need.

    async def _read(self) -> Needs:
        """What the manifest needs; nothing without one."""
        manifest = self._subject.manifest
        if manifest is None:
            return Needs()
        names = frozenset(self._inventory.names if self._inventory else ())
        try:
            needs = await anyio.to_thread.run_sync(Needs.of, manifest, names, abandon_on_cancel=True)
        except ProvisionerError as error:
            self._add(checks.failed("manifest", error))
            return Needs()
        self._add(checks.manifest(needs.valid, needs.invalid))
        return needs

    async def _look_closely(self, account: Inspection, needs: Needs) -> None:
        """Quota, roles, images, keys."""
        resources = Resources(account, self._caller)
        calls: list[Callable[[], Awaitable[None]]] = []

        def call(name: str, check: Callable[[], Awaitable[Check]]) -> None:
            async def one() -> None:
                self._add(await check())

            if self._wants(name):
                calls.append(one)

        if "list" in self._subject.skip or (self._inventory and self._inventory.complete):
            call("quota", partial(self._check_quota, account, needs))
        for arn, pulls in needs.roles.items():
            call("role", partial(resources.check_role, arn, pulls))
        for uri in needs.images:
            call("image", partial(resources.check_image, uri))
        for arn in needs.keys:
            call("key", partial(resources.check_key, arn))
        await self._each(calls)

    async def _check_quota(self, account: Inspection, needs: Needs) -> Check:
        try:
            self.quota = value = await account.quota()
        except CallError as error:
            return checks.no_quota(error.reply)
        if self._inventory is None:
            return checks.quota_alone(value)
        wanted = needs.new if self._subject.manifest is not None else None
        demand = Demand(len(self._inventory.names), wanted)
        return checks.quota(value, demand, region=account.region, profile=self._target.profile)

    async def _each(self, calls: list[Callable[[], Awaitable[None]]]) -> None:
        async def one(call: Callable[[], Awaitable[None]]) -> None:
            async with self._limiter:
                await call()

        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(one, call)

    # What was not looked at.

    def _explain(self, needs: Needs) -> None:
        """Say of each check that was not made why not."""
        made = {check.name for check in self._found}
        for name in OF_TARGET:
            if name not in made and (why := self._why_not(name, needs)):
                self._add(checks.skipped(name, why))
            elif name in needs.more and self._wants(name):
                self._add(checks.skipped(name, f"there are more than {MOST} in the manifest: the rest was not checked"))

    def _why_not(self, name: str, needs: Needs) -> str:
        """Why the check ``name`` was not made; "" if there was nothing to check."""
        if self._subject.manifest is None and name in OF_MANIFEST:
            return "no manifest was given"
        if not self._on_aws and name in OF_AWS:
            return "the endpoint is not AWS's own"
        if not self._target.has_tagging and name == "tagging":
            return "the target has an endpoint_url and no tagging_endpoint_url"
        if self._gave_up:
            return "it needs what failed above"
        nothing_found = "" if needs.valid else "there is no valid definition"
        return NOT_ASKED.get(name, nothing_found)


async def _inventory(account: Inspection, *, whole: bool) -> Inventory:
    """What List shows: its first page, or all of them.

    Raises:
        CallError: List failed.
    """
    page = await account.list_algorithms()
    names, tokens = [item.name for item in page.items], set[str]()
    gate = unlearned_gate(1, anyio.current_time)

    async def next_page(token: str) -> Page:
        started_at = await gate.turn()
        try:
            page = await account.list_algorithms(token)
        except CallError as error:
            end_call(gate, started_at, error.reply, Observer())
            raise
        gate.accepted(started_at)
        return page

    while whole and page.next_token and page.next_token not in tokens:
        tokens.add(page.next_token)
        page = await read_again(gate, partial(next_page, page.next_token))
        names += [item.name for item in page.items]
    return Inventory(names, complete=not page.next_token)
