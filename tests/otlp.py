"""A collector of OpenTelemetry on loopback, which takes apart what it gets."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


class Collector:
    """Takes what is sent by OTLP over HTTP.

    Attributes:
        url: where it listens.
        headers: of the last request.
        spans, points: what came, by name; of a point the labels as well.
    """

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.spans: dict[str, Any] = {}
        self.points: dict[str, Any] = {}
        self.resource: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.headers = dict(self.headers)
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name in the base class
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def take(self, path: str, body: bytes) -> None:
        """Take a request apart."""
        if path == "/v1/traces":
            for spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resource = texts(spans.resource.attributes)
                self.spans |= {span.name: span for scope in spans.scope_spans for span in scope.spans}
        else:
            for metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.points |= {metric.name: metric for scope in metrics.scope_metrics for metric in scope.metrics}


def texts(attributes: Any) -> dict[str, str]:
    """Attributes whose values are texts."""
    return {one.key: one.value.string_value for one in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that takes what is sent until the block ends."""
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        thread.join()
        collector.server.server_close()
