"""The history of databases in the object store: which timelines a pageserver cares for, and what it says of them. Here: rows and messages.
Not here: who speaks (fleet/), what a pageserver does (spg99/pageserver)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spg99.control_plane import fleet, storage
from spg99.control_plane.databases import verifications
from spg99.control_plane.records.policy_cache import PolicyCache
from spg99.control_plane.store import Transaction
from spg99.protocol.pageserver import PageserverAnswer, PageserverHeartbeat, Pin, TimelineToKeep
from spg99.protocol.safekeeper import Configuration
from spg99.protocol.tasks import Kept


@dataclass(frozen=True)
class _Database:
    """Whose timeline it is."""

    timeline_id: str
    org_id: str
    history_seconds: int | None


async def heartbeat(
    tx: Transaction,
    pageserver: fleet.PageserverRow,
    beat: PageserverHeartbeat,
    now: datetime,
    policies: PolicyCache,
    installation: storage.Installation,
) -> PageserverAnswer:
    """Notes what a pageserver says, and answers what it is to care for."""
    installation_id = await installation.id(tx)
    if not await fleet.note_pageserver_seen(tx, pageserver.pageserver_id, now):
        return PageserverAnswer(installation_id=installation_id)
    for history in beat.histories:
        await tx.execute(
            "note_history_of_database",
            timeline_id=history.timeline_id,
            last_verified_at=history.last_verified_at,
            begins_at=history.recoverable_from,
            has_failed=history.problem is not None,
            now=now,
        )
        await storage.note_history(tx, history.timeline_id, history.model_dump(mode="json"), is_swept=history.is_swept)
    for verified in beat.verified:
        await verifications.note(tx, verified)
    lines = await storage.kept_timelines(tx)
    rows = await tx.many(
        _Database, "databases_of_timelines", timeline_ids=[line.timeline_id for line in lines], now=now
    )
    databases = {row.timeline_id: row for row in rows}
    configurations = {line.timeline_id: Configuration.model_validate(line.configuration) for line in lines}
    ids = {one for configuration in configurations.values() for one in _members(configuration)}
    keepers = await fleet.safekeepers_of_ids(tx, sorted(ids))
    pins = await storage.pins_of_timelines(tx, [line.timeline_id for line in lines], now)
    timelines = []
    for line in lines:
        configuration = configurations[line.timeline_id]
        members = _members(configuration)
        kept = Kept(
            configuration=configuration,
            addresses={one.safekeeper_id: one.address for one in keepers if one.safekeeper_id in members},
            network_addresses={
                one.safekeeper_id: one.network_address
                for one in keepers
                if one.safekeeper_id in members and one.network_address
            },
            tenant_id=line.tenant_id,
            installation_id=installation_id,
            is_archived=True,
        )
        database = databases.get(line.timeline_id)
        org_id = database.org_id if database is not None else None
        seconds = database.history_seconds if database is not None else None
        if seconds is None:
            seconds = await policies.value(tx, "storage.history_seconds", org_id=org_id)
        timelines.append(
            TimelineToKeep(
                timeline_id=line.timeline_id,
                kept=kept,
                is_gone=line.is_gone,
                history_seconds=seconds,
                pins=[Pin(lsn=pin.lsn, at=pin.at) for pin in pins.get(line.timeline_id, ())],
                image_wal_bytes=await policies.value(tx, "storage.image_wal_bytes", org_id=org_id),
            )
        )
    verify = await verifications.wanted(tx)
    return PageserverAnswer(installation_id=installation_id, is_active=True, timelines=timelines, verify=verify)


def _members(configuration: Configuration) -> set[str]:
    more = configuration.next_members.safekeeper_ids if configuration.next_members is not None else []
    return {*configuration.members.safekeeper_ids, *more}
