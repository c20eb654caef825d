"""``provisioner status`` and what a run says of algorithms that are still to be deleted, through the real process."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from provisioner.core.entry import Event, Fact
from tests.e2e.ledgers import DIED, FIRST, SECOND, make
from tests.e2e.process import provisioner
from tests.ledger.contract.facts import arn
from tests.ledger.opening import open_ledger
from tests.ledger.processes import HOLD, line_of, running

if TYPE_CHECKING:
    from pathlib import Path

STATUS = f"""\
target  east: 4 created, 5 failed, 1 parked, 1 ambiguous, 1 drifted, 1 superseded to delete, replacements: 1 failed
target  west: 2 created
open    east: lost, sent 2026-09-21T14:13:20.125Z, no answer yet
run     {DIED}: verify, 2026-09-21T16:13:20.125Z, died
run     {SECOND}: apply, 2026-09-21T15:13:20.125Z, exit 3
run     {FIRST}: apply, 2026-09-21T14:13:20.125Z, exit 3
next    provisioner reconcile
next    provisioner list --by code
next    provisioner list --state superseded
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a ledger that all tests here read."""
    folder = tmp_path_factory.mktemp("ledger")
    make(folder / "ledger.db")
    return folder


def test_status_counts_what_is_left_to_do(directory: Path) -> None:
    """By target: entries by state, superseded algorithms, replacements; then the commands to type next."""
    done = provisioner("status", cwd=directory)

    first, _, rest = done.stdout.partition("\n")
    assert (done.returncode, first.startswith(f"ledger  {directory}/ledger.db ("), rest) == (0, True, STATUS)


def test_status_as_json(directory: Path) -> None:
    """The same for programs."""
    found = json.loads(provisioner("status", "--output", "json", cwd=directory).stdout)
    west = json.loads(provisioner("status", "-t", "west", "--output", "json", cwd=directory).stdout)

    assert found["targets"]["east"]["to_delete"] == {"replaced": 1}
    assert (found["targets"]["east"]["superseded"], found["targets"]["east"]["replacements"]) == (1, {"failed": 1})
    assert (found["targets"]["west"]["superseded"], found["targets"]["west"]["replacements"]) == (0, {})
    assert [run["status"] for run in found["runs"]] == ["died", "ended", "ended"]
    assert west["next"] == []


def test_the_next_command_is_one_to_type(directory: Path) -> None:
    """It names the ledger where the command did; while a run is under way, that run resolves what is open."""
    named = provisioner("status", "--ledger", "./ledger.db", cwd=directory)
    variable = provisioner("status", cwd=directory, PROVISIONER_LEDGER="./ledger.db")
    with running(HOLD, directory / "ledger.db") as holder:
        assert line_of(holder) == "held"
        meanwhile = provisioner("status", cwd=directory)
        holder.communicate("end\n")

    assert "next    provisioner list --by code --ledger ./ledger.db\n" in named.stdout
    assert "next    provisioner list --by code\n" in variable.stdout
    assert "verify, 2026-09-21T16:13:20.125Z, running\n" in meanwhile.stdout
    assert "reconcile" not in meanwhile.stdout


def test_what_the_configuration_keeps_is_not_to_be_deleted(directory: Path, tmp_path: Path) -> None:
    """With `keep` a replaced version is kept for a rollback, and no command is named for it."""
    (tmp_path / "keep.toml").write_text(f"[run]\nledger = '{directory}/ledger.db'\n[lifecycle]\nkeep = 1\n")
    kept = provisioner("status", "--config", tmp_path / "keep.toml", cwd=directory).stdout

    assert "1 drifted, 1 superseded kept for a rollback, replacements: 1 failed\n" in kept
    assert "superseded to delete" not in kept
    assert "list --state superseded" not in kept


def test_a_run_counts_what_is_still_to_be_deleted(tmp_path: Path) -> None:
    """The summary of every run says how many superseded algorithms its targets have, and `runs` what a verify found."""
    (tmp_path / "m.jsonl").write_text('{"name": "a", "roleArn": "arn:aws:iam::123456789012:role/a"}\n')
    applied = provisioner("apply", "m.jsonl", "--local", "--output", "json", cwd=tmp_path)

    async def supersede() -> None:
        async with open_ledger(str(tmp_path / "ledger.db")) as ledger:
            await ledger.record(
                [
                    Fact(target, "a", Event.SUPERSEDE, arn=arn(n), code="duplicate")
                    for n, target in enumerate(("default", "b"))
                ]
            )
            await ledger.record([Fact("default", "ghost", Event.CONFIRM, "d", "t", arn(7), attempt="a1")])

    asyncio.run(supersede())
    verified = provisioner("verify", "--local", "--output", "json", cwd=tmp_path)
    past = provisioner("runs", "last", cwd=tmp_path).stdout

    assert json.loads(applied.stdout)["superseded"] == 0
    assert json.loads(verified.stdout)["superseded"] == 1
    assert "\nfound     1 missing\n" in past
    assert f"\n  ghost: missing: {arn(7)}: the ledger says created, but it is gone from AWS" in past
    assert "manifest" not in past
    assert "creates/s" not in past
