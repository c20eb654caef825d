"""``apply`` and ``plan`` of a selection: what is not selected is as if nobody had run them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from provisioner.core.entry import State
from provisioner.core.selection import Selection
from tests.commands.test_plan import INVALID, PRUNE, REPLACE, Here, v

if TYPE_CHECKING:
    from pathlib import Path

A = Selection(names=("a*",))


@pytest.fixture
def here(tmp_path: Path) -> Here:
    """An empty account and ledger."""
    return Here(tmp_path / "m.jsonl")


def alive(here: Here) -> list[str]:
    """What exists, with its version."""
    return sorted(
        one.name + " " + str(json.loads(one.body)["description"])[-1] for one in here.endpoint.algorithms.values()
    )


async def test_only_what_is_selected_is_created(here: Here) -> None:
    """Lines that are not selected are counted and have no outcome; the manifest is not finished by such a run."""
    here.write(v("a1"), v("a2"), v("b"))

    plan = await here.plan(selection=A)
    some = await here.apply(selection=A)
    again = await here.apply(selection=A)
    rest = await here.apply()

    assert (plan.counts["create"], [step.name for step in plan.steps]) == (2, ["a1", "a2"])
    assert (some.manifest.valid, some.manifest.unselected, some.outcomes["created"]) == (3, 1, 2)
    assert sum(some.outcomes.values()) == some.manifest.valid - some.manifest.unselected
    assert (again.outcomes["unchanged"], again.exit_code) == (2, 0)
    assert (rest.outcomes["created"], rest.outcomes["unchanged"], rest.manifest.unselected) == (1, 2, 0)
    assert here.sent() == {"create": 3}


async def test_a_finished_manifest_is_not_counted_whole(here: Here) -> None:
    """A run that has nothing to do says so of what is selected."""
    await here.apply(v("a"), v("b"))
    await here.apply()

    some = await here.apply(selection=A)

    assert (some.outcomes["unchanged"], some.manifest.unselected) == (1, 1)


async def test_only_what_is_selected_is_replaced(here: Here) -> None:
    """Also where older versions are left over: those of other names stay until somebody asks for them."""
    await here.apply(v("a"), v("b"))
    await here.apply(v("a", 2), v("b", 2), on_change="replace", yes=True, keep=1)
    both = alive(here)

    plan = await here.plan(selection=A, **REPLACE)
    some = await here.apply(selection=A, **REPLACE)
    left = alive(here)
    rest = await here.apply(**REPLACE)

    assert both == ["a 1", "a 2", "b 1", "b 2"]
    assert (plan.counts["delete"], [step.name for step in plan.steps]) == (1, ["a"])
    assert (some.exit_code, left) == (0, ["a 2", "b 1", "b 2"])
    assert (rest.exit_code, alive(here)) == (0, ["a 2", "b 2"])


async def test_only_what_is_selected_is_pruned(here: Here) -> None:
    """Of what left the manifest; that no selected name is left in it does not matter, as long as there are others."""
    await here.apply(v("a1"), v("a2"), v("b"), v("c"))
    here.write(v("c"))

    plan = await here.plan(selection=A, **PRUNE)
    some = await here.apply(selection=A, **PRUNE)

    assert (plan.counts["delete"], plan.counts["orphaned"]) == (2, 0)
    assert (some.exit_code, some.pruned, alive(here)) == (0, 2, ["b 1", "c 1"])


async def test_an_empty_manifest_prunes_nothing_of_a_selection_either(here: Here) -> None:
    """It may be the wrong file."""
    await here.apply(v("a"), v("b"))
    here.write()

    some = await here.apply(selection=A, **PRUNE)

    assert (some.exit_code, some.pruned, here.sent()["delete"]) == (3, 0, 0)


async def test_what_failed_is_selected_by_its_state_and_code(here: Here) -> None:
    """By what the ledger has when the run begins; a definition without an entry has no state."""
    here.endpoint.acts = [INVALID]
    await here.apply(v("a"), v("b"))
    here.write(v("a"), v("b"), v("new"))

    failed = Selection(states=frozenset({State.FAILED}))
    other_code = await here.apply(selection=Selection(code="Other"), policy={"retry_failed": True})
    retried = await here.apply(selection=failed, policy={"retry_failed": True})

    assert (other_code.manifest.unselected, sum(other_code.outcomes.values())) == (3, 0)
    assert (retried.manifest.unselected, retried.outcomes["created"]) == (2, 1)
    assert sorted(one.name for one in here.endpoint.algorithms.values()) == ["a", "b"]


async def test_each_target_has_its_own_selection(here: Here) -> None:
    """What failed in one target is created there, and not in another where it is not known."""
    here.endpoint.acts = [INVALID]
    here.targets = ["here"]
    await here.apply(v("a"))
    here.targets = ["here", "there"]

    retried = await here.apply(selection=Selection(states=frozenset({State.FAILED})), policy={"retry_failed": True})

    assert retried.targets["here"].outcomes["created"] == 1
    assert sum(retried.targets["there"].outcomes.values()) == 0


async def test_variables_that_changed_prune_nothing_after_a_selection_either(here: Here) -> None:
    """A run of some names has not read the manifest by the new variables, so the next one prunes nothing yet."""
    here.variables = {"region": "east"}
    await here.apply(v("a"), v("b"))
    here.variables = {"region": "west"}
    here.write(v("a"))

    await here.apply(selection=A)
    first, second = await here.apply(**PRUNE), await here.apply(**PRUNE)

    assert (first.pruned, first.exit_code, second.pruned) == (0, 3, 1)
