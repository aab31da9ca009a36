"""How many connections one tenant and one database may hold of a Gateway (pure), so that others always find a place.

Here: the count, the rule and its sentence. Not here: who asks (registry.py), a full worker (session.py), a compute's own limit (node/profiles.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

TENANT_SHARE: Final = (3, 4)
"""Of the places of one worker process, whatever the policies say: a small Gateway is shared as well."""
DATABASE_SHARE: Final = (1, 2)


@dataclass(slots=True)
class Places:
    """Places that are taken, in one worker process or in a whole Gateway. Who waits for a wake-up holds one too, so a database
    goes by the name that its clients say."""

    of_tenant: Counter[str] = field(default_factory=Counter)
    of_database: Counter[tuple[str, str]] = field(default_factory=Counter)

    def take(self, tenant_id: str, database: str) -> None:
        """One more."""
        self.of_tenant[tenant_id] += 1
        self.of_database[tenant_id, database] += 1

    def give_back(self, tenant_id: str, database: str) -> None:
        """One less; nothing is remembered of who has none."""
        self.of_tenant[tenant_id] -= 1
        if not self.of_tenant[tenant_id]:
            del self.of_tenant[tenant_id]
        self.of_database[tenant_id, database] -= 1
        if not self.of_database[tenant_id, database]:
            del self.of_database[tenant_id, database]


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for one tenant."""

    tenant_connections_max: int
    """Policy `gateway.tenant_connections_max`."""
    database_connections_max: int
    """Policy `gateway.database_connections_max`."""
    worker_connections_max: int
    """Setting `connections_max` of the Gateway."""


def refusal(limits: Limits, tenant_id: str, database: str, *, gateway: Places, worker: Places) -> str | None:
    """Why one more client is refused, as a sentence that names the limit; None where there is a place."""
    places, key = limits.worker_connections_max, (tenant_id, database)
    for taken, bound, sentence in (
        (
            gateway.of_tenant[tenant_id],
            limits.tenant_connections_max,
            "this tenant may hold {bound} through one gateway (policy gateway.tenant_connections_max).",
        ),
        (
            gateway.of_database[key],
            limits.database_connections_max,
            'database "{database}" may hold {bound} through one gateway (policy gateway.database_connections_max).',
        ),
        (
            worker.of_tenant[tenant_id],
            share(places, TENANT_SHARE),
            "one tenant may hold {bound} of the {places} places of a gateway process (setting connections_max); the rest is for others.",
        ),
        (
            worker.of_database[key],
            share(places, DATABASE_SHARE),
            "one database may hold {bound} of the {places} places of a gateway process (setting connections_max); the rest is for others.",
        ),
    ):
        if taken >= bound:
            return "Too many connections: " + sentence.format(bound=bound, places=places, database=database)
    return None


def share(places: int, part: tuple[int, int]) -> int:
    """A part of the places, at least one."""
    numerator, denominator = part
    return max(1, places * numerator // denominator)
