"""Where ledger and AWS disagree."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from provisioner.aws.faces import Listed
from provisioner.commands.run import Order, Run
from provisioner.commands.verify import Finding, Marks, compare, differences, mark, prune
from provisioner.config.settings import Settings
from provisioner.config.target import Target
from provisioner.core.entry import Entry, Event, Fact, State
from provisioner.core.inventory import Found
from provisioner.core.ownership import OwnershipTag, adopted_attempt
from provisioner.core.verdict import Reply
from provisioner.engine.inventory import Details, Listing
from provisioner.errors import Reason
from provisioner.manifest.definition import Definition
from tests.fakes import DENIED, LEDGER_ID, ROLE, TAG, Endpoint, FakeClock, FakeLedger, make_policy, open_target
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

OTHER_LEDGER_ID = "00000000000000bb"
NOT_FOUND = Reply(status=404, code="ResourceNotFoundException", request_id="r")
ENTRY = Entry("here", "x", State.CREATED, "d", "t", arn="arn-1")


def found(arn: str = "arn-1", name: str = "x", *, ledger: str = LEDGER_ID, digest: str = "d", tags: str = "t") -> Found:
    """What Get reports."""
    return Found(arn, name, 1.0, OwnershipTag(ledger, digest, "run-1"), digest, tags)


def kinds(*known: Found, entry: Entry = ENTRY, **given: Any) -> list[tuple[str, str]]:
    """The findings of one entry: kind and ARN."""
    listed = given.pop("listed", [one.arn for one in known])
    items = tuple(Listed(arn, "x") for arn in listed)
    listing = Listing(items, complete=given.pop("complete", True))
    details = Details(known, frozenset(given.pop("unread", ())), frozenset(given.pop("gone", ())))
    findings = compare("here", {"x": entry}, listing, details, ledger_id=LEDGER_ID)
    return [(finding.kind, finding.arn) for finding in findings]


@pytest.mark.parametrize(
    ("known", "given", "expected"),
    [
        ([found()], {}, []),
        ([], {"gone": ["arn-1"]}, [("missing", "arn-1")]),
        ([], {"gone": ["arn-1"], "listed": ["arn-1"]}, [("unread", "arn-1")]),
        ([], {"gone": ["arn-1"], "complete": False}, [("unread", "arn-1"), ("unread", "")]),
        ([], {"unread": ["arn-1"]}, [("unread", "arn-1")]),
        ([found(digest="e")], {}, [("drifted", "arn-1")]),
        ([found(tags="u")], {}, [("drifted", "arn-1")]),
        ([found(), found("arn-2")], {}, [("duplicate", "arn-2")]),
        ([found(), found("arn-2", ledger=OTHER_LEDGER_ID)], {}, []),
        ([found("arn-2")], {"gone": ["arn-1"]}, [("unrecorded", "arn-2"), ("missing", "arn-1")]),
        ([found("arn-2")], {"unread": ["arn-1"]}, [("duplicate", "arn-2"), ("unread", "arn-1")]),
        ([found(), found("arn-2", "y")], {}, [("unrecorded", "arn-2")]),
        ([found(), found("arn-2", "y", ledger=OTHER_LEDGER_ID)], {}, []),
    ],
)
def test_what_disagrees(known: list[Found], given: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Missing needs the service's own answer and a complete List without it; our unknown algorithms are unrecorded."""
    assert kinds(*known, **given) == expected


def test_a_newer_one_of_another_definition_is_no_duplicate() -> None:
    """A ledger that went back in time does not know what has replaced its algorithm: that must never be pruned."""
    newer = msgspec.structs.replace(found("arn-2", digest="d2"), created_at=2.0)
    older = msgspec.structs.replace(found("arn-2", digest="d2"), created_at=0.5)

    assert kinds(found(), newer) == [("unrecorded", "arn-2")]
    assert kinds(found(), older) == [("duplicate", "arn-2")]


def test_an_entry_without_an_algorithm_is_unrecorded() -> None:
    """An entry that is not created, while an algorithm of this ledger has its name, is a finding."""
    entry = Entry("here", "x", State.DELETED, "d", "t")

    assert kinds(found(), entry=entry) == [("unrecorded", "arn-1")]


class Pruning(Endpoint):
    """Three entries with a duplicate each; ``before_delete`` is called before every delete."""

    def __init__(self, before_delete: Callable[[Pruning], Awaitable[None]]) -> None:
        super().__init__()
        self._before_delete = before_delete
        entries = []
        self.findings = []
        for name in "abc":
            one = Definition(name=name, role_arn=ROLE).canonical()
            body = one.request({TAG: str(OwnershipTag(LEDGER_ID, one.digest, "run-1"))})
            kept, other = self.put(body).arn, self.put(body).arn
            entries.append(Entry("here", name, State.CREATED, one.digest, one.tags_digest, arn=kept))
            self.findings.append(Finding("duplicate", "here", name, other, "created a second time"))
        self._ledger = FakeLedger(entries)
        targets = (Target(name="here"),)
        self.run = Run(Order(sources=(), settings=Settings(), targets=targets, policy=make_policy()), clock=FakeClock())

    async def delete_algorithm(self, arn: str, may_send: Callable[[], None]) -> Reply:
        """See the interface."""
        await self._before_delete(self)
        return await super().delete_algorithm(arn, may_send)

    async def prune(self) -> None:
        """Prune the findings."""
        await prune(self.run, open_target(self, self._ledger, observer=self.run.observers["here"]), self.findings)


@virtual_time
async def test_nothing_more_is_pruned_after_a_stop_request() -> None:
    """The delete under way is the last one; the other duplicates stay, and their findings say why."""

    async def stop(endpoint: Pruning) -> None:
        endpoint.run.stop.request("signal SIGTERM")

    endpoint = Pruning(stop)
    await endpoint.prune()

    assert endpoint.count("delete") == 1
    assert [finding.pruned for finding in endpoint.findings] == [True, False, False]
    assert all("asked to stop" in finding.message for finding in endpoint.findings[1:])


@virtual_time
async def test_a_delete_whose_turn_comes_after_a_stop_request_is_not_sent() -> None:
    """A stop request counts up to the moment at which a delete leaves, also while it waits for its turn."""

    async def nothing(_: Pruning) -> None:
        pass

    endpoint = Pruning(nothing)
    async with anyio.create_task_group() as group:
        group.start_soon(endpoint.prune)
        await anyio.sleep(0.04)  # while the first pair is read again
        endpoint.run.stop.request("signal SIGTERM")

    assert endpoint.count("get") == 2
    assert endpoint.count("delete") == 0


@virtual_time
async def test_nothing_more_is_pruned_in_a_target_that_has_halted() -> None:
    """Three deletes in a row that are denied halt the target; what they were to delete is reported as kept."""
    tried = 0

    async def deny(endpoint: Pruning) -> None:
        nonlocal tried
        tried += 1
        endpoint.changes = [DENIED] * 3

    endpoint = Pruning(deny)
    await endpoint.prune()

    assert tried == 3
    assert endpoint.run.statistics["here"].reasons() == {Reason.DENIED, Reason.FAILED}
    assert not any(finding.pruned for finding in endpoint.findings)


@virtual_time
async def test_findings_survive_the_end_of_the_drain() -> None:
    """A pruning that is cancelled has reported what it deleted, and keeps the findings that it did not come to."""

    async def hang_at_the_second(endpoint: Pruning) -> None:
        if endpoint.count("delete"):
            await anyio.sleep_forever()

    endpoint = Pruning(hang_at_the_second)
    with anyio.move_on_after(60):
        await endpoint.prune()

    assert [finding.pruned for finding in endpoint.findings] == [True, False, False]


class Registered:
    """An account with the tagging API, and a ledger that registered two user-tagged algorithms in it."""

    def __init__(self, count: int = 2) -> None:
        self.endpoint = Endpoint()
        self.endpoint.has_tagging = True
        self.entries: dict[str, Entry] = {}
        for number in range(count):
            self.create(f"n{number}")

    def create(self, name: str, *, recorded: bool = True) -> str:
        """The ARN of an algorithm that this ledger created."""
        one = Definition(name=name, role_arn=ROLE, tags={"team": "ads"}).canonical()
        arn = self.endpoint.put(one.request({TAG: str(OwnershipTag(LEDGER_ID, one.digest, f"run-{name}"))})).arn
        if recorded:
            self.entries[name] = Entry("here", name, State.CREATED, one.digest, one.tags_digest, arn=arn)
        return arn

    def index_with(self, arn: str, **tags: str) -> None:
        """Let GetResources show other tags of an algorithm."""
        self.endpoint.index[arn] = self.endpoint.algorithms[arn].tags | tags

    async def differences(self) -> list[tuple[str, str]]:
        """Kind and ARN of each."""
        target = open_target(self.endpoint, FakeLedger(list(self.entries.values())))
        return [(finding.kind, finding.arn) for finding in await differences(target, TAG)]

    @property
    def gets(self) -> int:
        """How many Gets there were."""
        return self.endpoint.count("get")


@virtual_time
async def test_no_get_where_the_tags_agree() -> None:
    """A thousand algorithms that are as recorded: ten List, ten GetResources and no Get."""
    here = Registered(1000)

    assert await here.differences() == []
    assert (here.endpoint.count("list"), here.endpoint.count("get_resources"), here.gets) == (10, 10, 0)


@virtual_time
async def test_tags_that_lag_are_no_drift() -> None:
    """Where the tags differ, Get decides: it is the index that is behind."""
    here = Registered()
    here.index_with(here.entries["n0"].arn, team="before")

    assert await here.differences() == []
    assert here.gets == 1


@virtual_time
async def test_drift_is_proven_by_get() -> None:
    """A tag that was changed is found by GetResources, and reported when Get says the same."""
    here = Registered()
    arn = here.entries["n0"].arn
    here.endpoint.algorithms[arn].tags["team"] = "other"

    assert await here.differences() == [("drifted", arn)]
    assert here.gets == 1


@virtual_time
async def test_what_lists_no_more_is_asked_of_get_though_it_is_tagged() -> None:
    """A ghost does not hide what is missing, and an algorithm that List does not show yet is not missing."""
    here = Registered(3)
    gone, late = here.entries["n0"].arn, here.entries["n1"].arn
    here.index_with(gone)
    del here.endpoint.algorithms[gone]
    here.endpoint.hidden = {late}

    assert await here.differences() == [("missing", gone)]
    assert here.gets == 2


@virtual_time
async def test_a_second_algorithm_is_proven_by_get() -> None:
    """It and the recorded one are read before the duplicate is reported; so is what no entry names."""
    here = Registered()
    twin, stranger = here.create("n0", recorded=False), here.create("x", recorded=False)

    assert await here.differences() == [("duplicate", twin), ("unrecorded", stranger)]
    assert here.gets == 3


@virtual_time
async def test_what_list_and_tags_show_and_get_does_not_know_is_no_finding() -> None:
    """A deleted duplicate that both still show is gone."""
    here = Registered()
    twin = here.create("n0", recorded=False)
    here.endpoint.get_failures = [NOT_FOUND, None] if twin < here.entries["n0"].arn else [None, NOT_FOUND]

    assert await here.differences() == []


@virtual_time
async def test_what_the_index_omits_may_be_ours() -> None:
    """A second algorithm of ours that GetResources does not show yet is found."""
    here = Registered()
    stranger = here.create("x", recorded=False)
    here.endpoint.index[stranger] = None

    assert await here.differences() == [("unrecorded", stranger)]
    assert here.gets == 1


@virtual_time
@pytest.mark.parametrize(("state", "kinds"), [(State.CREATED, []), (State.DELETED, ["unrecorded"])])
async def test_what_an_entry_of_another_target_names_is_recorded(state: State, kinds: list[str]) -> None:
    """Two targets may be one place: only what no entry names is unrecorded."""
    here = Registered(1)
    other = here.create("x", recorded=False)
    here.entries["there"] = msgspec.structs.replace(
        here.entries["n0"], target="there", name="x", arn=other, state=state
    )

    assert [kind for kind, _ in await here.differences()] == kinds


@virtual_time
async def test_an_adopted_algorithm_is_asked_of_get() -> None:
    """It has no ownership tag, so nothing tells which definition it has."""
    here = Registered(1)
    one = Definition(name="adopted", role_arn=ROLE).canonical()
    arn = here.endpoint.put(one.request({})).arn
    entry = Entry("here", "adopted", State.CREATED, one.digest, one.tags_digest, arn=arn, attempt=adopted_attempt(arn))
    here.entries["adopted"] = entry

    assert await here.differences() == []
    assert here.gets == 1


@virtual_time
@pytest.mark.parametrize("tags", [{}, {TAG: f"v1/{OTHER_LEDGER_ID}/{'d' * 32}/run-1"}])
async def test_an_entry_whose_algorithm_bears_no_tag_of_ours_is_foreign(tags: dict[str, str]) -> None:
    """Every create writes the tag: an entry that was not adopted names a stranger's algorithm, or it lost its tag."""
    here = Registered(1)
    one = Definition(name="theirs", role_arn=ROLE).canonical()
    arn = here.endpoint.put(one.request(tags)).arn
    here.entries["theirs"] = Entry(
        "here", "theirs", State.CREATED, one.digest, one.tags_digest, arn=arn, attempt="run-2"
    )

    assert await here.differences() == [("foreign", arn)]


@virtual_time
async def test_what_is_too_new_to_be_shown_is_not_marked_as_missing() -> None:
    """List and Get may lag, and then `apply` would create it a second time; after the settle time it is marked."""
    here = Registered(1)
    del here.endpoint.algorithms[here.entries["n0"].arn]
    policy = make_policy()
    target = open_target(here.endpoint, FakeLedger([]))
    created = target.clock.stamp()
    ledger = FakeLedger([msgspec.structs.replace(here.entries["n0"], sent=created)])
    target = replace(target, ledger=ledger)
    found = await differences(target, TAG)

    await mark(target, policy, found, Marks(missing=True))

    assert [(one.kind, one.marked) for one in found] == [("missing", False)]
    assert "so new that AWS may not show it yet" in found[0].message
    assert ledger.state("n0") is State.CREATED
    await anyio.sleep(policy.settle_s + 1.0)
    await mark(target, policy, found, Marks(missing=True))
    assert ledger.state("n0") is State.DELETED


@virtual_time
@pytest.mark.parametrize("marks", [Marks(missing=True, drifted=True, unrecorded=True), Marks(unrecorded=True)])
async def test_one_verify_records_what_has_taken_the_place_of_what_is_gone(marks: Marks) -> None:
    """A ledger that went back in time names an algorithm that was destroyed since, and made again."""
    here = Registered(2)
    gone = here.entries["n0"].arn
    del here.endpoint.algorithms[gone]
    new = here.create("n0", recorded=False)
    ledger = FakeLedger(list(here.entries.values()))
    target = open_target(here.endpoint, ledger)
    found = await differences(target, TAG)

    await mark(target, make_policy(), found, marks)

    assert [(one.kind, one.arn) for one in found] == [("unrecorded", new), ("missing", gone)]
    assert (ledger.state("n0"), ledger.table["here", "n0"].arn) == (State.CREATED, new)
    assert await differences(target, TAG) == []


@virtual_time
async def test_what_an_unanswered_replacement_made_is_no_duplicate() -> None:
    """It may take the place of the entry's algorithm, so neither is reported; `apply` resolves it."""
    here = Registered(1)
    entry = here.entries["n0"]
    one = Definition(name="n0", role_arn=ROLE, description="new").canonical()
    new = here.endpoint.put(one.request({TAG: str(OwnershipTag(LEDGER_ID, one.digest, "run-2"))})).arn
    ledger = FakeLedger([entry])
    sent = Fact("here", "n0", Event.INTEND, digest=one.digest, tags_digest="", attempt="run-2", incoming=True)
    await ledger.record([sent])

    assert await differences(open_target(here.endpoint, ledger), TAG) == []

    await ledger.record([Fact("here", "n0", Event.RELEASE, incoming=True)])
    assert [one.arn for one in await differences(open_target(here.endpoint, ledger), TAG)] == [new]
