"""What is told of every operation: one line in the log, and numbers for whoever watches."""

import logging

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from domain.kernel.errors import Code
from graph.run import Ran
from infra.logs import get_logger

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

log = get_logger("stoa.operation")


class Operations:
    """The observer of the runner."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("operation", "type", "outcome")
        self._count = Counter("stoa_operations", "Operations that ran.", labels, registry=self.registry)
        self._time = Histogram(
            "stoa_operation_seconds", "How long they took.", ("operation",), buckets=BUCKETS, registry=self.registry
        )
        self._of: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}  # the numbers that one kind of end changes
        self.listeners = Gauge("stoa_listeners", "Subscriptions that are open.", registry=self.registry)

    def ran(self, record: Ran) -> None:
        """Count it, and write its line."""
        kind = (record.label, record.type, record.outcome)
        if kind not in self._of:
            self._of[kind] = (self._count.labels(*kind), self._time.labels(record.label))
        count, time = self._of[kind]
        count.inc()
        time.observe(record.duration_s)
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
