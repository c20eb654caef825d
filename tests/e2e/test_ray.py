"""A job whose workers run on a real cluster of Ray, on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.process import Endpoint, environment, provisioner, start, until
from tests.e2e.test_jobs import NAMES, REGIONS, arguments, check_once, configured, ended, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.postgres import Ledger

# What Ray would send to its makers, and the token that it would keep in the home directory, are not what is tested.
QUIETLY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
wait = partial(until, limit_s=240, every_s=0.5)
"""Ray itself takes ten seconds of CPU to begin, and starts a process anew for whoever was killed."""
CLUSTER = """
import sys, ray
ray.init("local", num_cpus=2, include_dashboard=False, configure_logging=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""
NODES = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
print(cluster.address, *(node.all_processes["raylet"][0].process.pid for node in nodes), flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@contextmanager
def _running(program: str) -> Iterator[list[str]]:
    """What the program of a cluster prints once it runs; it ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(**QUIETLY),
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()
    finally:
        process.communicate()


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a cluster with two CPUs, which ends with the test."""
    with _running(CLUSTER) as (address,):
        yield address


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """The one that the configuration names."""
    return configured(tmp_path)


def test_a_cluster_does_a_job(tmp_path: Path, endpoint: Endpoint, cluster: str, ledger: Ledger) -> None:
    """Two workers make everything once; the result on stdout is one object about the whole."""
    endpoint.change(names="duplicates")
    options = ("--job", "j", "--engine", "ray", "--workers", "2", "--ray-address", cluster)

    code, summary = ended(start(*arguments(endpoint, *options), cwd=tmp_path, **QUIETLY))
    job = whole(tmp_path, "j")

    check_once(endpoint)
    assert (code, summary["job"]["left"], summary["job"]["workers"]) == (0, 0, 2)
    assert sum(summary["outcomes"].values()) == len(REGIONS) * len(NAMES)
    assert job["job"]["results"] == {"done": len(REGIONS)}
    assert ledger.execute("SELECT count(*) FROM entries WHERE state = 'created'") == [(len(REGIONS) * len(NAMES),)]


@pytest.mark.torture
def test_a_cluster_runs_the_workers_of_a_job(tmp_path: Path, endpoint: Endpoint, cluster: str, ledger: Ledger) -> None:
    """It starts a worker that was killed again, drains all on SIGTERM, goes on later, and makes everything once."""
    endpoint.change(names="duplicates")
    options = ("--job", "j", "--engine", "ray", "--workers", "2", "--ray-address", cluster)
    command = arguments(endpoint, *options)

    first = start(*command, "--max-rate", "0.05", cwd=tmp_path, **QUIETLY)  # a minute for each target
    wait(lambda: endpoint.creates() > 1 and len(whole(tmp_path, "j")["runs"]) == 2, first)
    holder, run_id = ledger.execute("SELECT holder, run_id FROM workers WHERE run_id <> '' ORDER BY run_id LIMIT 1")[0]
    os.kill(int(holder.split()[1]), signal.SIGKILL)  # process N on HOST
    ledger.execute(f"UPDATE workers SET expires_at = now() WHERE run_id = '{run_id}'")  # noqa: S608  ours
    wait(lambda: len(whole(tmp_path, "j")["runs"]) > 2, first)
    first.terminate()
    out, err = first.communicate()
    stopped = json.loads(out)
    code, summary = ended(start(*command, cwd=tmp_path, **QUIETLY))
    job = whole(tmp_path, "j")

    check_once(endpoint)
    assert (first.returncode, stopped["stopped"]) == (75, "signal SIGTERM"), err
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert (events.count("worker.died"), events.count("worker.began")) == (1, 3)
    assert (code, summary["job"]["left"], summary["job"]["workers"]) == (0, 0, 2)
    assert {name: number for name, number in summary["outcomes"].items() if number} == job["job"]["outcomes"]
    assert sum(job["job"]["outcomes"].values()) == len(REGIONS) * len(NAMES)
    assert job["job"]["results"] == {"done": len(REGIONS)}
    assert len(job["runs"]) == 5


def _parent(pid: int) -> int:
    """The process that started this one: of a worker, what runs its node."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _workers(ledger: Ledger) -> dict[str, int]:
    """The process of each worker that is alive, by run."""
    rows = ledger.execute("SELECT run_id, holder FROM workers WHERE run_id <> '' AND expires_at > now()")
    return {run_id: int(holder.split()[1]) for run_id, holder in rows}  # process N on HOST


@pytest.mark.torture
def test_a_node_is_lost(tmp_path: Path, endpoint: Endpoint, ledger: Ledger) -> None:
    """Each of two nodes has a worker; that of a node that is gone starts again on the other, and nothing is lost.

    Ray notices it after some 15 s, in which whatever is sent to that worker fails at once.
    """
    endpoint.change(names="duplicates")
    with _running(NODES) as (address, *pids):
        nodes = {int(pid) for pid in pids}
        options = ("--job", "j", "--engine", "ray", "--workers", "2", "--ray-address", address, "--max-rate", "0.05")
        run = start(*arguments(endpoint, *options), cwd=tmp_path, **QUIETLY)
        wait(lambda: endpoint.creates() > 1 and len(_workers(ledger)) == 2, run)
        before = _workers(ledger)
        places = {run_id: _parent(pid) for run_id, pid in before.items()}
        lost = min(before)
        for pid in (places[lost], before[lost]):
            os.kill(pid, signal.SIGKILL)
        ledger.execute(f"UPDATE workers SET expires_at = now() WHERE run_id = '{lost}'")  # noqa: S608  ours
        wait(lambda: _workers(ledger).keys() - before, run)
        (again,) = (pid for run_id, pid in _workers(ledger).items() if run_id not in before)
        place = _parent(again)
        code, summary = ended(run)

    check_once(endpoint)
    assert {*places.values()} == nodes
    assert place in nodes - {places[lost]}
    assert (code, summary["job"]["left"]) == (0, 0)
    assert summary["job"]["started"] == {"died": 1, "gone": 0, "unplaced": 0}
    job = whole(tmp_path, "j")
    assert job["job"]["results"] == {"done": len(REGIONS)}
    assert sorted(one["status"] for one in job["runs"]) == ["died", "ended", "ended"]


@pytest.mark.torture
def test_what_started_the_workers_is_killed(tmp_path: Path, endpoint: Endpoint, cluster: str, ledger: Ledger) -> None:
    """Ray ends its workers; the same command with the same id goes on where they were, and makes nothing twice."""
    endpoint.change(names="duplicates")
    options = ("--job", "j", "--engine", "ray", "--workers", "2", "--ray-address", cluster)
    command = arguments(endpoint, *options)

    first = start(*command, "--max-rate", "0.05", cwd=tmp_path, **QUIETLY)
    wait(lambda: endpoint.creates() > 1, first)
    workers = [int(holder.split()[1]) for (holder,) in ledger.execute("SELECT holder FROM workers")]
    first.kill()
    first.communicate()
    wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    ledger.execute("UPDATE workers SET expires_at = now()")
    code, summary = ended(start(*command, cwd=tmp_path, **QUIETLY))

    check_once(endpoint)
    assert (code, summary["job"]["left"]) == (0, 0)
    assert whole(tmp_path, "j")["job"]["results"] == {"done": len(REGIONS)}


POSTGRES = "postgresql://provisioner@db.example.com/provisioner"
REFUSED = {
    "a ledger in PostgreSQL": ("--workers", "2", "--ledger", "l.db"),
    "Add it: --workers 4": (),
    "Set PROVISIONER_APPLY_PING_URL instead": ("--workers", "2", "--ping-url", "https://example.com/secret"),
    "Leave out --report": ("--workers", "2", "--report", "r.html"),
    "Leave out --local or --ray-address": ("--workers", "2", "--local", "--ray-address", "h:1", "--ledger", POSTGRES),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_ray_cannot_do_is_refused(tmp_path: Path, what: str) -> None:
    """Before Ray is started, with what to do instead; exit 2."""
    done = provisioner("apply", "m.jsonl", "--engine", "ray", *REFUSED[what], cwd=tmp_path)

    assert done.returncode == 2
    assert what in done.stdout + done.stderr
