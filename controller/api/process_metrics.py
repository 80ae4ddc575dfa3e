"""Metrics of a process, as every one of the controller's measures itself for Prometheus, and the way to its text.

The registry is the daemon's own: nothing that a library measures of itself gets in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from cellwire.stream.counted import KINDS
from controller.sandboxes.ways import Ways

PREFIX = "chinampa"
_WRITE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class ProcessMetrics:
    """The registry, and what is observed in every process as it happens."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._writes = Histogram(
            f"{PREFIX}_store_write_seconds",
            "How long writes to the store took, until they were durable.",
            ("outcome",),
            buckets=_WRITE_SECONDS,
            registry=self.registry,
        )
        self._lag = Histogram(
            f"{PREFIX}_event_loop_lag_seconds",
            "By how much the event loop was late with what was due.",
            buckets=_LAG_SECONDS,
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)

    def wrote(self, seconds: float, outcome: str) -> None:
        """A write to the store took so long."""
        self._writes.labels(outcome).observe(seconds)

    def lagged(self, seconds: float) -> None:
        """The event loop was so late."""
        self._lag.observe(max(0.0, seconds))

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in the format that the scraper accepts, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


def of_ways(ways: Ways) -> Iterable[Metric]:
    """Of the ways to cells: log copies, sessions, and work that failed."""
    mirror, sessions = ways.mirror, ways.sessions
    yield gauge("log_copies", "Logs that are being copied from their cells.", (), {(): mirror.under_way})
    yield gauge("log_lag_seconds", "For how long the log that waits longest has not come.", (), {(): mirror.lag()})
    now = {(kind,): sessions.open[kind] for kind in KINDS}
    yield gauge("sessions", "Exec, attach and port-forward sessions that there are.", ("kind",), now)
    begun = {(kind,): sessions.begun[kind] for kind in KINDS}
    yield counter("sessions_begun", "Sessions that there were.", ("kind",), begun)
    failed = {(kind,): count for kind, count in ways.supervisor.failures.items()}
    yield counter("work_failures", "Work for one pod or cell that was begun anew.", ("kind",), failed)


def gauge(name: str, help_text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    """Rows of a gauge, by the values of its labels."""
    family = GaugeMetricFamily(f"{PREFIX}_{name}", help_text, labels=labels)
    for row, value in values.items():
        family.add_metric(row, value)
    return family


def counter(name: str, help_text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    """Rows of a counter, by the values of its labels."""
    family = CounterMetricFamily(f"{PREFIX}_{name}", help_text, labels=labels)
    for row, value in values.items():
        family.add_metric(row, value)
    return family
