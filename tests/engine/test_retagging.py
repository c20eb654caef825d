"""Tags that are changed in place, and the mark on what was taken over, over fakes in virtual time."""

from __future__ import annotations

import contextlib

import anyio
import pytest

from provisioner.core.entry import State
from provisioner.core.ownership import adopted_attempt
from provisioner.core.verdict import Reply
from provisioner.errors import Reason
from tests.engine.account import REPLACE, Account, Dying, counts, v
from tests.fakes import DENIED, DROPPED, LEDGER_ID, LOST, NO_REPLY, Act, Endpoint
from tests.virtual_time import virtual_time

OTHER_LEDGER_ID = "00000000000000bb"
REFUSED = Act(Reply(status=400, code="ValidationException", message="too many tags", request_id="r"))


@virtual_time
async def test_tags_are_changed_in_place() -> None:
    """What was added, changed and removed in the manifest is so in AWS; nothing is created or deleted."""
    here = Account()
    await here.apply(v("a", tags={"same": "1", "changed": "1", "removed": "1"}))
    mark = here.mark("a")

    statistics = await here.apply(v("a", tags={"same": "1", "changed": "2", "added": "1"}))

    assert counts(statistics) == {"updated": 1}
    assert here.tags("a") == {"same": "1", "changed": "2", "added": "1"}
    assert here.mark("a") == mark
    assert (here.endpoint.count("tag"), here.endpoint.count("untag"), here.endpoint.count("create")) == (1, 1, 1)
    assert counts(await here.apply(v("a", tags={"same": "1", "changed": "2", "added": "1"}))) == {"unchanged": 1}


@pytest.mark.parametrize(("own_tags", "left"), [(False, {"theirs": "1", "aws:x": "1"}), (True, {"aws:x": "1"})])
def test_tags_of_others_stay_unless_asked_for(own_tags: bool, left: dict[str, str]) -> None:  # noqa: FBT001  a table
    """Neither the manifest nor this ledger set them; AWS's own and the ownership tag are never touched."""

    @virtual_time
    async def body() -> None:
        here = Account()
        await here.apply(v("a", tags={"ours": "1"}))
        mark = here.mark("a")
        here.only("a").tags.update({"theirs": "1", "aws:x": "1"})

        statistics = await here.apply(v("a", tags={}), own_tags=own_tags)

        assert counts(statistics) == {"updated": 1}
        assert here.tags("a") == left
        assert here.mark("a") == mark is not None

    body()


@pytest.mark.parametrize("fates", [[LOST], [DROPPED], [LOST, DROPPED, LOST]])
def test_a_change_without_a_reply_is_sent_again(fates: list[Act]) -> None:
    """Setting the same tags twice changes nothing."""

    @virtual_time
    async def body() -> None:
        here = Account()
        await here.apply(v("a", tags={"k": "1"}))
        here.endpoint.changes = list(fates)

        statistics = await here.apply(v("a", tags={"k": "2"}))

        assert counts(statistics) == {"updated": 1}
        assert statistics.reasons() == set()
        assert here.tags("a") == {"k": "2"}

    body()


@virtual_time
async def test_a_change_that_stays_unanswered_is_ambiguous_and_made_by_the_next_run() -> None:
    """After four of them the run gives up; the ledger does not take the tags for set."""
    here = Account()
    await here.apply(v("a", tags={"k": "1"}))
    here.endpoint.changes = [DROPPED] * 4

    first = await here.apply(v("a", tags={"k": "2"}))
    second = await here.apply(v("a", tags={"k": "2"}))

    assert counts(first) == {"ambiguous": 1}
    assert first.reasons() == {Reason.AMBIGUOUS}
    assert counts(second) == {"updated": 1}
    assert here.tags("a") == {"k": "2"}


@virtual_time
async def test_another_value_waits_for_the_settle_time() -> None:
    """A change without a reply may still take effect: it must not do so after the next one."""
    here = Account()
    await here.apply(v("a", tags={"k": "1"}))
    here.endpoint.changes = [DROPPED] * 4
    await here.apply(v("a", tags={"k": "2"}))
    sent_at = max(at for kind, at in here.endpoint.calls if kind == "tag")

    statistics = await here.apply(v("a", tags={"k": "3"}), settle_s=360.0)

    assert counts(statistics) == {"updated": 1}
    assert here.tags("a") == {"k": "3"}
    assert max(at for kind, at in here.endpoint.calls if kind == "tag") >= sent_at + 360.0 - 1.0


@virtual_time
async def test_a_tag_that_may_have_been_set_is_removed_all_the_same() -> None:
    """The change that set it had no reply, and the manifest no longer names it: it is still this ledger's."""
    here = Account()
    await here.apply(v("a"))
    here.endpoint.changes = [LOST] * 4
    await here.apply(v("a", tags={"k": "2"}))

    await here.apply(v("a"))

    assert here.tags("a") == {}


@virtual_time
async def test_tags_that_are_refused_fail_and_are_tried_again() -> None:
    """The algorithm stays registered with its old tags; each run tries again."""
    here = Account()
    await here.apply(v("a", tags={"k": "1"}))
    here.endpoint.changes = [REFUSED, REFUSED]

    first = await here.apply(v("a", tags={"k": "2"}))
    second = await here.apply(v("a", tags={"k": "2"}))
    third = await here.apply(v("a", tags={"k": "2"}))

    assert counts(first) == counts(second) == {"failed": 1}
    assert first.problems[0].code == "tags_refused"
    assert "too many tags" in first.problems[0].message
    assert counts(third) == {"updated": 1}


@virtual_time
async def test_three_denials_halt() -> None:
    """A permission that is missing is not found out for every algorithm."""
    here = Account()
    names = [f"n{number}" for number in range(20)]
    await here.apply(*(v(name, tags={"k": "1"}) for name in names))
    here.endpoint.changes = [DENIED] * 20

    statistics = await here.apply(*(v(name, tags={"k": "2"}) for name in names))

    assert here.endpoint.count("tag") <= 5
    assert statistics.reasons() == {Reason.DENIED}
    assert counts(statistics) == {"pending": 20}


@pytest.mark.parametrize(
    ("failure", "reasons"),
    [
        (Reply(status=200, message="the reply cannot be read"), {Reason.AMBIGUOUS}),
        (Reply(status=500, request_id="r"), {Reason.AMBIGUOUS}),
        (Reply(status=404, code="ResourceNotFoundException", request_id="r"), {Reason.UNFINISHED}),
    ],
)
def test_tags_that_cannot_be_read_are_not_changed(failure: Reply, reasons: set[Reason]) -> None:
    """What differs is not known, so nothing is sent, and nothing is taken for done."""

    @virtual_time
    async def body() -> None:
        here = Account()
        await here.apply(v("a", tags={"k": "1"}))
        here.endpoint.get_failures = [failure] * 20

        statistics = await here.apply(v("a", tags={"k": "2"}))

        assert statistics.reasons() == reasons
        assert here.endpoint.count("tag") == 0
        here.endpoint.get_failures = []
        assert counts(await here.apply(v("a", tags={"k": "2"}))) == {"updated": 1}

    body()


@virtual_time
async def test_tags_of_a_drifted_definition_are_changed_too() -> None:
    """The rest of the change is drift, and stays so."""
    here = Account()
    await here.apply(v("a", tags={"k": "1"}))

    statistics = await here.apply(v("a", 2, tags={"k": "2"}))

    assert counts(statistics) == {"drifted": 1}
    assert here.tags("a") == {"k": "2"}
    assert here.ledger.state("a") is State.DRIFTED
    assert counts(await here.apply(v("a", 2, tags={"k": "2"}))) == {"drifted": 1}
    assert here.endpoint.count("tag") == 1


# What is taken over.


@virtual_time
async def test_what_is_adopted_gets_this_ledgers_mark() -> None:
    """The tag says that it was adopted, so that rebuild, prune and replace never take it for created."""
    here = Account()
    arn = here.put("a", description="version 1").arn

    statistics = await here.apply(v("a"), adopt="same")

    mark = here.mark("a")
    assert counts(statistics) == {"adopted": 1}
    assert mark is not None
    assert mark.adopted
    assert (mark.ledger_id, mark.attempt) == (LEDGER_ID, adopted_attempt(arn))
    assert mark.digest == here.ledger.table["here", "a"].digest
    assert counts(await here.apply(v("a"))) == {"unchanged": 1}


@virtual_time
async def test_a_taken_over_algorithm_changes_its_mark() -> None:
    """--take-over overwrites the other ledger's tag, so that nobody else takes it for its own."""
    here = Account()
    here.put("a", ledger_id=OTHER_LEDGER_ID, description="version 1")

    statistics = await here.apply(v("a", tags={"k": "1"}), take_over=OTHER_LEDGER_ID)

    mark = here.mark("a")
    assert counts(statistics) == {"adopted": 1}
    assert mark is not None
    assert (mark.ledger_id, mark.adopted) == (LEDGER_ID, True)
    assert here.tags("a") == {"k": "1"}


@pytest.mark.parametrize("description", ["version 1", "something else"])
def test_a_mark_that_was_not_written_is_written_by_the_next_run(description: str) -> None:
    """A stop between the adoption and its mark leaves a record of what is missing."""

    @virtual_time
    async def body() -> None:
        ledger = Dying()
        here = Account(ledger=ledger)
        here.put("a", description=description)
        ledger.commits_left = 1
        with contextlib.suppress(ExceptionGroup):
            await here.apply(v("a"), adopt="any")
        assert ledger.table["here", "a"].exists
        assert here.mark("a") is None
        ledger.commits_left = 10_000

        await here.apply(v("a"))

        mark = here.mark("a")
        assert mark is not None
        assert mark.adopted

    body()


@pytest.mark.parametrize("description", ["version 1", "something else"])
def test_what_a_sweep_adopts_is_marked(description: str) -> None:
    """A 409 whose name is found to be somebody's is adopted by policy, mark and all."""

    @virtual_time
    async def body() -> None:
        here = Account(Endpoint([Act(NO_REPLY, after_s=20.0)]))
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: here.apply(v("a", tags={"k": "1"}), adopt="any"))
            await anyio.sleep(10.0)
            here.put("a", description=description)

        mark = here.mark("a")
        assert mark is not None
        assert mark.adopted
        assert here.tags("a") == {"k": "1"}
        assert counts(await here.apply(v("a", tags={"k": "1"}))) == {
            "unchanged" if description == "version 1" else "drifted": 1
        }

    body()


@pytest.mark.parametrize(("adopted", "left"), [(False, 2), (True, 1)])
def test_an_adopted_algorithm_is_deleted_only_on_request(adopted: bool, left: int) -> None:  # noqa: FBT001  a table
    """A replacement of what was taken over leaves it, unless --adopted says otherwise."""

    @virtual_time
    async def body() -> None:
        here = Account()
        here.put("a", description="version 1")
        await here.apply(v("a"), adopt="same")

        statistics = await here.apply(v("a", 2), adopted=adopted, **REPLACE)

        assert counts(statistics) == {"replaced": 1}
        assert len(here.endpoint.named("a")) == left

    body()


@virtual_time
async def test_delete_first_leaves_what_was_taken_over() -> None:
    """It stays the current one, nothing is created, and the run says why."""
    here = Account()
    here.put("a", description="version 1")
    await here.apply(v("a"), adopt="same")

    statistics = await here.apply(v("a", 2), delete_first=True, **REPLACE)

    assert counts(statistics) == {"pending": 1}
    assert here.made_as("a") == ["version 1"]
    assert "--adopted" in statistics.problems[0].message
    assert here.ledger.table["here", "a"].arn == here.only("a").arn


@pytest.mark.parametrize(("adopted", "left"), [(False, 2), (True, 1)])
def test_what_is_taken_over_and_replaced_at_once_is_deleted_on_request(adopted: bool, left: int) -> None:  # noqa: FBT001  a table
    """It still has the tag of the ledger that is taken over, and no other than that may be deleted."""

    @virtual_time
    async def body() -> None:
        here = Account()
        here.put("a", ledger_id=OTHER_LEDGER_ID, description="version 1")
        here.put("b", ledger_id="00000000000000cc", description="version 1")

        await here.apply(v("a", 2), v("b", 2), take_over=OTHER_LEDGER_ID, adopted=adopted, **REPLACE)

        assert len(here.endpoint.named("a")) == left
        assert len(here.endpoint.named("b")) == 1

    body()


@virtual_time
async def test_tags_of_a_recovered_algorithm_are_this_ledgers() -> None:
    """A restored backup recovers an algorithm with the tags of the manifest: they are removed when they leave it."""
    here = Account()
    here.put("a", ledger_id=LEDGER_ID, description="version 1", tags={"k": "1"})
    first = await here.apply(v("a", tags={"k": "1"}))

    second = await here.apply(v("a"))

    assert (counts(first), counts(second)) == ({"recovered": 1}, {"updated": 1})
    assert here.tags("a") == {}


@virtual_time
async def test_a_replacement_has_the_tags_of_its_definition() -> None:
    """Tags and definition change at once: the new algorithm is created with the new tags, and nothing is retagged."""
    here = Account()
    await here.apply(v("a", tags={"k": "1"}))

    statistics = await here.apply(v("a", 2, tags={"k": "2"}), **REPLACE)

    assert counts(statistics) == {"replaced": 1}
    assert here.tags("a") == {"k": "2"}
    assert here.endpoint.count("tag") == 0


@pytest.mark.parametrize(("saved", "code"), [(False, "missing"), (True, "not_planned")])
def test_of_an_algorithm_that_is_gone_no_tags_are_changed(saved: bool, code: str) -> None:  # noqa: FBT001  a table
    """Nothing was refused: it is left pending (75), and once the settle time has passed it is created again."""

    @virtual_time
    async def body() -> None:
        here = Account()
        await here.apply(v("a", tags={"k": "1"}))
        here.endpoint.algorithms.clear()

        first = await here.apply(v("a", tags={"k": "2"}), may_do=(lambda _: True) if saved else None, settle_s=360.0)
        await anyio.sleep(400.0)
        second = await here.apply(v("a", tags={"k": "2"}), settle_s=360.0)

        assert counts(first) == {"pending": 1}
        assert first.reasons() == {Reason.UNFINISHED}
        assert [problem.code for problem in first.problems] == [code]
        assert "is gone from AWS" in first.problems[0].message
        assert counts(second) == {"created": 1}

    body()
