"""Metrics for Prometheus: as text, and over HTTP. Needs the extra ``metrics``."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from provisioner.errors import printable
from provisioner.report.metrics import BOUNDS_S, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.metrics_core import Metric

    from provisioner.report.metrics import Family, Metrics, Series


class _Collector(Collector):
    """Gives Prometheus what the metrics are at the moment.

    Args:
        metrics: of the command.
        labels: that every series has besides its own.
    """

    def __init__(self, metrics: Metrics, labels: Mapping[str, str]) -> None:
        self._metrics = metrics
        self._labels = labels

    def collect(self) -> Iterable[Metric]:
        """See the base class."""
        for family, series in self._metrics.collect():
            labels = (*self._labels, *family.labels)
            whole = {(*self._labels.values(), *own): value for own, value in series.items()}
            make = _histogram if family.kind == "histogram" else _plain
            yield make(family, labels, whole)


def text(metrics: Metrics, textfile: str) -> str:
    """The metrics as they are now, in the text format.

    Args:
        metrics: of the command.
        textfile: the name of the file without its ending: a label, because a collector refuses two files that have the
            same series, and so would lose all of them.
    """
    # The name of a file may have bytes that are not UTF-8.
    return generate_latest(_registry(metrics, {"textfile": printable(textfile)})).decode()


def serve(metrics: Metrics, address: str, port: int) -> None:
    """Answer scrapes at ``http://ADDRESS:PORT/metrics``, in a thread that ends with the process.

    Raises:
        OSError, UnicodeError: nothing can listen there.
    """
    start_http_server(port, address, _registry(metrics, {}))


def _registry(metrics: Metrics, labels: Mapping[str, str]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics, labels))
    return registry


def _plain(family: Family, names: tuple[str, ...], series: Series) -> Metric:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    made = kind(family.name, family.help, labels=names)
    for labels, value in series.items():
        assert not isinstance(value, Histogram)  # noqa: S101  for type checkers
        made.add_metric(labels, value)
    return made


def _histogram(family: Family, names: tuple[str, ...], series: Series) -> Metric:
    made = HistogramMetricFamily(family.name, family.help, labels=names)
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    for labels, value in series.items():
        assert isinstance(value, Histogram)  # noqa: S101  the same
        made.add_metric(labels, [*zip(bounds, accumulate(value.counts), strict=True)], value.sum_s)
    return made
