"""Metrics, through the real process: a textfile, scrapes, an OpenTelemetry collector."""

from __future__ import annotations

import os
import socket
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from provisioner.cli.monitoring import require_extra
from provisioner.errors import UsageError
from tests.definition_lines import manifest_of, numbered
from tests.e2e.process import LIMIT_S, Endpoint, provisioner, start, until
from tests.otlp import collecting

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a manifest of two definitions and a line that is none."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b") + b"{\n")
    return tmp_path


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_run_writes_its_metrics(folder: Path, endpoint: Endpoint) -> None:
    """The file has counts and exit code of the run, and replaces that of the run before."""
    (folder / "job.prom").write_text("old")
    done = provisioner("apply", "m.jsonl", "--metrics-file", "job.prom", "--endpoint-url", endpoint.url, cwd=folder)
    lines = (folder / "job.prom").read_text().splitlines()

    assert done.returncode == 65
    assert 'provisioner_run_exit_code{textfile="job"} 65.0' in lines
    assert 'provisioner_definitions{outcome="created",target="default",textfile="job"} 2.0' in lines
    assert 'provisioner_problems_total{code="invalid_json",target="default",textfile="job"} 1.0' in lines
    assert (folder / "job.prom").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("arguments", [["missing.jsonl"], ["m.jsonl", "--deadline", "soon"]])
def test_a_run_that_never_begins_writes_its_metrics(folder: Path, endpoint: Endpoint, arguments: list[str]) -> None:
    """An alert on the exit code also hears of a run that failed before it began."""
    options = ("--metrics-file", "job.prom", "--endpoint-url", endpoint.url)
    done = provisioner("apply", *arguments, *options, cwd=folder)
    lines = (folder / "job.prom").read_text().splitlines()

    assert done.returncode == 2
    assert 'provisioner_run_exit_code{textfile="job"} 2.0' in lines
    assert any(line.startswith('provisioner_build_info{command="apply"') for line in lines)


def test_a_run_can_be_scraped(folder: Path, endpoint: Endpoint) -> None:
    """Prometheus is answered on loopback while the run goes on."""
    (folder / "m.jsonl").write_bytes(numbered(3))
    port = free_port()
    endpoint.change(latency=30.0)
    options = ("--metrics-port", str(port), "--endpoint-url", endpoint.url)
    run = start("apply", "m.jsonl", *options, cwd=folder)
    scraped: list[str] = []

    def scrape() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
                scraped.append(reply.read().decode())
        except OSError:
            return False
        return "provisioner_calls_total" in scraped[-1]

    until(scrape, run)
    run.kill()
    run.communicate(timeout=LIMIT_S)

    assert "provisioner_run_exit_code" not in scraped[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metrics-port", "0"], "'0' is neither a port from 1 to 65535 nor ADDRESS:PORT"),
        (["--metrics-port", "TAKEN"], "cannot listen there: Address already in use. Choose another one"),
        (["--metrics-file", "m.jsonl"], "this is the manifest"),
        (["--metrics-file", "gone/job.prom"], "there is no such directory"),
        (["--metrics-file", "s3://b/job.prom"], "not in S3"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_sent(
    folder: Path, endpoint: Endpoint, options: list[str], message: str
) -> None:
    """A port or a file that cannot be used is a usage error (2); nothing is sent."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        words = [str(other.getsockname()[1]) if word == "TAKEN" else word for word in options]
        done = provisioner("apply", "m.jsonl", *words, "--endpoint-url", endpoint.url, cwd=folder)

    assert done.returncode == 2
    assert message in done.stderr
    assert endpoint.creates() == 0


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the libraries the message says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(
        UsageError, match=r"--metrics-file needs the extra.*pip install 'cleanrooms-provisioner\[metrics\]'"
    ):
        require_extra("--metrics-file")


def test_a_run_is_traced(folder: Path, endpoint: Endpoint) -> None:
    """The standard variables are enough: a collector gets the trace and the metrics of the run, with its exit code."""
    options = ("--endpoint-url", endpoint.url)
    with collecting() as collector:
        done = provisioner("apply", "m.jsonl", *options, cwd=folder, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    run = collector.spans["provisioner apply"]

    assert done.returncode == 65
    assert [one.value.int_value for one in run.attributes if one.key == "provisioner.exit_code"] == [65]
    assert collector.spans["create"].trace_id == run.trace_id
    assert collector.points["provisioner.definitions"].gauge.data_points
    assert "telemetry.failed" not in done.stderr


def test_a_collector_that_is_gone_fails_no_run(folder: Path, endpoint: Endpoint) -> None:
    """The exit code is that of the run; one warning names the collector, and nothing of what its URL may hide."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/token-5e4d"
    options = ("--endpoint-url", endpoint.url)
    done = provisioner("apply", "m.jsonl", *options, cwd=folder, OTEL_EXPORTER_OTLP_ENDPOINT=url)

    assert done.returncode == 65
    assert done.stderr.count("telemetry.failed") == 1
    assert f"127.0.0.1:{port} has not taken everything" in done.stderr
    assert "5e4d" not in done.stdout + done.stderr
