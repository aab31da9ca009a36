"""How a safekeeper is: its disk, and what its timelines lack. Here: rules over what was seen, and the gauges that show it. Not here: who is told (server.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from spg99.protocol.safekeeper import Trouble

SHORT_SHARE: Final = 10
"""A disk is short of room with less than a tenth of it free ..."""
SHORT_BYTES_MAX: Final = 10 << 30
"""... but never while this much is: at a gigabyte of WAL a minute there are ten left."""


def is_short(total_bytes: int, free_bytes: int) -> bool:
    """Whether somebody should make room, long before WAL finds none: then commits of all its databases would wait."""
    return free_bytes < min(total_bytes // SHORT_SHARE, SHORT_BYTES_MAX)


@dataclass(frozen=True)
class Health:
    """What was seen last."""

    disk_total_bytes: int = 0
    disk_free_bytes: int = 0
    damaged: int = 0
    """Timelines of which what is on disk cannot be read: they have no vote here."""
    troubles: Mapping[Trouble, int] = field(default_factory=dict)
    """Timelines that should take WAL and do not, by why."""

    @property
    def disk_is_short(self) -> bool:
        """As `is_short`."""
        return is_short(self.disk_total_bytes, self.disk_free_bytes)

    def complaints(self) -> list[str]:
        """What is wrong with this safekeeper itself, in sentences. A compute that does not answer is no trouble of its own."""
        said = []
        if self.disk_is_short:
            said.append(
                f"Its disk is short of room: {self.disk_free_bytes >> 20} of {self.disk_total_bytes >> 20} MiB are free. Make room, or give it a larger one: "
                "commits wait once it is full."
            )
        if count := self.troubles.get(Trouble.DISK, 0):
            said.append(f"Its disk refuses the WAL of {count} timelines: their commits wait for the other safekeepers.")
        if count := self.troubles.get(Trouble.CUT_OFF, 0):
            said.append(f"Nobody has the WAL that comes next for {count} timelines: they stay behind.")
        if self.damaged:
            said.append(f"What it kept of {self.damaged} timelines is damaged: it has no vote for them.")
        return said


def health(troubles: Iterable[Trouble | None], *, disk_total_bytes: int, disk_free_bytes: int, damaged: int) -> Health:
    """Of what was seen now."""
    counts = Counter(trouble for trouble in troubles if trouble is not None)
    return Health(disk_total_bytes, disk_free_bytes, damaged, dict(counts))


class SafekeeperMetrics:
    """Gauges of one safekeeper."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._free = Gauge("spg99_safekeeper_disk_free_bytes", "Free disk of this safekeeper.", registry=registry)
        self._short = Gauge(
            "spg99_safekeeper_disk_short", "1 while less than a tenth of its disk is free.", registry=registry
        )
        self._damaged = Gauge(
            "spg99_safekeeper_timelines_damaged",
            "Timelines without a vote: what it kept is damaged.",
            registry=registry,
        )
        self._troubles = Gauge(
            "spg99_safekeeper_timelines_not_taken",
            "Timelines whose WAL it should take and does not, by why.",
            ["trouble"],
            registry=registry,
        )

    def show(self, seen: Health) -> None:
        """Takes over what was seen last."""
        self._free.set(seen.disk_free_bytes)
        self._short.set(seen.disk_is_short)
        self._damaged.set(seen.damaged)
        for trouble in Trouble:
            self._troubles.labels(trouble.value).set(seen.troubles.get(trouble, 0))
