"""``provisioner report`` and ``apply --report``, through the real process."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.report.samples import decoded
from tests.definition_lines import manifest_of, numbered
from tests.e2e.ledgers import DIED, FIRST, SECOND, make
from tests.e2e.process import LIMIT_S, Endpoint, provisioner, start, until

if TYPE_CHECKING:
    from pathlib import Path


def contents(path: Path) -> dict[str, Any]:
    """What a page shows."""
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    assert data is not None
    found: dict[str, Any] = json.loads(data[1])
    return found


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a ledger that the tests only read."""
    folder = tmp_path_factory.mktemp("ledger")
    make(folder / "ledger.db")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a manifest of two definitions and an invalid line."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b") + b"broken\n")
    return tmp_path


def test_the_page_is_about_the_run_that_is_named(directory: Path) -> None:
    """Its file has the id of the run, and stdout its whole path; by default it is about the latest run."""
    named = provisioner("report", FIRST[:10], cwd=directory)
    first = provisioner("report", FIRST, cwd=directory)
    last = provisioner("report", cwd=directory)
    page = contents(directory / f"report-{FIRST}.html")

    assert named.returncode == 2
    assert "several runs begin with" in named.stderr
    assert (first.returncode, first.stdout, first.stderr) == (0, f"{directory}/report-{FIRST}.html\n", "")
    assert last.stdout == f"{directory}/report-{DIED}.html\n"
    assert page["title"] == f"apply {FIRST}"
    assert page["status"] == {"text": "exit 3: some definitions failed or drifted: look at them", "tone": "bad"}
    assert len(page["problems"]["name"]) == 5
    assert page["remarks"] == ["What happened over time is not known: the ledger keeps that of the last 20 runs."]
    assert contents(directory / f"report-{DIED}.html")["status"]["text"].startswith("died")


def test_the_page_about_the_fleet(directory: Path) -> None:
    """All targets, entries and runs; the file that --out names; as JSON where that is asked for."""
    done = provisioner("report", "--fleet", "--out", "fleet.html", "--output", "json", cwd=directory)
    usual = provisioner("report", "--fleet", cwd=directory)
    page = contents(directory / "fleet.html")

    assert json.loads(done.stdout) == {"file": "fleet.html", "run_id": None, "exit_code": 0}
    assert usual.stdout == f"{directory}/report-fleet.html\n"
    assert [target["name"] for target in page["targets"]] == ["east", "west"]
    assert [run["run_id"] for run in page["runs"]] == [DIED, SECOND, FIRST]
    assert sum(column["sum"] for column in page["columns"]) == len(page["entries"]["name"]) == 14


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--fleet", "last"], "--fleet is about all runs, not one"),
        (["1999"], "the ledger has no run '1999'"),
        (["--out", "."], "cannot replace what is not a file"),
        (["--out", "ledger.db"], "this is a file of the ledger"),
        (["--out", "no/r.html"], "there is no such directory"),
    ],
)
def test_what_cannot_be_reported_is_wrong_usage(directory: Path, arguments: list[str], why: str) -> None:
    """It is said before anything is written."""
    done = provisioner("report", *arguments, cwd=directory)

    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr


def test_apply_writes_the_page_at_its_end(folder: Path, endpoint: Endpoint) -> None:
    """With --report. It has what the summary has, and what happened over time, which `report` shows later, too."""
    endpoint.change(latency=0.05)
    arguments = ("apply", "m.jsonl", "--report", "r.html", "--output", "json", "--endpoint-url", endpoint.url)
    done = provisioner(*arguments, cwd=folder)
    later = provisioner("report", "--out", "later.html", cwd=folder)
    summary, page = json.loads(done.stdout), contents(folder / "r.html")
    created = page["series"][""]["created"]

    assert (done.returncode, later.returncode) == (65, 0)
    assert page["title"] == f"apply {summary['run_id']}"
    assert page["status"]["text"].startswith("exit 65")
    assert [(column["name"], column["sum"]) for column in page["columns"]] == [("created", 2)]
    assert page["entries"]["name"] == ["a", "b"]
    assert page["problems"]["line"] == [3]
    assert sum(created) * page["series"][""]["width"] >= 2
    assert page["targets"][0]["p50"] >= 50
    assert contents(folder / "later.html")["targets"] == page["targets"]


def test_a_run_that_cannot_go_on_has_a_page(folder: Path, endpoint: Endpoint) -> None:
    """A manifest that is not there is on the page; there need be no ledger for it."""
    done = provisioner("apply", "none.jsonl", "--report", "r.html", "--endpoint-url", endpoint.url, cwd=folder)

    assert done.returncode == 2
    assert "none.jsonl: cannot read the manifest" in contents(folder / "r.html")["remarks"][0]
    assert not (folder / "ledger.db").exists()


def test_a_page_that_cannot_be_written_at_the_end_ends_with_74(folder: Path, endpoint: Endpoint) -> None:
    """What was done stands and is printed with the error; what can be known before is refused before."""
    before = provisioner("apply", "m.jsonl", "--report", "no/r.html", "--endpoint-url", endpoint.url, cwd=folder)
    endpoint.change(latency=0.3)
    (folder / "out").mkdir()
    arguments = ("apply", "m.jsonl", "--report", "out/r.html", "--output", "json", "--endpoint-url", endpoint.url)
    run = start(*arguments, cwd=folder)
    until((folder / "ledger.db").exists, run)
    (folder / "out").rmdir()
    stdout, _ = run.communicate(timeout=LIMIT_S)
    summary = json.loads(stdout)

    assert before.returncode == 2
    assert (run.returncode, summary["exit_code"], summary["outcomes"]["created"]) == (74, 74, 2)
    assert "out/r.html: the result cannot be written" in summary["error"]


def test_a_stopped_run_has_a_page_and_one_under_way_too(folder: Path, endpoint: Endpoint) -> None:
    """While it runs the page shows what the ledger has; after SIGTERM it has the drain on its timeline."""
    (folder / "m.jsonl").write_bytes(numbered(60))
    endpoint.change(rate=20, burst=2)
    run = start("apply", "m.jsonl", "--report", "r.html", "--endpoint-url", endpoint.url, cwd=folder)
    until(lambda: endpoint.creates() >= 3, run)
    between = provisioner("report", "--out", "now.html", cwd=folder)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=LIMIT_S)
    now, page = contents(folder / "now.html"), contents(folder / "r.html")

    assert (between.returncode, run.returncode) == (0, 75)
    assert now["status"] == {"text": "still running", "tone": "quiet"}
    assert now["entries"]["name"]
    assert page["remarks"] == ["Stopped: signal SIGTERM"]
    assert "drain" in {incident["kind"] for incident in page["incidents"]}


def test_samples_are_in_the_ledger(folder: Path, endpoint: Endpoint) -> None:
    """A run leaves them behind, some hundred bytes for a small one; they agree with its summary.

    The pace of the run is that of the targets that are still at work: one that has nothing to do does not count.
    """
    endpoint.change(rate=40, burst=2)
    (folder / "m.jsonl").write_bytes(numbered(20))
    (folder / "c.toml").write_text("[targets.a]\nregion = 'us-east-1'\n[targets.b]\nregion = 'us-west-2'\n")
    usual = ("apply", "m.jsonl", "-c", "c.toml", "--output", "json", "--endpoint-url", endpoint.url)
    first, second = (json.loads(provisioner(*usual, *more, cwd=folder).stdout) for more in (("-t", "a"), ()))
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        kept = dict(connection.execute("SELECT run_id, samples FROM samples").fetchall())
    alone, samples = decoded(kept[first["run_id"]]), decoded(kept[second["run_id"]])
    assert alone is not None
    assert samples is not None

    for one, summary in ((alone, first), (samples, second)):
        points = one.series.points
        assert sum(point.created for point in points) == summary["outcomes"]["created"] == 20
        assert sum(point.throttled for point in points) == summary["calls"]["throttled"]
        assert max(point.in_flight for point in points) >= 1
    assert max(point.pace_per_s for point in alone.series.points) > 0
    assert samples.series.points[-1].pace_per_s == samples.targets["b"].series.points[-1].pace_per_s
    assert max(map(len, kept.values())) < 1500
