"""API keys: bearer tokens of the HTTP API, kept as hashes. Here: their rows. Not here: who may call what (serving/call.py)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from spg99.control_plane.records import audit, declarations, outbox
from spg99.control_plane.records.actors import SYSTEM, Actor
from spg99.control_plane.serving import rendering
from spg99.control_plane.store import Transaction, Window
from spg99.errors import Conflict
from spg99.ids import new_id, random_word
from spg99.processes import WatchedClock
from spg99.resources import ApiKey, ApiKeySpec, Permission, Scope

ADMINISTRATOR = frozenset({Permission.CAN_ADMIN_PLATFORM.value, Permission.CAN_MANAGE_KEYS.value})
"""Who has these (and scope global) can give everybody everything; the platform must never be without."""

GRACE_AFTER_A_STEP = timedelta(minutes=5)
"""For so long a step forward of the wall clock ends no key: time to see the warning and to put the clock right."""


@dataclass(frozen=True)
class KeyRow:
    """One API key."""

    key_id: str
    org_id: str | None
    tenant_id: str | None
    tenant: str | None
    name: str
    scope: str
    permissions: list[str]
    token_sha256: str = field(repr=False)
    previous_sha256: str | None = field(repr=False)
    previous_valid_until: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    version: int
    created_at: datetime
    last_used_at: datetime | None

    def accepts(self, token_sha256: str, now: datetime) -> bool:
        """Whether this token is valid now: the current one, or the previous one within its grace."""
        if self.revoked_at is not None or (self.expires_at is not None and self.expires_at <= now):
            return False
        if token_sha256 == self.token_sha256:
            return True
        return (
            token_sha256 == self.previous_sha256
            and self.previous_valid_until is not None
            and self.previous_valid_until > now
        )


def earliest_now(clock: WatchedClock) -> datetime:
    """The moment by which keys end. The wall clock is the truth of a date that somebody gave, but not just after it has stepped
    forward: then its time before the step goes on for `GRACE_AFTER_A_STEP`. Nothing is lost if that is wrong: a key that has
    ended opens again when the clock is put right."""
    return min(clock.now(), clock.unstepped(GRACE_AFTER_A_STEP))


def latest_now(clock: WatchedClock) -> datetime:
    """The moment by which others must still be there to be relied on: the later one of before and after a step."""
    return max(clock.now(), clock.unstepped(GRACE_AFTER_A_STEP))


def new_token() -> str:
    """A fresh bearer token (200 bits). The short first word tells keys apart in a list of secrets."""
    return f"spg99_key_{random_word(8)}_{random_word(40)}"


def sha256_of(token: str) -> str:
    """What the catalogue keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


async def create(
    tx: Transaction, org_id: str | None, tenant_id: str | None, spec: ApiKeySpec, token: str, actor: Actor
) -> KeyRow:
    """Makes a key that `token` opens."""
    key_id = new_id("key")
    await tx.execute(
        "insert_key",
        key_id=key_id,
        org_id=org_id,
        tenant_id=tenant_id,
        name=spec.name,
        scope=spec.scope.value,
        permissions=sorted({p.value for p in spec.permissions}),
        token_sha256=sha256_of(token),
        expires_at=spec.expires_at,
        created_by=actor.id,
    )
    row = await tx.one(KeyRow, "key_by_id", key_id=key_id)
    await audit.record(
        tx, actor, "key.create", key_id, org_id=org_id, name=row.name, scope=row.scope, permissions=row.permissions
    )
    await declare(tx, row, actor)
    await _publish(tx, "key.created", row)
    return row


async def by_token(tx: Transaction, token_sha256: str) -> KeyRow | None:
    """The key that this token, or this former token, belongs to."""
    return await tx.one_or_none(KeyRow, "key_by_token", token_sha256=token_sha256)


async def by_id(tx: Transaction, key_id: str) -> KeyRow | None:
    """One key that is not revoked."""
    return await tx.one_or_none(KeyRow, "key_by_id", key_id=key_id)


async def lock(tx: Transaction, key_id: str) -> KeyRow | None:
    """One key that is not revoked; nobody else changes it until this transaction ends."""
    await tx.execute("lock_key", key_id=key_id)
    return await by_id(tx, key_id)


async def page(
    tx: Transaction,
    org_id: str,
    window: Window,
    *,
    tenant_id: str | None = None,
    with_global: bool = False,
) -> list[KeyRow]:
    """Keys of an account (or only of one of its tenants) in name order; with those of scope global when asked."""
    return await tx.many(
        KeyRow,
        "page_of_keys",
        org_id=org_id,
        **window.parameters(),
        tenant_id=tenant_id,
        with_global=with_global,
    )


async def rename(tx: Transaction, row: KeyRow, name: str, actor: Actor) -> KeyRow:
    """Gives a key another name."""
    await tx.execute("rename_key", key_id=row.key_id, name=name)
    await audit.record(tx, actor, "key.rename", row.key_id, org_id=row.org_id, name=name)
    return await tx.one(KeyRow, "key_by_id", key_id=row.key_id)


async def rotate(
    tx: Transaction, row: KeyRow, token: str, actor: Actor, *, now: datetime, grace_seconds: int
) -> KeyRow:
    """Puts a new token in the old one's place; the old one stays valid for `grace_seconds`."""
    await tx.execute(
        "rotate_key",
        key_id=row.key_id,
        token_sha256=sha256_of(token),
        previous_valid_until=now + timedelta(seconds=grace_seconds),
    )
    await audit.record(
        tx, actor, "key.rotate", row.key_id, org_id=row.org_id, name=row.name, grace_seconds=grace_seconds
    )
    await _publish(tx, "key.rotated", row)
    await tx.notify("spg99_keys", row.key_id)
    return await tx.one(KeyRow, "key_by_id", key_id=row.key_id)


async def check_not_last_administrator(tx: Transaction, row: KeyRow, clock: WatchedClock) -> None:
    """Raises Conflict when nobody could administer the platform any more once this key is gone: neither now nor, because every
    other such key ends some day, for good. Holds off who decides about another such key until this transaction ends."""
    if row.scope != Scope.GLOBAL or not set(row.permissions) >= ADMINISTRATOR:
        return
    if not row.accepts(row.token_sha256, earliest_now(clock)):
        return
    await tx.value("hold_administrators")
    others = await tx.many(
        _Administrator,
        "other_administrators",
        key_id=row.key_id,
        permissions=sorted(ADMINISTRATOR),
        now=latest_now(clock),
    )
    if any(other.expires_at is None for other in others):
        return
    if others and row.expires_at is not None:
        return  # none of them is for good; who set them so knows
    needed = f"scope global, {' and '.join(sorted(ADMINISTRATOR))}, without an end"
    ends = f" The others end, the last of them ('{others[0].name}') at {others[0].expires_at}." if others else ""
    raise Conflict(
        f"API key '{row.name}' is the last that can administer this platform: without it nobody could, and nothing gives "
        f"another.{ends} Make a second one first ({needed}).",
        details={"key_id": row.key_id, "permissions": sorted(ADMINISTRATOR)},
    )


async def revoke(tx: Transaction, row: KeyRow, actor: Actor) -> None:
    """Ends a key at once."""
    await tx.execute("revoke_key", key_id=row.key_id)
    await declarations.forget(tx, row.key_id)
    await audit.record(tx, actor, "key.delete", row.key_id, org_id=row.org_id, name=row.name)
    await _publish(tx, "key.deleted", row)
    await tx.notify("spg99_keys", row.key_id)


async def ensure_admin(tx: Transaction, token: str, *, is_new: bool) -> str | None:
    """A key of scope global with every permission, called `admin`, that `token` opens; answers its id. A second call changes
    nothing and answers None; nor does a token that was not made just now (`is_new`) where the catalogue has ever had a key: what was
    rotated away, revoked or deleted never comes back."""
    key_id = new_id("key")
    made = await tx.execute(
        "ensure_key",
        key_id=key_id,
        name="admin",
        permissions=sorted(p.value for p in Permission),
        token_sha256=sha256_of(token),
        is_new=is_new,
    )
    if not made:
        return None
    await audit.record(tx, SYSTEM, "key.create", key_id, name="admin", scope="global")
    return key_id


async def revoke_of_tenant(tx: Transaction, tenant_id: str) -> None:
    """Ends the keys that are bound to a tenant, at once."""
    await tx.execute("revoke_keys_of_tenant", tenant_id=tenant_id)
    await tx.notify("spg99_keys")


async def remove_of_tenant(tx: Transaction, tenant_id: str) -> None:
    """Deletes the keys that were bound to a tenant that goes."""
    await tx.execute("delete_keys_of_tenant", tenant_id=tenant_id)


async def note_use(tx: Transaction, last_used: dict[str, datetime]) -> None:
    """Remembers, to the minute, when keys were last used."""
    ordered = sorted(last_used)  # one order for all Control Planes: no deadlock
    await tx.execute("note_key_use", key_ids=ordered, moments=[last_used[key_id] for key_id in ordered])


def as_json(row: KeyRow, *, token: str | None = None) -> dict[str, Any]:
    """An `ApiKey` as the API answers it; the token only where it was made in this call."""
    return rendering.as_json(ApiKey, {**vars(row), "token": token})


async def declare(tx: Transaction, row: KeyRow, actor: Actor) -> None:
    """Notes who declares a key, where the actor says."""
    await declarations.declared(
        tx, actor, "api_key", row.key_id, row.key_id, org_id=row.org_id, tenant_id=row.tenant_id
    )


@dataclass(frozen=True)
class _Administrator:
    key_id: str
    name: str
    expires_at: datetime | None


async def _publish(tx: Transaction, event_type: str, row: KeyRow) -> None:
    await outbox.publish(
        tx,
        event_type,
        subject=row.key_id,
        org_id=row.org_id,
        tenant_id=row.tenant_id,
        payload={"key_id": row.key_id, "name": row.name, "scope": row.scope},
    )
