"""The gateway's figures for Prometheus. Here: names. Not here: counting, showing them (processes/probes.py)."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_WAKE_BUCKETS: Final = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """All figures of one gateway, over all its workers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.connects = Counter(
            "spg99_gateway_connects", "Sessions that were joined to a compute.", registry=self.registry
        )
        self.connections = Counter(
            "spg99_gateway_connections",
            "Connections that came, by themselves or handed on by a balancer (PROXY protocol).",
            ["via"],
            registry=self.registry,
        )
        self.active_connections = Gauge("spg99_gateway_active_connections", "Sessions now.", registry=self.registry)
        self.half_open_connections = Gauge(
            "spg99_gateway_half_open_connections", "Connections that have not logged in yet.", registry=self.registry
        )
        self.wakes = Counter("spg99_gateway_wakes", "Connects that woke a sleeping database.", registry=self.registry)
        self.wake_seconds = Histogram(
            "spg99_gateway_wake_seconds",
            "Time from the question to the Control Plane until the database was up.",
            buckets=_WAKE_BUCKETS,
            registry=self.registry,
        )
        self.relayed_bytes = Counter("spg99_gateway_bytes", "Bytes relayed.", ["direction"], registry=self.registry)
        self.errors = Counter("spg99_gateway_errors", "Errors sent to clients.", ["sqlstate"], registry=self.registry)
        self.cancels = Counter("spg99_gateway_cancels", "Cancel requests with a known key.", registry=self.registry)
        self.worker_restarts = Counter(
            "spg99_gateway_worker_restarts", "Worker processes that ended and were replaced.", registry=self.registry
        )

    def woke(self, seconds: float) -> None:
        """A database was woken."""
        self.wakes.inc()
        self.wake_seconds.observe(seconds)
