"""The fault matrix of the second day, in virtual time: tags changed in place, replacements, prunes, re-creations.

That nothing leaves before its intent is durable, that nothing is deleted but what the ledger has given up (I8), and
that no entry is without an algorithm meanwhile (I9) is checked at each call, in ``world.WorldControl``.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from provisioner.aws.faces import CallError
from provisioner.core.entry import Entry, Event, Stamp, State
from provisioner.core.inventory import Found
from provisioner.core.ownership import OwnershipTag, read_tag
from provisioner.core.policy import Policy
from provisioner.core.sweep import Decision, Sweep, Unresolved, rule
from provisioner.core.verdict import Reply
from provisioner.core.versions import REPLACED, Role
from provisioner.emulator.behaviour import Behaviour
from provisioner.errors import Reason
from tests.alternating import alternating
from tests.fakes import make_policy
from tests.faults.commands import rules_of, run
from tests.faults.crash import LAG_S
from tests.faults.invariants import check_never_without, outcomes_of
from tests.faults.test_matrix import NAMES, SETTLED_S, Failing, Job, numbered
from tests.faults.world import (
    POLICY,
    ROLE,
    Copies,
    Fate,
    Order,
    WorldControl,
    entries_of,
    findings,
    handing,
    ledger_id_of,
    older_of,
    register,
    write_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.aws.faces import Described
    from provisioner.core.versions import Version
    from provisioner.engine.stop import Stop
    from tests.faults.commands import Command, Done
    from tests.faults.world import Ended, VirtualClock

REPLACING = make_policy(on_change="replace", deletes=True)
DELETE_FIRST = make_policy(on_change="replace", deletes=True, delete_first=True)


class Second(Job):
    """A job whose manifest has been registered, and changes.

    Args:
        path: a fresh directory.
        count: definitions.
        switches: of the endpoint.
    """

    def __init__(self, path: Path, count: int = 1, **switches: Any) -> None:
        super().__init__(path, numbered(count), Behaviour(**{"names": "duplicates"} | switches))
        self.run()
        self.at += SETTLED_S
        self.first = {one.name: one.arn for one in self.world.truth.alive}

    def write(self, *names: str, **more: object) -> None:
        """Another manifest; without names, that of all."""
        write_manifest(self.manifest, names or self.names, **more)

    def change(self) -> None:
        """Change every definition in what only a new algorithm can express."""
        self.write(description="another")

    def retag(self, **tags: str) -> None:
        """Change the tags of every definition."""
        self.write(tags=tags)

    def delete(self, name: str) -> None:
        """Somebody deletes an algorithm."""
        self.gone.append(self.first[name])
        self.world.delete(self.first[name], self.at)

    def settle(self) -> None:
        """Let everything that was sent take effect and show."""
        self.at += SETTLED_S

    @property
    def versions(self) -> dict[str, Version]:
        """The older versions in the ledger, by ARN."""
        return dict(older_of(self.ledger).versions)

    @property
    def tags(self) -> list[dict[str, str]]:
        """The users' tags of what exists."""
        return [
            {key: value for key, value in one.tags.items() if key != POLICY.ownership_tag}
            for one in self.world.truth.alive
        ]

    def check_done(self, **policy: Any) -> None:
        """AWS is as the manifest says, nothing is left to be deleted, and a further run changes nothing (I6)."""
        truth = self.world.truth
        entries = entries_of(self.ledger)
        assert {name: entries[name].arn for name in self.names} == {one.name: one.arn for one in truth.alive}
        assert len(truth.alive) == len(self.names)
        assert {entries[name].state for name in self.names} == {State.CREATED}
        assert {version.role for version in self.versions.values()} <= {Role.DELETED}
        again = self.run(policy=msgspec.structs.replace(REPLACING, **policy), prune=True)
        assert outcomes_of(again.statistics) == {"unchanged": len(self.names)}
        assert not {"create", "tag", "delete"} & again.statistics.calls.keys()
        assert not again.statistics.reasons()


def changing(**fates: str | Fate | tuple[str | Fate, ...]) -> Callable[[str], Fate]:
    """These fates for the next changes of a kind, then none."""
    hands = {
        kind: handing(*(fate if isinstance(fate, tuple) and not isinstance(fate, Fate) else (fate,)))
        for kind, fate in fates.items()
    }

    def hand(kind: str) -> Fate:
        return hands[kind]() if kind in hands else Fate()

    return hand


def named(value: object) -> str:
    """A parameter, as it stands in the name of a test."""
    if isinstance(value, Policy):
        return "delete-first" if value.delete_first else "create-first"
    return str(value)


LATE = Fate("late", late_s=290.0)
REPEATED = (
    "lost_reply",
    "lost_request",
    "hang",
    "hang_without_effect",
    "reset",
    "reset_without_effect",
    "cut_reply",
    "error:500",
    "error_without_effect:503",
    "throttle",
    "slow_down",
    "expired_token",
    Fate("ok", proxy_status=404),
    Fate("lost_request", proxy_status=404),
    Fate("lost_request", proxy_status=403),
    LATE,
    "refused",
)
"""Faults after which a change of tags or a deletion is sent again."""


@pytest.mark.parametrize(("fault", "kind"), alternating(["tag", "untag"], REPEATED), ids=str)
def test_tags_and_a_fault(tmp_path: Path, kind: str, fault: str | Fate) -> None:
    """A change of tags that gets no answer is sent again, and counted once; the tags are the manifest's."""
    job = Second(tmp_path, 2)
    job.retag(team="ads", stage="test")
    job.run()
    job.settle()
    job.retag(team="search")

    ended = job.run(change=changing(**{kind: fault}))

    assert outcomes_of(ended.statistics) == {"updated": 2}
    assert job.tags == [{"team": "search"}] * 2
    job.check_done()


@pytest.mark.parametrize("fault", REPEATED, ids=str)
def test_a_prune_and_a_fault(tmp_path: Path, fault: str | Fate) -> None:
    """A deletion that gets no answer is sent again, and counted once."""
    job = Second(tmp_path, 3)
    job.names = job.names[:1]
    job.write(*job.names)

    ended = job.run(policy=REPLACING, prune=True, change=changing(delete=fault))

    assert (outcomes_of(ended.statistics), ended.statistics.pruned) == ({"unchanged": 1}, 2)
    assert not ended.statistics.reasons()
    job.check_done()


@pytest.mark.parametrize(("fault", "policy"), alternating([REPLACING, DELETE_FIRST], REPEATED), ids=named)
def test_a_replacement_whose_deletion_meets_a_fault(tmp_path: Path, policy: Any, fault: str | Fate) -> None:
    """The old one goes once, and the new one stays."""
    job = Second(tmp_path, 2)
    job.change()

    ended = job.run(policy=policy, change=changing(delete=fault))

    assert outcomes_of(ended.statistics) == {"replaced": 2}
    assert not ended.statistics.reasons()
    assert job.world.truth.count("create") == 4
    job.check_done()


KINDS_OF_FAULTS = ("lost_reply", "lost_request", "error:500", "throttle", REPEATED[12], LATE, "refused")
"""One of each kind; what follows from each is the same for every deletion and change of tags."""
LOST = (
    "lost_reply",
    "lost_request",
    "hang",
    "hang_without_effect",
    "reset",
    "error:500",
    "error_without_effect:503",
    "truncated",
    "no_arn",
    LATE,
    Fate("ok", proxy_status=404),
)


@pytest.mark.parametrize("fault", LOST, ids=str)
def test_a_replacement_whose_reply_is_lost(tmp_path: Path, fault: str | Fate) -> None:
    """Its own attempt proves it, never the old one; each name always has one; nothing is sent again before settle."""
    job = Second(tmp_path, 2, list_lag=55.0)
    job.change()

    ended = job.run(policy=REPLACING, hand=handing(fault), workers=1)

    assert sum(outcomes_of(ended.statistics).values()) == 2
    assert outcomes_of(ended.statistics).keys() <= {"recovered", "replaced"}
    check_never_without(job.world.truth, job.names)
    sends = job.sends("algorithm 0")[1:]
    assert all(later - earlier > POLICY.settle_s for earlier, later in itertools.pairwise(sends))
    job.check_done()


@pytest.mark.parametrize("fault", LOST, ids=str)
def test_a_replacement_whose_reply_is_lost_to_a_run_that_does_not_wait(tmp_path: Path, fault: str | Fate) -> None:
    """The next run takes it over: it is recovered, or made again once it is proven absent."""
    job = Second(tmp_path, 2, list_lag=55.0)
    job.change()
    patient = msgspec.structs.replace(REPLACING, wait=False)
    left = job.run(policy=patient, hand=handing(fault), workers=1)
    assert outcomes_of(left.statistics) == {"ambiguous": 1, "replaced": 1}
    assert left.statistics.reasons() == {Reason.AMBIGUOUS}

    ended = job.run(policy=REPLACING)

    assert outcomes_of(ended.statistics).keys() <= {"recovered", "replaced", "unchanged"}
    check_never_without(job.world.truth, job.names)
    job.check_done()


@pytest.mark.parametrize("fault", ["ok", "lost_reply", "lost_request"])
@pytest.mark.parametrize("names", NAMES)
def test_a_replacement_in_each_world(tmp_path: Path, names: Any, fault: str) -> None:
    """Where names are unique or shared the old one stays, the way out is named, and delete-first takes it."""
    job = Second(tmp_path, names=names)
    job.change()

    first = job.run(policy=REPLACING, hand=handing(fault))

    check_never_without(job.world.truth, job.names)
    if names == "duplicates":
        assert outcomes_of(first.statistics).keys() <= {"replaced", "recovered"}
    else:
        assert outcomes_of(first.statistics) == {"failed": 1}
        assert [one.code for one in first.statistics.problems] == ["names_unique"]
        assert "--replace-order delete-first" in first.statistics.problems[0].message
        assert [one.arn for one in job.world.truth.alive] == [job.first["algorithm 0"]]
        job.settle()
        second = job.run(policy=DELETE_FIRST, hand=handing(fault))
        assert outcomes_of(second.statistics).keys() <= {"replaced", "recovered"}
    job.check_done()


@pytest.mark.parametrize(
    ("fault", "names", "known"),
    alternating([True, False], ["ok", "lost_reply", "lost_request", LATE], NAMES),
    ids=named,
)
def test_a_replacement_that_deletes_first_in_each_world(
    tmp_path: Path,
    fault: str | Fate,
    names: Any,
    known: bool,  # noqa: FBT001
) -> None:
    """The old one goes, the new one comes, once; List may show the old one for a while, and it is never recovered."""
    job = Second(tmp_path, 2, names=names, list_delete_lag=55.0)
    job.change()
    policy = msgspec.structs.replace(DELETE_FIRST, names=names if known else "unknown")

    ended = job.run(policy=policy, hand=handing(fault))

    assert outcomes_of(ended.statistics).keys() <= {"replaced", "recovered"}
    job.settle()
    job.check_done(delete_first=True)


def test_409_of_a_deletion(tmp_path: Path) -> None:
    """What something depends on is kept as superseded, reported, and tried again by the next run."""
    job = Second(tmp_path, 2)
    job.change()

    ended = job.run(policy=REPLACING, change=changing(delete="conflict"))

    assert outcomes_of(ended.statistics) == {"replaced": 2}
    assert ended.statistics.reasons() == {Reason.FAILED}
    assert [one.code for one in ended.statistics.problems] == ["superseded"]
    assert [one.role for one in job.versions.values()].count(Role.SUPERSEDED) == 1
    job.run(policy=REPLACING)
    job.check_done()


@pytest.mark.parametrize("fate", [("conflict",), (LATE, "conflict")], ids=["alone", "late"])
def test_409_of_a_deletion_that_was_sent_before(tmp_path: Path, fate: tuple[str | Fate, ...]) -> None:
    """A definition that comes back takes back what was certainly not deleted, and nothing that may be deleted yet."""
    job = Second(tmp_path, 2)
    every, job.names = job.names, job.names[:1]
    job.write(*job.names)
    assert job.run(policy=REPLACING, prune=True, change=changing(delete=fate)).statistics.undeleted == 1
    job.names = every
    job.write()

    ended = job.run()

    late = LATE in fate
    assert outcomes_of(ended.statistics) == ({"unchanged": 1, "pending": 1} if late else {"unchanged": 2})
    job.settle()
    job.run(policy=REPLACING)
    job.check_done()


def test_409_of_the_deletion_before_a_replacement(tmp_path: Path) -> None:
    """Nothing is created for what could not be deleted: the old one is the current one again."""
    job = Second(tmp_path)
    job.change()

    ended = job.run(policy=DELETE_FIRST, change=changing(delete="conflict"))

    assert outcomes_of(ended.statistics) == {"pending": 1}
    assert entries_of(job.ledger)["algorithm 0"].arn == job.first["algorithm 0"]
    assert entries_of(job.ledger)["algorithm 0"].state is State.DRIFTED
    assert outcomes_of(job.run(policy=DELETE_FIRST).statistics) == {"replaced": 1}
    job.check_done(delete_first=True)


@pytest.mark.parametrize("fault", ["lost_reply", "lost_request", LATE], ids=str)
def test_a_deletion_before_a_replacement_that_is_never_answered(tmp_path: Path, fault: str | Fate) -> None:
    """What may be deleted, or will be, is not current again: the next run deletes it and creates the new one."""
    job = Second(tmp_path)
    job.change()

    ended = job.run(policy=DELETE_FIRST, change=changing(delete=(fault,) * 4))

    assert outcomes_of(ended.statistics) == {"pending": 1}
    assert entries_of(job.ledger)["algorithm 0"].state is State.DELETED
    job.run(policy=DELETE_FIRST)
    job.check_done(delete_first=True)


def test_404_of_a_deletion(tmp_path: Path) -> None:
    """What is gone already is not deleted, and counted apart."""
    job = Second(tmp_path, 2)
    job.names = job.names[:1]
    job.write(*job.names)
    job.delete("algorithm 1")

    ended = job.run(policy=REPLACING, prune=True)

    assert (ended.statistics.pruned, ended.statistics.gone, ended.statistics.reasons()) == (0, 1, set())
    job.check_done()


@pytest.mark.parametrize("kind", ["tag", "delete", "create"])
def test_a_change_that_is_denied(tmp_path: Path, kind: str) -> None:
    """Denials halt the target after a few calls, nothing is lost, and the next run goes on; exit 77."""
    job = Second(tmp_path, 30)
    job.write(description="another", tags={"team": "ads"}) if kind != "tag" else job.retag(team="ads")
    denied = ("denied",) * 99
    fates = {"hand": handing(*denied)} if kind == "create" else {"change": changing(**{kind: denied})}

    ended = job.run(policy=REPLACING, **fates)

    assert Reason.DENIED in ended.statistics.reasons()
    assert job.world.truth.count(kind, 403) <= 5
    check_never_without(job.world.truth, job.names)
    job.run(policy=REPLACING)
    job.check_done()


def test_a_role_that_is_denied_in_the_middle_of_a_replacement(tmp_path: Path) -> None:
    """The replacement fails, the old one stays, and the next run tries again."""
    job = Second(tmp_path, 2)
    job.change()

    ended = job.run(policy=REPLACING, hand=handing("denied_role"), workers=1)

    assert outcomes_of(ended.statistics) == {"failed": 1, "replaced": 1}
    assert entries_of(job.ledger)["algorithm 0"].arn == job.first["algorithm 0"]
    assert outcomes_of(job.run(policy=REPLACING).statistics) == {"replaced": 1, "unchanged": 1}
    job.check_done()


@pytest.mark.parametrize("fault", ["throttle", "expired_token", "refused"])
def test_a_replacement_that_is_sent_again(tmp_path: Path, fault: str) -> None:
    """What certainly made nothing is sent again, as for any create."""
    job = Second(tmp_path, 2)
    job.change()

    ended = job.run(policy=REPLACING, hand=handing(fault, fault))

    assert outcomes_of(ended.statistics) == {"replaced": 2}
    job.check_done()


def test_a_full_quota_in_the_middle_of_a_replacement(tmp_path: Path) -> None:
    """Without any room the old ones stay, and the message names the way out; delete-first takes it."""
    job = Second(tmp_path, 5, quota=5)
    job.change()

    ended = job.run(policy=REPLACING)

    assert ended.statistics.reasons() == {Reason.QUOTA}
    assert ended.statistics.halt is not None
    assert "--replace-order delete-first" in ended.statistics.halt.what
    assert {one.arn for one in job.world.truth.alive} == set(job.first.values())
    assert ended.statistics.calls["create"] <= 4
    assert outcomes_of(job.run(policy=REPLACING).statistics).keys() == {"parked", "pending"}
    assert outcomes_of(job.run(policy=DELETE_FIRST).statistics) == {"replaced": 5}
    job.check_done(delete_first=True)


@pytest.mark.parametrize("room", [1, 2, 3])
def test_replacements_in_windows_of_the_headroom(tmp_path: Path, room: int) -> None:
    """A little room in the quota is enough: each deletion makes room for the next replacement."""
    job = Second(tmp_path, 20, quota=20 + room)
    job.change()

    ended = job.run(policy=REPLACING)

    assert outcomes_of(ended.statistics) == {"replaced": 20}
    check_never_without(job.world.truth, job.names)
    job.check_done()


def test_prunes_make_room_for_creates(tmp_path: Path) -> None:
    """At a full quota what left the manifest goes first, and what is new takes its place."""
    job = Second(tmp_path, 10, quota=10)
    job.names = [*job.names[:5], *(f"new {number}" for number in range(5))]
    job.write()

    ended = job.run(policy=REPLACING, prune=True, change=lambda _: Fate(there_s=1.0))

    assert outcomes_of(ended.statistics) == {"created": 5, "unchanged": 5}
    assert ended.statistics.pruned == 5
    job.check_done()


@pytest.mark.parametrize(
    ("policy", "after_s", "wal"),
    alternating([True, False], [REPLACING, DELETE_FIRST], [0.02, 0.1, 0.3, 0.6, 1.0]),
    ids=named,
)
def test_a_ledger_restored_in_the_middle_of_a_replacement(
    tmp_path: Path,
    policy: Any,
    after_s: float,
    wal: bool,  # noqa: FBT001
) -> None:
    """The replacements that it has lost are recovered, none is made twice, and every old one goes."""
    job = Second(tmp_path, 8)
    job.change()
    copies = Copies(job.ledger)

    async def copy(*_: object) -> None:
        await asyncio.sleep(after_s)
        copies.take(wal=wal)

    slow = Fate(there_s=0.1, back_s=0.1)
    job.run(policy=policy, hand=handing("lost_reply", *[slow] * 3), change=lambda _: slow, act=copy, workers=2)
    made = job.world.truth.count("create")
    job.settle()
    copies.put_back(0)
    # What was deleted since the copy is not known to it.
    job.gone = [one.arn for one in job.world.truth.algorithms if one.deleted_at is not None]

    job.run(policy=policy, workers=2)

    assert job.world.truth.count("create") == made
    job.check_done(delete_first=policy.delete_first)


def test_a_ledger_restored_to_before_a_replacement_whose_definition_changed_again(tmp_path: Path) -> None:
    """What it has lost becomes the current one before anything is created, and is replaced in its turn."""
    job = Second(tmp_path, 2)
    copies = Copies(job.ledger)
    copies.take(wal=True)
    job.change()
    job.run(policy=REPLACING, change=changing(delete="conflict"))
    job.settle()
    copies.put_back(0)
    job.gone = [one.arn for one in job.world.truth.algorithms if one.deleted_at is not None]
    job.write(description="a third")

    job.run(policy=REPLACING)

    job.check_done()


@pytest.mark.parametrize("again", ["another", "a third"])
def test_a_ledger_restored_to_a_replacement_in_doubt(tmp_path: Path, again: str) -> None:
    """That attempt made nothing, and another one, which the ledger has lost, did: it takes its place."""
    job = Second(tmp_path, 2)
    copies = Copies(job.ledger)
    job.change()
    job.run(policy=msgspec.structs.replace(REPLACING, wait=False), hand=handing("lost_request"), workers=1)
    job.settle()
    copies.take(wal=True)
    job.write(description=again)
    job.run(policy=REPLACING)
    made = job.world.truth.count("create")
    job.settle()
    copies.put_back(0)
    job.gone = [one.arn for one in job.world.truth.algorithms if one.deleted_at is not None]

    for _ in range(2):
        job.run(policy=REPLACING)

    assert job.world.truth.count("create") == made
    job.check_done()


def test_a_ledger_restored_to_a_create_in_doubt(tmp_path: Path) -> None:
    """What is recovered keeps the attempt that its tag names, so that it can be deleted when it is replaced."""
    job = Second(tmp_path, 1)
    job.names = [*job.names, "another"]
    job.write()
    job.run(policy=msgspec.structs.replace(REPLACING, wait=False), hand=handing("lost_request"))
    job.settle()
    copies = Copies(job.ledger)
    copies.take(wal=True)
    job.run()
    job.settle()
    copies.put_back(0)
    assert outcomes_of(job.run().statistics) == {"unchanged": 1, "recovered": 1}
    job.change()

    ended = job.run(policy=REPLACING)

    assert (outcomes_of(ended.statistics), ended.statistics.reasons()) == ({"replaced": 2}, set())
    job.check_done()


def test_list_lags_after_a_delete(tmp_path: Path) -> None:
    """What was deleted and is still listed is neither recovered, nor in the way, nor counted."""
    job = Second(tmp_path, 3, list_delete_lag=55.0)
    every, job.names = job.names, job.names[:1]
    job.write(*job.names)
    assert job.run(policy=REPLACING, prune=True).statistics.pruned == 2
    job.names = every
    job.write()

    ended = job.run(policy=REPLACING, hand=handing("lost_reply"))

    assert outcomes_of(ended.statistics) == {"unchanged": 1, "created": 1, "recovered": 1}
    assert job.world.truth.count("create") == 5
    job.settle()
    job.check_done()


class LaggingControl(WorldControl):
    """Neither List nor Get shows an algorithm for the first 55 s; the endpoint hides it from List."""

    async def get_algorithm(self, arn: str) -> Described:
        """See the interface."""
        made = next(one for one in self._world.truth.algorithms if one.arn == arn)
        if self._clock.true() < made.created_at + LAG_S:
            raise CallError("Get", Reply(status=404, code="ResourceNotFoundException", request_id="r"))
        return await super().get_algorithm(arn)


@pytest.mark.parametrize("change", ["pruned", "replaced"])
def test_nothing_shows_a_new_algorithm_that_is_to_be_deleted(tmp_path: Path, change: str) -> None:
    """It is not taken to be gone, or it would live on unseen: it stays superseded, and a later run deletes it."""
    job = Job(tmp_path, numbered(2), Behaviour(names="duplicates", list_lag=LAG_S))
    job.run()
    old = {one.arn for one in job.world.truth.alive}
    if change == "pruned":
        job.names = job.names[:1]
    write_manifest(job.manifest, job.names, **({} if change == "pruned" else {"description": "another"}))

    ended = job.run(policy=REPLACING, prune=True, control=LaggingControl)

    assert Reason.FAILED in ended.statistics.reasons()
    assert old <= {one.arn for one in job.world.truth.alive}
    job.at += SETTLED_S
    assert job.run(policy=REPLACING, prune=True, control=LaggingControl).statistics.deleted == (
        1 if change == "pruned" else 2
    )
    assert len(job.world.truth.alive) == len(job.names)


@pytest.mark.parametrize("fault", ["ok", "lost_reply", "lost_request"])
def test_a_recreation_beside_older_versions(tmp_path: Path, fault: str) -> None:
    """What --keep keeps is no proof of a create that had no reply, and is never taken for it."""
    job = Second(tmp_path, 2)
    job.change()
    keeping = msgspec.structs.replace(REPLACING, keep=1)
    assert outcomes_of(job.run(policy=keeping).statistics) == {"replaced": 2}
    job.settle()
    entry = entries_of(job.ledger)["algorithm 0"]
    job.gone.append(entry.arn)
    job.world.delete(entry.arn, job.at)
    job.settle()

    ended = job.run(policy=keeping, hand=handing(fault))

    assert outcomes_of(ended.statistics) == {"unchanged": 1, "recovered" if fault == "lost_reply" else "created": 1}
    assert ended.statistics.halt is None
    assert len(job.world.truth.alive) == 4
    job.run(policy=REPLACING)
    job.check_done()


def test_deleted_behind_our_back(tmp_path: Path) -> None:
    """It is created again, once, whether or not its reply comes."""
    job = Second(tmp_path, 4)
    job.delete("algorithm 1")
    job.delete("algorithm 2")

    ended = job.run(policy=REPLACING, hand=handing("lost_reply"), workers=1)

    assert outcomes_of(ended.statistics) == {"unchanged": 2, "recovered": 1, "created": 1}
    job.check_done()


@pytest.mark.parametrize("fault", ["lost_reply", "lost_request", LATE], ids=str)
def test_deleted_behind_our_back_while_its_replacement_is_unanswered(tmp_path: Path, fault: str | Fate) -> None:
    """The replacement is resolved first; nothing is made twice."""
    job = Second(tmp_path, 2)
    job.change()
    job.run(policy=msgspec.structs.replace(REPLACING, wait=False), hand=handing(fault), workers=1)
    job.delete("algorithm 0")

    job.run(policy=REPLACING)
    job.settle()
    job.run(policy=REPLACING)

    job.check_done()


@pytest.mark.parametrize("fault", ["lost_reply", "lost_request", LATE], ids=str)
def test_a_prune_while_the_replacement_is_unanswered(tmp_path: Path, fault: str | Fate) -> None:
    """What left the manifest with a replacement in doubt is resolved first, and pruned by the next run."""
    job = Second(tmp_path, 2)
    job.change()
    job.run(policy=msgspec.structs.replace(REPLACING, wait=False), hand=handing(fault), workers=1)
    job.names = job.names[1:]
    job.write(*job.names, description="another")

    job.run(policy=REPLACING, prune=True)
    job.settle()
    job.run(policy=REPLACING, prune=True)

    job.check_done()


@pytest.mark.parametrize("fault", ["lost_reply", "lost_request", LATE], ids=str)
def test_the_manifest_goes_back_while_the_replacement_is_unanswered(tmp_path: Path, fault: str | Fate) -> None:
    """Whatever came of it, in the end there is one algorithm, by the manifest."""
    job = Second(tmp_path, 2)
    job.change()
    job.run(policy=msgspec.structs.replace(REPLACING, wait=False), hand=handing(fault), workers=1)
    job.write()

    for _ in range(3):
        job.run(policy=REPLACING)
        job.settle()

    check_never_without(job.world.truth, job.names)
    job.check_done()


@pytest.mark.parametrize("fault", ["ok", "lost_reply", "lost_request", LATE], ids=str)
def test_a_replacement_without_ownership_tags(tmp_path: Path, fault: str | Fate) -> None:
    """Where tags are switched off, a replacement is proven by its definition and its time; it is made once."""
    job = Job(tmp_path, numbered(2), Behaviour(names="duplicates"))
    order = Order(manifest=job.manifest, ledger=job.ledger, base=job.at, policy=make_policy(ownership_tag=""))
    order.base = register(job.world, order).at + SETTLED_S
    write_manifest(job.manifest, job.names, description="another")
    order.policy = msgspec.structs.replace(REPLACING, ownership_tag="")
    order.hand = handing(fault)

    ended = register(job.world, order)

    assert outcomes_of(ended.statistics).keys() <= {"replaced", "recovered"}
    entries = entries_of(job.ledger)
    assert {entry.arn for entry in entries.values()} == {one.arn for one in job.world.truth.alive}
    assert len(job.world.truth.alive) == 2


def test_replacements_again_and_again_with_some_kept(tmp_path: Path) -> None:
    """The newest older versions stay; the order in which old and new are made does not matter."""
    job = Second(tmp_path, 2)
    for number in range(4):
        job.write(description=f"version {number}")
        policy = msgspec.structs.replace(DELETE_FIRST if number == 2 else REPLACING, keep=2)
        assert outcomes_of(job.run(policy=policy).statistics) == {"replaced": 2}
        job.settle()

    kept = [one for one in job.versions.values() if one.role is Role.SUPERSEDED]
    assert {one.reason for one in kept} == {REPLACED}
    assert len(kept) == 4
    job.run(policy=REPLACING)
    job.check_done()


@pytest.mark.parametrize(
    ("fates", "outcomes"),
    [((LATE,) * 9, None), (LATE, {"updated": 1}), ((LATE, "conflict"), {"failed": 1})],
    ids=["unanswered", "repeated", "refused the second time"],
)
def test_a_different_tag_waits_for_one_that_may_still_take_effect(
    tmp_path: Path, fates: Any, outcomes: dict[str, int] | None
) -> None:
    """What may still take effect must not do so after the change that follows it, however its repetition ended."""
    job = Second(tmp_path)
    job.retag(team="ads")
    first = job.run(change=changing(tag=fates))
    assert outcomes is None or outcomes_of(first.statistics) == outcomes
    job.retag(team="search")

    ended = job.run()

    assert outcomes_of(ended.statistics) == {"updated": 1}
    job.settle()
    assert job.tags == [{"team": "search"}]
    job.check_done()


def test_a_second_ledger_of_the_account(tmp_path: Path) -> None:
    """It neither replaces nor prunes what the first one has, and is told whose it is."""
    job = Second(tmp_path, 3)
    first, job.ledger = job.ledger, tmp_path / "second.db"
    job.change()

    ended = job.run(policy=REPLACING, prune=True)

    assert outcomes_of(ended.statistics) == {"failed": 3}
    assert all(ledger_id_of(first) in one.message for one in ended.statistics.problems)
    assert {one.arn for one in job.world.truth.alive} == set(job.first.values())


@pytest.mark.parametrize("order", [REPLACING, DELETE_FIRST], ids=["create-first", "delete-first"])
def test_an_algorithm_whose_tag_is_another_ledgers_is_never_deleted(tmp_path: Path, order: Any) -> None:
    """A look at its tag right before: what another ledger has taken over since stays, and the entry with it."""
    job = Second(tmp_path, 2)
    arn = job.first["algorithm 0"]
    target = job.world.service.accounts.target("123456789012", "us-east-1")
    target.tag(arn, {POLICY.ownership_tag: f"v1/{'f' * 16}/{'0' * 32}/another-1"}, job.at)
    job.before = [arn]
    job.change()

    ended = job.run(policy=order)

    assert Reason.FAILED in ended.statistics.reasons() or Reason.UNFINISHED in ended.statistics.reasons()
    assert arn in {one.arn for one in job.world.truth.alive}


@pytest.mark.parametrize("empty", [True, False])
def test_a_prune_by_a_broken_manifest(tmp_path: Path, empty: bool) -> None:  # noqa: FBT001
    """A manifest with an invalid line, or with none at all, deletes nothing."""
    job = Second(tmp_path, 3)
    job.write("algorithm 0")
    job.manifest.write_bytes(b"" if empty else job.manifest.read_bytes() + b"{\n")

    job.run(policy=REPLACING, prune=True)

    assert not job.world.truth.count("delete")


def command(job: Second, which: Command, **changes: Any) -> Done:
    """One run of another command."""
    order = Order(manifest=job.manifest, ledger=job.ledger, base=job.at, policy=rules_of(which, POLICY))
    for field, value in changes.items():
        setattr(order, field, value)
    done = run(job.world, which, order)
    job.at = done.at + 0.1
    job.check()
    return done


@pytest.mark.parametrize("fault", KINDS_OF_FAULTS, ids=str)
def test_a_destroy_and_a_fault(tmp_path: Path, fault: str | Fate) -> None:
    """Everything of this ledger goes, once, older versions as well, and what is foreign stays."""
    job = Second(tmp_path, 2)
    job.world.send(job.at, msgspec.json.encode({"name": "foreign", "roleArn": ROLE}), Fate(there_s=0.0))
    job.change()
    job.run(policy=msgspec.structs.replace(REPLACING, keep=1))

    done = command(job, "destroy", change=changing(delete=fault))

    assert done.summary is not None
    assert (done.code, done.summary.pruned, done.summary.superseded) == (0, 4, 0)
    job.settle()
    assert [one.name for one in job.world.truth.alive] == ["foreign"]
    assert findings(job.world, Order(manifest=job.manifest, ledger=job.ledger, base=job.at)) == []
    calls = job.world.truth.count("delete")
    assert (command(job, "destroy").code, job.world.truth.count("delete")) == (0, calls)


def test_a_destroy_and_404_and_409(tmp_path: Path) -> None:
    """What is gone is deleted; what something depends on is kept, exit 3, until the next destroy."""
    job = Second(tmp_path, 3)
    job.delete("algorithm 0")

    kept = command(job, "destroy", change=changing(delete="conflict"), workers=1)
    left = len(job.world.truth.alive)
    done = command(job, "destroy")

    assert (kept.code, left, done.code) == (3, 1, 0)
    assert job.world.truth.alive == []


def test_list_lags_after_a_destroy(tmp_path: Path) -> None:
    """What was destroyed and is still listed is neither taken back nor in the way: the next apply creates it, once."""
    job = Second(tmp_path, 2, list_delete_lag=55.0)
    assert command(job, "destroy").code == 0

    ended = job.run(policy=REPLACING, prune=True)

    assert outcomes_of(ended.statistics) == {"created": 2}
    job.check_done()


class Theirs(Second):
    """A job whose algorithms somebody else has made.

    Args:
        path: a fresh directory.
    """

    def __init__(self, path: Path) -> None:
        Job.__init__(self, path, numbered(2), Behaviour(names="duplicates"))
        for line in self.manifest.read_bytes().splitlines():
            self.foreign(**msgspec.json.decode(line))

    @property
    def marked(self) -> list[bool]:
        """Of each algorithm, whether it bears the tag of an adopted one."""
        tags = (read_tag(one.tags.get(POLICY.ownership_tag, "")) for one in self.world.truth.alive)
        return [tag is not None and tag.adopted for tag in tags]


@pytest.mark.parametrize("fault", KINDS_OF_FAULTS, ids=str)
def test_an_adoption_and_a_fault(tmp_path: Path, fault: str | Fate) -> None:
    """Its tag is written, once it counts; nothing is created or deleted; and destroy leaves it alone."""
    job = Theirs(tmp_path)

    done = command(job, "adopt", change=changing(tag=fault))

    assert done.summary is not None
    assert (done.code, done.summary.outcomes["adopted"], job.marked) == (0, 2, [True, True])
    assert not job.world.truth.count("delete")
    assert (command(job, "destroy").code, len(job.world.truth.alive)) == (0, 2)


def test_an_adoption_whose_tag_is_refused(tmp_path: Path) -> None:
    """It is reported (3), and the next adopt, not only apply, writes the tag."""
    job = Theirs(tmp_path)

    refused = command(job, "adopt", change=changing(tag="conflict"), workers=1)
    first = sorted(job.marked)
    done = command(job, "adopt")

    assert (refused.code, first, done.code) == (3, [False, True], 0)
    assert job.marked == [True, True]


def test_a_deletion_of_what_was_adopted_that_was_never_answered(tmp_path: Path) -> None:
    """An apply that may not go on with it creates nothing beside it, before the settle time has passed."""
    job = Theirs(tmp_path)
    command(job, "adopt")
    adopted = msgspec.structs.replace(rules_of("destroy", POLICY), adopted=True)
    command(job, "destroy", policy=adopted, change=changing(delete=("lost_request",) * 9))

    early = job.run(policy=REPLACING)
    job.settle()
    late = job.run(policy=REPLACING)

    assert (outcomes_of(early.statistics), outcomes_of(late.statistics)) == ({"pending": 2}, {"unchanged": 2})
    assert (job.world.truth.count("create"), job.marked) == (2, [True, True])


def test_an_adoption_of_what_is_gone(tmp_path: Path) -> None:
    """Somebody deletes it before its tag is written: unfinished (75), and not created by the next adopt."""
    job = Theirs(tmp_path)

    def hand(kind: str) -> Fate:
        if not job.gone:
            job.gone.append(job.before[0])
            job.world.delete(job.before[0], job.at)
        return Fate(kind and "ok")

    lost = command(job, "adopt", change=hand, workers=1)
    job.settle()
    done = command(job, "adopt")

    assert (lost.code, done.code) == (75, 0)
    assert (len(job.world.truth.alive), job.world.truth.count("create"), job.marked) == (1, 2, [True])


@pytest.mark.parametrize(
    ("policy", "nth", "after"), alternating([False, True], [REPLACING, DELETE_FIRST], range(1, 12)), ids=named
)
def test_a_disk_that_fills_in_the_middle_of_a_replacement(
    tmp_path: Path,
    policy: Any,
    nth: int,
    after: bool,  # noqa: FBT001
) -> None:
    """A ledger that fails stops the run at once; the next one finishes what it left."""
    job = Second(tmp_path, 3)
    job.names = job.names[:2]
    job.write(*job.names, description="another")
    order = Order(
        manifest=job.manifest,
        ledger=job.ledger,
        policy=policy,
        prune=True,
        base=job.at,
        wrap=lambda ledger: Failing(ledger, nth, after=after),
    )
    with pytest.raises(ExceptionGroup):
        register(job.world, order)
    job.at += 10

    job.run(policy=policy, prune=True)

    job.check_done(delete_first=policy.delete_first)


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("policy", [REPLACING, DELETE_FIRST], ids=["create-first", "delete-first"])
def test_a_stop_in_the_middle_of_a_replacement(tmp_path: Path, policy: Any, after_s: float) -> None:
    """A drain starts nothing more, records what was under way, and the next run goes on."""
    job = Second(tmp_path, 12)
    job.names = job.names[:10]
    job.write(*job.names, description="another", tags={"team": "ads"})

    async def act(stop: Stop, _: VirtualClock) -> None:
        await asyncio.sleep(after_s)
        stop.request("enough")

    slow = Fate(there_s=0.1, back_s=0.1)
    ended = job.run(policy=policy, prune=True, hand=lambda: slow, change=lambda _: slow, act=act)

    assert Reason.UNFINISHED in ended.statistics.reasons()
    job.run(policy=policy, prune=True)
    job.check_done(delete_first=policy.delete_first)


def happened(ended: Ended) -> list[Event]:
    """What was recorded, in order."""
    return [fact.event for fact in ended.facts]


def test_the_ledger_says_why_before_anything_is_deleted(tmp_path: Path) -> None:
    """Create-first: the new one is confirmed before the old one's deletion is intended, let alone sent."""
    job = Second(tmp_path)
    job.change()

    assert happened(job.run(policy=REPLACING)) == [Event.INTEND, Event.CONFIRM, Event.DELETING, Event.GONE]


def test_a_replacement_is_proven_by_its_own_attempt_alone() -> None:
    """Another algorithm of this ledger with its name and definition proves nothing as long as its own may come."""
    ledger_id, digest = "0" * 16, "d" * 32
    incoming = Entry("here", "x", State.AMBIGUOUS, digest, "", attempt="own-1", sent=Stamp(0.0), incoming=True)
    doubt = Unresolved(incoming, settled_at=400.0)

    def found(attempt: str) -> Found:
        return Found(f"arn-{attempt}", "x", 1.0, OwnershipTag(ledger_id, digest, attempt), digest, "")

    def ruled(*seen: Found, at: float) -> Decision:
        return rule(doubt, Sweep(at, complete=True, found={"x": list(seen)}), REPLACING, ledger_id).decision

    assert ruled(found("other-1"), at=1.0) is Decision.UNKNOWN
    assert ruled(found("other-1"), at=401.0) is Decision.ABSENT_ONCE
    assert ruled(found("other-1"), found("own-1"), at=1.0) is Decision.RECOVERED
