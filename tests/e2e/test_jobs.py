"""Several workers of one job, each a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.core.pause import Pause
from provisioner.ledger.location import locate
from tests.definition_lines import line_of, manifest_of
from tests.e2e.process import Endpoint, Process, provisioner, start, until
from tests.postgres import Ledger, fresh_ledger

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [f"a{number}" for number in range(4)]
REGIONS = ("us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-west-2")
SHORT = '[reconcile]\nsettle = "1s"\nlist_lag = "100ms"\n'
TARGETS = "".join(f"[targets.{region}]\nregion = '{region}'\n" for region in REGIONS)


def configured(folder: Path) -> Ledger:
    """A ledger, and in ``folder`` a manifest and a configuration with a target in each Region that uses it."""
    ledger = fresh_ledger()
    (folder / "c.toml").write_text(f"[run]\nledger = '{ledger.url}'\n{SHORT}{TARGETS}")
    (folder / "m.jsonl").write_bytes(manifest_of(*NAMES))
    return ledger


@pytest.fixture
def postgres(tmp_path: Path) -> Ledger:
    """The ledger of the workers."""
    return configured(tmp_path)


def arguments(endpoint: Endpoint, *more: str) -> list[str]:
    """Of a worker."""
    return ["apply", "m.jsonl", "-c", "c.toml", "--endpoint-url", endpoint.url, "--output", "json", *more]


def ended(process: Process) -> tuple[int, dict[str, Any]]:
    """Its exit code, and its summary."""
    out, err = process.communicate()
    assert out, err
    return process.returncode, json.loads(out)


def whole(tmp_path: Path, job: str) -> dict[str, Any]:
    """What ``runs --job`` says of a job."""
    done = provisioner("runs", "--job", job, "-c", "c.toml", "--output", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check_once(endpoint: Endpoint) -> None:
    """Every definition exists once in every target."""
    alive = [(one["region"], one["name"]) for one in endpoint.truth()["algorithms"] if not one.get("deleted_at")]
    assert sorted(alive) == sorted((region, name) for region in REGIONS for name in NAMES)


def test_workers_share_a_job(tmp_path: Path, endpoint: Endpoint, postgres: Ledger) -> None:
    """Each has the summary of its own part, and ends when all is done; a signal leaves what it has to the others."""
    del postgres
    endpoint.change(latency=0.2)
    options = ("--job", "j", "--max-in-flight", "1")
    workers = [start(*arguments(endpoint, *options), cwd=tmp_path) for _ in range(2)]
    leaving = start(*arguments(endpoint, *options, "--max-rate", "0.1"), cwd=tmp_path)
    until(lambda: leaving.poll() is None and endpoint.creates() > 0)
    leaving.terminate()
    out, _ = leaving.communicate()
    left = json.loads(out) if out else {}  # on a slow machine the signal may come before the run begins
    parts = [ended(worker) for worker in workers]
    late = provisioner(*arguments(endpoint, *options), cwd=tmp_path)
    job = whole(tmp_path, "j")
    text = provisioner("runs", "--job", "j", "-c", "c.toml", cwd=tmp_path).stdout

    check_once(endpoint)
    assert leaving.returncode in {75, 0, 130, -15}
    assert [code for code, _ in parts] == [0, 0]
    had = [set(summary["targets"]) for _, summary in parts]
    assert set().union(*had) | set(left.get("targets", ())) == set(REGIONS)
    assert not had[0] & had[1]
    assert [summary["job"]["left"] for _, summary in parts] == [0, 0]
    assert json.loads(late.stdout)["targets"] == {}
    assert job["job"]["results"] == {"done": len(REGIONS)}
    assert job["job"]["exit_code"] == 0
    assert {one["target"] for one in job["targets"]} == set(REGIONS)
    assert len(job["runs"]) >= 2
    assert "5 targets, all finished" in text


def test_what_a_killed_worker_had_is_taken_over(tmp_path: Path, endpoint: Endpoint, postgres: Ledger) -> None:
    """When its lease has expired; what it had sent is resolved first, so that nothing is made twice."""
    endpoint.change(latency=0.3, names="duplicates")
    killed = start(*arguments(endpoint, "--job", "j", "--max-in-flight", "2"), cwd=tmp_path)
    until(lambda: endpoint.creates() > 2, killed)
    killed.kill()
    killed.communicate()
    endpoint.change(latency=0.0)
    other = start(*arguments(endpoint, "--job", "j"), cwd=tmp_path)
    until(lambda: postgres.execute("SELECT count(*) FROM job_targets WHERE result IS NOT NULL")[0][0] > 0, other)
    during = whole(tmp_path, "j")
    postgres.execute(f"UPDATE workers SET expires_at = now() WHERE run_id = '{during['runs'][0]['run_id']}'")  # noqa: S608  ours
    code, summary = ended(other)
    job = whole(tmp_path, "j")

    check_once(endpoint)
    assert (code, summary["job"]["left"]) == (0, 0)
    assert during["job"]["status"] == "open"
    assert job["job"]["results"] == {"done": len(REGIONS)}
    assert [run["status"] for run in job["runs"]] == ["died", "ended"]


def test_results_are_final_for_a_job(tmp_path: Path, endpoint: Endpoint, postgres: Ledger) -> None:
    """What failed, is parked or was halted no other worker tries again: it ends in the same way. Another job does."""
    del postgres
    (tmp_path / "m.jsonl").write_bytes(b"\n".join([line_of({"name": "x", "roleArn": "no role"}), manifest_of("a0")]))
    first = provisioner(*arguments(endpoint, "--job", "j"), cwd=tmp_path)
    second = provisioner(*arguments(endpoint, "--job", "j"), cwd=tmp_path)
    job = whole(tmp_path, "j")
    alone = provisioner(*arguments(endpoint), cwd=tmp_path)

    assert (first.returncode, second.returncode, alone.returncode) == (65, 65, 65)
    part = json.loads(second.stdout)["job"]
    assert {key: part[key] for key in ("job", "open", "left", "bad")} == {"job": "j", "open": 0, "left": 0, "bad": 5}
    assert job["job"]["results"] == {"failed": len(REGIONS)}
    assert job["job"]["exit_code"] == 65
    assert json.loads(alone.stdout)["outcomes"]["unchanged"] == len(REGIONS)


def test_a_paused_target_of_a_job_is_waited_for_by_nobody(tmp_path: Path, endpoint: Endpoint, postgres: Ledger) -> None:
    """The worker ends with 75, and the job says until when it is paused, and how to end that."""

    async def pause(target: str) -> None:
        location = locate(postgres.url)
        async with location.lease() as leases, location.open(leases):
            await location.pause({target: Pause(4e9, 1.0, "quota"), "elsewhere": Pause(4e9, 1.0)})

    asyncio.run(pause(REGIONS[0]))
    done = provisioner(*arguments(endpoint, "--job", "j"), cwd=tmp_path)
    job = whole(tmp_path, "j")
    text = provisioner("runs", "--job", "j", "-c", "c.toml", cwd=tmp_path, COLUMNS="200").stdout

    assert done.returncode == 75
    assert job["job"]["results"] == {"done": len(REGIONS) - 1, "open": 1}
    assert {one["target"]: one["paused"]["reason"] for one in job["targets"] if "paused" in one} == {
        REGIONS[0]: "quota"
    }
    resume = rf"`provisioner resume {REGIONS[0]} --config c\.toml` ends the pause"
    assert re.search(rf"^{REGIONS[0]} +paused +until 2096-.*: quota\. {resume}", text, re.MULTILINE)


def test_who_does_the_same_helps_and_anybody_else_waits(tmp_path: Path, endpoint: Endpoint, postgres: Ledger) -> None:
    """Without an id, the same manifest and options are one job while it lasts; what differs exits with 6, or waits."""
    endpoint.change(latency=2.0)
    first = start(*arguments(endpoint, "--max-in-flight", "1"), cwd=tmp_path)
    until(lambda: endpoint.creates() > 0, first)
    second = start(*arguments(endpoint), cwd=tmp_path)
    until(lambda: len(postgres.execute("SELECT * FROM job_runs")) == 2, second)
    target = postgres.execute("SELECT target FROM job_targets WHERE result IS NULL ORDER BY target DESC")[0][0]
    differs = provisioner(*arguments(endpoint, "--retry-failed", "--target", target), cwd=tmp_path)
    destroy = provisioner("destroy", "--all", "--yes", *arguments(endpoint, "--target", target)[2:], cwd=tmp_path)
    endpoint.change(latency=0.0)
    waits = provisioner(*arguments(endpoint, "--retry-failed", "--lock-timeout", "1m"), cwd=tmp_path)
    parts = [ended(worker) for worker in (first, second)]

    check_once(endpoint)
    assert [code for code, _ in parts] == [0, 0]
    assert len({summary["job"]["job"] for _, summary in parts}) == 1
    assert sorted(name for _, summary in parts for name in summary["targets"]) == sorted(REGIONS)
    for refused in (differs, destroy):
        assert refused.returncode == 6
        assert f"another run holds the target '{target}'" in json.loads(refused.stdout)["error"]
        assert "a worker of the job" in json.loads(refused.stdout)["error"]
    assert (waits.returncode, json.loads(waits.stdout)["outcomes"]["unchanged"]) == (0, len(REGIONS) * len(NAMES))
    assert len(postgres.execute("SELECT * FROM runs")) == 3, "a run that was refused is not recorded"


REFUSED = {
    "a ledger in PostgreSQL": ("--job", "j", "--ledger", "l.db"),
    "cannot ask": ("--job", "j", "--prune"),
    "an ID has up to": ("--job", "a b"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_a_job_is_refused(tmp_path: Path, endpoint: Endpoint, postgres: Ledger, what: str) -> None:
    """Before anything is read or sent, with what to do instead; exit 2."""
    del postgres
    done = provisioner(*arguments(endpoint, *REFUSED[what]), cwd=tmp_path)

    assert done.returncode == 2
    assert what in done.stdout + done.stderr
    assert endpoint.creates() == 0
    assert not (tmp_path / "l.db").exists()


def test_another_manifest_is_another_job(tmp_path: Path, endpoint: Endpoint, postgres: Ledger) -> None:
    """Its definitions would be taken for done where they are not: exit 2, with the option to change."""
    del postgres
    provisioner(*arguments(endpoint, "--job", "j"), cwd=tmp_path)
    (tmp_path / "m.jsonl").write_bytes(manifest_of("b0"))
    other = provisioner(*arguments(endpoint, "--job", "j"), cwd=tmp_path)
    automatic = provisioner(*arguments(endpoint), cwd=tmp_path)

    assert other.returncode == 2
    assert "the job 'j' is about another manifest" in json.loads(other.stdout)["error"]
    assert automatic.returncode == 0
    assert json.loads(automatic.stdout)["outcomes"]["created"] == len(REGIONS)
