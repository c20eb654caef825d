"""Metrics and traces for OpenTelemetry, by OTLP over HTTP. Needs the extra ``metrics``.

The standard variables (``OTEL_EXPORTER_OTLP_ENDPOINT`` and the others) say whether and where. Sending goes on in
threads of the SDK; a collector that is out of reach delays the end by no more than the limit of :meth:`Telemetry.end`.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from provisioner import __version__
from provisioner.core.verdict import Verdict
from provisioner.engine.observer import Observer
from provisioner.report.metrics import BOUNDS_S, FAMILIES, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions
    from opentelemetry.trace import Span, Tracer

    from provisioner.engine.observer import Attempt, Halt
    from provisioner.report.metrics import Family, Metrics, Series

SIGNALS = ("traces", "metrics")
PROTOCOL = "http/protobuf"
"""Where the variables name another one, nothing is sent: it would be to a port that does not understand this one."""
_GOOD = {Verdict.CREATED, Verdict.DONE}
_UNITS = {"seconds": "s", "creates_per_second": "{create}/s"}
_DURATION = FAMILIES["provisioner_attempt_duration_seconds"]


def wanted(environment: Mapping[str, str]) -> list[str]:
    """Which of :data:`SIGNALS` the variables ask for: those with an exporter ``otlp``, or else with an endpoint."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return []
    return [signal for signal in SIGNALS if _is_wanted(environment, signal.upper())]


def _is_wanted(environment: Mapping[str, str], signal: str) -> bool:
    names = (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    if next(filter(None, map(environment.get, names)), PROTOCOL) != PROTOCOL:
        return False
    if exporters := environment.get(f"OTEL_{signal}_EXPORTER"):
        return "otlp" in exporters.split(",")
    return any(
        environment.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    )


class Telemetry:
    """Sends metrics and traces from its start on.

    Args:
        metrics: what is measured.
        signals: which of :data:`SIGNALS` are sent.
        environment: the variables that say where; the SDK reads the same ones of the process.
    """

    def __init__(self, metrics: Metrics, signals: Iterable[str], environment: Mapping[str, str]) -> None:
        self._where = _host(environment)
        self._lost = _Lost()
        self._over = threading.Event()
        self._meters: MeterProvider | None = None
        self._spans: TracerProvider | None = None
        self._tracer: Tracer | None = None
        self._open: list[Span] = []
        name = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": "provisioner"}
        resource = Resource.create({**name, "service.version": __version__})
        if "metrics" in signals:
            reader = PeriodicExportingMetricReader(OTLPMetricExporter())
            self._meters = MeterProvider([reader], resource, shutdown_on_exit=False, views=[_buckets()])
            _observe(self._meters, metrics)
        if "traces" in signals:
            self._spans = TracerProvider(resource=resource, shutdown_on_exit=False)
            self._spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            self._tracer = self._spans.get_tracer("provisioner", __version__)
            self._open.append(self._tracer.start_span(f"provisioner {metrics.command}"))
        self._durations = None
        if self._meters is not None:
            meter = self._meters.get_meter("provisioner", __version__)
            self._durations = meter.create_histogram(_dotted(_DURATION), _unit(_DURATION), _DURATION.help)

    def observer(self, target: str) -> Observer:
        """An observer of one target: a span for the target, and one for each mutating call."""
        record = self._durations.record if self._durations is not None else None
        if self._tracer is None:
            return _Calls(target, record, None, None)
        parent = set_span_in_context(self._open[0])
        span = self._tracer.start_span("target", parent, attributes={"provisioner.target": target})
        self._open.append(span)
        return _Calls(target, record, self._tracer, span)

    def end(self, exit_code: int, limit_s: float) -> str:
        """Send what is left, and wait for that at most ``limit_s``, and no longer once that fails.

        Returns:
            What is missing; "" if nothing is.
        """
        for span in reversed(self._open):
            if span is self._open[0]:
                span.set_attribute("provisioner.exit_code", exit_code)
                span.set_status(Status(StatusCode.ERROR if exit_code else StatusCode.OK))
            if span.is_recording():
                span.end()
        lost, self._lost.at_once = self._lost.some, self._over.set
        threading.Thread(target=self._close, name="telemetry", daemon=True).start()
        if not self._over.wait(limit_s):
            return f"the collector at {self._where} has not taken everything in time"
        return f"the collector at {self._where} has not taken everything" if lost or self._lost.some else ""

    def _close(self) -> None:
        for provider in (self._spans, self._meters):
            if provider is not None:
                provider.shutdown()
        self._over.set()


class _Calls(Observer):
    """The span and the latency of each mutating call of a target."""

    def __init__(
        self,
        target: str,
        record: Callable[[float, Mapping[str, str]], None] | None,
        tracer: Tracer | None,
        span: Span | None,
    ) -> None:
        self._target = target
        self._record = record
        self._tracer = tracer
        self._span = span

    def target_opened(self, region: str, account_id: str) -> None:
        """See :class:`Observer`."""
        if self._span is not None:
            self._span.set_attributes({"cloud.region": region, "cloud.account.id": account_id})

    def target_halted(self, halt: Halt) -> None:
        """See :class:`Observer`."""
        if self._span is not None:
            self._span.set_status(Status(StatusCode.ERROR, halt.reason))

    def target_closed(self) -> None:
        """See :class:`Observer`."""
        if self._span is not None:
            self._span.end()

    def attempt_ended(self, attempt: Attempt) -> None:
        """See :class:`Observer`. The span is made once the call is over: there is no event when it begins."""
        if self._record is not None:
            self._record(attempt.seconds, {"target": self._target, "operation": attempt.operation})
        if self._tracer is None or self._span is None:
            return
        ended_at = time.time_ns()
        span = self._tracer.start_span(
            attempt.operation,
            set_span_in_context(self._span),
            SpanKind.CLIENT,
            start_time=ended_at - round(attempt.seconds * 1e9),
            attributes={
                "provisioner.target": self._target,
                "provisioner.name": attempt.name,
                "provisioner.attempt": attempt.attempt,
                "provisioner.number": attempt.number,
                "provisioner.verdict": attempt.verdict,
                "http.response.status_code": attempt.reply.status,
                "aws.request_id": attempt.reply.request_id,
                "error.type": attempt.reply.code or attempt.reply.loss or "",
            },
        )
        if attempt.verdict not in _GOOD:
            span.set_status(Status(StatusCode.ERROR, attempt.verdict))
        span.end(ended_at)


class _Lost(logging.Handler):
    """Notes that the SDK reports trouble, and keeps its reports off stderr: they may repeat a URL with a token in it.

    Attributes:
        some: whether it has.
        at_once: is called each time.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.some = False
        self.at_once: Callable[[], None] | None = None
        logger = logging.getLogger("opentelemetry")
        # For good: an exporter that is given up may still report, until the process ends.
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """See the base class."""
        del record
        self.some = True
        if self.at_once is not None:
            self.at_once()


def _observe(provider: MeterProvider, metrics: Metrics) -> None:
    """Offer every family but the histogram, which is recorded call by call."""
    meter, values = provider.get_meter("provisioner", __version__), _Values(metrics)
    for family in FAMILIES.values():
        observe = [partial(values.of, family)]
        if family.kind == "counter":
            meter.create_observable_counter(_dotted(family), observe, _unit(family), family.help)
        elif family.kind == "gauge":
            meter.create_observable_gauge(_dotted(family), observe, _unit(family), family.help)


class _Values:
    """The values of the families, collected once for all: the SDK asks for one family after the other.

    Args:
        metrics: that have them.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._collected: dict[str, Series] = {}

    def of(self, family: Family, _options: CallbackOptions) -> Iterable[Observation]:
        """Those of one family; whoever asks for it again gets new ones."""
        if family.name not in self._collected:
            empty: dict[str, Series] = {name: {} for name in FAMILIES}
            self._collected = empty | {one.name: series for one, series in self._metrics.collect()}
        for labels, value in self._collected.pop(family.name).items():
            if not isinstance(value, Histogram):
                yield Observation(value, dict(zip(family.labels, labels, strict=True)))


def _buckets() -> View:
    return View(instrument_name=_dotted(_DURATION), aggregation=ExplicitBucketHistogramAggregation(BOUNDS_S))


def _dotted(family: Family) -> str:
    """The name of a family here: Prometheus makes its own name of it again, with unit and ``_total``."""
    name = family.name.removeprefix("provisioner_").removesuffix("_total")
    for suffix in _UNITS:
        name = name.removesuffix(f"_{suffix}")
    return f"provisioner.{name}"


def _unit(family: Family) -> str:
    return next((unit for suffix, unit in _UNITS.items() if family.name.endswith(suffix)), "")


def _host(environment: Mapping[str, str]) -> str:
    """Where the collector is, without what may be secret in its URL."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
    url = next(filter(None, map(environment.get, names)), "http://localhost:4318")
    parts = urlsplit(url)
    return f"{parts.hostname or '?'}:{parts.port}" if parts.port else parts.hostname or "?"
