"""Keeps the object store's descriptions of tenants and databases up to date, so that a lost catalogue can be made anew from there.

Here: one turn of the loop, which looks for what the store does not say yet. No change has to tell it, so none is forgotten. Not here: forms and keys
(storage/descriptions.py), recovery (recovery.py). A description is stale for a turn, or for as long as the store is away; /readyz says so then. What would be harmful when
it is stale is not left to it: terms are described in steps, and a recovered catalogue begins far above (recovery.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from spg99 import faults, log
from spg99.control_plane import fleet, identity, storage, tenants
from spg99.control_plane.records.secret_box import SecretBox
from spg99.control_plane.store import Store, Transaction
from spg99.errors import NotFound
from spg99.protocol.safekeeper import Configuration

TURN_SECONDS: Final = 5.0
AT_ONCE: Final = 100
TERMS_DESCRIBED_AT_ONCE: Final = 1000
"""A term is described when this many have begun since: not one more request for each wake."""

_log = log.get("storage")


@dataclass(frozen=True)
class _Tenant:
    tenant_id: str
    description_tag: str | None
    revision: str


@dataclass(frozen=True)
class _Database:
    db_id: str
    tenant_id: str
    name: str
    size: str
    min_size: str | None
    max_size: str | None
    idle_timeout_seconds: int
    storage_limit_bytes: int | None
    history_seconds: int | None
    deletion_protection: bool
    on_delete: str
    source_database: str | None
    source_time: datetime | None
    source_lsn: str | None
    source_snapshot: str | None
    schema_only: bool
    branch_lsn: int | None
    restore_trigger: str | None
    restore_to: str | None
    expires_at: datetime | None
    undelete_until: datetime | None
    database_name: str | None
    begins_in_another: bool
    state: str
    writer_term: int
    version: int
    created_at: datetime
    timeline_id: str
    timeline_state: str
    configuration: dict[str, Any]
    node_id: str | None
    node_name: str | None
    description_tag: str | None
    revision: str


class Describer:
    """Describes what is not described yet."""

    def __init__(
        self, store: Store, box: SecretBox, access: storage.StoreAccess, installation: storage.Installation
    ) -> None:
        self._store, self._box, self._access, self._installation = store, box, access, installation
        self._has_said = False

    async def turn(self) -> float:
        """One look; raises what the store raises, and everything that is not described yet is looked at again."""
        async with self._store.reading() as tx:
            due_tenants = await tx.many(_Tenant, "tenants_to_describe", limit=AT_ONCE)
            due = await tx.many(
                _Database, "databases_to_describe", limit=AT_ONCE, terms_at_once=TERMS_DESCRIBED_AT_ONCE
            )
            gone = await storage.descriptions_to_remove(tx)
            if not due_tenants and not due and not gone:
                return TURN_SECONDS
            installation_id = await self._installation.id(tx)
        opened = await self._access.opened(installation_id)
        if opened is None:
            if not self._has_said:
                self._has_said = True
                _log.warning(
                    "this Control Plane knows no object store: a lost catalogue could not be made anew from there"
                )
            return TURN_SECONDS
        for one in due_tenants:
            await self._describe_tenant(opened, one)
        for database in due:
            await self._describe_database(opened, database)
        for row in gone:
            await opened.objects.delete(row.description_key)
            async with self._store.transaction() as tx:
                await storage.note_description_removed(tx, row.timeline_id)
        return 0.0 if AT_ONCE in (len(due_tenants), len(due), len(gone)) else TURN_SECONDS

    async def _describe_tenant(self, opened: storage.Opened, due: _Tenant) -> None:
        async with self._store.reading() as tx:
            row = await tenants.tenant_by_id(tx, due.tenant_id)
            if row is None:
                return
            verifier = await tenants.verifier_of(tx, row.tenant_id)
            organization = await identity.find_organization(tx, row.org_id)
        assert organization is not None, "a foreign key of the catalogue"
        try:
            key = await opened.keys.get(row.tenant_id)
        except NotFound:
            return  # nothing was stored of it yet: whoever does that makes its key
        described = storage.descriptions.TenantDescribed(
            version=row.version,
            tenant_id=row.tenant_id,
            name=row.name,
            project=row.project,
            pg_user=row.pg_user,
            password=tenants.password_of(row, self._box),
            scram_verifier=verifier,
            credential_version=row.credential_version,
            credentials_id=row.credentials_id,
            rotation_trigger=row.rotation_trigger,
            rotated_at=row.rotated_at,
            created_at=row.created_at,
            organization=storage.descriptions.OrganizationDescribed.model_validate(vars(organization)),
        )
        object_key = storage.descriptions.key_of_tenant(row.tenant_id)
        tag = await storage.descriptions.write(opened.objects, key, object_key, described, due.description_tag)
        faults.point("storage.describe.before_note")
        async with self._store.transaction() as tx:
            # As of the row that was read: a change since is another revision, and looked at again.
            await storage.note_tenant_described(tx, row.tenant_id, str(row.version), tag)

    async def _describe_database(self, opened: storage.Opened, due: _Database) -> None:
        try:
            key = await opened.keys.get(due.tenant_id)
        except NotFound:
            return
        configuration = Configuration.model_validate(due.configuration)
        async with self._store.reading() as tx:
            names = await _names_of(tx, configuration)
        described = storage.descriptions.DatabaseDescribed.model_validate(
            {
                **vars(due),
                "is_deleting": due.state in ("deleting", "deleted"),
                # While its data go it has no way back any more.
                "undelete_until": due.undelete_until if due.state == "deleted" else None,
                "has_started": due.timeline_state == "present",
                "safekeepers": names,
            }
        )
        object_key = storage.descriptions.key_of_timeline(due.tenant_id, due.timeline_id)
        tag = await storage.descriptions.write(opened.objects, key, object_key, described, due.description_tag)
        faults.point("storage.describe.before_note")
        async with self._store.transaction() as tx:
            await storage.note_timeline_described(tx, due.timeline_id, due.revision, object_key, tag)


async def _names_of(tx: Transaction, configuration: Configuration) -> dict[str, str]:
    ids = set(configuration.members.safekeeper_ids)
    if configuration.next_members is not None:
        ids |= set(configuration.next_members.safekeeper_ids)
    return await fleet.safekeeper_names(tx, sorted(ids))
