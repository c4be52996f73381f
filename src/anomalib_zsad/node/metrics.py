"""Metrics of a node for Prometheus, read from the queue whenever they are asked for."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from anomalib_zsad.node.overview import numbers
from anomalib_zsad.node.queue import Queue
from anomalib_zsad.node.receive import Receiver

_PREFIX = "anomalib_zsad_node"


class _Collector:
    def __init__(self, queue: Queue, receiver: Receiver) -> None:
        self._queue, self._receiver = queue, receiver

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        found = numbers(self._queue)
        for table in ("studies", "series", "deliveries"):
            gauge = GaugeMetricFamily(f"{_PREFIX}_{table}", f"{table} in the queue, by state", labels=["state"])
            for state, number in found[table].items():
                gauge.add_metric([state.replace(" ", "_")], number)
            yield gauge
        yield CounterMetricFamily(f"{_PREFIX}_instances", "instances received", value=found["instances"])
        yield CounterMetricFamily(f"{_PREFIX}_received_bytes", "bytes received", value=found["bytes"])
        yield CounterMetricFamily(f"{_PREFIX}_slices", "slices screened", value=found["slices"])
        refused = CounterMetricFamily(
            f"{_PREFIX}_refusals", "what was refused since the start, by reason", labels=["reason"]
        )
        for reason, number in list(self._receiver.refusals.items()):
            refused.add_metric([reason], number)
        yield refused


def metrics_text(queue: Queue, receiver: Receiver) -> bytes:
    """What `/metrics` answers."""
    registry = CollectorRegistry()
    collector: Any = _Collector(queue, receiver)
    registry.register(collector)
    return generate_latest(registry)
