"""OpenTelemetry: what a collector gets, and what it costs when there is none."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from provisioner.engine.observer import Halt
from provisioner.errors import Reason
from provisioner.report.metrics import FAMILIES
from provisioner.report.telemetry import Telemetry, wanted
from tests.otlp import Collector, collecting, texts
from tests.report.test_metrics import attempt, made

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("environment", "signals"),
    [
        ({}, []),
        ({ENDPOINT: "http://c:4318"}, ["traces", "metrics"]),
        ({ENDPOINT: ""}, []),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, ["metrics"]),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ["traces"]),
        ({ENDPOINT: "http://c:4318", "OTEL_METRICS_EXPORTER": "none"}, ["traces"]),
        ({ENDPOINT: "http://c:4318", "OTEL_TRACES_EXPORTER": "console,otlp"}, ["traces", "metrics"]),
        ({ENDPOINT: "http://c:4318", "OTEL_SDK_DISABLED": "TRUE"}, []),
        ({ENDPOINT: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, []),
        (
            {
                ENDPOINT: "http://c",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            ["traces"],
        ),
    ],
)
def test_the_standard_variables_say_what_is_sent(environment: dict[str, str], signals: list[str]) -> None:
    """An endpoint turns signals on, an exporter one or off; what speaks another protocol gets nothing."""
    assert wanted(environment) == signals


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector for one test."""
    with collecting() as opened:
        yield opened


def test_what_a_collector_gets(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace of command, target and calls, and every metric, with the headers and attributes that were asked for."""
    environment = {
        ENDPOINT: collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    metrics, _ = made()
    telemetry = Telemetry(metrics, ["traces", "metrics"], environment)
    observer = telemetry.observer("prod")
    observer.target_opened("us-east-1", "123456789012")
    observer.attempt_ended(attempt())
    observer.target_halted(Halt(Reason.DENIED, "?"))
    observer.target_closed()
    left = telemetry.end(3, 30.0)

    assert left == ""
    assert collector.headers["api-key"] == "secret"
    assert collector.resource["service.name"] == "provisioner"
    assert collector.resource["deployment.environment"] == "test"
    run, target, create = (collector.spans[name] for name in ("provisioner apply", "target", "create"))
    assert (target.parent_span_id, create.parent_span_id) == (run.span_id, target.span_id)
    assert texts(target.attributes)["cloud.region"] == "us-east-1"
    assert (target.status.message, run.status.code) == ("denied", target.status.code)
    assert texts(create.attributes)["provisioner.verdict"] == "CREATED"
    assert create.end_time_unix_nano - create.start_time_unix_nano == pytest.approx(70e6, abs=1000)
    assert len(collector.points) == len(FAMILIES)
    duration = collector.points["provisioner.attempt_duration"]
    assert (duration.unit, duration.histogram.data_points[0].count) == ("s", 1)
    assert collector.points["provisioner.attempts"].sum.is_monotonic


def test_each_export_has_new_values(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has happened since the first one is in the last one."""
    monkeypatch.setenv(ENDPOINT, collector.url)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
    metrics, statistics = made()
    telemetry = Telemetry(metrics, ["metrics"], {ENDPOINT: collector.url})
    while not collector.points:
        time.sleep(0.01)
    statistics.deleted = 41
    telemetry.end(0, 30.0)

    assert sum(point.as_int for point in collector.points["provisioner.deletions"].sum.data_points) == 41


@pytest.mark.parametrize("listens", [True, False])
def test_a_collector_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, listens: bool) -> None:  # noqa: FBT001  a table
    """A collector that hangs costs the limit, one that is gone nothing; no message has what its URL may hide."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if listens:
            listener.listen()
        port = listener.getsockname()[1]
        environment = {ENDPOINT: f"http://127.0.0.1:{port}/token-5e4d"}
        monkeypatch.setenv(ENDPOINT, environment[ENDPOINT])
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        metrics, _ = made()
        telemetry = Telemetry(metrics, ["traces"], environment)
        telemetry.observer("prod").attempt_ended(attempt())
        left = telemetry.end(0, 0.05 if listens else 60.0)
    # It would go on for seconds, and draw random numbers while Hypothesis watches that nothing else does.
    for thread in threading.enumerate():
        if thread.name == "telemetry":
            thread.join()

    assert left == f"the collector at 127.0.0.1:{port} has not taken everything{' in time' if listens else ''}"
