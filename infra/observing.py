"""What is told of every operation: one line in the log, and numbers for whoever watches."""

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from domain.kernel.errors import Code
from graph.run import Ran
from infra.logs import get_logger

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

log = get_logger("stoa.operation")


@dataclass(slots=True)
class _Times:
    """How long the runs of one operation took: how many fell below each of `BUCKETS` and not below the one before."""

    sum_s: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))

    def add(self, duration_s: float) -> None:
        self.sum_s += duration_s
        self.counts[bisect_left(BUCKETS, duration_s)] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: each counts what is below it."""
        return list(zip((*map(str, map(float, BUCKETS)), "+Inf"), accumulate(self.counts), strict=True))


class Operations:
    """The observer of the runner. It counts by itself: all is done in one thread, and a lock costs more than a sum."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._ended: Counter[tuple[str, str, str]] = Counter()  # by operation, type and outcome
        self._took: dict[str, _Times] = {}
        self.registry.register(self)
        self.listeners = Gauge("stoa_listeners", "Subscriptions that are open.", registry=self.registry)

    def collect(self) -> Iterator[Metric]:
        """What the registry tells of the operations."""
        ended = CounterMetricFamily("stoa_operations", "Operations that ran.", labels=("operation", "type", "outcome"))
        for kind, count in self._ended.items():
            ended.add_metric(kind, count)
        yield ended
        took = HistogramMetricFamily("stoa_operation_seconds", "How long they took.", labels=("operation",))
        for label, times in self._took.items():
            took.add_metric((label,), times.buckets(), times.sum_s)
        yield took

    def ran(self, record: Ran) -> None:
        """Count it, and write its line."""
        self._ended[record.label, record.type, record.outcome] += 1
        times = self._took.get(record.label)
        if times is None:
            times = self._took[record.label] = _Times()
        times.add(record.duration_s)
        for fault in record.faults:
            log.error("operation_failed", operation=record.label, request=record.caller.request.id, exc_info=fault)
        level = logging.ERROR if record.outcome == Code.INTERNAL else logging.INFO
        if not log.is_enabled_for(level):
            return
        log.log(
            level,
            "operation",
            operation=record.label,
            type=record.type,
            outcome=record.outcome,
            duration_ms=round(record.duration_s * 1000, 2),
            actor=None if record.caller.actor.user_id is None else str(record.caller.actor.user_id),
            **({} if record.caller.simulated_by is None else {"simulated_by": str(record.caller.simulated_by)}),
            request=record.caller.request.id,
        )

    def metrics(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self.registry)
