"""What this process counts for Prometheus. Not here: who asks for it (health.py)."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from spg99.control_plane.serving.interfaces import NodeDisk
from spg99.processes import loop_failures


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
        self.databases_limited = Gauge(
            "spg99_databases_limited",
            "Databases that may not grow, and why.",
            ["storage_state"],
            registry=self.registry,
        )
        self.node_disk_free = Gauge(
            "spg99_node_disk_free_bytes", "Free disk of each node.", ["node"], registry=self.registry
        )
        self.node_disk_short = Gauge(
            "spg99_node_disk_short", "1 while databases of the node may not grow for want of disk.", ["node"],
            registry=self.registry,
        )  # fmt: skip
        self.node_reserve = Gauge(
            "spg99_node_reserve_given_up", "1 while the node's last reserve of disk is in use.", ["node"],
            registry=self.registry,
        )  # fmt: skip
        self.outbox_pending = Gauge("spg99_outbox_pending", "Events not published yet.", registry=self.registry)
        self.outbox_lag_seconds = Gauge(
            "spg99_outbox_lag_seconds", "Age of the oldest event not published yet.", registry=self.registry
        )
        self.subscribers = Gauge("spg99_event_streams", "Open event streams.", registry=self.registry)
        self.waiting = Gauge(
            "spg99_waiting", "Long polls and loops waiting for a notification.", registry=self.registry
        )
        self.loop_failures = loop_failures(self.registry)
        self.objects_deleted = Counter(
            "spg99_objects_deleted",
            "Objects of deleted tenants that were removed from the object store.",
            registry=self.registry,
        )
        self.database_failures = Counter(
            "spg99_database_failures",
            "Databases that could not be handled; each is looked at again later.",
            registry=self.registry,
        )

    def show_disks(self, disks: Sequence[NodeDisk]) -> None:
        """The disks of the nodes that are there; one that is gone is no longer shown."""
        for gauge in (self.node_disk_free, self.node_disk_short, self.node_reserve):
            gauge.clear()
        for disk in disks:
            self.node_disk_free.labels(disk.name).set(disk.free_bytes)
            self.node_disk_short.labels(disk.name).set(disk.is_short)
            self.node_reserve.labels(disk.name).set(disk.reserve_is_given_up)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
