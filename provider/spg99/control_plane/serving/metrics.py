"""What this process counts for Prometheus. Not here: who asks for it (health.py)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "spg99_http_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "spg99_http_request_seconds",
            "Time to answer, without long polls and streams.",
            ["method", "route"],
            registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.in_flight = Gauge("spg99_http_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.databases = Gauge("spg99_databases", "Databases by state.", ["state"], registry=self.registry)
        self.outbox_pending = Gauge("spg99_outbox_pending", "Events not published yet.", registry=self.registry)
        self.outbox_lag_seconds = Gauge(
            "spg99_outbox_lag_seconds", "Age of the oldest event not published yet.", registry=self.registry
        )
        self.subscribers = Gauge("spg99_event_streams", "Open event streams.", registry=self.registry)
        self.waiting = Gauge(
            "spg99_waiting", "Long polls and loops waiting for a notification.", registry=self.registry
        )
        self.loop_failures = Counter(
            "spg99_loop_failures", "Turns of a background loop that failed.", ["loop"], registry=self.registry
        )

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
