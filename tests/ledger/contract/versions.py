"""Replacements, older versions and history: what an entry had before its current algorithm."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from provisioner.core.entry import Event, Fact, State
from provisioner.core.versions import Role, SameArnError
from provisioner.errors import IllegalTransitionError, IntegrityError
from provisioner.ledger import RunRecord
from tests.ledger.contract.facts import AT, Clock, arn, confirm, intend

if TYPE_CHECKING:
    from provisioner.ledger import Ledger
    from tests.ledger.contract.facts import Store


def incoming(fact: Fact) -> Fact:
    """The same of the replacement of the entry."""
    return msgspec.structs.replace(fact, incoming=True)


def fact(name: str, event: Event, number: int | None = None, **more: str) -> Fact:
    """A fact about an entry, or about its version ``number``."""
    return Fact("default", name, event, arn=None if number is None else arn(number), **more)  # type: ignore[arg-type]  # a test's


async def replaced(ledger: Ledger, name: str, old: int, new: int) -> None:
    """Create ``name`` as ``old`` and replace it by ``new``."""
    await ledger.record([intend(name), confirm(name, old)])
    await ledger.record([incoming(intend(name, "a2"))])
    await ledger.record([incoming(confirm(name, new))])


async def roles(ledger: Ledger) -> dict[str, Role]:
    """The role of each older version."""
    return {one.arn: one.role for one in await ledger.versions("default")}


class Versions:
    """Replacements, older versions and history."""

    async def test_a_replacement_goes_beside_its_entry(self, store: Store) -> None:
        """While it is under way the entry stays as it is; a reader sees both."""
        async with store() as ledger, store(readonly=True) as reader:
            await ledger.record([intend("a"), confirm("a", 1)])
            await ledger.record([incoming(intend("a", "a2"))])
            entry = (await reader.look_up("default", ["a"]))["a"]
            [one] = (await reader.incoming("default")).values()

            assert (entry.state, entry.arn, entry.attempt) == (State.CREATED, arn(1), "a1")
            assert (one.state, one.arn, one.attempt, one.incoming) == (State.SENT, "", "a2", True)
            assert await reader.incoming("other") == {}

    async def test_a_confirmed_replacement_takes_its_place_in_one_commit(self, store: Store) -> None:
        """It is the entry, and the ARN that the entry had is a superseded version, also after reopening."""
        clock = Clock()
        async with store(now=clock) as ledger:
            await replaced(ledger, "a", 1, 2)
        async with store(readonly=True) as ledger:
            entry = (await ledger.look_up("default", ["a"]))["a"]
            [version] = await ledger.versions("default")

            assert (entry.state, entry.arn, entry.attempt, entry.incoming) == (State.CREATED, arn(2), "a2", False)
            assert (version.arn, version.role, version.reason) == (arn(1), Role.SUPERSEDED, "replaced")
            assert (version.attempt, version.digest, version.updated_at) == ("a1", "d" * 64, clock.at)
            assert await ledger.incoming("default") == {}
            assert await ledger.superseded() == {"default": 1}

    async def test_a_replacement_needs_something_to_replace(self, store: Store) -> None:
        """There is none of an entry without an algorithm, and it must be another one than that."""
        async with store() as ledger:
            await ledger.record([intend("planned")])
            for name in ("unknown", "planned"):
                with pytest.raises(IllegalTransitionError):
                    await ledger.record([incoming(intend(name, "a2"))])
            await ledger.record([intend("a"), confirm("a", 1), incoming(intend("a", "a2"))])
            with pytest.raises(SameArnError, match="delete-first"):
                await ledger.record([incoming(confirm("a", 1))])

            assert (await ledger.incoming("default"))["a"].state is State.SENT
            assert await ledger.versions("default") == []

    async def test_an_arn_has_one_role(self, store: Store) -> None:
        """What an older version has is no entry's, and what an entry holds is not superseded under another name."""
        async with store() as ledger:
            await replaced(ledger, "a", 1, 2)
            await ledger.record([intend("b"), confirm("b", 3), intend("c"), incoming(intend("b", "b2"))])
            for wrong in (confirm("c", 1), incoming(confirm("b", 1)), incoming(confirm("b", 2))):
                with pytest.raises(IntegrityError):
                    await ledger.record([wrong])
            for wrong in (fact("a", Event.SUPERSEDE, 2), fact("a", Event.SUPERSEDE, 3), fact("a", Event.SUPERSEDE, 1)):
                with pytest.raises(IllegalTransitionError):
                    await ledger.record([wrong])
            await ledger.record([fact("a", Event.GONE, 1)])
            with pytest.raises(IntegrityError):
                await ledger.record([confirm("c", 1)])

            assert await roles(ledger) == {arn(1): Role.DELETED}

    async def test_what_is_retired_is_to_be_deleted(self, store: Store) -> None:
        """The entry gives up its algorithm, which says why; it is deleted by an attempt, or kept with a reason."""
        async with store() as ledger:
            await ledger.record([intend("a"), confirm("a", 1)])
            await ledger.record([fact("a", Event.RETIRE, code="pruned")])
            await ledger.record([fact("a", Event.DELETING, 1, attempt="x-1")])
            await ledger.record([fact("a", Event.KEEP, 1, code="409", message="an association", request_id="r-1")])
            [kept] = await ledger.versions("default", names=["a"], roles={Role.SUPERSEDED})
            await ledger.record([fact("a", Event.GONE, 1)])

            assert (kept.reason, kept.deletion, kept.code, kept.request_id) == ("pruned", "x-1", "409", "r-1")
            assert (await ledger.look_up("default", ["a"]))["a"].state is State.DELETED
            assert await ledger.versions("default", roles={Role.SUPERSEDED}) == []
            assert [one.arn for one in await ledger.versions("default", roles={Role.DELETED})] == [arn(1)]
            assert await ledger.superseded() == {}

    async def test_what_cannot_be_deleted_is_reinstated(self, store: Store) -> None:
        """It is the current one again, and may be replaced again; what is deleted is not."""
        async with store() as ledger:
            await ledger.record([intend("a"), confirm("a", 1), fact("a", Event.RETIRE, code="replaced")])
            await ledger.record([fact("a", Event.REINSTATE)])
            entry = (await ledger.look_up("default", ["a"]))["a"]
            before = await roles(ledger)
            await ledger.record([fact("a", Event.RETIRE, code="replaced"), fact("a", Event.GONE, 1)])
            with pytest.raises(IllegalTransitionError):
                await ledger.record([fact("a", Event.REINSTATE)])

            assert (entry.state, entry.arn, before) == (State.DRIFTED, arn(1), {})
            assert await roles(ledger) == {arn(1): Role.DELETED}

    async def test_a_replacement_that_may_exist_keeps_what_it_replaces(self, store: Store) -> None:
        """While it is unanswered the entry does not give up its algorithm; one that came to nothing ends with it."""
        async with store() as ledger:
            await ledger.record([intend("a"), confirm("a", 1), incoming(intend("a", "a2"))])
            for event in (Event.RETIRE, Event.DELETE):
                with pytest.raises(IllegalTransitionError):
                    await ledger.record([fact("a", event)])
            await ledger.record([incoming(fact("a", Event.REJECT, code="names_unique"))])
            await ledger.record([fact("a", Event.RETIRE, code="pruned")])

            assert await ledger.incoming("default") == {}

    async def test_forgetting_leaves_the_history(self, store: Store) -> None:
        """Entries, replacements and versions of these names go; others stay, and it is a change of the target."""
        async with store() as ledger:
            await replaced(ledger, "a", 1, 2)
            await replaced(ledger, "b", 3, 4)
            await ledger.record([incoming(intend("a", "a3")), intend("a", target="other")])
            before = await ledger.changes("default")
            await ledger.forget("default", ["a", "unknown"])
            # What is forgotten may be recorded again, by whatever name.
            await ledger.record([confirm("c", 1), confirm("a", 2)])

            assert await ledger.changes("default") > before
            assert await ledger.incoming("default") == {}
            assert await roles(ledger) == {arn(3): Role.SUPERSEDED}
            assert await ledger.look_up("other", ["a"])
            assert [one.event for one in await ledger.history("default", "a")] == ["replace"]

    async def test_a_renamed_target_keeps_its_versions(self, store: Store) -> None:
        """Replacements, older versions and history go with the entries."""
        async with store() as ledger:
            await replaced(ledger, "a", 1, 2)
            await ledger.record([incoming(intend("a", "a3"))])
            await ledger.rename_target("default", "new")

            assert [one.attempt for one in (await ledger.incoming("new")).values()] == ["a3"]
            assert [(one.arn, one.target) for one in await ledger.versions("new")] == [(arn(1), "new")]
            assert [one.event for one in await ledger.history("new", "a")] == ["replace"]
            assert await ledger.superseded() == {"new": 1}
            assert (await ledger.incoming("default"), await ledger.versions("default")) == ({}, [])
            assert await ledger.history("default", "a") == []

    async def test_history_is_what_a_plain_create_does_not_tell(self, store: Store) -> None:
        """A doubt, a recovery, drift, a replacement and a deletion, in order, with run and request; no plain create."""
        async with store() as ledger:
            await ledger.begin_run(RunRecord("run-1", "apply", AT))
            await ledger.record([intend("plain"), confirm("plain", 9)])
            await ledger.record([intend("a"), fact("a", Event.DOUBT, code="timeout")])
            await ledger.record([msgspec.structs.replace(confirm("a", 1), code="recovered")])
            await ledger.record([fact("a", Event.DRIFT, code="drifted"), incoming(intend("a", "a2"))])
            await ledger.record([incoming(msgspec.structs.replace(confirm("a", 2), request_id="r-2"))])
            await ledger.record([fact("a", Event.DELETING, 1, attempt="x-1"), fact("a", Event.GONE, 1)])
        async with store(readonly=True) as ledger:
            found = await ledger.history("default", "a")

            assert [one.event for one in found] == ["doubt", "confirm", "drift", "replace", "gone"]
            assert [one.arn for one in found] == ["", arn(1), arn(1), arn(2), arn(1)]
            assert {one.run_id for one in found} == {"run-1"}
            assert found[3].request_id == "r-2"
            assert await ledger.history("default", "plain") == []

    async def test_history_is_kept_as_long_as_its_run(self, store: Store) -> None:
        """A thousand runs later it is gone with its run; what entries and versions say stays."""
        async with store() as ledger:
            await ledger.begin_run(RunRecord("run-0000", "apply", AT))
            await replaced(ledger, "a", 1, 2)
            # At once, so that they share commits.
            begun = [ledger.begin_run(RunRecord(f"run-{number:04}", "apply", AT)) for number in range(1, 1000)]
            await asyncio.gather(*begun)
            kept = await ledger.history("default", "a")
            await ledger.begin_run(RunRecord("run-1000", "apply", AT))

            assert [one.event for one in kept] == ["replace"]
            assert await ledger.history("default", "a") == []
            assert await roles(ledger) == {arn(1): Role.SUPERSEDED}

    async def test_the_latest_version_comes_first(self, store: Store) -> None:
        """So that the newest are kept; those of the same moment come by ARN."""
        clock = Clock()
        async with store(now=clock) as ledger:
            await ledger.record([intend("a"), confirm("a", 5)])
            for number in (4, 3, 6):
                clock.at += 1
                await ledger.record([incoming(intend("a", f"a{number}")), incoming(confirm("a", number))])

            assert [one.arn for one in await ledger.versions("default")] == [arn(3), arn(4), arn(5)]
            assert [one.arn for one in await ledger.versions("default", names=["b"])] == []
