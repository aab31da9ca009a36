"""Tenants: one PostgreSQL user and the databases it owns. Here: their rows, credentials, end. Not here: their databases."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from spg99.control_plane import identity, storage
from spg99.control_plane.records import audit, declarations, operations, outbox
from spg99.control_plane.records.actors import SYSTEM, Actor
from spg99.control_plane.records.secret_box import SecretBox
from spg99.control_plane.serving import rendering
from spg99.control_plane.storage import TenantDescribed
from spg99.control_plane.store import Deferred, Store, Transaction, Window
from spg99.control_plane.tenants import projects
from spg99.control_plane.tenants.passwords import PasswordPair, dsn
from spg99.errors import Conflict
from spg99.ids import new_id, random_word
from spg99.resources import Tenant, TenantSpec, TenantState


@dataclass(frozen=True)
class TenantRow:
    """One tenant."""

    tenant_id: str
    org_id: str
    project: str
    name: str
    pg_user: str
    password_encrypted: bytes = field(repr=False)
    credential_version: int
    credentials_id: str | None
    rotation_trigger: str | None
    rotated_at: datetime | None
    state: str
    version: int
    created_at: datetime
    updated_at: datetime


async def create(
    tx: Transaction,
    org_id: str,
    spec: TenantSpec,
    password: PasswordPair,
    box: SecretBox,
    actor: Actor,
    *,
    project: Deferred | None = None,
    moment: Deferred | None = None,
) -> TenantRow:
    """Makes a tenant with its credentials; `project` (projects.py) and `moment` (the catalogue's) where they were asked for already.
    The next statement, or the commit, raises Conflict when the account has a tenant of this name."""
    tenant_id = new_id("ten")
    project_id = await projects.named(tx, org_id, spec.project, actor, asked=project)
    created_at = await (moment or await tx.moment()).value()
    row = TenantRow(
        tenant_id=tenant_id,
        org_id=org_id,
        project=spec.project,
        name=spec.name,
        pg_user=f"tnt_{random_word(16)}",
        password_encrypted=box.encrypt(password.password.encode(), tenant_id),
        credential_version=1,
        credentials_id=None,
        rotation_trigger=None,
        rotated_at=None,
        state=TenantState.ACTIVE.value,
        version=1,
        created_at=created_at,
        updated_at=created_at,
    )
    tx.refuse("tenants_name", Conflict(f"A tenant called '{spec.name}' exists already.", details={"tenant": spec.name}))
    await tx.defer("insert_tenant", **vars(row), project_id=project_id, scram_verifier=password.scram_verifier)
    await audit.record(tx, actor, "tenant.create", tenant_id, org_id=org_id, name=spec.name, project=spec.project)
    await declare(tx, row, actor)
    await _publish(tx, "tenant.created", row)
    return row


async def restore(tx: Transaction, described: TenantDescribed, box: SecretBox) -> None:
    """Writes a tenant as the object store describes it, into a catalogue that was lost: with its id, its user and its password, so that its DSN goes on
    working. Its account is there."""
    project_id = await projects.named(tx, described.organization.org_id, described.project, SYSTEM)
    await tx.execute(
        "restore_tenant",
        **described.model_dump(exclude={"format", "project", "password", "organization"}),
        org_id=described.organization.org_id,
        project_id=project_id,
        password_encrypted=box.encrypt(described.password.encode(), described.tenant_id),
    )


async def are_there(tx: Transaction) -> bool:
    """Whether the catalogue holds any tenant, also one on its way out."""
    return await tx.value("any_tenant") is not None


async def verifier_of(tx: Transaction, tenant_id: str) -> str:
    """By what a Gateway checks the tenant's password."""
    return str(await tx.value("verifier_of_tenant", tenant_id=tenant_id))


async def find(tx: Transaction, org_id: str, name: str) -> TenantRow | None:
    """The tenant of this name: the one in use, else the one on its way out."""
    return await tx.one_or_none(TenantRow, "tenant_by_name", org_id=org_id, name=name)


async def ask_held(tx: Transaction, org_id: str, name: str) -> Deferred:
    """As `find`, asked with the next statement; it stays as it is until this transaction ends."""
    return await tx.defer("hold_tenant_by_name", org_id=org_id, name=name)


async def by_id(tx: Transaction, tenant_id: str) -> TenantRow | None:
    """One tenant."""
    return await tx.one_or_none(TenantRow, "tenant_by_id", tenant_id=tenant_id)


async def lock(tx: Transaction, tenant_id: str) -> TenantRow | None:
    """One tenant; nobody else changes it until this transaction ends."""
    await tx.execute("lock_tenant", tenant_id=tenant_id)
    return await by_id(tx, tenant_id)


async def page(
    tx: Transaction,
    org_id: str,
    window: Window,
    *,
    state: str | None = None,
    only_tenant_id: str | None = None,
) -> list[TenantRow]:
    """Tenants of an account in name order, after the given (name, tenant_id)."""
    return await tx.many(
        TenantRow,
        "page_of_tenants",
        org_id=org_id,
        **window.parameters(),
        state=state,
        only_tenant_id=only_tenant_id,
    )


async def count(tx: Transaction, org_id: str) -> int:
    """How many tenants an account has."""
    return int(await tx.value("count_tenants", org_id=org_id))


async def rotate(tx: Transaction, row: TenantRow, password: PasswordPair, box: SecretBox, actor: Actor) -> TenantRow:
    """Puts a new password in the old one's place; gateways learn of it by the event."""
    await tx.execute(
        "rotate_tenant_credentials",
        tenant_id=row.tenant_id,
        password_encrypted=box.encrypt(password.password.encode(), row.tenant_id),
        scram_verifier=password.scram_verifier,
    )
    fresh = await tx.one(TenantRow, "tenant_by_id", tenant_id=row.tenant_id)
    await audit.record(tx, actor, "tenant.rotate_credentials", row.tenant_id, org_id=row.org_id, name=row.name)
    await _publish(tx, "tenant.credentials_rotated", fresh, credential_version=fresh.credential_version)
    await _publish_credentials(tx, "credentials.updated", fresh)
    return fresh


async def rotate_to(tx: Transaction, row: TenantRow, password: PasswordPair, box: SecretBox, actor: Actor) -> TenantRow:
    """As `rotate`, unless the tenant has this password already: then nothing changes."""
    if hmac.compare_digest(password_of(row, box).encode(), password.password.encode()):
        return row
    return await rotate(tx, row, password, box, actor)


async def manage_credentials(tx: Transaction, row: TenantRow, trigger: str | None, actor: Actor) -> TenantRow:
    """Leaves the credentials to a declaration, which gets an id of its own. They must be unmanaged."""
    row = await _manage(tx, row, new_id("crd"), trigger, actor, "create")
    await declare_credentials(tx, row, actor)
    return row


async def set_rotation_trigger(tx: Transaction, row: TenantRow, trigger: str | None, actor: Actor) -> TenantRow:
    """Notes the trigger that a declaration names; what follows from it is the caller's."""
    return await _manage(tx, row, row.credentials_id, trigger, actor, "update")


async def release_credentials(tx: Transaction, row: TenantRow, actor: Actor) -> TenantRow:
    """Ends the management; the password stays."""
    await declarations.forget(tx, str(row.credentials_id))
    return await _manage(tx, row, None, None, actor, "delete")


async def _manage(
    tx: Transaction, row: TenantRow, credentials_id: str | None, trigger: str | None, actor: Actor, verb: str
) -> TenantRow:
    await tx.execute(
        "manage_tenant_credentials",
        tenant_id=row.tenant_id,
        credentials_id=credentials_id,
        rotation_trigger=trigger,
    )
    fresh = await tx.one(TenantRow, "tenant_by_id", tenant_id=row.tenant_id)
    subject = credentials_id or row.credentials_id
    await audit.record(tx, actor, f"credentials.{verb}", subject, org_id=row.org_id, tenant=row.name)
    await _publish_credentials(tx, f"credentials.{verb}d", fresh, subject)
    return fresh


async def begin_delete(tx: Transaction, row: TenantRow, actor: Actor, *, cascade: bool) -> str:
    """Marks a tenant for removal and revokes its keys; answers the operation. Its databases are the caller's to delete."""
    if row.state == "deleting":
        under_way = await operations.running(tx, "tenant.delete", tenant_id=row.tenant_id)
        if under_way is not None:
            return under_way.op_id
    op_id = await operations.start(tx, "tenant.delete", org_id=row.org_id, tenant_id=row.tenant_id, db_id=None)
    await tx.execute("mark_tenant_deleting", tenant_id=row.tenant_id)
    await identity.revoke_keys_of_tenant(tx, row.tenant_id)
    await declarations.forget_of_tenant(tx, row.tenant_id)
    await audit.record(tx, actor, "tenant.delete", row.tenant_id, org_id=row.org_id, name=row.name, cascade=cascade)
    await _publish(tx, "tenant.deleting", row)
    await tx.notify("spg99_tenant", row.tenant_id)
    return op_id


async def remove_ended(store: Store) -> int:
    """Removes tenants on their way out whose last database is gone; answers how many."""
    async with store.transaction() as tx:
        rows = await tx.many(TenantRow, "ended_tenants", limit=100)
        for row in rows:
            await identity.remove_keys_of_tenant(tx, row.tenant_id)
            await declarations.forget_of_tenant(
                tx, row.tenant_id
            )  # of a key that was made in the moment of the deletion
            await tx.execute("delete_tenant", tenant_id=row.tenant_id)
            await storage.shred_tenant(tx, row.tenant_id)
            await operations.finish_tenant(tx, row.tenant_id, ("tenant.delete",))
            await audit.record(tx, SYSTEM, "tenant.removed", row.tenant_id, org_id=row.org_id, name=row.name)
            await _publish(tx, "tenant.deleted", row)
        return len(rows)


def password_of(row: TenantRow, box: SecretBox) -> str:
    """The tenant's password. Only for callers who may read credentials."""
    return box.decrypt(row.password_encrypted, row.tenant_id).decode()


def as_json(row: TenantRow, *, password: str | None, gateway_host: str, gateway_port: int) -> dict[str, Any]:
    """A `Tenant` as the API answers it; `password` None hides it everywhere."""
    return rendering.as_json(
        Tenant,
        {
            **vars(row),
            "pg_password": password,
            "dsn_template": dsn(
                host=gateway_host, port=gateway_port, pg_user=row.pg_user, password=password, database=None
            ),
        },
    )


async def declare(tx: Transaction, row: TenantRow, actor: Actor) -> None:
    """Notes who declares a tenant, where the actor says."""
    await declarations.declared(
        tx, actor, "tenant", row.tenant_id, row.name, org_id=row.org_id, tenant_id=row.tenant_id
    )


async def declare_credentials(tx: Transaction, row: TenantRow, actor: Actor) -> None:
    """Notes who declares managed credentials, where the actor says."""
    uid = str(row.credentials_id)
    await declarations.declared(
        tx, actor, "tenant_credentials", uid, row.name, org_id=row.org_id, tenant_id=row.tenant_id
    )


async def publish_slowed_login(tx: Transaction, pg_user: str, client_addr: str) -> None:
    """Tells a tenant's owner that somebody guesses its password, or has an old one. A user that is nobody's is no news."""
    row = await tx.one_or_none(TenantRow, "tenant_of_user", pg_user=pg_user)
    if row is not None:
        await _publish(tx, "tenant.logins_slowed", row, pg_user=pg_user, client_addr=client_addr)


async def _publish(tx: Transaction, event_type: str, row: TenantRow, **more: int | str) -> None:
    await outbox.publish(
        tx,
        event_type,
        subject=row.tenant_id,
        org_id=row.org_id,
        tenant_id=row.tenant_id,
        payload={"tenant_id": row.tenant_id, "tenant": row.name, **more},
    )


async def _publish_credentials(tx: Transaction, event_type: str, row: TenantRow, subject: str | None = None) -> None:
    """Tells those who follow managed credentials; says nothing while nobody manages them."""
    subject = subject or row.credentials_id
    if subject is not None:
        await outbox.publish(
            tx,
            event_type,
            subject=subject,
            org_id=row.org_id,
            tenant_id=row.tenant_id,
            payload={"tenant_id": row.tenant_id, "tenant": row.name, "credential_version": row.credential_version},
        )
