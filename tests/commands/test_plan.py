"""``plan``, and ``apply`` which carries out what it says: over fakes, with the commands' own code."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.commands.apply import carry_out
from provisioner.commands.plan import PlanCommand
from provisioner.commands.run import Order, Run, policy_of
from provisioner.commands.verify import Marks, differences, mark, reasons_of
from provisioner.config.settings import LifecycleSettings, PaceSettings, Settings
from provisioner.config.target import Target
from provisioner.core.entry import Event, Outcome, State
from provisioner.core.ownership import OwnershipTag
from provisioner.core.pause import Pause
from provisioner.core.planner import Action
from provisioner.core.selection import Selection
from provisioner.core.verdict import Reply
from provisioner.core.versions import Role
from provisioner.errors import ConfigurationError, ProvisionerError
from provisioner.fleet.fleet import Fleet
from provisioner.fleet.places import Claims, Places
from provisioner.ledger.unwritten import NoLeases, UnwrittenLedger
from provisioner.manifest.definition import Definition
from provisioner.manifest.parser import Rules
from provisioner.manifest.reader import Manifest
from provisioner.pacing.gate import Gate
from provisioner.pacing.observed import Learned
from provisioner.pacing.pacer import PaceBounds, Pacer
from provisioner.report.plan import plan_text
from tests.definition_lines import lines_of, named
from tests.fakes import LEDGER_ID, TAG, Act, Endpoint, FakeClock, FakeLedger, make_policy, open_target
from tests.virtual_time import virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping
    from pathlib import Path

    from provisioner.core.entry import Entry
    from provisioner.engine.target import OpenTarget
    from provisioner.report.plan import Plan
    from provisioner.report.summary import Summary

OTHER_LEDGER_ID = "00000000000000bb"


class FakeFleet(Fleet):
    """Targets over fakes, with the endpoints of ``here``."""

    @asynccontextmanager
    async def open(self, target: Target) -> AsyncIterator[OpenTarget]:
        """See :class:`Fleet`."""
        endpoint: Endpoint = self.settings.local["endpoint"]
        opened = open_target(endpoint, self.ledger, observer=self.observers[target.name], clock=self.clock)  # type: ignore[arg-type]  # the fakes' ledger
        if limit := self.settings.local.get("limit"):
            bounds = PaceBounds(initial_rate=5.0, max_rate=0.0, share=self.settings.pace.share_at(self.clock.wall()))
            learned = Learned(limit, self.clock.wall(), 500)
            pacer = Pacer(bounds, self.clock.monotonic(), learned, self.clock.wall())
            opened = replace(opened, creates=Gate(pacer, max_in_flight=64, clock=self.clock.monotonic))
        yield replace(opened, name=target.name)


class Later(FakeClock):
    """A clock that can be put forward."""

    later_s = 0.0

    def monotonic(self) -> float:
        """The loop's time, and how far it was put forward."""
        return super().monotonic() + self.later_s


class Here:
    """An account, a ledger, and the two commands over a manifest.

    Args:
        path: of the manifest.
    """

    def __init__(self, path: Path, endpoint: Endpoint | None = None) -> None:
        self.path = path
        self.endpoint = endpoint or Endpoint(latency_s=0.0)
        self.ledger = FakeLedger()
        self.targets = ["here"]
        self.variables: dict[str, str] | None = None
        self.limit = 0.0
        self.pace = PaceSettings()
        self.asked: list[str] = []
        self.answer: bool | None = None
        self.thought_s = 0.0
        self.clock = Later()

    def run(
        self,
        *,
        yes: bool = False,
        policy: dict[str, Any] | None = None,
        selection: Selection | None = None,
        **lifecycle: Any,
    ) -> Run:
        """A run with these rules; what is unanswered settles at once."""
        local = {"endpoint": self.endpoint, "limit": self.limit}
        given_ = Settings(lifecycle=LifecycleSettings(**lifecycle), local=local, pace=self.pace)
        rules = msgspec.structs.replace(policy_of(given_), **({"settle_s": 0.0, "list_lag_s": 0.0} | (policy or {})))
        targets = tuple(Target(name=name) for name in self.targets)
        order = Order(
            sources=(str(self.path),),
            settings=given_,
            targets=targets,
            policy=rules,
            selection=selection or Selection(),
            yes=yes,
        )
        run = Run(order, clock=self.clock)
        if self.answer is not None:
            run.ask = self._ask
        return run

    async def _ask(self, question: str) -> bool:
        self.asked.append(question)
        self.clock.later_s += self.thought_s
        return bool(self.answer)

    def _fleet(self, run: Run, ledger: Any) -> FakeFleet:
        return FakeFleet(
            settings=run.order.settings,
            ledger=ledger,
            leases=NoLeases(),
            clock=run.clock,
            observers=run.observers,
            places=Places(ledger, Claims({}, {})),
        )

    def _manifests(self) -> dict[str, Manifest]:
        more = self.variables
        own = {name: None if more is None else {"target": name, **more} for name in self.targets}
        return {
            name: Manifest([str(self.path)], Rules(ownership_tag=TAG, variables=own[name])) for name in self.targets
        }

    async def plan(self, *, offline: bool = False, **given_: Any) -> Plan:
        """What ``plan`` makes."""
        run = self.run(**given_)
        command = PlanCommand(run, offline=offline)
        await command.make(self._fleet(run, UnwrittenLedger(self.ledger)), self._manifests())
        command.finish(run.summary())
        assert command.made is not None
        return command.made

    async def apply(self, *definitions: dict[str, Any], **given_: Any) -> Summary:
        """What ``apply`` did; with ``definitions`` the manifest has these."""
        if definitions:
            self.write(*definitions)
        run = self.run(**given_)
        try:
            await carry_out(run, self._fleet(run, self.ledger), self._manifests())
        except ProvisionerError as error:
            return run.summary(error=error)
        return run.summary()

    def write(self, *definitions: dict[str, Any], more: bytes = b"") -> None:
        """Put these into the manifest."""
        self.path.write_bytes(lines_of(*definitions) + more)

    def deleted(self) -> set[str]:
        """The ARNs that are recorded as deleted."""
        return {arn for arn, one in self.ledger.older.items() if one.role is Role.DELETED}

    def unanswered(self) -> bool:
        """Whether anything is unresolved."""
        entries = [*self.ledger.table.values(), *self.ledger.replacements.values()]
        return any(entry.unresolved for entry in entries)

    def sent(self) -> Counter[str]:
        """How many changes of each kind were sent."""
        return Counter(kind for kind, _ in self.endpoint.calls if kind in {"create", "delete", "tag", "untag"})


@pytest.fixture
def here(tmp_path: Path) -> Here:
    """An empty account and ledger."""
    return Here(tmp_path / "m.jsonl")


class Whole(FakeLedger):
    """Counts what is read of all targets together."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    async def superseded(self) -> Mapping[str, int]:
        """See the interface."""
        self.read += 1
        return await super().superseded()

    async def counts(self) -> dict[str, dict[State, int]]:
        """See the interface."""
        self.read += 1
        return await super().counts()

    async def entries(
        self, *, target: str | None = None, states: Collection[State] | None = None
    ) -> AsyncIterator[Entry]:
        """See the interface."""
        self.read += target is None
        async for entry in super().entries(target=target, states=states):
            yield entry


@pytest.mark.parametrize("selection", [Selection(), Selection(states=frozenset({State.CREATED}))])
async def test_what_is_read_of_the_whole_ledger_does_not_grow_with_its_targets(
    tmp_path: Path, selection: Selection
) -> None:
    """A thousand targets would read what a thousand targets have, a thousand times: apply, plan and verify."""
    read = []
    for count in (2, 8):
        here = Here(tmp_path / "m.jsonl")
        here.ledger, here.targets, here.variables = Whole(), [f"t{number}" for number in range(count)], {}
        await here.apply(v("a {target}"))
        here.ledger.read = 0
        done = await here.apply(v("a {target}", 2), selection=selection, **REPLACE)
        await here.plan(selection=selection, **PRUNE)
        for target in here.targets:
            await differences(replace(open_target(here.endpoint, here.ledger), name=target), TAG)
        read.append(here.ledger.read)
        assert (done.exit_code, done.outcomes["replaced"]) == (0, count)

    assert read[0] == read[1]


INVALID = Act(Reply(status=400, code="ValidationException", request_id="r"), after_s=0.0)
PRUNE: dict[str, Any] = {"prune": True, "yes": True}
REPLACE: dict[str, Any] = {"on_change": "replace", "yes": True}


def v(name: str, version: int = 1, **more: Any) -> dict[str, Any]:
    """A definition of that name; another number is a change that only a new algorithm can express."""
    return named(name, description=f"version {version}", **more)


async def test_what_left_the_manifest_is_pruned_on_request(here: Here) -> None:
    """Plan shows an orphan, and with --prune a deletion; apply does the same."""
    await here.apply(v("a"), v("b"))
    here.write(v("a"))

    without, asked_for = await here.plan(), await here.plan(**PRUNE)
    kept = await here.apply()
    pruned = await here.apply(**PRUNE)

    assert (without.counts["orphaned"], without.counts["delete"], without.deletes) == (1, 0, 0)
    assert (asked_for.counts["orphaned"], asked_for.counts["delete"], asked_for.deletes) == (0, 1, 1)
    assert "--prune" in without.steps[0].reason
    assert (kept.exit_code, kept.pruned) == (0, 0)
    assert (pruned.exit_code, pruned.pruned) == (0, 1)
    assert [one.name for one in here.endpoint.algorithms.values()] == ["a"]


@pytest.mark.parametrize(
    ("manifest", "why"),
    [(b"", "without definitions"), (b"\n\n", "without definitions"), (lines_of(v("a")) + b"{}\n", "1 invalid line;")],
)
async def test_nothing_is_pruned_by_a_manifest_that_may_be_wrong(here: Here, manifest: bytes, why: str) -> None:
    """An empty one, or one with an invalid line, prunes nothing; the run says so and does not end with 0."""
    await here.apply(v("a"), v("b"))
    here.path.write_bytes(manifest)

    plan = await here.plan(**PRUNE)
    summary = await here.apply(**PRUNE)

    assert (plan.counts["delete"], plan.exit_code) == (0, summary.exit_code)
    assert plan.counts["orphaned"] in {1, 2}
    assert {step.reason for step in plan.steps} == {"it left the manifest, and nothing is pruned"}
    assert [why in problem.message for problem in plan.problems if problem.code == "prune_refused"] == [True]
    assert here.sent()["delete"] == 0
    assert summary.exit_code in {3, 65}
    assert any("prune_refused" in problem.code for problem in summary.problems)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "2.jsonl has no definitions; restore it, or leave it out"),
        (b" \n\n", "2.jsonl has no definitions"),
        (gzip.compress(b"", mtime=0), "2.jsonl has no definitions"),
        (b"{}\n", "with 1 invalid line; fix the manifest"),
    ],
)
async def test_nothing_is_pruned_when_one_of_several_sources_is_empty(here: Here, data: bytes, why: str) -> None:
    """A file that its writer left empty does not delete what it named: plan and apply say which one it is (3)."""
    first, second = (here.path.with_name(name) for name in ("1.jsonl", "2.jsonl"))
    first.write_bytes(lines_of(v("a")))
    second.write_bytes(lines_of(v("b")))
    here.path = here.path.with_name("*.jsonl")
    await here.apply()
    second.write_bytes(data)

    plan = await here.plan(**PRUNE)
    summary = await here.apply(**PRUNE)

    assert (plan.counts["orphaned"], plan.counts["delete"], here.sent()["delete"]) == (1, 0, 0)
    assert plan.exit_code == summary.exit_code == (65 if b"{" in data else 3)
    for problems in (plan.problems, summary.problems):
        assert [why in problem.message for problem in problems if problem.code == "prune_refused"] == [True]

    second.unlink()
    assert (await here.apply(**PRUNE)).pruned == 1


@pytest.mark.parametrize("pages", [0, 1])
@pytest.mark.parametrize(
    "failure", [Reply(status=400, code="X", request_id="r"), Reply(status=403, code="AccessDenied")]
)
async def test_nothing_is_pruned_in_an_account_that_cannot_be_read(here: Here, failure: Reply, pages: int) -> None:
    """A List that breaks off, at once or after a page, ends the target before anything is deleted or created."""
    here.endpoint = Endpoint(latency_s=0.0, page_size=1)
    await here.apply(v("a"), v("b"))
    here.write(v("a"), v("c"))
    here.endpoint.list_failures = [*[None] * pages, *[failure] * 8]

    summary = await here.apply(**PRUNE)

    assert here.sent() == {"create": 2}
    assert summary.exit_code in {75, 77}


@pytest.mark.parametrize("templates", [False, True])
async def test_a_line_has_its_problem_once_in_all_targets(here: Here, templates: bool) -> None:  # noqa: FBT001  a table
    """Targets find the same in a line, also by rules of their own; what is about a target names it."""
    here.targets = ["east", "west"]
    here.variables = {} if templates else None
    here.write(v("a"), more=b'{"name": "x"}\n')

    plan = await here.plan(**PRUNE)
    done = await here.apply(**PRUNE)

    found = [(problem.code, problem.line, problem.target) for problem in plan.problems]
    assert sorted(found) == [("missing", 2, ""), ("prune_refused", 0, "east"), ("prune_refused", 0, "west")]
    assert [problem.code for problem in done.problems if problem.line == 2] == ["missing"]


async def test_a_target_that_does_not_begin_leaves_the_problems_of_lines_to_the_others(here: Here) -> None:
    """The first target is paused: the second one reports what is wrong with the manifest."""
    here.targets = ["east", "west"]
    here.ledger.kept_pauses["east"] = Pause(1e11, 0.0)
    here.write(v("a"), more=b'{"name": "x"}\n')

    done = await here.apply()

    assert [(problem.code, problem.line) for problem in done.problems] == [("missing", 2)]


async def test_more_than_max_delete_deletes_and_creates_nothing(here: Here) -> None:
    """Replacements count too; the bound itself is allowed. Plan says the same with the same code."""
    await here.apply(v("a"), v("b"), v("c"))
    here.write(v("a", 2), v("d"))
    before = here.sent()

    refused_plan = await here.plan(max_delete=2, prune=True, on_change="replace")
    allowed_plan = await here.plan(max_delete=3, prune=True, on_change="replace")
    refused = await here.apply(max_delete=2, prune=True, on_change="replace", yes=True)
    unchanged = here.sent() == before
    allowed = await here.apply(max_delete=3, prune=True, on_change="replace", yes=True)

    assert (refused.exit_code, unchanged) == (3, True)
    assert refused.error
    what = "3 algorithms would be deleted, and --max-delete is 2"
    assert f"{what}; nothing was deleted" in refused.error
    assert refused_plan.refused == f"{what}; `apply` does nothing and ends with 3. Raise --max-delete"
    text = plan_text(refused_plan, refused, everything=False)
    assert f"refused   {refused_plan.refused}" in text
    assert "asks first" not in text
    assert (refused_plan.exit_code, allowed_plan.exit_code, allowed_plan.refused) == (3, 0, "")
    assert allowed.exit_code == 0
    assert here.sent()["delete"] == 3


@pytest.mark.parametrize("answer", [None, False, True])
async def test_a_deletion_is_confirmed(here: Here, answer: bool | None) -> None:  # noqa: FBT001  a table
    """Without anybody to ask it ends with 2, with a no as asked to stop, and nothing is changed; a yes goes on."""
    await here.apply(v("a"), v("b"))
    here.write(v("a"), v("c"))
    here.answer = answer

    summary = await here.apply(prune=True)

    assert summary.exit_code == {True: 0, False: 75, None: 2}[answer]
    assert here.sent() == ({"create": 3, "delete": 1} if answer else {"create": 2})
    assert len(here.asked) == (answer is not None)


@pytest.mark.parametrize(
    ("tags", "advice", "policy"),
    [
        ({"team": "other", "more": "x"}, "`apply` sets them again", {}),
        ({}, "`apply` sets them again", {}),
    ],
)
async def test_tags_that_were_changed_in_aws_are_set_again_on_request(
    here: Here, tags: dict[str, str], advice: str, policy: dict[str, Any]
) -> None:
    """Verify says how, also where the manifest is finished; then plan shows an update, and apply makes it."""
    await here.apply(v("a", tags={"team": "ads"}), v("b"))
    [one] = here.endpoint.named("a")
    ours = {TAG: one.tags[TAG]}
    here.endpoint.algorithms[one.arn] = msgspec.structs.replace(one, tags=ours | tags)
    target = open_target(here.endpoint, here.ledger)
    finished = await here.apply()

    found = await differences(target, TAG)
    [drifted] = found
    await mark(target, make_policy(), found, Marks(missing=True, drifted=True))
    plan = await here.plan(policy=policy)
    summary = await here.apply(policy=policy)

    assert [(one.marked, one.message.partition("; ")[2]) for one in found] == [(True, advice)]
    assert (drifted.kind, drifted.name, advice in drifted.message) == ("drifted", "a", True)
    assert (finished.exit_code, finished.calls["list"]) == (0, 0)
    assert [(step.name, step.action) for step in plan.steps] == [("a", "update")]
    assert (summary.exit_code, summary.outcomes["updated"], summary.outcomes["unchanged"]) == (0, 1, 1)
    kept = {key: value for key, value in tags.items() if key == "more" and not policy}
    assert here.endpoint.algorithms[one.arn].tags == ours | {"team": "ads"} | kept


@pytest.mark.parametrize("marked", [0, 1, 2])
async def test_tags_that_others_added_are_no_drift_and_go_on_request(here: Here, marked: int) -> None:
    """Verify names them and ends with 0; plan and apply do nothing about marked ones, until --own-tags removes them."""
    own: dict[str, Any] = {"policy": {"own_tags": True}}
    await here.apply(v("a", tags={"team": "ads"}), v("b"))
    [one] = here.endpoint.named("a")
    tags = dict(one.tags)
    one.tags["more"] = "x"
    target = open_target(here.endpoint, here.ledger)
    for _ in range(marked):
        found = await differences(target, TAG)
        [added] = found
        await mark(target, make_policy(), found, Marks(drifted=True))
        plan, summary = await here.plan(), await here.apply()

        assert (added.kind, reasons_of([added]), reasons_of(found)) == ("tagged", set(), set())
        assert [(one.marked, "--mark-drifted" in one.message) for one in found] == [(True, False)]
        assert "more; they stay, but with `--mark-drifted`, `apply --own-tags` removes them" in added.message
        assert (plan.counts["unchanged"], summary.outcomes["unchanged"], here.sent()) == (2, 2, {"create": 2})
        assert here.ledger.table["here", "a"].state is State.CREATED
    await here.apply()
    plan, summary = await here.plan(**own), await here.apply(**own)

    removed = [(change.path, change.after) for step in plan.steps for change in step.changes]
    assert removed == ([("tags.more", None)] if marked else [])
    assert summary.outcomes["updated"] == bool(marked)
    assert here.endpoint.algorithms[one.arn].tags == tags | ({} if marked else {"more": "x"})


@pytest.mark.parametrize("unanswered", [False, True])
async def test_what_is_missing_is_created_again_on_request(here: Here, unanswered: bool) -> None:  # noqa: FBT001  a table
    """Its entry has what happened as its reason, no advice; a replacement that may have taken its place comes first."""
    await here.apply(v("a"), v("b"))
    gone = here.endpoint.named("a")[0].arn
    if unanswered:
        here.endpoint.acts = [Act(Reply(status=500, request_id="r"))]
        await here.apply(v("a", 2), v("b"), policy={"wait": False, "settle_s": 360.0}, **REPLACE)
    del here.endpoint.algorithms[gone]
    target = open_target(here.endpoint, here.ledger)

    unmarked = await differences(target, TAG)
    found = list(unmarked)
    await mark(target, make_policy(), found, Marks(drifted=True))
    untouched = found == unmarked
    await mark(target, make_policy(settle_s=0.0), found, Marks(missing=True))

    entry = here.ledger.table["here", "a"]
    assert untouched
    assert [(one.kind, one.marked) for one in found] == [("missing", not unanswered)]
    assert (entry.state, entry.message) == (
        (State.CREATED, "") if unanswered else (State.DELETED, "it is gone from AWS")
    )
    assert ("not marked: its replacement had no reply" in found[0].message) == unanswered
    assert found[0].message.endswith("gone from AWS; `apply` creates it again") != unanswered


@pytest.mark.parametrize("code", ["tagging", "tags_refused", "tags_repeated", ""])
async def test_a_change_of_tags_that_may_take_effect_yet_is_not_forgotten(here: Here, code: str) -> None:
    """That others have added tags is not recorded over it."""
    await here.apply(v("a"))
    here.endpoint.named("a")[0].tags["more"] = "x"
    entry = here.ledger.table["here", "a"]
    here.ledger.table["here", "a"] = msgspec.structs.replace(entry, code=code)
    target = open_target(here.endpoint, here.ledger)

    await mark(target, make_policy(settle_s=360.0), await differences(target, TAG), Marks(drifted=True))

    assert here.ledger.table["here", "a"].code == (code or "tags_added")


async def test_plan_shows_no_removal_of_tags_that_stay(here: Here) -> None:
    """What others added stays with a changed tag, with what is drifted, and is gone with what is replaced."""
    await here.apply(v("a", tags={"team": "ads", "old": "1"}), v("b"))
    for one in here.endpoint.algorithms.values():
        one.tags["more"] = "x"
    here.write(v("a", tags={"team": "new"}), v("b", 2))

    async def paths(**given_: Any) -> list[list[str]]:
        return [[change.path for change in step.changes] for step in (await here.plan(**given_)).steps]

    assert await paths() == [["tags.old", "tags.team"], ["description"]]
    assert await paths(policy={"own_tags": True}) == [
        ["tags.more", "tags.old", "tags.team"],
        ["description", "tags.more"],
    ]
    assert await paths(on_change="replace") == [["tags.old", "tags.team"], ["description", "tags.more"]]


async def test_what_no_entry_names_is_reported_until_it_is_gone(here: Here) -> None:
    """A run has found it, and the next one has no reason to: it must not end as if all were well."""
    await here.apply(v("a"), v("b"))
    before = dict(here.ledger.table)
    await here.apply(v("a", 2), v("b"), **REPLACE)
    here.ledger.table, here.ledger.older, here.ledger.happenings = before, {}, []
    here.write(v("b"))

    runs = [await here.apply(**PRUNE) for _ in range(3)]
    planned = [await here.plan(**PRUNE), await here.plan(offline=True, **PRUNE)]
    [stray] = [arn for arn, one in here.endpoint.algorithms.items() if one.name == "a"]
    del here.endpoint.algorithms[stray]
    gone, later = await here.apply(**PRUNE), await here.apply(**PRUNE)

    said = [*(run.problems for run in runs), *(plan.problems for plan in planned)]
    found = [[(one.code, stray in one.message) for one in problems] for problems in said]
    assert found == [[("unrecorded", True)]] * 5
    assert [run.exit_code for run in (*runs, gone, later)] == [5, 5, 5, 0, 0]
    assert [plan.exit_code for plan in planned] == [5, 5]
    assert (runs[2].calls["get"], later.calls["get"]) == (1, 0)


@pytest.mark.parametrize("before", ["nothing", "planned", "failed", "older"])
async def test_what_a_ledger_that_went_back_has_lost_is_recorded_on_request(here: Here, before: str) -> None:
    """Its name left the manifest, so that apply does not meet it; once it is recorded, prune deletes it."""
    if before == "older":
        await here.apply(v("a", 0))
    here.endpoint.acts = [INVALID] if before == "failed" else []
    await here.apply(v("a"))
    table = dict(here.ledger.table) if before in {"failed", "older"} else {}
    if before == "planned":
        entry = here.ledger.table["here", "a"]
        table = {("here", "a"): msgspec.structs.replace(entry, state=State.PLANNED, arn="", attempt="")}
    await here.apply(v("a"), policy={"retry_failed": True, "keep": 1}, on_change="replace", keep=1)
    here.ledger.table, here.ledger.older = table, {}
    here.write(v("b"))
    await here.apply()
    target = open_target(here.endpoint, here.ledger)

    found = await differences(target, TAG)
    [lost] = found
    await mark(target, make_policy(), found, Marks(unrecorded=True))
    after = await differences(target, TAG)
    pruned = await here.apply(**PRUNE)

    assert [(one.marked, one.message.partition("; ")[2]) for one in found] == [
        (True, "the ledger has recorded it again")
    ]
    assert (lost.kind, "verify --mark-unrecorded" in lost.message) == ("unrecorded", True)
    assert after == []
    assert (pruned.exit_code, pruned.pruned) == (0, 1)
    assert [one.name for one in here.endpoint.algorithms.values()] == ["b"]


@pytest.mark.parametrize(("thought_s", "lists"), [(0.0, 1), (61.0, 2)])
async def test_the_account_is_read_once_for_question_and_answer(here: Here, thought_s: float, lists: int) -> None:
    """Deletions are drafted before anybody is asked; the run goes on by the same reading, unless it has grown old."""
    await here.apply(v("a"), v("b"))
    here.write(v("a"), v("c"))
    here.thought_s = thought_s
    here.answer = True

    summary = await here.apply(prune=True, policy={"list_lag_s": 60.0})

    assert (summary.exit_code, summary.calls["list"]) == (0, lists)
    assert sorted(one.name for one in here.endpoint.algorithms.values()) == ["a", "c"]


async def test_nobody_is_asked_when_nothing_is_deleted(here: Here) -> None:
    """--prune with nothing to prune goes ahead."""
    here.answer = False

    assert (await here.apply(v("a"), prune=True)).exit_code == 0
    assert here.asked == []


async def test_versions_that_fall_out_of_keep_are_confirmed(here: Here) -> None:
    """With keep 1, the second replacement of a name deletes an algorithm: that is asked for, the first is not."""
    await here.apply(v("a"))
    here.answer = False

    first = await here.apply(v("a", 2), on_change="replace", keep=1)
    here.write(v("a", 3))
    plan = await here.plan(on_change="replace", keep=1)
    second = await here.apply(on_change="replace", keep=1)

    assert (first.exit_code, plan.deletes, second.exit_code) == (0, 1, 75)
    assert len(here.asked) == 1
    assert here.sent()["delete"] == 0


async def test_what_a_recovered_replacement_supersedes_is_confirmed(here: Here) -> None:
    """A ledger that went back in time finds its replacement, and deletes the old one only when that is confirmed."""
    await here.apply(v("a"))
    table = dict(here.ledger.table)
    await here.apply(v("a", 2), on_change="replace", keep=1)
    here.ledger.table, here.ledger.older = table, {}

    plan = await here.plan(on_change="replace")
    summary = await here.apply(on_change="replace")

    assert (plan.counts["recover"], plan.deletes) == (1, 1)
    assert summary.exit_code == 2
    assert here.sent()["delete"] == 0


async def test_what_is_wanted_again_is_all_that_stays_of_a_destroy_that_died(here: Here) -> None:
    """It had given up every entry: the current algorithm is taken back, and what --keep had kept is deleted with it."""
    await here.apply(v("a"), v("b"))
    await here.apply(v("a", 2), v("b", 2), on_change="replace", keep=1)
    given_up = [entry.fact(Event.RETIRE, code="destroyed") for entry in here.ledger.table.values()]
    await here.ledger.record(given_up)
    here.write(v("a", 2), v("b", 3))

    plan = await here.plan(**REPLACE)
    summary = await here.apply(**REPLACE)

    assert (plan.deletes, here.sent()["delete"]) == (3, 3)
    assert (summary.exit_code, await here.ledger.superseded()) == (0, {})
    assert sorted(one.name for one in here.endpoint.algorithms.values()) == ["a", "b"]


async def test_what_a_replacement_that_left_the_manifest_supersedes_is_deleted(here: Here) -> None:
    """Its reply was lost; the run that finds it has nothing else to do with that name, and deletes the old one."""
    await here.apply(v("a"), v("b"))
    here.endpoint.acts = [Act(Reply(status=500, request_id="r"), effect_s=0.0)]
    await here.apply(v("a", 2), v("b"), policy={"wait": False, "settle_s": 360.0}, **REPLACE)
    here.write(v("b"))

    plan = await here.plan(on_change="replace")
    unconfirmed = await here.apply(on_change="replace")
    summary = await here.apply(**REPLACE)

    assert (plan.deletes, unconfirmed.exit_code, here.sent()["delete"]) == (1, 2, 1)
    assert (summary.exit_code, await here.ledger.superseded()) == (0, {})


async def test_what_was_taken_over_is_orphaned_unless_asked_for(here: Here) -> None:
    """--prune leaves what this ledger did not create, and says which option deletes it."""
    here.endpoint.put(Definition.from_request(lines_of(v("a")).strip()).canonical().request({}))
    await here.apply(v("a"), v("b"), policy={"adopt": "same"})
    here.write(v("b"))

    plan = await here.plan(**PRUNE)
    kept = await here.apply(**PRUNE)
    gone = await here.apply(policy={"adopted": True}, **PRUNE)

    assert "--adopted" in plan.steps[0].reason
    assert (kept.pruned, gone.pruned) == (0, 1)


async def test_an_entry_whose_replacement_is_unanswered_is_not_pruned(here: Here) -> None:
    """It is resolved first; the run ends with 5, and the next one prunes."""
    await here.apply(v("a"), v("b"))
    here.endpoint.acts = [Act(Reply(status=500, request_id="r"), effect_s=0.0)]
    await here.apply(v("a", 2), v("b"), policy={"wait": False, "settle_s": 360.0}, **REPLACE)
    assert (await here.ledger.incoming("here"))["a"].unresolved
    here.write(v("b"))

    plan = await here.plan(**PRUNE)
    first = await here.apply(**PRUNE)
    second = await here.apply(**PRUNE)

    assert (plan.counts["orphaned"], plan.counts["delete"]) == (1, 0)
    assert (plan.exit_code, first.exit_code, second.exit_code) == (5, 5, 0)
    assert [one.name for one in here.endpoint.algorithms.values()] == ["b"]


async def test_a_finished_manifest_hides_nothing_from_lifecycle_options(here: Here) -> None:
    """A finished manifest costs no call; --prune and a plan that found something to do are carried out all the same."""
    await here.apply(v("a"), v("b"))
    calls = len(here.endpoint.calls)
    await here.apply()
    silent = len(here.endpoint.calls) == calls
    gone = here.ledger.table["here", "a"]
    del here.endpoint.algorithms[gone.arn]

    plan = await here.plan(**PRUNE)
    summary = await here.apply(**PRUNE)

    assert silent
    assert plan.counts["recreate"] == 1
    assert summary.outcomes["created"] == 1


async def test_plan_changes_nothing(here: Here) -> None:
    """No change is sent, and the ledger has no new fact."""
    await here.apply(v("a"), v("b"))
    here.write(v("a", 2, tags={"k": "1"}), v("c"))
    before = (here.sent(), len(here.ledger.commits), dict(here.ledger.table))

    plan = await here.plan(prune=True, on_change="replace")

    assert (plan.counts["replace"], plan.counts["create"], plan.counts["delete"]) == (1, 1, 1)
    assert (here.sent(), len(here.ledger.commits), here.ledger.table) == before
    [replace] = [step for step in plan.steps if step.action == "replace"]
    assert replace.reason == "description, tags.k changed"


async def test_a_bound_that_is_reached_is_named(here: Here) -> None:
    """--max-create leaves definitions to the next run, and the summary says so, as text and as JSON."""
    first = await here.apply(v("a"), v("b"), v("c"), policy={"max_create": 2})
    second = await here.apply(policy={"max_create": 2})

    assert (first.exit_code, first.stopped) == (75, "--max-create 2 reached; 1 definition left; run again")
    assert "stopped   --max-create 2 reached; 1 definition left; run again\n" in first.text()
    assert "3 lines, 3 valid" in first.text()
    assert (second.exit_code, second.stopped) == (0, None)


async def test_what_does_not_fit_into_the_quota_is_counted(here: Here) -> None:
    """Once AWS has named the quota, plan says how many creates do not fit (4), until nothing waits for it any more."""
    here.endpoint.quota = 3
    here.write(*(v(name) for name in "abcde"))

    unknown = await here.plan()
    await here.apply()
    known = await here.plan()
    bounded = await here.plan(policy={"max_create": 1})
    shrunk = await here.plan(prune=True)
    here.endpoint.quota = 100
    await here.apply()
    here.write(*(v(name) for name in "abcdef"))
    after = await here.plan()

    assert (unknown.counts["over_quota"], unknown.exit_code, unknown.quotas) == (0, 0, {})
    assert (known.counts["create"], known.counts["over_quota"], known.exit_code) == (2, 2, 4)
    assert known.quotas["here"].startswith(
        "2 of 2 creates will not fit: 3 algorithms exist, and the quota is 3 (as AWS"
    )
    assert (bounded.counts["over_quota"], shrunk.counts["over_quota"]) == (1, 2)
    assert (after.counts["create"], after.counts["over_quota"], after.exit_code) == (1, 0, 0)


def test_keep_contradicts_delete_first(here: Here) -> None:
    """What is to be kept cannot be deleted first."""
    with pytest.raises(ConfigurationError, match="keep"):
        here.run(keep=1, replace_order="delete-first")


# plan says what apply does: one decision path.

DEFINITIONS = st.fixed_dictionaries(
    {}, optional={name: st.tuples(st.integers(1, 2), st.sampled_from(["", "1", "2"])) for name in "abcd"}
)
"""By name, the version of a definition and the value of its tag."""
STRANGERS = st.fixed_dictionaries(
    {},
    optional={name: st.tuples(st.sampled_from(["", LEDGER_ID, OTHER_LEDGER_ID]), st.integers(1, 2)) for name in "abcd"},
)
"""By name, the ledger that made an algorithm that the ledger does not know, and its version."""
RULES = st.fixed_dictionaries(
    {
        "prune": st.booleans(),
        "on_change": st.sampled_from(["fail", "replace"]),
        "keep": st.sampled_from([0, 0, 1]),
        "policy": st.fixed_dictionaries(
            {
                "adopt": st.sampled_from(["never", "same", "any"]),
                "adopted": st.booleans(),
                "retry_failed": st.booleans(),
                "take_over": st.sampled_from(["", OTHER_LEDGER_ID]),
            }
        ),
    }
)
FATES = st.lists(
    st.sampled_from(
        [
            Act(effect_s=0.0, after_s=0.0),
            Act(Reply(status=400, code="ValidationException", request_id="r"), after_s=0.0),
            Act(Reply(status=500, request_id="r"), effect_s=0.0, after_s=0.0),
            Act(Reply(status=500, request_id="r"), after_s=0.0),
        ]
    ),
    max_size=4,
)
EXPECTED = {
    Action.CREATE: Outcome.CREATED,
    Action.RECREATE: Outcome.CREATED,
    Action.RECOVER: Outcome.RECOVERED,
    Action.ADOPT: Outcome.ADOPTED,
    Action.UPDATE: Outcome.UPDATED,
    Action.REPLACE: Outcome.REPLACED,
    Action.DRIFTED: Outcome.DRIFTED,
    Action.UNCHANGED: Outcome.UNCHANGED,
    Action.FAILED: Outcome.FAILED,
    Action.CONFLICT: Outcome.FAILED,
}
"""What becomes of a definition, by the action of its step; what is ambiguous is decided by a sweep."""


def _lines(wanted: dict[str, tuple[int, str]]) -> list[dict[str, Any]]:
    return [v(name, number, **({"tags": {"k": tag}} if tag else {})) for name, (number, tag) in wanted.items()]


class Story(NamedTuple):
    """Two generations of a manifest, and what happens between them.

    Attributes:
        first, second: the definitions.
        strangers: what is made behind the ledger's back.
        missing: names whose algorithms are deleted behind its back.
        before, rules: of the first run; of the plan and of the second run.
        fates: of the creates of the first run.
    """

    first: dict[str, tuple[int, str]]
    second: dict[str, tuple[int, str]]
    strangers: dict[str, tuple[str, int]]
    missing: set[str]
    before: dict[str, Any]
    rules: dict[str, Any]
    fates: list[Act]


STORIES = st.builds(Story, DEFINITIONS, DEFINITIONS, STRANGERS, st.sets(st.sampled_from("abcd")), RULES, RULES, FATES)


@settings(max_examples=60)
@given(STORIES)
def test_apply_does_what_plan_says(tmp_path_factory: pytest.TempPathFactory, story: Story) -> None:
    """Whatever is registered, lost, foreign or gone: the counts are those of the plan, and nothing is left to do."""

    async def body() -> None:
        here = Here(tmp_path_factory.mktemp("plan") / "m.jsonl")
        # The first generation, some of it unanswered or failed; then the world changes behind the ledger's back.
        here.endpoint.acts = list(story.fates)
        unsettled = {**story.before, "policy": {**story.before["policy"], "settle_s": 360.0, "wait": False}}
        await here.apply(*(_lines(story.first) or [v("z")]), yes=True, **unsettled)
        here.endpoint.acts = []
        for name, (owner, number) in story.strangers.items():
            one = Definition.from_request(lines_of(v(name, number)).strip()).canonical()
            tag = {TAG: str(OwnershipTag(owner, one.digest, f"lost-{name}"))} if owner else {}
            here.endpoint.put(one.request(tag), since=asyncio.get_running_loop().time())
        for name in story.missing:
            entry = here.ledger.table.get(("here", name))
            if entry is not None and entry.exists:
                here.endpoint.algorithms.pop(entry.arn, None)
        here.write(*(_lines(story.second) or [v("z")]))
        existed = set(here.endpoint.algorithms)
        deleted = len(here.deleted())
        unanswered = here.unanswered()

        plan = await here.plan(**story.rules)
        here.ledger.kept_finished.clear()
        summary = await here.apply(yes=True, **story.rules)

        held = {name: entry for (_, name), entry in here.ledger.table.items() if entry.exists}
        assert not {entry.arn for entry in held.values()} & here.ledger.older.keys()
        _check_deletions(here, existed, plan)
        if not plan.counts["ambiguous"]:
            expected = Counter[str]()
            for action, outcome in EXPECTED.items():
                expected[outcome.value] += plan.counts[action]
            assert {name: number for name, number in summary.outcomes.items() if number} == {
                name: number for name, number in expected.items() if number
            }
            assert len(here.deleted()) - deleted == plan.deletes
            assert unanswered or (summary.exit_code == 0) == (plan.exit_code == 0)
        if summary.exit_code == 0:
            again = await here.plan(**story.rules)

            assert (again.counts["unchanged"], again.deletes) == (len(story.second) or 1, 0), again
            assert {step.action for step in again.steps} <= {"orphaned"}

    asyncio.run(body())


def _check_deletions(here: Here, existed: set[str], plan: Plan) -> None:
    """Nothing is gone but what the ledger gave up first."""
    gone = existed - here.endpoint.algorithms.keys()

    assert gone <= here.deleted()
    assert len(gone) <= plan.deletes


@virtual_time
async def test_the_estimate_reckons_with_the_hours_ahead(here: Here) -> None:
    """At a learned limit of 0.2/s: a tenth of it until the next minute but one begins, and all of it from then on."""
    begins = here.clock.wall()
    clock_time = [time.strftime("%H:%M", time.localtime(begins // 60 * 60 + after)) for after in (-60.0, 60.0)]
    here.limit, here.pace = 0.2, PaceSettings(hours={clock_time[0]: 0.1, clock_time[1]: 1.0})
    here.write(*(v(f"n{number}") for number in range(20)))

    plan = await here.plan()

    slow = begins // 60 * 60 + 60.0 - begins
    assert plan.estimate_s == pytest.approx(100.0 + 0.9 * slow, abs=0.1)
