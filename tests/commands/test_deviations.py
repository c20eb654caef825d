"""Where the ledger deviates from a manifest, for ``verify``: over fakes, with the planner that ``apply`` uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from provisioner.commands.manifests import LineProblems
from provisioner.commands.verify import Marks, deviations, differences, mark, reasons_of
from provisioner.core.selection import Selection
from provisioner.errors import Reason
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from tests.commands.test_plan import INVALID, PRUNE, REPLACE, Here, v
from tests.fakes import DROPPED, TAG, open_target
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.commands.run import Run
    from provisioner.commands.verify import Finding

SAME = v("same", tags={"team": "ads"})


@pytest.fixture
def here(tmp_path: Path) -> Here:
    """An empty account and ledger."""
    return Here(tmp_path / "m.jsonl")


async def compared(here: Here, selects: Callable[[str], bool] | None = None, **given: Any) -> tuple[Run, list[Finding]]:
    """The run and the findings of a verify with the manifest; nothing is sent, and no entry changes."""
    run = here.run(**given)
    manifest = Manifest([str(here.path)], Rules(ownership_tag=TAG)).selecting(selects)
    target = open_target(here.endpoint, here.ledger, observer=run.observers["here"], clock=here.clock)
    sent, facts = here.sent(), list(here.ledger.facts)
    found = await differences(target, TAG)
    found += await deviations(run, target, manifest, LineProblems({"here": manifest}), found)
    assert (here.sent(), here.ledger.facts) == (sent, facts)
    return run, found


REGISTER, REPLACING = "`apply` registers it", "`apply --on-change replace` replaces it"


@pytest.mark.parametrize(
    ("after", "given", "kind", "message"),
    [
        ([SAME], {}, "", ""),
        ([SAME, v("new")], {}, "unregistered", f"it is not registered; {REGISTER}"),
        ([v("same", 2, tags={"team": "ads"})], {}, "changed", f"differs from the one that is registered; {REPLACING}"),
        ([v("same", 2)], REPLACE, "changed", "differs from the one that is registered; `apply` replaces it"),
        ([v("same", tags={"team": "x"})], {}, "changed", "differ from those that are registered; `apply` sets them"),
    ],
)
async def test_what_the_manifest_says_of_what_is_registered(
    here: Here, after: list[dict[str, Any]], given: dict[str, Any], kind: str, message: str
) -> None:
    """One finding for each definition that is not registered as it stands there, with its line and what to type."""
    await here.apply(SAME)
    here.write(*after)

    run, found = await compared(here, **given)

    assert [(one.kind, one.name, one.message.endswith(message)) for one in found] == (
        [(kind, after[-1]["name"], True)] if kind else []
    )
    assert [(one.source, one.line) for one in found] == [(str(here.path), len(after)) for _ in found]
    assert [bool(one.arn) for one in found] == [kind == "changed" for _ in found]
    assert reasons_of(found) == ({Reason.FAILED} if kind else set())
    counts = run.summary()
    assert sum(counts.outcomes.values()) == counts.manifest.valid == len(after)
    assert (counts.outcomes["unchanged"], counts.exit_code in {0, 3}) == (len(after) - len(found), True)


@pytest.mark.parametrize(
    ("given", "due", "message"),
    [
        ({}, False, "it left the manifest; `apply --prune` deletes it"),
        (PRUNE, True, "it left the manifest; `apply` deletes it"),
    ],
)
async def test_what_left_the_manifest_is_orphaned(here: Here, given: dict[str, Any], due: bool, message: str) -> None:  # noqa: FBT001  a table
    """It is a difference where the configuration has it pruned (3); otherwise it may stay, as for plan (0)."""
    await here.apply(SAME, v("left"))
    here.write(SAME)

    _, found = await compared(here, **given)

    assert [(one.kind, one.name, one.due, one.message) for one in found] == [("orphaned", "left", due, message)]
    assert reasons_of(found) == ({Reason.FAILED} if due else set())
    assert (await compared(here, {"same"}.__contains__, **given))[1] == []


async def test_nothing_is_orphaned_by_invalid_lines(here: Here) -> None:
    """The definition may be the line that cannot be read, so the lines are reported (65), and no orphan."""
    await here.apply(SAME, v("left"))
    here.write(SAME, more=b"{}\n{\n")

    run, found = await compared(here)

    assert found == []
    assert run.summary().exit_code == 65
    assert [one.line for one in run.summary().problems] == [2, 2, 3]
    assert here.ledger.kept_problems == run.summary().problems


async def test_an_empty_source_is_refused_where_it_would_be_pruned(here: Here) -> None:
    """As by plan: its writer may have failed."""
    await here.apply(SAME)
    here.write()

    run, found = await compared(here, **PRUNE)

    assert [(one.kind, one.due) for one in found] == [("orphaned", False)]
    assert run.summary().exit_code == 3
    assert [one.code for one in run.summary().problems] == ["prune_refused"]


@virtual_time
async def test_what_failed_or_had_no_reply(here: Here) -> None:
    """A failed create is not registered, nor is one without a reply, whose outcome has to be resolved first (5)."""
    here.endpoint.acts = [INVALID]
    await here.apply(v("failed"))
    here.endpoint.acts = [DROPPED]
    await here.apply(v("failed"), v("lost"), policy={"wait": False, "settle_s": 300.0})

    run, found = await compared(here)

    assert [(one.kind, one.name) for one in found] == [("unregistered", "failed"), ("unresolved", "lost")]
    assert "it failed before: ValidationException" in found[0].message
    assert found[0].message.endswith("; `apply --retry-failed` tries again")
    assert found[1].message == "an earlier create of it had no reply; run `provisioner reconcile`"
    assert reasons_of(found) == {Reason.FAILED, Reason.AMBIGUOUS}
    assert run.summary().exit_code == 5


async def test_of_what_is_gone_nothing_more_is_said(here: Here) -> None:
    """What is gone from AWS, or not recorded, `apply` makes as the manifest says."""
    await here.apply(v("gone"), v("lost"), v("left"))
    [gone], [left] = here.endpoint.named("gone"), here.endpoint.named("left")
    del here.endpoint.algorithms[gone.arn], here.endpoint.algorithms[left.arn]
    await here.ledger.forget("here", ["lost"])
    here.write(v("gone", 2), v("lost"))

    _, found = await compared(here)

    assert sorted((one.kind, one.name) for one in found) == [
        *(("missing", "gone"), ("missing", "left"), ("unrecorded", "lost")),
    ]


@pytest.mark.parametrize("repaired", [False, True])
async def test_tags_that_were_changed_in_aws_are_no_change_of_the_manifest(here: Here, repaired: bool) -> None:  # noqa: FBT001  a table
    """They are drifted, as before they were marked; once they are as defined, all agree."""
    await here.apply(SAME)
    [one] = here.endpoint.named("same")
    here.endpoint.algorithms[one.arn] = msgspec.structs.replace(one, tags=one.tags | {"team": "x"})
    target = open_target(here.endpoint, here.ledger)
    await mark(target, here.run().order.policy, await differences(target, TAG), Marks(drifted=True))
    if repaired:
        here.endpoint.algorithms[one.arn] = one

    assert [one.kind for one in (await compared(here))[1]] == ([] if repaired else ["drifted"])


async def test_marks_are_for_what_differs_in_aws(here: Here) -> None:
    """Neither mark touches what the manifest says: that is for `apply`."""
    await here.apply(SAME, v("left"))
    here.write(v("same", 2), v("new"))
    _, found = await compared(here)
    before, facts = list(found), list(here.ledger.facts)

    await mark(
        open_target(here.endpoint, here.ledger),
        here.run().order.policy,
        found,
        Marks(missing=True, drifted=True, unrecorded=True),
    )

    assert [one.kind for one in found] == ["changed", "unregistered", "orphaned"]
    assert (found, here.ledger.facts) == (before, facts)


async def test_verify_names_what_the_plan_has_steps_for(here: Here) -> None:
    """There is one comparison: what deviates is what an offline plan shows, and after apply nothing does."""
    await here.apply(SAME, v("a"), v("b", tags={"x": "1"}), v("left"))
    here.write(SAME, v("a", 2), v("b", tags={"x": "2"}), v("c"))

    plan = await here.plan(offline=True)
    _, found = await compared(here)
    await here.apply(**(PRUNE | REPLACE))

    assert {step.name for step in plan.steps} == {one.name for one in found} == {"a", "b", "c", "left"}
    assert (await compared(here))[1] == []


async def test_a_stop_request_is_no_orphan(here: Here) -> None:
    """A manifest that was not read to its end says nothing of what it left out."""
    await here.apply(SAME, v("left"))
    run = here.run(selection=Selection())
    run.stop.request("signal SIGTERM")
    manifest = Manifest([str(here.path)], Rules(ownership_tag=TAG))
    target = open_target(here.endpoint, here.ledger, observer=run.observers["here"])

    assert await deviations(run, target, manifest, LineProblems({"here": manifest}), []) == []
    assert run.summary().exit_code == 75
