"""`/tenants/{tenant}/credentials`: read, rotate, and leave to a declaration. Here: HTTP. Not here: their rows (rows.py)."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.responses import Response

from spg99.control_plane.records import declarations
from spg99.control_plane.serving import answers, bodies, preconditions, rendering
from spg99.control_plane.serving.answers import Answer
from spg99.control_plane.serving.call import Call, Caller, is_name
from spg99.control_plane.serving.idempotency import once
from spg99.control_plane.serving.openapi import changes, creates, documented
from spg99.control_plane.store import Transaction
from spg99.control_plane.tenants import passwords, rows, verifiers, visible
from spg99.control_plane.tenants.passwords import PasswordPair
from spg99.control_plane.tenants.routes import shown
from spg99.control_plane.tenants.rows import TenantRow
from spg99.errors import Conflict, NotFound
from spg99.resources import CredentialsState, Permission, Secret, TenantCredentials, TenantCredentialsSpec, TenantState
from spg99.wire.scram import parse_verifier

router = APIRouter(prefix="/v2", tags=["tenants"])


class CredentialsAnswer(TenantCredentials):
    """What a PostgreSQL client needs, for every database of the tenant; and who manages it."""

    pg_password: Secret[str | None]
    """The same as `password`; kept for old clients."""


@router.get(
    "/tenants/{tenant}/credentials",
    **documented("tenant.read_credentials", 200, CredentialsAnswer, "User, password and DSN", declared=True, etag=True),
)
async def read(call: Caller, tenant: str) -> Response:
    """Reads what a PostgreSQL client needs, and who manages it. Keys that may not read credentials see the passwords as
    null and a DSN without one."""
    async with call.plane.store.reading() as tx:
        row = await visible.named(tx, call, tenant)
        if row.credentials_id is not None:
            await declarations.seen(tx, call.actor, row.credentials_id)
    return _answer(call, row).response()


@router.post(
    "/tenants/{tenant}/credentials/rotate",
    **documented(
        "tenant.rotate_credentials", 200, CredentialsAnswer, "The new credentials",
        body="Nothing", body_optional=True, errors=(403, 409), idempotent=True, etag=True,
    ),
)  # fmt: skip
async def rotate(call: Caller, tenant: str) -> Response:
    """Gives the tenant a new password. Databases keep running and live connections stay; the old password is refused."""
    call.need(Permission.CAN_CREATE_TENANT)
    body = await bodies.nothing(call.request)
    password = await asyncio.to_thread(passwords.new_password, await _salt(call, tenant))

    async def change(tx: Transaction) -> Answer:
        row = await _staying(tx, call, tenant)
        return _answer(call, await rows.rotate(tx, row, password, call.plane.box, call.actor))

    return await once(call, body, change)


@router.post(
    "/tenants/{tenant}/credentials",
    **documented(
        "credentials.create", 201, CredentialsAnswer, "The credentials, managed from now on",
        body=creates(TenantCredentials), errors=(403, 409), idempotent=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def create(call: Caller, tenant: str) -> Response:
    """Leaves the credentials of a tenant to a declaration. The password stays unless one is brought. 409 when they are
    managed already."""
    call.need(Permission.CAN_CREATE_TENANT)
    body = await bodies.json_object(call.request)
    spec = bodies.spec_of(TenantCredentials, body, {"tenant": tenant if is_name(tenant) else "_"})
    assert isinstance(spec, TenantCredentialsSpec)
    brought = await _brought(call, tenant, spec.pg_password)

    async def change(tx: Transaction) -> Answer:
        row = await _staying(tx, call, tenant)
        if row.credentials_id is not None:
            raise Conflict(
                f"The credentials of tenant '{row.name}' are managed already.",
                details={"tenant": row.name, "credentials_id": row.credentials_id},
            )
        row = await rows.manage_credentials(tx, row, spec.rotation_trigger, call.actor)
        if brought is not None:
            row = await rows.rotate_to(tx, row, brought, call.plane.box, call.actor)
        answer = _answer(call, row)
        return Answer(201, answer.body, answer.headers | {"Location": f"/v2/tenants/{row.name}/credentials"})

    # A plain digest of a request with a password in it would be easier to guess from than the verifier is.
    fingerprint = None if spec.pg_password is None else call.plane.box.fingerprint(spec.pg_password)
    return await once(call, body | {"pg_password": fingerprint}, change)


@router.patch(
    "/tenants/{tenant}/credentials",
    **documented(
        "credentials.update", 200, CredentialsAnswer, "The credentials",
        body=changes(TenantCredentials), errors=(403,), conditional=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def update(call: Caller, tenant: str) -> Response:
    """Changes managed credentials: another `rotation_trigger` makes a random password, a `pg_password` becomes it. The
    same values again change nothing. 404 when nobody manages them."""
    call.need(Permission.CAN_CREATE_TENANT)
    body = await bodies.json_object(call.request)
    spec, named = bodies.changes_of(TenantCredentials, body, {"tenant": tenant if is_name(tenant) else "_"})
    assert isinstance(spec, TenantCredentialsSpec)
    brought = await _brought(call, tenant, spec.pg_password)
    random = await asyncio.to_thread(passwords.new_password, await _salt(call, tenant))
    async with call.plane.store.transaction() as tx:
        row = await _managed(tx, call, tenant)
        preconditions.check(call.request.headers.get("if-match"), _etag(row))
        await rows.declare_credentials(tx, row, call.actor)
        is_triggered = "rotation_trigger" in named and spec.rotation_trigger != row.rotation_trigger
        if is_triggered:
            row = await rows.set_rotation_trigger(tx, row, spec.rotation_trigger, call.actor)
        if brought is not None:
            row = await rows.rotate_to(tx, row, brought, call.plane.box, call.actor)
        elif is_triggered and spec.rotation_trigger is not None:
            row = await rows.rotate(tx, row, random, call.plane.box, call.actor)
        answer = _answer(call, row)
    return answer.response()


@router.delete(
    "/tenants/{tenant}/credentials",
    **documented(
        "credentials.delete", 204, None, "Nobody manages the credentials any more", errors=(403,), conditional=True
    ),
)
async def delete(call: Caller, tenant: str, uid: preconditions.Uid = None) -> Response:
    """Ends the management of the credentials. The password stays and works on. 404 when nobody manages them."""
    call.need(Permission.CAN_CREATE_TENANT)
    async with call.plane.store.transaction() as tx:
        row = await _managed(tx, call, tenant)
        preconditions.check_uid(uid, str(row.credentials_id))
        preconditions.check(call.request.headers.get("if-match"), _etag(row))
        await rows.release_credentials(tx, row, call.actor)
    return Answer(204).response()


async def _brought(call: Call, tenant: str, password: str | None) -> PasswordPair | None:
    """A password that a user brings, checked and with its verifier."""
    if password is None:
        return None
    return await asyncio.to_thread(passwords.brought_password, password, await _salt(call, tenant))


async def _salt(call: Call, tenant: str) -> bytes | None:
    """The salt of the tenant's password as it is. None where there is none; what is wrong with it is said by whoever changes it."""
    try:
        async with call.plane.store.reading() as tx:
            row = await visible.named(tx, call, tenant)
            return parse_verifier((await verifiers.of_user(tx, row.pg_user)).scram_verifier).salt
    except NotFound:
        return None


async def _staying(tx: Transaction, call: Call, name: str) -> TenantRow:
    """The tenant, locked. Raises NotFound when it is on its way out."""
    row = await visible.named(tx, call, name, lock=True)
    if row.state == TenantState.DELETING:
        raise NotFound(f"Tenant '{row.name}' is being deleted.")
    return row


async def _managed(tx: Transaction, call: Call, name: str) -> TenantRow:
    row = await _staying(tx, call, name)
    if row.credentials_id is None:
        raise NotFound(f"Nobody manages the credentials of tenant '{row.name}'.")
    return row


def _answer(call: Call, row: TenantRow) -> Answer:
    tenant = shown(call, row)
    managed = row.credentials_id is not None
    values = {
        **vars(row),
        "tenant": row.name,
        "state": CredentialsState.MANAGED if managed else CredentialsState.UNMANAGED,
        "password": tenant["pg_password"],
        "pg_password": tenant["pg_password"],
        "dsn_template": tenant["dsn_template"],
        "rotated_at": row.rotated_at or row.created_at,
    }
    return answers.of_object(200, rendering.as_json(CredentialsAnswer, values), etag=_etag(row))


def _etag(row: TenantRow) -> str:
    return preconditions.etag(row.credentials_id or row.tenant_id, row.version)
