"""Who keeps the WAL of a timeline, as agents are told. Here: its safekeepers with their addresses. Not here: choosing them (placement.py)."""

from __future__ import annotations

from spg99.control_plane import fleet, storage
from spg99.control_plane.store import Transaction
from spg99.protocol.safekeeper import Configuration
from spg99.protocol.tasks import Kept


async def kept_by(
    tx: Transaction, tenant_id: str, configuration: Configuration | None, installation: storage.Installation
) -> Kept | None:
    """Those of a configuration, and where they are; None: nobody does."""
    if configuration is None:
        return None
    sets = [configuration.members, *([configuration.next_members] if configuration.next_members is not None else [])]
    ids = sorted({safekeeper_id for members in sets for safekeeper_id in members.safekeeper_ids})
    members = await fleet.safekeepers_of_ids(tx, ids)
    return Kept(
        configuration=configuration,
        addresses={one.safekeeper_id: one.address for one in members},
        network_addresses={one.safekeeper_id: one.network_address for one in members if one.network_address},
        tenant_id=tenant_id,
        installation_id=await installation.id(tx),
        is_archived=await fleet.pageservers_exist(tx),
    )
