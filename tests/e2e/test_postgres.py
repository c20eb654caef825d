"""A PostgreSQL ledger, through the real command."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.definition_lines import manifest_of
from tests.e2e.process import Endpoint, provisioner, start, until
from tests.postgres import Ledger, fresh_ledger

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("a0", "a1", "a2")


@pytest.fixture
def postgres() -> Ledger:
    """A ledger whose URL has a password."""
    ledger = fresh_ledger()
    return ledger._replace(url=ledger.url.replace("postgres:@", "postgres:hush@"))


def test_every_command_works(tmp_path: Path, postgres: Ledger) -> None:
    """From the first apply to a rebuild after the database was lost; no password is shown, no file of a ledger made."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of(*NAMES))
    shown = ""

    def run(*arguments: str, code: int = 0) -> Any:
        nonlocal shown
        done = provisioner(*arguments, "--ledger", postgres.url, cwd=tmp_path)
        shown += done.stdout + done.stderr
        assert done.returncode == code, done.stderr + done.stdout
        return done.stdout

    def found(*arguments: str, code: int = 0) -> Any:
        return json.loads(run(*arguments, "--output", "json", code=code))

    created = found("apply", "m.jsonl", "--local")["outcomes"]["created"]
    unchanged = found("plan", "m.jsonl", "--local")["counts"]["unchanged"]
    findings = found("verify", "--local")["findings"]
    entries = found("list")["entries"]
    exported = [json.loads(line)["name"] for line in run("export").splitlines()]
    identity = found("status")["ledger_id"]
    run("reconcile", "--local")
    run("destroy", "--local", "--name", "a2", "--yes")
    run("forget", "--name", "a1", "--yes")
    run("adopt", "m.jsonl", "--local")
    adopted = {entry["name"]: entry["state"] for entry in found("list")["entries"]}
    postgres.execute(f"DROP SCHEMA {postgres.schema} CASCADE")
    run("rebuild", "--local", "--ledger-id", identity)
    rebuilt = {entry["name"]: entry["state"] for entry in found("list")["entries"]}
    commands = [run["command"] for run in found("runs")["runs"]]

    assert (created, unchanged, findings) == (3, 3, [])
    assert [entry["name"] for entry in entries] == exported == [*NAMES]
    assert adopted == {"a0": "created", "a1": "created", "a2": "deleted"}
    assert rebuilt == {"a0": "created", "a1": "created"}
    assert commands == ["rebuild"]
    assert "hush" not in shown
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".local", ".jsonl"]


@pytest.mark.parametrize("arguments", [("config", "show"), ("iam-policy", "destroy")], ids=lambda one: one[0])
def test_no_password_is_shown_of_a_configuration(tmp_path: Path, postgres: Ledger, arguments: tuple[str, ...]) -> None:
    """Also not by what shows settings; the rest of the URL is."""
    (tmp_path / "c.toml").write_text(f"[run]\nledger = '{postgres.url}'\n")
    done = provisioner(*arguments, "--config", "c.toml", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert f"schema={postgres.schema}" in done.stdout + done.stderr
    assert "hush" not in done.stdout + done.stderr


def test_a_run_that_was_killed_keeps_the_ledger_until_its_lease_expires(tmp_path: Path, postgres: Ledger) -> None:
    """Until then others exit with 6 and are told how long; one that does the same waits, and resolves what was left."""
    names = [f"a{number}" for number in range(12)]
    (tmp_path / "m.jsonl").write_bytes(manifest_of(*names))
    (tmp_path / "c.toml").write_text('[reconcile]\nsettle = "1s"\nlist_lag = "100ms"\n')
    arguments = ("apply", "m.jsonl", "--local", "--ledger", postgres.url, "--config", "c.toml", "--output", "json")
    first = start(*arguments, cwd=tmp_path)
    while not postgres_entries(postgres):
        time.sleep(0.1)
    first.kill()
    first.communicate()
    second = provisioner(*arguments, "--retry-failed", cwd=tmp_path)
    third = start(*arguments, cwd=tmp_path)
    until(lambda: len(postgres.execute("SELECT * FROM job_runs")) == 2, third)
    postgres.execute("UPDATE workers SET expires_at = now() WHERE run_id = (SELECT min(run_id) FROM job_runs)")
    out, err = third.communicate()

    assert second.returncode == 6
    assert "If it has died, its lease expires in" in second.stdout
    assert (third.returncode, json.loads(out)["manifest"]["valid"]) == (0, 12), out + err
    assert postgres.execute("SELECT count(*), count(DISTINCT arn) FROM entries WHERE state = 'created'") == [(12, 12)]


@pytest.mark.parametrize("command", ["apply", "plan", "reconcile"])
def test_a_wait_for_the_database_ends_when_it_is_told_to(tmp_path: Path, command: str) -> None:
    """A run says what it waits for; a signal and the deadline end it with 75, as they end everything."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a"))
    (tmp_path / "c.toml").write_text('[run]\nledger = "postgresql://127.0.0.1:1/db"\ndeadline = "300ms"\n')
    manifest = [] if command == "reconcile" else ["m.jsonl"]
    stopped = start(command, *manifest, "--local", "--ledger", "postgresql://127.0.0.1:1/db", cwd=tmp_path)
    assert stopped.stderr is not None
    said = next(line for line in stopped.stderr if "ledger.awaited" in line)
    stopped.terminate()
    stopped.communicate()
    late = provisioner(command, *manifest, "--local", "--config", "c.toml", cwd=tmp_path)

    assert "Connection refused" in said
    assert (stopped.returncode, late.returncode) == (75, 75), late.stdout + late.stderr
    assert "the deadline of 300ms has passed" in late.stdout + late.stderr


def test_runs_with_other_targets_run_side_by_side(tmp_path: Path, postgres: Ledger, endpoint: Endpoint) -> None:
    """One that wants a target of another run exits with 6 and is told which one and whose; so does `forget`."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of(*NAMES))
    targets = {"east": "us-east-1", "west": "us-west-2"}
    tables = [f"[targets.{name}]\nregion = '{region}'\n" for name, region in targets.items()]
    (tmp_path / "c.toml").write_text("".join([f"[run]\nledger = '{postgres.url}'\n", *tables]))
    common = ("--config", "c.toml", "--output", "json")
    apply = ("apply", "m.jsonl", *common, "--endpoint-url", endpoint.url)
    first = start(*apply, "--target", "east", "--max-rate", "0.1", cwd=tmp_path)
    until(lambda: postgres_entries(postgres), first)
    second = provisioner(*apply, "--target", "west", cwd=tmp_path)
    third = provisioner(*apply, "--retry-failed", cwd=tmp_path)
    forgotten = provisioner("forget", "--target", "west", "--name", "a0", "--yes", *common, cwd=tmp_path)
    refused = provisioner("forget", "--name", "a0", "--yes", *common, cwd=tmp_path)
    runs = json.loads(provisioner("runs", *common, cwd=tmp_path).stdout)["runs"]
    first.terminate()
    first.communicate()

    assert (first.returncode, second.returncode) == (75, 0), second.stdout
    assert third.returncode == refused.returncode == 6
    for output in (json.loads(third.stdout)["error"], refused.stdout):
        assert f"another run holds the target 'east': process {first.pid} on" in output
    assert json.loads(forgotten.stdout)["entries"] == 1
    assert [run["status"] for run in runs] == ["ended", "ended", "running"]


def postgres_entries(postgres: Ledger) -> int:
    """How many entries are created."""
    ((there,),) = postgres.execute("SELECT to_regclass('entries') IS NOT NULL")
    if not there:
        return 0
    ((count,),) = postgres.execute("SELECT count(*) FROM entries WHERE state = 'created'")
    return int(count)
