"""The second day, through the real process: manifest and account change, and AWS is made to match, whatever happens."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest

from provisioner.emulator import DEFAULT_ACCOUNT, Behaviour, running
from tests.definition_lines import lines_of, named
from tests.e2e.process import provisioner, start
from tests.faults.invariants import TAG, check_invariants, check_never_without
from tests.faults.world import entries_of, ledger_id_of, older_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from provisioner.emulator import Algorithm, Emulator, Truth

SETTLE_S = 1.0
CONFIGURATION = """
[targets.default]
tagging_endpoint_url = "{url}"
[run]
read_timeout = "1s"
[pace]
initial_rate = 200
max_rate = 200
[reconcile]
settle = "1s"
list_lag = "300ms"
"""
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/train:{}"
SECOND_DAY = ("--on-change", "replace", "--prune")
FAULTS = ("lost_reply", "ok", "hang", "ok", "reset", "ok", "error:500", "throttle", "ok", "lost_request")


class Size(NamedTuple):
    """How many definitions there are, and what happens to how many of them."""

    all: int
    replaced: int
    retagged: int
    removed: int
    foreign: int
    deleted: int


SMALL = Size(40, 6, 3, 4, 3, 2)
FULL = Size(300, 20, 5, 10, 3, 2)


def definition(number: int, *, image: int = 1, team: str = "ads") -> dict[str, Any]:
    """One line of the manifest."""
    container = {"imageUri": IMAGE.format(image)}
    return named(f"algorithm {number}", trainingContainerConfig=container, tags={"team": team})


class Story:
    """A manifest, and the account in which it is registered.

    Args:
        path: a fresh directory.
        endpoint: a running one.
        size: of everything.
    """

    def __init__(self, path: Path, endpoint: Emulator, size: Size) -> None:
        self.path = path
        self.endpoint = endpoint
        self.size = size
        self.ledger = path / "l.db"
        self.gone: list[str] = []
        self.foreign: set[str] = set()
        self.lines = [definition(number) for number in range(size.all)]
        (path / "c.toml").write_text(CONFIGURATION.format(url=endpoint.url))
        self.write()

    def write(self) -> None:
        """Write the manifest."""
        (self.path / "m.jsonl").write_bytes(lines_of(*self.lines))

    def arguments(self, command: str, *more: str) -> list[str]:
        """A command line."""
        sources = ["m.jsonl"] if command in {"apply", "plan"} else []
        common = ["-c", "c.toml", "-l", "l.db", "--endpoint-url", self.endpoint.url, "--output", "json"]
        return [command, *sources, *common, "--log-level", "error", *more]

    def run(self, command: str, *more: str) -> tuple[int, dict[str, Any]]:
        """Run a command to its end: its exit code, and what it printed."""
        done = provisioner(*self.arguments(command, *more), cwd=self.path)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def killed(self, after_s: float) -> None:
        """Apply, and kill it."""
        process = start(*self.arguments("apply", *SECOND_DAY, "--yes"), cwd=self.path)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=after_s)
        process.kill()
        process.communicate()

    def change(self, **switches: object) -> None:
        """Turn switches of the endpoint."""
        self.endpoint.behaviour = msgspec.structs.replace(self.endpoint.behaviour, **switches)

    @property
    def truth(self) -> Truth:
        """What the endpoint holds."""
        return self.endpoint.truth

    def second_day(self) -> dict[str, set[str]]:
        """Change the manifest, and the account behind our back; the names by what the plan is to say of them."""
        size, names = self.size, [line["name"] for line in self.lines]
        parts: dict[str, list[int]] = {}
        left = iter(range(size.all))
        for action in ("replaced", "retagged", "removed", "deleted"):
            parts[action] = [next(left) for _ in range(getattr(size, action))]
        for number in parts["replaced"]:
            self.lines[number] = definition(number, image=2)
        for number in parts["retagged"]:
            self.lines[number] = definition(number, team="search")
        self._behind_our_back({names[number] for number in parts["deleted"]})
        self.lines = [line for number, line in enumerate(self.lines) if number not in parts["removed"]]
        self.write()
        return {action: {names[number] for number in numbers} for action, numbers in parts.items()}

    def _behind_our_back(self, names: set[str]) -> None:
        now = time.time()
        account = self.endpoint._service.accounts
        target = account.target(DEFAULT_ACCOUNT, "us-east-1")
        for one in self.truth.alive:
            if one.name in names:
                self.gone.append(one.arn)
                target.delete(one.arn, now)
        for number in range(self.size.foreign):
            made, _ = target.create(named(f"foreign {number}"), now)
            account.algorithms.append(made)
            self.foreign.add(made.arn)

    def check(self) -> None:
        """I1 to I3, I8, I9: AWS has exactly the manifest and what is foreign."""
        truth = self.truth
        older = older_of(self.ledger, self.gone)
        check_invariants(truth, entries_of(self.ledger), ledger_id_of(self.ledger), before=self.foreign, older=older)
        deleted = {one.name for one in truth.algorithms if one.arn in self.gone}
        check_never_without(truth, [line["name"] for line in self.lines if line["name"] not in deleted])
        alive = [one for one in truth.alive if one.arn not in self.foreign]
        assert {one.arn for one in truth.alive if one.arn in self.foreign} == self.foreign
        assert len(alive) == len(self.lines)
        assert {one.name: shown(one) for one in alive} == {line["name"]: line for line in self.lines}


def shown(algorithm: Algorithm) -> dict[str, Any]:
    """An algorithm as the manifest would have it."""
    tags = {key: value for key, value in algorithm.tags.items() if key != TAG}
    return {**algorithm.request, "tags": tags}


@contextmanager
def story(path: Path, size: Size = SMALL) -> Iterator[Story]:
    """A story whose first day is over."""
    # The index of the tagging API is late, leaves out what exists, and shows what is gone.
    index: dict[str, Any] = {"tagging_lag": 60.0, "tagging_omissions": 0.3, "tagging_ghosts": 0.3}
    with running(Behaviour(names="duplicates", **index)) as endpoint:
        told = Story(path, endpoint, size)
        code, summary = told.run("apply")
        assert (code, summary["outcomes"]["created"]) == (0, size.all)
        time.sleep(SETTLE_S)
        yield told


def counted(plan: Mapping[str, Any]) -> dict[str, int]:
    """What a plan counts, without zeros."""
    return {action: count for action, count in plan["counts"].items() if count}


def steps(plan: Mapping[str, Any]) -> dict[str, set[str]]:
    """The names in the steps of a plan, by action."""
    found: dict[str, set[str]] = {}
    for step in plan["steps"]:
        found.setdefault(step["action"], set()).add(step["name"])
    return found


@pytest.mark.parametrize("size", [SMALL, pytest.param(FULL, marks=pytest.mark.torture)], ids=["small", "full"])
def test_the_second_day(tmp_path: Path, size: Size) -> None:
    """The plan reports every change and no other; apply makes them, whatever happens; destroy leaves the foreign."""
    with story(tmp_path, size) as told:
        parts = told.second_day()
        unchanged = size.all - sum(len(names) for names in parts.values())

        careful_code, careful = told.run("plan")
        code, plan = told.run("plan", *SECOND_DAY)

        assert steps(careful) == {
            "update": parts["retagged"],
            "drifted": parts["replaced"],
            "orphaned": parts["removed"],
            "recreate": parts["deleted"],
        }
        assert steps(plan) == {
            "update": parts["retagged"],
            "replace": parts["replaced"],
            "delete": parts["removed"],
            "recreate": parts["deleted"],
        }
        assert counted(plan) == {action: len(names) for action, names in steps(plan).items()} | {"unchanged": unchanged}
        assert (careful_code, code, plan["deletes"]) == (3, 0, size.replaced + size.removed)
        images = {change["path"] for step in plan["steps"] if step["action"] == "replace" for change in step["changes"]}
        assert images == {"trainingContainerConfig.imageUri"}

        random = Random(size.all)  # noqa: S311  replayable
        told.change(script=FAULTS * 3, tag_script=FAULTS, delete_script=FAULTS * 2)
        for _ in range(5):
            told.killed(random.uniform(0.5, 2.0))
        for _ in range(6):
            code, summary = told.run("apply", *SECOND_DAY, "--yes")
            if code == 0 and not summary.get("superseded"):
                break

        assert code == 0, summary
        told.check()
        verified, findings = told.run("verify")
        assert (verified, findings["findings"]) == (0, [])
        code, plan = told.run("plan", *SECOND_DAY, "--detailed-exitcode")
        assert (code, plan["steps"], counted(plan)) == (0, [], {"unchanged": len(told.lines)})
        calls = told.truth.count("create"), told.truth.count("tag"), told.truth.count("delete")
        assert told.run("apply", *SECOND_DAY, "--yes")[0] == 0
        assert calls == (told.truth.count("create"), told.truth.count("tag"), told.truth.count("delete"))

        code, destroyed = told.run("destroy", "--all", "--yes")
        assert (code, destroyed["pruned"], destroyed["superseded"]) == (0, len(told.lines), 0)
        assert {one.arn for one in told.truth.alive} == told.foreign
        assert told.truth.count("get_resources") > 0
        verified, findings = told.run("verify")
        assert (verified, findings["findings"]) == (0, [])


def test_a_deletion_is_confirmed_or_nothing_is_done(tmp_path: Path) -> None:
    """Off a terminal, without --yes, nothing is deleted, created or changed; neither beyond --max-delete."""
    with story(tmp_path) as told:
        told.second_day()
        before = {one.arn for one in told.truth.alive}

        unconfirmed = told.run("apply", *SECOND_DAY)
        beyond = told.run("apply", *SECOND_DAY, "--yes", "--max-delete", "9")

        assert (unconfirmed[0], beyond[0]) == (2, 3)
        assert "--yes" in unconfirmed[1]["error"]
        assert "10 algorithms would be deleted" in beyond[1]["error"]
        assert {one.arn for one in told.truth.alive} == before
        assert not told.truth.count("delete") + told.truth.count("tag")


def test_a_finished_manifest_is_no_reason_to_leave_what_the_plan_shows(tmp_path: Path) -> None:
    """What somebody deletes after a run that left nothing to do is created again, as the plan says."""
    with story(tmp_path, Size(5, 0, 0, 0, 0, 2)) as told:
        told.second_day()
        _, plan = told.run("plan", *SECOND_DAY)

        code, summary = told.run("apply", *SECOND_DAY, "--yes")

        assert counted(plan) == {"recreate": 2, "unchanged": 3}
        assert (code, summary["outcomes"]["created"], summary["outcomes"]["unchanged"]) == (0, 2, 3)
        told.check()


def test_what_keep_lets_go_is_counted(tmp_path: Path) -> None:
    """--keep 1 keeps the older version; the one before it is deleted, and has to be confirmed."""
    keeping = ("--on-change", "replace", "--keep", "1")
    with story(tmp_path, Size(2, 2, 0, 0, 0, 0)) as told:
        told.second_day()
        assert told.run("apply", *keeping)[0] == 0
        told.lines = [definition(number, image=3) for number in range(2)]
        told.write()

        _, plan = told.run("plan", *keeping)
        unconfirmed, _ = told.run("apply", *keeping)
        code, summary = told.run("apply", *keeping, "--yes")

        assert (plan["deletes"], unconfirmed) == (2, 2)
        assert (code, summary["outcomes"]["replaced"], summary["superseded"]) == (0, 2, 2)
        assert sorted(one.request["trainingContainerConfig"]["imageUri"][-1] for one in told.truth.alive) == list(
            "2233"
        )
