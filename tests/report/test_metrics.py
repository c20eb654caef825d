"""Metrics: what they count, and that documentation, dashboard and alert rules know them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from prometheus_client.parser import text_string_to_metric_families

from provisioner.core.entry import Outcome
from provisioner.core.pause import Pause
from provisioner.core.problem import Problem
from provisioner.core.verdict import Reply, Verdict
from provisioner.engine.observer import Attempt, Halt, Sample
from provisioner.errors import Reason
from provisioner.report.metrics import FAMILIES, MAX_CODES, Metrics
from provisioner.report.prometheus import text
from provisioner.report.statistics import Statistics
from tests.missing import missing

if TYPE_CHECKING:
    from provisioner.engine.observer import Observer

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "configs" / "monitoring"
ROW = re.compile(r"^\| `(provisioner_\w+)` \| (\w+) \| ([`\w, ]*) \| (.*?) \|$", re.MULTILINE)
SAMPLE = re.compile(r"^(\w+)(\{.*\})? (\S+)$", re.MULTILINE)


def attempt(number: int = 1, verdict: Verdict = Verdict.CREATED, seconds: float = 0.07) -> Attempt:
    """A create that has ended."""
    return Attempt("create", "a", f"x-{number}", number, verdict, Reply(status=200), seconds)


def _problem(code: str, severity: Literal["problem", "notice"] = "problem") -> Problem:
    return Problem("m", 1, "a", code, "?", severity=severity)


def made() -> tuple[Metrics, Statistics]:
    """The metrics of a run in which everything has happened that they count."""
    metrics, statistics = Metrics("apply", 1000.0), Statistics("prod")
    metrics.meter(paused := Statistics("west"))
    paused.target_paused(Pause(0.0, 0.0))
    observers: list[Observer] = [statistics, metrics.meter(statistics)]
    for one in observers:
        one.target_opened("us-east-1", "123456789012")
        one.call_sent("create")
        one.attempt_ended(attempt())
        one.attempt_ended(attempt(2, Verdict.THROTTLED, 7.0))
        one.throttling_began(4.0)
        one.outage_began("create", "?")
        one.problem_found(_problem("invalid"))
        one.problem_found(_problem("long_name", "notice"))
        one.sweep_ended(complete=True, resolved={}, left=2)
        one.sampled(Sample(5.0, 5.2, 3, 8))
        one.target_halted(Halt(Reason.DENIED, "?"))
    statistics.outcomes.update({Outcome.CREATED: 3, Outcome.FAILED: 1})
    metrics.end(3, 1060.0)
    return metrics, statistics


def values(metrics: Metrics) -> dict[str, float]:
    """Every sample by its series, as a collector reads them."""
    return {f"{name}{labels}": float(value) for name, labels, value in SAMPLE.findall(text(metrics, "job"))}


def test_everything_that_is_counted_is_exported() -> None:
    """Each family has its value under its own labels, and a histogram adds up."""
    metrics, statistics = made()
    of = 'textfile="job"'
    found = values(metrics)

    assert {family.name for family, _ in metrics.collect()} == set(FAMILIES)
    assert found[f"provisioner_run_exit_code{{{of}}}"] == 3
    assert found[f"provisioner_run_end_time_seconds{{{of}}}"] == 1060
    assert found[f'provisioner_attempts_total{{operation="create",target="prod",{of},verdict="THROTTLED"}}'] == 1
    assert found[f'provisioner_calls_total{{operation="create",target="prod",{of}}}'] == 1
    assert found[f'provisioner_target_halted{{reason="denied",target="prod",{of}}}'] == 1
    assert found[f'provisioner_problems_total{{code="invalid",target="prod",{of}}}'] == 1
    assert found[f'provisioner_unresolved_entries{{target="prod",{of}}}'] == statistics.open == 2
    duration = "provisioner_attempt_duration_seconds"
    buckets = [value for series, value in found.items() if series.startswith(f"{duration}_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == found[f'{duration}_count{{operation="create",target="prod",{of}}}'] == 2
    assert found[f'{duration}_sum{{operation="create",target="prod",{of}}}'] == pytest.approx(7.07)


def test_a_file_whose_name_is_not_utf_8() -> None:
    """Its label has the odd bytes escaped, and a collector can read it."""
    [family, *_] = text_string_to_metric_families(text(Metrics("apply", 0.0), os.fsdecode(b"job \xff")))

    assert {sample.labels["textfile"] for sample in family.samples} == {r"job \udcff"}


def test_an_outage_that_is_over() -> None:
    """The gauge of outages goes back, the counter does not."""
    metrics, statistics = Metrics("apply", 0.0), Statistics("prod")
    meter = metrics.meter(statistics)
    for _ in range(2):
        meter.outage_began("create", "?")
        meter.outage_ended("create")
    found = values(metrics)

    assert found['provisioner_outages_open{target="prod",textfile="job"}'] == 0
    assert found['provisioner_outages_total{operation="create",target="prod",textfile="job"}'] == 2


def test_series_do_not_grow_without_bound() -> None:
    """A server that makes up error codes makes no more series than there is room for."""
    metrics = Metrics("apply", 0.0)
    meter = metrics.meter(Statistics("prod"))
    for number in range(3 * MAX_CODES):
        meter.problem_found(_problem(f"code_{number}"))
    series = next(series for family, series in metrics.collect() if family.name == "provisioner_problems_total")

    assert len(series) == MAX_CODES + 1
    assert series["prod", "other"] == 2 * MAX_CODES


def test_the_page_lists_every_family() -> None:
    """docs/metrics.md has each family with its kind and labels, and no others."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    listed = {(name, kind, tuple(re.findall(r"\w+", labels))) for name, kind, labels, _ in ROW.findall(page)}

    assert listed == {(one.name, one.kind, one.labels) for one in FAMILIES.values()}


def test_names_follow_the_conventions() -> None:
    """Counters, and only they, end with _total; base units; what Prometheus' own parser reads is what was written."""
    metrics, _ = made()
    read = {family.name: family.type for family in text_string_to_metric_families(text(metrics, "job"))}

    assert all(name.endswith("_total") == (family.kind == "counter") for name, family in FAMILIES.items())
    assert read == {name.removesuffix("_total"): family.kind for name, family in FAMILIES.items()}


# The dashboard and the alert rules, by Prometheus' own tool.


@pytest.fixture(scope="module")
def promtool() -> str:
    """Where promtool is; `make promtool` gets it."""
    folders = [str(ROOT / ".venv" / "bin"), os.environ["PATH"]]
    found = shutil.which("promtool", path=os.pathsep.join(folders))
    if found is None:
        missing("dashboard and alert rules, because promtool is not installed: make promtool")
    return found


def queries() -> list[str]:
    """The queries of the dashboard, with values for Grafana's variables."""
    dashboard = json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [re.sub(r"\$(?!_)\w+", ".*", query).replace("$__rate_interval", "5m") for query in found]


def _series(output: str, *, grows: bool) -> list[dict[str, str]]:
    """What Prometheus would have after it had scraped ``output`` for half an hour."""
    found = SAMPLE.findall(output)
    made = []
    for name, labels, value in found:
        counts = grows and name.endswith(("_total", "_bucket", "_count", "_sum"))
        made.append({"series": name + labels, "values": f"0+{value}x40" if counts else f"{value}x40"})
    return made


def _run(promtool: str, folder: Path, series: list[dict[str, str]], checks: list[dict[str, Any]]) -> None:
    test = {"interval": "1m", "input_series": series, "promql_expr_test": checks}
    rules = {"rule_files": [str(MONITORING / "alerts.yml")], "evaluation_interval": "1m", "tests": [test]}
    (folder / "test.yml").write_text(json.dumps(rules))  # JSON is YAML
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _empty(query: str) -> dict[str, Any]:
    return {"expr": query, "eval_time": "30m", "exp_samples": []}


def _fires(alert: str, *, count: int = 1, at: str = "30m") -> dict[str, Any]:
    query = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {"expr": query, "eval_time": at, "exp_samples": [{"labels": "{}", "value": count}] if count else []}


def test_the_output_is_what_promtool_accepts(promtool: str) -> None:
    """Names, units and help texts pass Prometheus' own linter."""
    metrics, _ = made()
    output = text(metrics, "job")
    done = subprocess.run([promtool, "check", "metrics"], input=output, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_query_of_the_dashboard_finds_something(promtool: str, tmp_path: Path) -> None:
    """Each panel has data where a run has written all there is; a misspelt name or label would leave it empty."""
    metrics, _ = made()
    _run(
        promtool,
        tmp_path,
        _series(text(metrics, "job"), grows=True),
        [_empty(f"absent({query})") for query in queries()],
    )


ALERTS = re.findall(r"alert: (\w+)", (MONITORING / "alerts.yml").read_text(encoding="utf-8"))


def test_alerts_on_a_run_that_failed(promtool: str, tmp_path: Path) -> None:
    """What went wrong raises its alarm; a run that ended long ago, or has gone on for too long, one of its own."""
    metrics, _ = made()
    output = text(metrics, "job").replace("1060.0", "0.0")
    lasting = {"ProvisionerUnresolved": "80m", "ProvisionerRunTooLong": "80m", "ProvisionerRunMissing": "80m"}
    series = [{**one, "values": one["values"].replace("x40", "x100")} for one in _series(output, grows=True)]
    checks = [
        _fires(alert, at=lasting.get(alert, "30m"))
        for alert in ALERTS
        if alert not in ("ProvisionerRunMissing", "ProvisionerRunTooLong")
    ]
    _run(promtool, tmp_path, series, checks)

    started = {"series": 'provisioner_run_start_time_seconds{textfile="stuck"}', "values": "0x2000"}
    ended = {"series": 'provisioner_run_end_time_seconds{textfile="old"}', "values": "0x2000"}
    checks = [
        _fires("ProvisionerRunTooLong", count=0, at="5h"),
        _fires("ProvisionerRunTooLong", at="7h"),
        _fires("ProvisionerRunMissing", count=0, at="25h"),
        _fires("ProvisionerRunMissing", at="27h"),
    ]
    _run(promtool, tmp_path, [started, ended], checks)


def test_no_alert_on_a_run_that_went_well(promtool: str, tmp_path: Path) -> None:
    """A run in which all is well raises no alarm, also with the exit code of a change (10)."""
    metrics, statistics = Metrics("apply", 1000.0), Statistics("prod")
    meter = metrics.meter(statistics)
    meter.attempt_ended(attempt())
    meter.sampled(Sample(5.0, 5.2, 3, 8))
    statistics.outcomes.update({Outcome.CREATED: 3})
    metrics.end(10, 1060.0)
    series = _series(text(metrics, "job"), grows=True)

    _run(promtool, tmp_path, series, [_fires(alert, count=0) for alert in ALERTS])
