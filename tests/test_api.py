"""The Python API against the embedded endpoint."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import anyio
import msgspec
import pytest

import provisioner
from provisioner import (
    Definition,
    Ledger,
    ProvisionerError,
    Rules,
    Selection,
    Settings,
    State,
    Summary,
    apply,
    plan,
    validate,
    verify,
)
from provisioner.commands.confirmation import DeletionsRefusedError, UnconfirmedError
from provisioner.emulator import DEFAULT_ACCOUNT, Behaviour, Emulator, credentials
from provisioner.errors import ConfigurationError, LedgerError, LedgerLockedError, ManifestError, UsageError
from provisioner.exit_codes import ExitCode
from provisioner.ledger.location import locate
from tests.definition_lines import ROLE, manifest_of

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path
    from typing import Any


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The embedded endpoint's credentials and no other, in a folder of the test's own."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in credentials(DEFAULT_ACCOUNT).environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(tmp_path)


def at(emulator: Emulator, **tables: Any) -> Settings:
    """Settings with every target at the emulator, and a settle time that a test can wait for."""
    tables = {"pace": {"initial_rate": 100.0}, "reconcile": {"settle": "500ms", "list_lag": "100ms"}, **tables}
    return Settings.from_tables(tables).with_endpoint(emulator.url, region="us-east-1")


def write(path: Path, *names: str) -> Path:
    """A manifest of definitions with these names."""
    path.write_bytes(manifest_of(*names))
    return path


def made(emulator: Emulator) -> list[str]:
    """The names of all algorithms that exist, sorted."""
    return sorted(algorithm.name for algorithm in emulator.truth.alive)


async def test_apply_then_read_then_verify(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What apply registers is in the ledger and found by verify; a second run sends nothing; nothing is printed."""
    manifest = write(tmp_path / "m.jsonl", "a", "b", "c")
    async with Emulator() as emulator:
        first = await apply([manifest], settings=at(emulator), ledger=tmp_path / "l.db")
        again = await apply(str(manifest), settings=at(emulator), ledger="l.db", targets=("default",))
        async with Ledger.open("l.db") as ledger:
            arns = {entry.name: entry.arn async for entry in ledger.entries(states=(State.CREATED,))}
            counts = await ledger.counts()
            runs = [run.run_id for run in await ledger.runs()]
        found = await verify(settings=at(emulator), ledger="l.db")

        assert (first.exit_code, first.outcomes["created"]) == (0, 3)
        assert (again.exit_code, again.outcomes["unchanged"], again.calls["create"]) == (0, 3, 0)
        assert arns == {algorithm.name: algorithm.arn for algorithm in emulator.truth.alive}
        assert counts == {"default": {State.CREATED: 3}}
        assert runs == [again.run_id, first.run_id]
        assert (found.findings, found.summary.exit_code) == ((), 0)
    assert capfd.readouterr() == ("", "")


async def test_a_run_logs_its_start_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """A program that logs gets both, with the run's id in each line, also when an error ends the run."""
    caplog.set_level("INFO", "provisioner")
    async with Emulator() as emulator:
        summary = await apply([Definition(name="a", role_arn=ROLE)], settings=at(emulator))
        with pytest.raises(LedgerError):
            await verify(settings=at(emulator), ledger="none.db")

    messages = [record.getMessage() for record in caplog.records if record.name == "provisioner"]
    names = [message.split("'")[1] for message in messages]
    assert all(summary.run_id in message for message in messages[: names.index("run.finished") + 1])
    assert [name for name in names if name.startswith("run.")] == [
        *("run.started", "run.finished"),
        *("run.started", "run.failed", "run.finished"),
    ]


async def test_definitions_need_no_file() -> None:
    """A program may pass definitions; they are checked as lines of a manifest are."""
    definitions = [
        Definition(name="a", role_arn=ROLE, tags={"team": "ads"}),
        Definition(name="", role_arn=ROLE),
        Definition(name="c", role_arn=ROLE),
    ]
    async with Emulator() as emulator:
        summary = await apply(definitions, settings=at(emulator))
        exist = made(emulator)

    (problem,) = summary.problems
    assert (problem.source, problem.line) == ("-", 2)
    assert (summary.exit_code, summary.outcomes["created"], exist) == (ExitCode.INVALID, 2, ["a", "c"])


async def test_two_runs_in_one_program_share_nothing(tmp_path: Path) -> None:
    """Two runs at once, with settings and ledgers of their own, register each its own manifest in its own place."""
    one, other = write(tmp_path / "1.jsonl", "a", "b"), write(tmp_path / "2.jsonl", "c")
    async with Emulator() as first, Emulator() as second:
        summaries = await asyncio.gather(
            apply(one, settings=at(first), ledger="1.db"), apply(other, settings=at(second), ledger="2.db")
        )

        assert [summary.outcomes["created"] for summary in summaries] == [2, 1]
        assert (made(first), made(second)) == (["a", "b"], ["c"])


async def test_a_target_without_credentials_is_in_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A halted target is not raised: no findings and another exit code than 0 mean that nothing was compared."""
    async with Emulator() as emulator:
        await apply(write(tmp_path / "m.jsonl", "a"), settings=at(emulator))
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        found = await verify(settings=at(emulator))

    assert found.findings == ()
    assert found.summary.exit_code == ExitCode.DENIED
    assert found.summary.targets["default"].halted
    assert capfd.readouterr() == ("", "")


# Errors.


async def test_errors_are_raised(tmp_path: Path) -> None:
    """What keeps a run from beginning, or ends it, is raised with its own type."""
    manifest = write(tmp_path / "m.jsonl", "a")
    async with Emulator() as emulator:
        settings = at(emulator)
        with pytest.raises(ManifestError, match="cannot read the manifest"):
            await apply("missing.jsonl", settings=settings)
        with pytest.raises(ManifestError, match="no manifest given"):
            await apply([], settings=settings)
        with pytest.raises(UsageError, match="exclude each other"):
            await apply(["-", Definition(name="a", role_arn=ROLE)], settings=settings)
        with pytest.raises(UsageError, match="no target 'prod'"):
            await apply(manifest, settings=settings, targets=("prod",))
        with pytest.raises(UsageError, match="directory"):
            await apply(manifest, settings=settings, ledger=tmp_path)
        with pytest.raises(ConfigurationError, match=r"\[defaults\]"):
            await apply(manifest, settings=at(emulator, defaults={"roleArn": 7}))
        with pytest.raises(LedgerError, match="no ledger here"):
            await verify(settings=settings)
        with pytest.raises(LedgerError):
            async with Ledger.open("missing.db"):
                pass
        async with locate("ledger.db").lease():
            with pytest.raises(LedgerLockedError):
                await apply(manifest, settings=settings)

        assert emulator.truth.creates == []


def test_settings_in_python_are_checked_as_the_file_is(tmp_path: Path) -> None:
    """Tables that a program makes follow the same rules as those of a file, and are left as they are."""
    (tmp_path / "p.toml").write_text("[run]\nledger = 'x.db'\n[targets.prod]\nregion = 'eu-west-1'\n")
    tables: dict[str, Any] = {"run": {"ledger": "x.db"}, "targets": {"prod": {"region": "eu-west-1"}}}

    assert Settings.from_tables(tables) == Settings.load("p.toml")
    assert Settings.from_tables(tables).targets["prod"].name == "prod"
    with pytest.raises(ConfigurationError, match=r"unknown key run\.legder"):
        Settings.from_tables({"run": {"legder": "x.db"}})


# Validate.


async def test_validate_yields_problems_and_counts(tmp_path: Path) -> None:
    """Every problem comes with its place; afterwards every line has been counted."""
    path = write(tmp_path / "m.jsonl", "a", "b", "")
    validation = validate(path)
    problems = [problem async for problem in validation]

    (problem,) = problems
    assert (problem.source, problem.line) == (str(path), 3)
    (counts,) = validation.counts
    assert (counts.lines, counts.valid, counts.invalid, counts.repeated) == (3, 2, 1, 0)
    assert not validation.valid


async def test_validate_names_the_target_whose_defaults_differ(tmp_path: Path) -> None:
    """Where targets have other defaults, the manifest is checked for each, and a problem names its target."""
    (tmp_path / "m.jsonl").write_text('{"name": "a"}\n')
    settings = Settings.from_tables({"targets": {"one": {"defaults": {"roleArn": ROLE}}, "two": {}}})
    validation = validate("m.jsonl", settings=settings)
    problems = [(problem.target, problem.code) async for problem in validation]

    assert problems == [("two", "missing")]
    assert [(counts.target, counts.valid) for counts in validation.counts] == [("one", 1), ("two", 0)]


async def test_validate_raises_what_keeps_it_from_reading() -> None:
    """A manifest that is not there is an error of the iteration, not a problem."""
    with pytest.raises(ProvisionerError, match="cannot read the manifest"):
        [problem async for problem in validate("missing.jsonl")]


async def test_a_cancelled_validation_does_not_wait(tmp_path: Path) -> None:
    """A task that waits for a pipe which nobody writes to ends as soon as it is cancelled."""
    os.mkfifo(tmp_path / "pipe")
    with anyio.fail_after(5), anyio.move_on_after(0.1) as scope:
        async for _ in validate("pipe"):
            pass
    (tmp_path / "pipe").write_bytes(b"")  # lets the thread end

    assert scope.cancelled_caught


# Cancellation.

NAMES = [f"algorithm {number:02d}" for number in range(16)]
SLOW = Behaviour(names="duplicates", rate=1000.0, burst=1000.0, latency=0.1)
"""Slow enough for a cancellation to find creates in flight, and it makes a second algorithm of a repeated create."""


async def in_flight(emulator: Emulator) -> None:
    """Wait until creates are in flight."""
    with anyio.fail_after(30):
        while len(emulator.truth.creates) < 3:  # noqa: ASYNC110  a list that the endpoint fills
            await asyncio.sleep(0.005)


async def underway(emulator: Emulator, run: Coroutine[Any, Any, Summary]) -> asyncio.Task[Summary]:
    """The task of ``run``, once creates are in flight."""
    task = asyncio.create_task(run)
    await in_flight(emulator)
    return task


async def states() -> dict[State, int]:
    """How many entries the ledger has in each state."""
    async with Ledger.open("ledger.db") as ledger:
        return dict((await ledger.counts())["default"])


async def test_a_cancelled_run_drains(tmp_path: Path) -> None:
    """A cancelled task answers for every create that it has sent; the next run makes the rest, and each one once."""
    manifest = write(tmp_path / "m.jsonl", *NAMES)
    async with Emulator(SLOW) as emulator:
        settings = at(emulator, run={"max_in_flight": 4})
        task = await underway(emulator, apply(manifest, settings=settings))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        after = await states()
        first = made(emulator)
        async with Ledger.open("ledger.db") as ledger:
            (run,) = await ledger.runs()
        summary = await apply(manifest, settings=settings)

        assert 0 < len(first) < len(NAMES)
        assert after.get(State.CREATED) == len(first)
        assert {State.SENT, State.AMBIGUOUS}.isdisjoint(after)
        assert (run.exit_code, b"the task was cancelled" in run.summary) == (ExitCode.UNFINISHED, True)
        assert summary.exit_code == 0
        assert made(emulator) == NAMES


async def test_a_second_cancellation_ends_the_wait(tmp_path: Path) -> None:
    """A task that is cancelled twice does not wait for replies; the ledger is true, and the next run finds them out."""
    manifest = write(tmp_path / "m.jsonl", *NAMES)
    async with Emulator(SLOW) as emulator:
        settings = at(emulator, run={"max_in_flight": 4})
        task = await underway(emulator, apply(manifest, settings=settings))
        task.cancel()
        for _ in range(3):  # enough for the first cancellation to arrive, and too few for a reply
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        after = await states()
        summary = await apply(manifest, settings=settings)

        assert after.get(State.SENT, 0) + after.get(State.AMBIGUOUS, 0) > 0
        assert summary.exit_code == 0
        assert made(emulator) == NAMES


async def test_a_cancelled_scope_drains_too(tmp_path: Path) -> None:
    """A cancel scope of anyio, which would cancel again and again, lets the run drain as well."""
    manifest = write(tmp_path / "m.jsonl", *NAMES)
    async with Emulator(SLOW) as emulator:
        settings = at(emulator, run={"max_in_flight": 4})
        async with anyio.create_task_group() as group:
            group.start_soon(partial(apply, manifest, settings=settings))
            await in_flight(emulator)
            group.cancel_scope.cancel()
        after = await states()

        assert after.get(State.CREATED) == len(made(emulator)) > 0
        assert {State.SENT, State.AMBIGUOUS}.isdisjoint(after)


async def test_a_run_that_is_cancelled_at_once_sends_nothing(tmp_path: Path) -> None:
    """A task that is cancelled before it has begun to send leaves no algorithm behind."""
    manifest = write(tmp_path / "m.jsonl", *NAMES)
    async with Emulator(SLOW) as emulator:
        task = asyncio.create_task(apply(manifest, settings=at(emulator)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert emulator.truth.creates == []


INTERRUPTED = """
import asyncio, signal
from provisioner import Definition, Ledger, Settings, apply
from provisioner.emulator import Behaviour, Emulator

DEFINITIONS = [Definition(name=f"a {n}", role_arn="arn:aws:iam::123456789012:role/access") for n in range(16)]

async def interrupt(emulator):
    while len(emulator.truth.creates) < 3:
        await asyncio.sleep(0.005)
    signal.raise_signal(signal.SIGINT)

async def run():
    async with Emulator(Behaviour(names="duplicates", latency=0.1)) as emulator:
        interruption = asyncio.create_task(interrupt(emulator))
        settings = Settings.from_tables({"pace": {"initial_rate": 100.0}, "run": {"max_in_flight": 4}})
        await apply(DEFINITIONS, settings=settings.with_endpoint(emulator.url, region="us-east-1"))

async def read():
    async with Ledger.open("ledger.db") as ledger:
        return sorted((await ledger.counts())["default"])

try:
    asyncio.run(run())
except KeyboardInterrupt:
    print(asyncio.run(read()))
"""


def test_an_interrupt_under_asyncio_run_drains(tmp_path: Path) -> None:
    """Ctrl-C under asyncio.run is a cancellation: what is in flight is answered for before KeyboardInterrupt comes."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", INTERRUPTED], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout in {
        "[<State.CREATED: 'created'>]\n",
        "[<State.CREATED: 'created'>, <State.PLANNED: 'planned'>]\n",
    }
    assert done.stderr == ""


async def test_a_plan_predicts_and_changes_nothing() -> None:
    """Plan shows what apply with the same rules would do; then apply does it, and the plan is empty."""
    async with Emulator(Behaviour(names="duplicates")) as emulator:
        before, after = [Definition(name=name, role_arn=ROLE) for name in ("a", "b", "c")], []
        after = [before[0], Definition(name="b", role_arn=ROLE, description="newer")]
        settings, rules = at(emulator), Rules(on_change="replace", prune=True)
        await apply(before, settings=settings)

        made_before = await plan(after, settings=settings, **rules)
        exist = made(emulator)
        summary = await apply(after, settings=settings, yes=True, **rules)
        made_after = await plan(after, settings=settings, **rules)

        assert [(step.name, step.action) for step in made_before.steps] == [("b", "replace"), ("c", "delete")]
        assert made_before.deletes == 2
        assert exist == ["a", "b", "c"]
        assert (summary.exit_code, summary.outcomes["replaced"], summary.pruned) == (0, 1, 1)
        assert made(emulator) == ["a", "b"]
        assert made_after.steps == []


async def test_verify_compares_with_a_manifest() -> None:
    """Definitions that are not registered as they are; none at all is a mistake, no comparison without a manifest."""
    async with Emulator() as emulator:
        settings = at(emulator)
        await apply([Definition(name=name, role_arn=ROLE) for name in "ab"], settings=settings)
        after = [Definition(name="a", role_arn=ROLE, description="new"), Definition(name="c", role_arn=ROLE)]

        found = await verify(after, settings=settings)
        with pytest.raises(ManifestError, match="no manifest given"):
            await verify([], settings=settings)

        assert [(one.kind, one.name, one.line) for one in found.findings] == [
            ("changed", "a", 1),
            ("unregistered", "c", 2),
            ("orphaned", "b", 0),
        ]
        assert (found.summary.exit_code, found.summary.manifest.lines) == (3, 2)
        assert made(emulator) == ["a", "b"]


async def test_a_selection_is_all_that_a_call_is_about() -> None:
    """Apply, plan and verify leave alone what is not selected; a selection that means something else is refused."""
    async with Emulator() as emulator:
        settings = at(emulator)
        definitions = [Definition(name=name, role_arn=ROLE) for name in ("a1", "a2", "b1")]
        only = Selection(names=("a*",))

        planned = await plan(definitions, settings=settings, selection=only)
        await apply(definitions, settings=settings, selection=only)
        exist = made(emulator)
        await apply(definitions, settings=settings)
        await apply([definitions[0]], settings=settings, selection=only, prune=True, yes=True)
        left = made(emulator)
        async with Emulator() as empty:
            created = Selection(names=("b*",), states=frozenset({State.CREATED}))
            missing = await verify(settings=at(empty), selection=created)

        async with Ledger.open(locate(settings.run.ledger).name) as ledger:
            listed = [entry.name async for entry in ledger.entries(selection=only)]
            latest = [entry.name async for entry in ledger.entries(selection=Selection(run="last"))]
            with pytest.raises(UsageError, match="no run 'nope'"):
                [entry async for entry in ledger.entries(selection=Selection(run="nope"))]

        assert [step.name for step in planned.steps] == ["a1", "a2"]
        assert (listed, latest) == (["a1", "a2"], [])
        assert exist == ["a1", "a2"]
        assert left == ["a1", "b1"]
        assert [(one.kind, one.name) for one in missing.findings] == [("missing", "b1")]
        wrongs: list[tuple[dict[str, Any], str]] = [
            ({"names": "a*"}, "are text, 'a\\*'"),
            ({"states": ("creatd",)}, "'creatd' is not a valid State"),
            ({"targets": frozenset({"default"})}, "no targets"),
        ]
        for wrong, why in wrongs:
            with pytest.raises(UsageError, match=why):
                await plan(definitions, settings=settings, selection=Selection(**wrong))


async def test_nothing_is_deleted_without_a_yes() -> None:
    """Deletions have to be confirmed, and their bound holds; the plan tells why beforehand."""
    async with Emulator() as emulator:
        settings = at(emulator)
        await apply([Definition(name=name, role_arn=ROLE) for name in "ab"], settings=settings)
        left = [Definition(name="c", role_arn=ROLE)]

        with pytest.raises(UnconfirmedError, match="2 algorithms"):
            await apply(left, settings=settings, prune=True)
        with pytest.raises(DeletionsRefusedError, match="--max-delete is 1"):
            await apply(left, settings=settings, prune=True, yes=True, max_delete=1)

        assert made(emulator) == ["a", "b"]


async def test_rules_stand_before_the_settings() -> None:
    """A rule overrides the [lifecycle] settings; the bounds of a run are rules, too."""
    async with Emulator() as emulator:
        settings = at(emulator, lifecycle={"prune": True})
        first = await apply([Definition(name=name, role_arn=ROLE) for name in "ab"], settings=settings, max_create=1)
        kept = await apply([Definition(name="c", role_arn=ROLE)], settings=settings, prune=False)

        assert (first.exit_code, first.outcomes["created"], first.outcomes["pending"]) == (75, 1, 1)
        assert (kept.exit_code, len(made(emulator))) == (0, 2)


async def test_a_plan_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """What keeps it from beginning is raised; a target that fails is in the plan."""
    async with Emulator() as emulator:
        with pytest.raises(ManifestError):
            await plan("none.jsonl", settings=at(emulator))
        emulator.behaviour = Behaviour(denied=True)
        refused = await plan(write(tmp_path / "m.jsonl", "a"), settings=at(emulator))

        assert (refused.exit_code, list(refused.halted)) == (ExitCode.DENIED, ["default"])
        assert not (tmp_path / "ledger.db").exists()


@pytest.mark.parametrize(
    "name", ["Definition", "Entry", "Finding", "Plan", "PlanStep", "Problem", "Summary", "Verification"]
)
def test_the_types_of_what_is_returned_can_be_looked_up(name: str) -> None:
    """A program may build a decoder or a schema from the records of the API."""
    fields = msgspec.structs.fields(getattr(provisioner, name))

    assert fields
    assert all(field.type for field in fields)
