"""Metrics of a service for Prometheus."""

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from anomalib_zsad.records.drift_report import DriftReport

_PREFIX = "anomalib_zsad_station"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class _Now:
    """What is read when it is asked for."""

    def __init__(self, at_work: Callable[[], int], drift: Callable[[], DriftReport]) -> None:
        self._at_work, self._drift = at_work, drift

    def collect(self) -> Iterator[Metric]:
        """The gauges, as they are now."""
        yield GaugeMetricFamily(f"{_PREFIX}_requests_at_work", "requests at work", value=self._at_work())
        drift = self._drift()
        if drift.evidence is not None:
            name, alarm = f"{_PREFIX}_drift", drift.alarm is not None
            yield GaugeMetricFamily(f"{name}_evidence", "how a stake on drift has grown", value=drift.evidence)
            yield GaugeMetricFamily(f"{name}_alarm", "1 once the alarm for drift is raised", value=float(alarm))


class ServiceMetrics:
    """Counters of one service.

    Args:
        at_work: How many requests are at work.
        drift: What is known of drift.
    """

    def __init__(self, at_work: Callable[[], int], drift: Callable[[], DriftReport]) -> None:
        self._registry = registry = CollectorRegistry()
        now: Any = _Now(at_work, drift)
        registry.register(now)
        ProcessCollector(registry=registry)
        self.requests = Counter(
            f"{_PREFIX}_requests",
            "requests for an answer, by what became of them",
            ["outcome"],
            registry=registry,
        )
        self.flagged = Counter(f"{_PREFIX}_flagged", "pictures that were flagged", registry=registry)
        self.seconds = Histogram(
            f"{_PREFIX}_seconds",
            "from the first byte of a request to its answer",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_sizes = Histogram(
            f"{_PREFIX}_batch_size", "pictures scored together", buckets=_SIZES, registry=registry
        )

    def text(self) -> bytes:
        """What `/metrics` answers."""
        return generate_latest(self._registry)
