"""What an agent counts of its node for Prometheus. Here: the gauges. Not here: looking (storage.py), serving them (probes)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Gauge

from spg99.node.page_fetcher import PageFetcher
from spg99.node.storage import Storage
from spg99.protocol.node import StorageSeen
from spg99.resources import StorageHeldBy, StorageState


class NodeMetrics:
    """Gauges of one node."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._held = Gauge(
            "spg99_computes_held",
            "Running computes by what keeps them below their storage limit.",
            ["held_by"],
            registry=registry,
        )
        self._limited = Gauge(
            "spg99_computes_limited",
            "Running computes that may not grow, and why.",
            ["storage_state"],
            registry=registry,
        )
        self._free = Gauge("spg99_disk_free_bytes", "Free disk of this node.", registry=registry)
        self._given_up = Gauge("spg99_reserve_given_up", "1 while the reserve of disk is in use.", registry=registry)

        self._rules = Gauge(
            "spg99_tenant_rules_held",
            "1 where servers refuse what rights cannot (ALTER ROLE ... PASSWORD), 0 without the library for it.",
            registry=registry,
        )
        self._images = Gauge(
            "spg99_images_unstored",
            "Sleeping databases whose image the object store did not take yet: their WAL waits in the safekeepers.",
            registry=registry,
        )

        self._lazy = Gauge(
            "spg99_computes_lazy", "Running computes whose files are fetched when they are touched.", registry=registry
        )
        self._pages = Gauge(
            "spg99_page_fetches",
            "Chunks of images since the agent's start: that a server waited for, that came from the object store or from this node, that could not be had.",
            ["what"],
            registry=registry,
        )

    def show_pages(self, fetcher: PageFetcher) -> None:
        """Takes over what was fetched by now."""
        self._lazy.set(len(fetcher.served))
        for what, number in asdict(fetcher.counts).items():
            self._pages.labels(what).set(number)

    def show(self, storage: Storage, *, tenant_rules_are_held: bool, images_unstored: int) -> None:
        """Takes over what was seen last."""
        seen: Sequence[StorageSeen] = storage.all_seen()
        for by in StorageHeldBy:
            self._held.labels(by.value).set(sum(one.held_by is by for one in seen))
        for state in StorageState:
            if state is not StorageState.OK:
                self._limited.labels(state.value).set(sum(one.state is state for one in seen))
        self._free.set(storage.disk.free_bytes)
        self._given_up.set(storage.reserve_is_given_up)
        self._rules.set(tenant_rules_are_held)
        self._images.set(images_unstored)
