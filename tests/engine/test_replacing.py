"""Replacements: a definition that changed in what only a new algorithm can express, over fakes in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from provisioner.core.entry import Event, Outcome, State
from provisioner.core.verdict import Reply
from provisioner.core.versions import Role
from provisioner.errors import LedgerError, Reason
from tests.engine.account import REPLACE, Account, Dying, counts, v
from tests.fakes import (
    CONFLICT,
    CREATED,
    DENIED,
    DROPPED,
    LEDGER_ID,
    LOST,
    NO_REPLY,
    QUOTA,
    TAG,
    Act,
    Endpoint,
    FakeLedger,
    now,
)
from tests.virtual_time import virtual_time

SETTLED_S = 400.0
"""After that, what neither List nor Get shows is gone."""

LATE = Act(NO_REPLY, effect_s=200.0, after_s=20.0)
DELETE_FIRST: dict[str, Any] = {**REPLACE, "delete_first": True}


@virtual_time
async def test_a_change_is_drift_unless_a_replacement_is_asked_for() -> None:
    """Nothing is created or deleted as a side effect of another wish."""
    here = Account()
    await here.apply(v("a"))

    statistics = await here.apply(v("a", 2))

    assert counts(statistics) == {"drifted": 1}
    assert (here.endpoint.count("create"), here.endpoint.count("delete")) == (1, 0)


@virtual_time
async def test_the_new_one_exists_before_the_old_one_is_deleted() -> None:
    """Create first: the name is never without an algorithm, and the ledger says why before the delete leaves."""
    here = Account()
    await here.apply(v("a"), v("b"))
    old = here.only("a").arn

    statistics = await here.apply(v("a", 2), v("b"), **REPLACE)

    kinds = [kind for kind, _ in here.endpoint.calls if kind in {"create", "delete"}]
    assert counts(statistics) == {"replaced": 1, "unchanged": 1}
    assert kinds == ["create", "create", "create", "delete"]
    assert here.only("a").arn == here.ledger.table["here", "a"].arn != old
    assert [(one.arn, one.reason) for one in here.older("a", Role.DELETED)] == [(old, "replaced")]
    assert counts(await here.apply(v("a", 2), v("b"), **REPLACE)) == {"unchanged": 2}


@virtual_time
async def test_every_intent_carries_the_epoch_of_the_lease() -> None:
    """Of a create, of a change of tags and of a deletion; what becomes of it leaves it there."""
    here = Account()
    here.endpoint.acts = [DROPPED]
    await here.apply(v("a"))
    await here.apply(v("a", tags={"k": "1"}))
    await here.apply(v("a", 2, tags={"k": "1"}), **REPLACE)

    stamped = {(fact.event, fact.sent.epoch) for fact in here.ledger.facts if fact.sent}
    events = {Event.INTEND, Event.DOUBT, Event.MISS, Event.TAG, Event.DELETING}
    assert stamped == {(event, here.ledger.epoch("here")) for event in events}


@pytest.mark.parametrize("fate", [LOST, DROPPED, LATE])
@pytest.mark.parametrize("names", ["duplicates", "unique", "same"])
@pytest.mark.parametrize("wait", [True, False])
def test_a_replacement_whose_reply_is_lost(fate: Act, names: str, wait: bool) -> None:  # noqa: FBT001  a table
    """Whatever became of it, the next runs end with one algorithm of the new definition, or say what is in the way."""

    @virtual_time
    async def body() -> None:
        here = Account(Endpoint(names=names))
        await here.apply(v("a"))
        old = here.only("a").arn
        here.endpoint.acts = [fate]

        first = await here.apply(v("a", 2), wait=wait, **REPLACE)
        here.check()
        last = await here.apply(v("a", 2), **REPLACE)

        here.check()
        if names == "duplicates":
            assert here.only("a").arn == here.ledger.table["here", "a"].arn != old
            assert counts(first) == (
                {"recovered" if fate is not DROPPED else "replaced": 1} if wait else {"ambiguous": 1}
            )
            assert not here.older("a")
        else:
            assert here.only("a").arn == here.ledger.table["here", "a"].arn == old
            assert counts(last) == {"failed": 1}
            assert "delete-first" in last.problems[-1].message
            assert last.reasons() == {Reason.FAILED}
        assert counts(await here.apply(v("a", 2), **DELETE_FIRST)) == (
            {"unchanged": 1} if names == "duplicates" else {"replaced": 1}
        )
        assert here.only("a").arn != old
        assert here.made_as("a") == ["version 2"]

    body()


@virtual_time
async def test_an_unanswered_replacement_is_not_sent_again_unless_it_is_asked_for() -> None:
    """A run without --on-change replace resolves it, and reports drift when it is absent."""
    here = Account(Endpoint())
    await here.apply(v("a"))
    here.endpoint.acts = [DROPPED]
    await here.apply(v("a", 2), wait=False, **REPLACE)

    statistics = await here.apply(v("a", 2))

    assert counts(statistics) == {"drifted": 1}
    assert here.endpoint.count("create") == 2


@pytest.mark.parametrize("fate", [LOST, DROPPED])
def test_a_definition_that_goes_back_while_its_replacement_is_unanswered(fate: Act) -> None:
    """What was lost is resolved first; then the account has the definition of the manifest again, once."""

    @virtual_time
    async def body() -> None:
        here = Account(Endpoint())
        await here.apply(v("a"))
        here.endpoint.acts = [fate]
        await here.apply(v("a", 2), wait=False, **REPLACE)

        first = await here.apply(v("a"), **REPLACE)
        second = await here.apply(v("a"), **REPLACE)

        assert counts(first) == ({"drifted": 1} if fate is LOST else {"unchanged": 1})
        assert counts(second) == ({"replaced": 1} if fate is LOST else {"unchanged": 1})
        assert here.made_as("a") == ["version 1"]
        here.check()

    body()


@virtual_time
async def test_the_old_one_disappears_while_its_replacement_is_unanswered() -> None:
    """It is resolved, not created a second time."""
    here = Account(Endpoint([CREATED, LOST]))
    await here.apply(v("a"))
    old = here.only("a").arn
    await here.apply(v("a", 2), wait=False, **REPLACE)
    del here.endpoint.algorithms[old]

    statistics = await here.apply(v("a", 2), **REPLACE)

    assert counts(statistics) == {"recovered": 1}
    assert here.only("a").arn == here.ledger.table["here", "a"].arn


@pytest.mark.parametrize(
    ("policy", "names"), [(REPLACE, "duplicates"), (DELETE_FIRST, "duplicates"), (DELETE_FIRST, "unique")]
)
@pytest.mark.parametrize("commits", range(12))
def test_a_run_that_dies_between_two_commits(policy: dict[str, Any], names: str, commits: int) -> None:
    """The next runs end with the new definition once; with create-first the name was never without an algorithm."""

    @virtual_time
    async def body() -> None:
        ledger = Dying()
        here = Account(Endpoint(names=names), ledger)
        await here.apply(v("a"), v("b"), v("c"))
        ledger.commits_left = commits
        with contextlib.suppress(ExceptionGroup, LedgerError):
            await here.apply(v("a", 2), v("b"), prune=["c"], **policy)
        ledger.commits_left = 10_000
        if not policy.get("delete_first"):
            assert here.endpoint.named("a")

        for _ in range(2):
            last = await here.apply(v("a", 2), v("b"), **policy)

        here.check()
        assert counts(last) == {"unchanged": 2}
        assert here.made_as("a") == ["version 2"]
        assert len(here.endpoint.named("c")) == (here.ledger.state("c") is State.CREATED)

    body()


@virtual_time
async def test_a_409_keeps_the_old_one_and_the_next_run_deletes_it() -> None:
    """An association depends on it: exit code 3, it is still to be deleted, and the next run does so."""
    here = Account(Endpoint())
    await here.apply(v("a"))
    here.endpoint.changes = [CONFLICT]

    first = await here.apply(v("a", 2), **REPLACE)
    kept = here.older("a")
    second = await here.apply(v("a", 2), **REPLACE)

    assert counts(first) == {"replaced": 1}
    assert (first.reasons(), first.superseded) == ({Reason.FAILED}, 1)
    assert [one.code for one in kept] == ["ConflictException"]
    assert (counts(second), second.reasons(), second.superseded) == ({"unchanged": 1}, set(), 0)
    assert len(here.endpoint.named("a")) == 1


@virtual_time
async def test_older_versions_are_kept_on_request() -> None:
    """With keep 2, the two newest older ones stay; lowering it deletes what is too many."""
    here = Account(Endpoint())
    for version in range(1, 6):
        await here.apply(v("a", version), keep=2, **REPLACE)

    assert here.made_as("a") == ["version 3", "version 4", "version 5"]

    await here.apply(v("a", 5), keep=0, **REPLACE)

    assert here.made_as("a") == ["version 5"]


@virtual_time
async def test_delete_first_deletes_before_it_creates() -> None:
    """The old one is gone before the new one is sent; what is kept of earlier versions is not in the way."""
    here = Account(Endpoint())
    await here.apply(v("a"))
    await here.apply(v("a", 2), keep=1, **REPLACE)
    kept = here.older("a")

    statistics = await here.apply(v("a", 3), **{**DELETE_FIRST, "keep": 1})

    assert counts(statistics) == {"replaced": 1}
    assert here.older("a") == kept
    assert [kind for kind, _ in here.endpoint.calls if kind in {"create", "delete"}] == [
        "create",
        "create",
        "delete",
        "create",
    ]


@virtual_time
async def test_delete_first_reinstates_what_it_cannot_delete() -> None:
    """A 409 leaves the old one the current one: nothing is created, and the next run tries again."""
    here = Account(Endpoint(names="unique"))
    await here.apply(v("a"))
    here.endpoint.changes = [CONFLICT]
    old = here.only("a").arn

    first = await here.apply(v("a", 2), **DELETE_FIRST)

    assert counts(first) == {"pending": 1}
    assert Reason.FAILED in first.reasons()
    assert here.ledger.table["here", "a"].arn == here.only("a").arn == old
    assert not here.older("a")
    assert counts(await here.apply(v("a", 2), **DELETE_FIRST)) == {"replaced": 1}


@pytest.mark.parametrize("headroom", [0, 1, 2])
def test_a_full_quota_in_the_middle_of_replacements(headroom: int) -> None:
    """Replacements go in windows of the headroom; without any, the target is parked and nothing is lost."""

    @virtual_time
    async def body() -> None:
        here = Account(Endpoint(quota=5 + headroom))
        names = "abcde"
        await here.apply(*(v(name) for name in names))

        statistics = await here.apply(*(v(name, 2) for name in names), **REPLACE)

        here.check()
        if headroom:
            assert counts(statistics) == {"replaced": 5}
            assert statistics.reasons() == set()
        else:
            assert "replaced" not in counts(statistics)
            assert statistics.reasons() == {Reason.QUOTA}
        assert {one.name for one in here.endpoint.algorithms.values()} == set(names)
        last = await here.apply(*(v(name, 2) for name in names), **DELETE_FIRST)
        assert last.reasons() == set()
        assert all(here.made_as(name) == ["version 2"] for name in names)

    body()


@virtual_time
async def test_prunes_make_room_at_a_full_quota() -> None:
    """Prunes run first, and each makes room for one create."""
    here = Account(Endpoint(quota=4))
    await here.apply(*(v(name) for name in "abcd"))

    statistics = await here.apply(*(v(name) for name in "cdef"), prune=["a", "b"], deletes=True)

    assert counts(statistics) == {"unchanged": 2, "created": 2}
    assert statistics.pruned == 2
    assert statistics.reasons() == set()


@virtual_time
async def test_a_replacement_that_was_parked_begins_again() -> None:
    """A 402, a refused role and a 400 leave the old one alone; a later run sends the replacement anew."""
    here = Account(Endpoint())
    role = Reply(status=403, code="AccessDeniedException", message="iam:PassRole", request_id="r")
    bad = Reply(status=400, code="ValidationException", request_id="r")
    await here.apply(v("a"))
    for act in (QUOTA, Act(role), Act(bad), DENIED):
        here.endpoint.acts = [act]

        await here.apply(v("a", 2), retry_failed=True, **REPLACE)

        assert here.ledger.table["here", "a"].arn == here.only("a").arn

    assert counts(await here.apply(v("a", 2), retry_failed=True, **REPLACE)) == {"replaced": 1}


@virtual_time
async def test_a_replacement_that_failed_is_not_tried_again_unasked() -> None:
    """The same definition fails again, so it stays failed with its reason until it changes."""
    here = Account(Endpoint())
    await here.apply(v("a"))
    here.endpoint.acts = [Act(Reply(status=400, code="ValidationException", message="bad", request_id="r"))]

    first = await here.apply(v("a", 2), **REPLACE)
    second = await here.apply(v("a", 2), **REPLACE)
    third = await here.apply(v("a", 3), **REPLACE)

    assert counts(first) == counts(second) == {"failed": 1}
    assert second.problems[0].code == "ValidationException"
    assert counts(third) == {"replaced": 1}


@virtual_time
async def test_a_ledger_that_lost_a_replacement_recovers_it() -> None:
    """A restored backup: what the lost run made becomes current before anything is created, and the old one goes."""
    here = Account(Endpoint())
    await here.apply(v("a"))
    table = dict(here.ledger.table)
    await here.apply(v("a", 2), keep=1, **REPLACE)
    new = here.ledger.table["here", "a"].arn
    here.ledger.table, here.ledger.older = table, {}

    statistics = await here.apply(v("a", 2), **REPLACE)

    assert counts(statistics) == {"recovered": 1}
    assert here.only("a").arn == here.ledger.table["here", "a"].arn == new


@virtual_time
async def test_a_ledger_that_lost_a_replacement_of_one_that_failed_recovers_it() -> None:
    """The record of a failure does not keep it from being recovered."""
    here = Account(Endpoint([CREATED, Act(Reply(status=400, code="ValidationException", request_id="r"))]))
    await here.apply(v("a"))
    await here.apply(v("a", 2), **REPLACE)
    table, replacements = dict(here.ledger.table), dict(here.ledger.replacements)
    await here.apply(v("a", 2), keep=1, retry_failed=True, **REPLACE)
    here.ledger.table, here.ledger.older, here.ledger.replacements = table, {}, replacements

    assert counts(await here.apply(v("a", 2), **REPLACE)) == {"recovered": 1}
    assert here.made_as("a") == ["version 2"]


@pytest.mark.parametrize("damage", ["untagged", "another attempt", "another name", "unreadable", "adopted"])
def test_what_is_not_certainly_ours_is_never_deleted(damage: str) -> None:
    """It stays superseded with its reason, and the run ends with 3."""

    @virtual_time
    async def body() -> None:
        here = Account(Endpoint())
        await here.apply(v("a"))
        old = here.only("a")
        match damage:
            case "untagged":
                old.tags.pop(TAG)
            case "another attempt":
                old.tags[TAG] = old.tags[TAG][:-1] + "x"
            case "another name":
                here.endpoint.algorithms[old.arn] = type(old)(old.arn, "b", old.body, old.tags, old.since)
            case "adopted":
                old.tags[TAG] = old.tags[TAG].rpartition("/")[0] + "/adopted-0123456789ab"
            case _:
                here.endpoint.get_failures = [Reply(status=500, request_id="r")] * 8

        statistics = await here.apply(v("a", 2), **REPLACE)

        assert here.endpoint.count("delete") == 0
        assert old.arn in here.endpoint.algorithms
        assert statistics.reasons() == {Reason.FAILED}
        assert statistics.superseded == 1

    body()


@virtual_time
async def test_a_recovered_algorithm_is_deleted_by_the_attempt_in_its_tag() -> None:
    """A sweep recovered what another attempt of this ledger had made: its replacement deletes it all the same."""
    here = Account(Endpoint([DROPPED]))
    await here.apply(v("a"), wait=False)
    here.put("a", ledger_id=here.ledger.ledger_id, attempt="older-1", description="version 1")

    assert counts(await here.apply(v("a"))) == {"recovered": 1}
    assert counts(await here.apply(v("a", 2), **REPLACE)) == {"replaced": 1}
    assert here.made_as("a") == ["version 2"]


@virtual_time
async def test_an_unanswered_create_is_not_taken_for_an_older_version() -> None:
    """What is kept of earlier versions has the name and the tag too, and is never recovered."""
    here = Account(Endpoint())
    await here.apply(v("a"))
    await here.apply(v("a", 2), keep=1, **REPLACE)
    here.endpoint.acts = [DROPPED]

    statistics = await here.apply(v("a", 3), **{**DELETE_FIRST, "keep": 1})

    assert counts(statistics) == {"replaced": 1}
    here.check()


@virtual_time
async def test_a_lost_delete_is_sent_again() -> None:
    """Deleting twice changes nothing; it is counted once."""
    here = Account(Endpoint())
    await here.apply(v("a"))
    here.endpoint.changes = [LOST, DROPPED]

    statistics = await here.apply(v("a", 2), **REPLACE)

    assert counts(statistics) == {"replaced": 1}
    assert statistics.reasons() == set()
    assert len(here.endpoint.named("a")) == 1
    assert now() > 20.0


@virtual_time
async def test_three_denied_deletes_halt() -> None:
    """A missing permission is not found out a thousand times; what is superseded stays so."""
    here = Account(Endpoint())
    names = [f"n{number}" for number in range(20)]
    await here.apply(*(v(name) for name in names))
    here.endpoint.changes = [DENIED] * 30

    statistics = await here.apply(prune=names, deletes=True)

    assert here.endpoint.count("delete") <= 5
    assert Reason.DENIED in statistics.reasons()
    assert statistics.superseded == 20


@virtual_time
async def test_a_definition_that_comes_back_takes_its_algorithm_back() -> None:
    """One whose deletion AWS refused is still there: it is the current one again, and nothing is created."""
    here = Account(Endpoint())
    await here.apply(v("a"))
    here.endpoint.changes = [CONFLICT]
    await here.apply(prune=["a"], deletes=True)
    old = here.only("a").arn

    back = await here.apply(v("a"))

    assert counts(back) == {"unchanged": 1}
    assert here.only("a").arn == here.ledger.table["here", "a"].arn == old
    assert here.older("a") == []


@virtual_time
async def test_a_definition_that_comes_back_before_its_deletion_was_tried() -> None:
    """A run that was killed before it came to delete has only recorded it; a changed definition replaces it."""
    here = Account(Endpoint(), Dying())
    await here.apply(v("a"))
    entry = here.ledger.table["here", "a"]
    await here.ledger.record([entry.fact(Event.RETIRE, code="destroyed")])

    back = await here.apply(v("a", 2), spare=[entry.arn], **REPLACE)

    assert counts(back) == {"replaced": 1}
    assert here.made_as("a") == ["version 2"]
    here.check()


@virtual_time
async def test_what_this_run_deletes_is_not_taken_back() -> None:
    """A definition that comes back too late for its algorithm gets a new one."""
    here = Account(Endpoint())
    await here.apply(v("a"))
    await here.ledger.record([here.ledger.table["here", "a"].fact(Event.RETIRE, code="destroyed")])
    old = here.only("a").arn

    back = await here.apply(v("a"), **REPLACE)

    assert counts(back) == {"created": 1}
    assert here.only("a").arn == here.ledger.table["here", "a"].arn != old
    here.check()


@virtual_time
async def test_a_definition_that_comes_back_while_a_deletion_may_be_under_way() -> None:
    """Nothing is created beside it, and it is not taken back, before the settle time has passed."""
    here = Account(Endpoint())
    await here.apply(v("a"))
    here.endpoint.changes = [DROPPED] * 8
    await here.apply(prune=["a"], deletes=True)

    early = await here.apply(v("a"))
    await asyncio.sleep(1000)
    late = await here.apply(v("a"))

    assert (counts(early), counts(late)) == ({"pending": 1}, {"unchanged": 1})
    assert here.endpoint.count("create") == 1
    here.check()


@virtual_time
async def test_what_somebody_else_took_over_is_refused_when_it_comes_back() -> None:
    """A look before the deletion showed another ledger's tag, so no second algorithm is made beside it."""
    here = Account(Endpoint())
    await here.apply(v("a"))
    other = Account(here.endpoint, FakeLedger())
    other.ledger.ledger_id = "00000000000000bb"
    await other.apply(v("a"), take_over=here.ledger.ledger_id)
    await here.apply(prune=["a"], deletes=True)

    back = await here.apply(v("a"))

    assert counts(back) == {"failed": 1}
    assert [problem.code for problem in back.problems] == ["other_ledger"]
    assert here.endpoint.count("create") == 1


@virtual_time
async def test_where_names_are_unique_any_attempt_of_this_ledger_is_its_own() -> None:
    """The reply to a second attempt names what the first one made, whose tag names the first attempt."""
    here = Account(Endpoint([LOST], names="same"))
    await here.apply(v("a"), names="same")

    ended = await here.apply(prune=["a"], deletes=True, names="same")

    assert ended.pruned == 1
    assert here.endpoint.named("a") == []


@virtual_time
async def test_delete_first_at_a_full_quota_keeps_the_room_for_the_name() -> None:
    """A new definition never takes the place that the deletion of another one has made."""
    here = Account(Endpoint(quota=2))
    await here.apply(v("a"), v("b"))

    ended = await here.apply(v("new"), v("a", 2), v("b", 2), **DELETE_FIRST)

    assert counts(ended) == {"replaced": 2, "parked": 1}
    assert (here.made_as("a"), here.made_as("b"), here.endpoint.named("new")) == (["version 2"], ["version 2"], [])


RECREATES = [
    # hidden from List, gone, Get fails, seconds since the create -> outcome
    (True, True, False, 1000.0, "created"),
    (True, True, False, 1.0, "unchanged"),
    (True, False, False, 1000.0, "unchanged"),
    (True, False, True, 1000.0, "unchanged"),
    (False, False, False, 1000.0, "unchanged"),
]


@pytest.mark.parametrize(("hidden", "gone", "unread", "age_s", "outcome"), RECREATES)
def test_what_is_gone_is_created_again_only_with_proof(
    hidden: bool,  # noqa: FBT001  a table
    gone: bool,  # noqa: FBT001  a table
    unread: bool,  # noqa: FBT001  a table
    age_s: float,
    outcome: str,
) -> None:
    """A complete List lacks it, Get answers that it does not exist, and its create is old enough."""

    @virtual_time
    async def body() -> None:
        here = Account(Endpoint())
        await here.apply(v("a"))
        arn = here.only("a").arn
        await asyncio.sleep(age_s)
        here.endpoint.hidden = {arn} if hidden else set()
        if gone:
            here.endpoint.algorithms.clear()
        here.endpoint.get_failures = [Reply(status=500, request_id="r")] * 8 if unread else []

        assert counts(await here.apply(v("a"), **REPLACE)) == {outcome: 1}
        assert here.endpoint.count("create") == 1 + (outcome == "created")

    body()


@pytest.mark.parametrize("how", ["create", "replace"])
def test_what_was_parked_stays_parked_at_a_quota(how: str) -> None:
    """At the next 402 what was parked before is parked still, in the ledger and in the outcomes, and never planned."""

    @virtual_time
    async def body() -> None:
        here = Account(Endpoint(quota=0 if how == "replace" else 1))
        names = [f"n{number}" for number in range(8)]
        version = 1
        if how == "replace":
            await here.apply(*(v(name) for name in names))
            here.endpoint.quota, version = len(names), 2
        manifest = [v(name, version) for name in names]

        ended = [await here.apply(*manifest, **REPLACE) for _ in range(8)]
        known = here.ledger.replacements if how == "replace" else here.ledger.table
        before = sum(one.state is State.PARKED for one in known.values())
        last = await here.apply(*manifest, **REPLACE)
        after = sum(one.state is State.PARKED for one in known.values())

        assert ended[-1].reasons() == last.reasons() == {Reason.QUOTA}
        assert 0 < before <= after == last.outcomes[Outcome.PARKED]
        assert how == "replace" or before > 1
        here.endpoint.quota = 100
        done = await here.apply(*manifest, **REPLACE)
        assert done.reasons() == set()

    body()


@virtual_time
async def test_an_unanswered_replacement_is_no_stranger_beside_what_is_gone() -> None:
    """List shows it before its reply is recorded; the run resolves it."""
    here = Account()
    await here.apply(v("a"))
    await here.apply(v("a", 2), on_change="replace")
    del here.endpoint.algorithms[here.older("a")[0].arn]
    await asyncio.sleep(SETTLED_S)
    here.endpoint.acts = [LOST]
    await here.apply(v("a", 3), on_change="replace", wait=False)

    ended = await here.apply(v("a", 3), **REPLACE)

    assert (counts(ended), ended.gone, ended.problems) == ({"recovered": 1}, 1, [])
    assert here.made_as("a") == ["version 3"]


@virtual_time
async def test_what_cannot_be_read_beside_what_is_gone_leaves_the_deletion_to_the_next_run() -> None:
    """It may have taken its place, so nothing is settled before that is known."""
    here = Account()
    await here.apply(v("a"), v("b"))
    del here.endpoint.algorithms[here.only("a").arn]
    other = here.put("a", ledger_id=LEDGER_ID)
    await asyncio.sleep(SETTLED_S)
    gone = Reply(status=404, code="ResourceNotFoundException", request_id="r")
    here.endpoint.get_failures = [gone, Reply(status=404)]

    first = await here.apply(v("b"), prune=["a"], **REPLACE)
    second = await here.apply(v("b"), **REPLACE)

    assert (first.gone, first.reasons()) == (0, {Reason.FAILED})
    assert (second.gone, second.reasons()) == (1, {Reason.AMBIGUOUS})
    assert other.arn in second.problems[0].message


@virtual_time
async def test_what_list_shows_and_get_does_not_find_is_not_gone() -> None:
    """One of them lags: the deletion stays to be done, and the next run does it."""
    here = Account()
    await here.apply(v("a"), v("b"))
    here.endpoint.get_failures = [Reply(status=404, code="ResourceNotFoundException", request_id="r")]

    first = await here.apply(v("b"), prune=["a"], **REPLACE)
    second = await here.apply(v("b"), **REPLACE)

    assert (first.pruned, first.gone, first.reasons()) == (0, 0, {Reason.FAILED})
    assert (second.pruned, second.gone, second.reasons()) == (1, 0, set())
    assert not here.endpoint.named("a")


@virtual_time
async def test_a_deletion_that_was_put_off_makes_no_algorithm_new() -> None:
    """On another machine, too, its age counts from its create, however often a run looks at it meanwhile."""
    here = Account()
    await here.apply(v("a"), v("b"))
    del here.endpoint.algorithms[here.only("a").arn]
    here.boot = "boot-2"

    first = await here.apply(v("b"), prune=["a"], **REPLACE)
    await asyncio.sleep(SETTLED_S / 2)
    second = await here.apply(v("b"), **REPLACE)
    await asyncio.sleep(SETTLED_S / 2)
    third = await here.apply(v("b"), **REPLACE)

    assert (first.gone, second.gone, third.gone) == (0, 0, 1)
    assert third.reasons() == set()


@virtual_time
async def test_what_took_the_place_of_what_is_gone_is_reported() -> None:
    """A ledger that went back in time prunes what was replaced since: nothing was deleted, and the other lives on."""
    here = Account()
    await here.apply(v("a"), v("b"), v("c"))
    before = dict(here.ledger.table)
    await here.apply(v("a", 2), v("b"), v("c"), **REPLACE)
    here.ledger.table, here.ledger.older, here.ledger.happenings = before, {}, []
    await asyncio.sleep(SETTLED_S)

    ended = await here.apply(v("c"), prune=["a", "b"], **REPLACE)

    [problem] = ended.problems
    assert (ended.pruned, ended.gone, here.endpoint.count("list")) == (1, 1, 4)
    assert (problem.code, problem.name) == ("unrecorded", "a")
    assert here.only("a").arn in problem.message
    assert ended.reasons() == {Reason.AMBIGUOUS}
