"""One reading of an account: List, and GetResources beside it; over fakes and in virtual time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.aws.faces import CallError
from provisioner.core.ownership import OwnershipTag
from provisioner.core.verdict import Loss, Reply
from provisioner.engine.inventory import BARREN_PAGES, Account, Inventory
from provisioner.engine.observer import Observer
from provisioner.errors import IntegrityError
from provisioner.manifest.definition import Definition
from tests.fakes import (
    ACCOUNT_ID,
    LEDGER_ID,
    ROLE,
    TAG,
    Algorithm,
    Endpoint,
    FakeLedger,
    now,
    open_target,
    whereabouts,
)
from tests.virtual_time import virtual_time

DENIED = Reply(status=400, code="AccessDeniedException", message="not authorized", request_id="r")
THROTTLED = Reply(status=400, code="ThrottledException", message="slow down", request_id="r")
TROUBLE = Reply(status=500, code="InternalServiceException", request_id="r")
NOT_THERE = Reply(loss=Loss.CONNECT_TIMEOUT, message="no connection")


class Told(Observer):
    """Keeps what a user is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.failed: list[str] = []
        self.waits: list[str] = []
        self.calls: list[str] = []
        self.outages: list[str] = []

    def outage_began(self, operation: str, why: str) -> None:
        """See :class:`Observer`."""
        self.outages.append(f"{operation} {why}")

    def outage_ended(self, operation: str) -> None:
        """See :class:`Observer`."""
        self.outages.append(operation)

    def notice_found(self, notice: str) -> None:
        """See :class:`Observer`."""
        self.notices.append(notice)

    def read_failed(self, kind: str, where: str, why: str) -> None:
        """See :class:`Observer`."""
        self.failed.append(f"{kind} {where} {why}")

    def waiting_began(self, what: str, until: float) -> None:
        """See :class:`Observer`."""
        del until
        self.waits.append(what)

    def waiting_changed(self, what: str) -> None:
        """See :class:`Observer`."""
        self.waits.append(what)

    def waiting_ended(self) -> None:
        """See :class:`Observer`."""
        self.waits.append("")

    def call_sent(self, kind: str) -> None:
        """See :class:`Observer`."""
        self.calls.append(kind)


def account_of(count: int, **tags: str) -> Endpoint:
    """An endpoint with the tagging API, and ``count`` algorithms of this ledger."""
    endpoint = Endpoint()
    endpoint.has_tagging = True
    for number in range(count):
        put(endpoint, f"n{number}", **tags)
    return endpoint


def put(endpoint: Endpoint, name: str, **tags: str) -> Algorithm:
    """What a create of this ledger made."""
    one = Definition(name=name, role_arn=ROLE).canonical()
    return endpoint.put(one.request({TAG: str(OwnershipTag(LEDGER_ID, one.digest, "run-1")), **tags}))


async def read(endpoint: Endpoint, told: Observer | None = None) -> Account:
    """One reading."""
    return await Inventory(open_target(endpoint, FakeLedger(), observer=told), TAG).account()


@virtual_time
async def test_the_tags_say_what_get_would() -> None:
    """Whose an algorithm is, its definition's digest, its user tags and their digest: from the tags as from Get."""
    endpoint, told = account_of(250, team="ads", **{"aws:cloudformation:stack-name": "s"}), Told()
    inventory = Inventory(open_target(endpoint, FakeLedger(), observer=told), TAG)

    account = await inventory.account()

    assert (endpoint.count("list"), endpoint.count("get_resources"), endpoint.count("get")) == (3, 3, 0)
    assert account.untagged == set()
    proven = await inventory.prove(account, account.tagged.keys())
    assert set(account.details.found) == set(proven.details.found)
    assert {one.tags for one in account.details.found} == {(("team", "ads"),)}
    assert told.calls.count("get_resources") == 3


@virtual_time
async def test_the_two_are_read_side_by_side() -> None:
    """GetResources takes no longer than List alone."""
    endpoint = account_of(1000)
    began = now()
    await read(endpoint)
    together = now() - began

    endpoint.has_tagging = False
    began = now()
    await read(endpoint)

    assert together < 1.5 * (now() - began)


@virtual_time
async def test_what_it_omits_or_shows_without_an_ownership_tag_is_left_to_get() -> None:
    """Neither is known: GetResources may lag, and proves no absence."""
    endpoint = account_of(4)
    first, second, third, fourth = endpoint.algorithms
    endpoint.index = {first: None, second: {"team": "ads"}, third: {}}

    account = await read(endpoint)

    assert account.untagged == {first, second, third}
    assert account.tagged.keys() == {fourth}
    assert account.read.gone == frozenset()


@virtual_time
async def test_a_ghost_is_ignored() -> None:
    """What List does not show is not there, whatever GetResources shows."""
    endpoint = account_of(2)
    ghost = put(endpoint, "ghost")
    endpoint.index = {ghost.arn: ghost.tags}
    del endpoint.algorithms[ghost.arn]

    account = await read(endpoint)

    assert ghost.arn not in account.tagged.keys() | account.untagged
    assert len(account.tagged) == 2


@virtual_time
@pytest.mark.parametrize("failures", [[DENIED], [None, DENIED], [TROUBLE] * 8, [NOT_THERE]])
async def test_without_it_all_is_left_to_get(failures: list[Reply | None]) -> None:
    """Denied, in trouble or out of reach: what was read counts, the rest is asked of Get, and List goes on."""
    endpoint = account_of(250)
    endpoint.tagging_failures = list(failures)

    account = await read(endpoint)

    covered = 100 * failures.count(None)
    assert account.listing.complete
    assert (len(account.tagged), len(account.untagged)) == (covered, 250 - covered)


@virtual_time
async def test_a_denial_is_a_notice_that_says_what_it_costs() -> None:
    """It is said once, with the permission to add; it is no failure, because nothing is missing."""
    endpoint, told = account_of(250), Told()
    endpoint.tagging_failures = [DENIED]

    await read(endpoint, told)

    assert len(told.notices) == 1
    assert "GetResources is denied" in told.notices[0]
    assert "tag:GetResources" in told.notices[0]
    assert "a hundred calls in place of one" in told.notices[0]
    assert told.failed == []


@virtual_time
async def test_an_endpoint_out_of_reach_is_tried_once() -> None:
    """In a private network without that endpoint nobody waits for eight attempts; a throttle is sent again."""
    endpoint, told = account_of(250), Told()
    endpoint.tagging_failures = [NOT_THERE]
    await read(endpoint, told)
    assert endpoint.count("get_resources") == 1
    assert len(told.failed) == 1

    endpoint.tagging_failures = [THROTTLED, None, NOT_THERE]
    account = await read(endpoint)

    assert account.untagged == set()


@virtual_time
async def test_a_list_without_a_reply_is_an_outage_until_there_is_one() -> None:
    """People learn at once that AWS is out of reach, once, and that it is back; a refusal is a reply."""
    endpoint, told = account_of(250), Told()
    endpoint.list_failures = [NOT_THERE, NOT_THERE, None, THROTTLED, NOT_THERE, THROTTLED]

    await read(endpoint, told)

    assert told.outages == ["list connect_timeout no connection", "list", "list connect_timeout no connection", "list"]


@virtual_time
async def test_pages_without_end_are_given_up() -> None:
    """Page after page without anything new: the rest is left to Get."""
    endpoint, told = account_of(30 * 100), Told()
    endpoint.index = dict.fromkeys(endpoint.algorithms)

    account = await read(endpoint, told)

    assert endpoint.count("get_resources") == BARREN_PAGES
    assert len(account.untagged) == 3000
    assert told.failed == ["get_resources  its pages do not end"]


@virtual_time
async def test_a_denied_list_ends_the_reading() -> None:
    """The refusal comes as it is, the other call is not waited for, and the wait ends."""
    endpoint, told = account_of(250), Told()
    endpoint.list_failures = [Reply(status=403, code="AccessDeniedException", request_id="r")]

    with pytest.raises(CallError):
        await read(endpoint, told)

    assert told.waits[-1] == ""
    assert endpoint.count("get_resources") < 3


@virtual_time
async def test_the_place_of_tagged_algorithms_is_checked() -> None:
    """An ARN of another account is refused, although Get is not asked of it."""
    endpoint = account_of(1)
    (one,) = endpoint.algorithms.values()
    foreign = Algorithm(one.arn.replace("0000", "f").replace("123456789012", "999999999999"), "f", b"{}", one.tags, 0.0)
    endpoint.algorithms[foreign.arn] = foreign

    with pytest.raises(IntegrityError):
        await read(endpoint)


@virtual_time
async def test_the_wait_says_how_far_it_has_come() -> None:
    """Listed and tagged so far; then what Get still has to read."""
    endpoint, told = account_of(250), Told()
    inventory = Inventory(open_target(endpoint, FakeLedger(), observer=told), TAG)

    await inventory.prove(await inventory.account(), list(endpoint.algorithms)[:7])

    assert told.waits[0] == "reading the account"
    assert "reading the account: 250 listed, 250 tagged" in told.waits
    assert told.waits[-3:] == ["", "reading algorithms one by one: 7", ""]


def unchecked(endpoint: Endpoint, told: Observer, account_id: str = ACCOUNT_ID) -> Inventory:
    """The inventory of a target in this account, by credentials of which nobody knows the account."""
    ledger = FakeLedger()
    place = whereabouts(told, ledger, account_id=account_id, checked=False)
    return Inventory(replace(open_target(endpoint, ledger, observer=told), place=place), TAG)


@virtual_time
async def test_what_is_missing_in_another_account_is_not_gone() -> None:
    """Credentials that may be of another account do not find an algorithm: nothing is concluded from it."""
    endpoint, told = account_of(1), Told()
    [arn] = endpoint.algorithms
    del endpoint.algorithms[arn]
    inventory = unchecked(endpoint, told)

    await inventory.contents()
    details = await inventory.details([arn])

    assert (set(details.gone), set(details.unread)) == (set(), {arn})
    assert [("account_id" in notice) for notice in told.notices] == [True]


@virtual_time
@pytest.mark.parametrize("shown_by", ["list", "get"])
async def test_a_reply_shows_the_account_of_the_credentials(shown_by: str) -> None:
    """Once List or Get shows an algorithm of the account, another one that Get does not find is gone."""
    endpoint, told = account_of(2), Told()
    there, arn = endpoint.algorithms
    del endpoint.algorithms[arn]
    inventory = unchecked(endpoint, told)

    if shown_by == "list":
        await inventory.contents()
    details = await inventory.details([arn] if shown_by == "list" else [arn, there])

    assert (set(details.gone), set(details.unread), told.notices) == ({arn}, set(), [])


@virtual_time
async def test_a_list_of_another_account_is_refused() -> None:
    """Credentials that List shows to be of another account than the ledger has are refused."""
    with pytest.raises(IntegrityError, match="another account"):
        await unchecked(account_of(1), Told(), "999999999999").contents()
