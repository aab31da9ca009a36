"""A lost catalogue made anew from what the object store says of tenants and databases. Here: from the store into an empty catalogue, all or nothing. Not here: what
the store says (storage/descriptions.py), safekeepers and nodes, which come back by themselves when they enrol again.

Back come: accounts, tenants with their credentials (their DSNs go on working), databases that have safekeepers, with their settings. Not: API keys, databases without
safekeepers (their node alone had them), policies, events, operations, the audit log.

Terms: a description says a term of some time ago, and safekeepers have promised higher ones since. A recovered database begins `TERM_STEP` above all that is known of it in the
store, and is raised above what a safekeeper reports (`raise_writer_terms`), so no start of it is below a promise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from spg99.control_plane.databases import rows as databases
from spg99.control_plane.fleet import nodes, safekeepers
from spg99.control_plane.identity import organizations
from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.records.secret_box import SecretBox
from spg99.control_plane.storage import descriptions, installation, stored_tenants, timelines
from spg99.control_plane.storage.descriptions import DatabaseDescribed, TenantDescribed
from spg99.control_plane.store import Store, Transaction
from spg99.control_plane.tenants import rows as tenants
from spg99.errors import BadRequest, Conflict, NotFound
from spg99.images import TenantKeys, latest_image
from spg99.objects import ObjectStore, installation_of

TERM_STEP: Final = 1 << 20
"""More starts than there are between two descriptions of a term, also when the store was away for long."""


@dataclass(frozen=True)
class _Found:
    database: DatabaseDescribed
    writer_term: int
    """The highest that the store knows."""
    has_begun: bool
    """There may be commits: no client is let in before the first image is stored."""


@dataclass
class Contents:
    """What a store says of an installation."""

    installation_id: str
    tenants: list[TenantDescribed] = field(default_factory=list)
    databases: list[_Found] = field(default_factory=list)
    destroyed: list[str] = field(default_factory=list)
    """Tenants whose key was destroyed: what is left of them is removed."""
    left_out: list[str] = field(default_factory=list)
    """Sentences."""


async def read_store(objects: ObjectStore, keys: TenantKeys) -> Contents:
    """Everything that is described. Raises BadRequest when the store is nobody's, Forbidden with the id of the master key that is wanted, Damaged."""
    if (installation_id := await installation_of(objects)) is None:
        raise BadRequest("The object store belongs to no installation: there is nothing to recover from it.")
    found = Contents(installation_id)
    keyless: set[str] = set()
    async for tenant_id, object_key in descriptions.all_keys(objects):
        try:
            key = await keys.get(tenant_id)
        except NotFound:
            if tenant_id not in keyless:
                keyless.add(tenant_id)
                if await keys.was_destroyed(tenant_id):
                    found.destroyed.append(tenant_id)
                else:
                    found.left_out.append(
                        f"Tenant {tenant_id} is left out: the object store has no key of it, and no note that it was destroyed. Nothing of it is "
                        "removed; put its key.json back and recover again into an empty catalogue."
                    )
            continue
        if object_key == descriptions.key_of_tenant(tenant_id):
            found.tenants.append(await descriptions.read(objects, key, object_key, TenantDescribed))
            continue
        database = await descriptions.read(objects, key, object_key, DatabaseDescribed)
        term = await _term_of_images(objects, database)
        has_begun = database.has_started or term is not None
        found.databases.append(_Found(database, max(database.writer_term, term or 0), has_begun))
    known = {tenant.tenant_id for tenant in found.tenants}
    for one in list(found.databases):
        if (why := _why_not(one, known)) is not None:
            found.databases.remove(one)
            found.left_out.append(f"Database {one.database.db_id} ('{one.database.name}') is left out: {why}.")
    return found


def _why_not(found: _Found, tenant_ids: set[str]) -> str | None:
    if found.database.is_deleting and found.database.undelete_until is None:
        return "it was being deleted"
    if found.database.tenant_id not in tenant_ids:
        return "its tenant is not described"
    if found.database.begins_in_another and not found.has_begun:
        return "it was to begin in another database, and was never started"
    if found.has_begun and found.database.node_id is None:
        return "it has begun, and no node is named where"
    return None


async def _term_of_images(objects: ObjectStore, database: DatabaseDescribed) -> int | None:
    latest = await latest_image(objects, database.tenant_id, database.timeline_id)
    return None if latest is None else int(latest.rpartition("/")[2].partition("-")[0], 16)


async def recover(store: Store, contents: Contents, box: SecretBox) -> None:
    """Writes it into a catalogue that holds no tenant, in one transaction. Raises Conflict when it holds one: then nothing was changed."""
    async with store.transaction() as tx:
        if await tenants.are_there(tx):
            raise Conflict("The catalogue holds tenants. Only an empty one can be recovered; nothing was changed.")
        await installation.take(tx, contents.installation_id)
        for tenant in contents.tenants:
            await organizations.restore(tx, **tenant.organization.model_dump())
            await _restore_tenant(tx, tenant, box)
        for tenant_id in contents.destroyed:
            await stored_tenants.restore(tx, tenant_id, is_destroyed=True)
        now = await (await tx.moment()).value()
        for found in contents.databases:
            await _restore_database(tx, found, now)
        await audit.record(tx, SYSTEM, "catalogue.recover", contents.installation_id)


async def _restore_tenant(tx: Transaction, tenant: TenantDescribed, box: SecretBox) -> None:
    await tenants.restore(tx, tenant, box)
    await stored_tenants.restore(tx, tenant.tenant_id, is_destroyed=False)


async def _restore_database(tx: Transaction, found: _Found, now: datetime) -> None:
    database = found.database
    node_id = None
    if database.node_id is not None and database.node_name is not None:
        node_id = await nodes.restore(tx, database.node_id, database.node_name)
    for safekeeper_id, name in database.safekeepers.items():
        await safekeepers.restore(tx, safekeeper_id, name)
    await timelines.restore(
        tx,
        database.timeline_id,
        db_id=database.db_id,
        tenant_id=database.tenant_id,
        node_id=node_id,
        # What has begun is never laid down empty again: that would take the WAL away that safekeepers have.
        state="present" if found.has_begun else "creating",
        configuration=database.configuration,
    )
    await databases.restore(tx, database, writer_term=found.writer_term + TERM_STEP, now=now)
