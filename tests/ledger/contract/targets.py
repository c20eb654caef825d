"""What the ledger holds of a target beside its entries, and how a target gets another name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from provisioner.core.entry import Event, Fact, State
from provisioner.core.place import Place
from provisioner.errors import IntegrityError, LedgerError, UsageError
from provisioner.ledger import FinishedManifest
from tests.ledger.contract.facts import all_of, confirm, intend

if TYPE_CHECKING:
    from tests.ledger.contract.facts import Store

HERE = Place("aws", "us-east-1", "123456789012")


class Targets:
    """Places, finished manifests, renaming."""

    async def test_the_last_place_of_a_target_is_kept(self, store: Store) -> None:
        """A target's place is read at once and after reopening; it may have one before it has entries."""
        async with store() as ledger:
            before = await ledger.places()
            await ledger.set_place("a", Place("embedded", "us-east-1"))
            await ledger.set_place("b", Place("custom", "eu-west-1", "999999999999"))
            await ledger.set_place("a", HERE)
            at_once = await ledger.places()
            counts = await ledger.counts()
        async with store(readonly=True) as ledger:
            assert (before, counts) == ({}, {})
            assert at_once == {"a": HERE, "b": Place("custom", "eu-west-1", "999999999999")}
            assert await ledger.places() == at_once

    async def test_a_place_is_one_targets(self, store: Store) -> None:
        """Another target that is there, or may be, is refused; what was recorded in the same commit stays."""
        async with store() as ledger:
            await ledger.set_place("a", HERE)
            refused = await asyncio.gather(
                ledger.set_place("b", HERE),
                ledger.set_place("c", Place("aws", "us-east-1")),
                ledger.set_place("d", Place("aws", "us-west-2")),
                ledger.set_place("e", Place("aws", "us-west-2", "999999999999")),
                ledger.set_place("f", Place("custom", "us-east-1", "123456789012")),
                ledger.set_place("a", HERE),
                return_exceptions=True,
            )

            assert [isinstance(one, IntegrityError) for one in refused] == [True, True, False, True, False, False]
            assert set(await ledger.places()) == {"a", "d", "f"}

    async def test_the_manifest_finished_last_is_kept(self, store: Store) -> None:
        """Each target has one finished manifest, the last; it is no pace."""
        async with store() as ledger:
            before = await ledger.finished("a")
            for number in (1, 2):
                await ledger.set_finished("a", FinishedManifest("f" * 64, number, 10))
        async with store() as ledger:
            assert before is None
            assert await ledger.finished("a") == FinishedManifest("f" * 64, 2, 10)
            assert await ledger.finished("b") is None
            assert await ledger.learned("a", "finished") is None

    async def test_a_renamed_target_keeps_everything(self, store: Store) -> None:
        """Entries, place, paces and the finished manifest move to the new name; other targets stay as they are."""
        async with store() as ledger:
            await ledger.record([intend("x", target="old"), confirm("x", 1, target="old"), intend("y", target="old")])
            await ledger.record([intend("x", target="other")])
            await ledger.set_place("old", HERE)
            await ledger.set_finished("old", FinishedManifest("f" * 64, await ledger.changes("old"), 2))
            await ledger.learn("old", "create", b"pace")
            before = await all_of(ledger, target="old")
            await ledger.rename_target("old", "new")
            at_once = await ledger.learned("new", "create")
            await ledger.record([confirm("y", 2, target="new")])
        async with store() as ledger:
            after = await all_of(ledger, target="new")
            finished = await ledger.finished("new")

            assert after[0] == msgspec.structs.replace(before[0], target="new")
            assert [(entry.name, entry.state) for entry in after] == [("x", State.CREATED), ("y", State.CREATED)]
            assert set(await ledger.counts()) == {"new", "other"}
            assert await ledger.places() == {"new": HERE}
            assert finished is not None
            assert (finished.fingerprint, finished.lines) == ("f" * 64, 2)
            assert (at_once, await ledger.learned("new", "create")) == (b"pace", b"pace")
            assert await ledger.learned("old", "create") is None
            assert await ledger.finished("old") is None

    async def test_a_finished_manifest_stays_finished_under_the_new_name(self, store: Store) -> None:
        """Renaming changes no entry, so that a manifest that was finished before is finished after; a stale one not."""
        async with store() as ledger:
            await ledger.record([intend("x", target="a"), intend("x", target="b")])
            await ledger.set_finished("a", FinishedManifest("f", await ledger.changes("a"), 1))
            await ledger.set_finished("b", FinishedManifest("f", await ledger.changes("b"), 1))
            await ledger.record([confirm("x", 1, target="b")])
            for old in ("a", "b"):
                await ledger.rename_target(old, f"new {old}")
            fresh, stale = [await ledger.finished(f"new {old}") for old in ("a", "b")]

            assert fresh == FinishedManifest("f", await ledger.changes("new a"), 1)
            assert stale != FinishedManifest("f", await ledger.changes("new b"), 1)

    async def test_renaming_is_a_change_of_both_names(self, store: Store) -> None:
        """No count of changes comes back that stood for other entries, of neither name; both have the same."""
        async with store() as ledger:
            await ledger.record([intend("x", target="old")])
            await ledger.record([confirm("x", 1, target="old")])
            before = {target: await ledger.changes(target) for target in ("old", "new")}
            await ledger.rename_target("old", "new")
            after = {target: await ledger.changes(target) for target in ("old", "new")}
            await ledger.rename_target("new", "old")

            assert after["old"] > before["old"] > 0
            assert after["new"] == after["old"]
            assert await ledger.changes("old") > after["old"]

    async def test_what_a_target_without_entries_left_gives_way(self, store: Store) -> None:
        """A place and a pace of the new name, which has no entries, are replaced."""
        async with store() as ledger:
            await ledger.record([intend("x", target="old")])
            await ledger.set_place("old", HERE)
            await ledger.set_place("new", Place("embedded", "us-east-1"))
            await ledger.set_finished("new", FinishedManifest("f", 0, 0))
            await ledger.learn("new", "create", b"stale")
            await ledger.rename_target("old", "new")

            assert await ledger.places() == {"new": HERE}
            assert await ledger.finished("new") is None
            assert await ledger.learned("new", "create") is None

    @pytest.mark.parametrize(("old", "new"), [("old", "taken"), ("old", "old"), ("unknown", "new")])
    async def test_a_rename_that_is_refused_changes_nothing(self, store: Store, old: str, new: str) -> None:
        """A name that has entries is not given away, and an unknown one cannot be renamed; the hint says what to do."""
        async with store() as ledger:
            await ledger.record([intend("x", target="old"), intend("x", target="taken")])
            await ledger.set_place("old", HERE)
            before = (await all_of(ledger), await ledger.places(), await ledger.changes("old"))
            with pytest.raises((LedgerError, UsageError), match="target") as caught:
                await ledger.rename_target(old, new)

            assert caught.value.hint
            assert (await all_of(ledger), await ledger.places(), await ledger.changes("old")) == before

    async def test_facts_after_a_rename_follow_from_the_state_before(self, store: Store) -> None:
        """A writer that recorded an intent under the old name goes on under the new one, and not under the old."""
        async with store() as ledger:
            await ledger.record([intend("x", target="old")])
            await ledger.rename_target("old", "new")
            await ledger.record([intend("x", target="old")])
            await ledger.record([Fact("new", "x", Event.CONFIRM, arn="arn:1", after="a1")])

            assert {entry.target: entry.state for entry in await all_of(ledger)} == {
                "new": State.CREATED,
                "old": State.SENT,
            }
