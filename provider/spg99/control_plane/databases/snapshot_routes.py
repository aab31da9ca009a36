"""`/tenants/{tenant}/snapshots`: kept moments of databases. Here: HTTP. Not here: their rows (snapshots.py), finding a moment (moments.py)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from spg99.control_plane import tenants
from spg99.control_plane.databases import moments, snapshots, verifications
from spg99.control_plane.databases.snapshots import SnapshotRow
from spg99.control_plane.records import declarations
from spg99.control_plane.serving import answers, bodies, pages, preconditions
from spg99.control_plane.serving.answers import Answer
from spg99.control_plane.serving.call import Call, Caller, is_name
from spg99.control_plane.serving.idempotency import once
from spg99.control_plane.serving.openapi import changes, creates, documented
from spg99.control_plane.store import Transaction
from spg99.errors import NotFound, Spg99Error
from spg99.patterns import NAME_PATTERN
from spg99.resources import Page, Permission, Snapshot, SnapshotSpec, TenantState

router = APIRouter(prefix="/v2", tags=["snapshots"])


@router.post(
    "/tenants/{tenant}/snapshots",
    **documented(
        "snapshot.create", 201, Snapshot, "The snapshot",
        body=creates(Snapshot), errors=(403, 409), idempotent=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def create(call: Caller, tenant: str) -> Response:
    """Keeps a moment of a database, of now or of its past, for as long as the snapshot is there. Needs safekeepers."""
    call.need(Permission.CAN_CREATE_DB)
    body = await bodies.json_object(call.request)
    spec = bodies.spec_of(Snapshot, body, {"tenant": tenant if is_name(tenant) else "_"})
    assert isinstance(spec, SnapshotSpec)
    now = call.plane.clock.now()
    found = await moments.of_snapshot(call, tenant, spec)

    async def change(tx: Transaction) -> Answer:
        owner = await tenants.visible_tenant(tx, call, tenant)
        if owner.state != TenantState.ACTIVE:
            raise NotFound(f"Tenant '{owner.name}' does not exist or is being deleted.")
        if isinstance(found, Spg99Error):
            raise found
        row = await snapshots.create(tx, owner, spec, *found, call.actor, now=now)
        answer = _answer(row, 201)
        return Answer(201, answer.body, answer.headers | {"Location": f"/v2/tenants/{owner.name}/snapshots/{row.name}"})

    return await once(call, body, change)


@router.get(
    "/tenants/{tenant}/snapshots",
    **documented("snapshot.list", 200, Page[Snapshot], "A page of snapshots, ordered by name"),
)
async def list_all(
    call: Caller,
    page: pages.Page,
    tenant: str,
    database: Annotated[
        str | None, Query(pattern=NAME_PATTERN, description="Only snapshots of the database of this name.")
    ] = None,
    schedule: Annotated[
        str | None, Query(pattern=NAME_PATTERN, description="Only snapshots that the schedule of this name has made.")
    ] = None,
    name_prefix: pages.NamePrefix = None,
) -> Response:
    """Lists the snapshots of a tenant."""
    list_id = pages.list_id(call, database=database, schedule=schedule, name_prefix=name_prefix)
    async with call.plane.store.reading() as tx:
        owner = await tenants.visible_tenant(tx, call, tenant)
        found = await snapshots.page(
            tx, owner.tenant_id, page.window(list_id, name_prefix), database=database, schedule=schedule
        )
    return pages.answer(
        found, page, list_id, key=lambda row: (row.name, row.snapshot_id), item=snapshots.as_json
    ).response()


@router.get(
    "/tenants/{tenant}/snapshots/{snapshot}",
    **documented("snapshot.read", 200, Snapshot, "The snapshot", declared=True, etag=True),
)
async def read(call: Caller, tenant: str, snapshot: str) -> Response:
    """Reads a snapshot."""
    async with call.plane.store.reading() as tx:
        row = await _find(tx, call, tenant, snapshot)
        await declarations.seen(tx, call.actor, row.snapshot_id)
    return _answer(row, 200).response()


@router.patch(
    "/tenants/{tenant}/snapshots/{snapshot}",
    **documented(
        "snapshot.update", 200, Snapshot, "The snapshot",
        body=changes(Snapshot), errors=(403,), conditional=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def update(call: Caller, tenant: str, snapshot: str) -> Response:
    """Changes when a snapshot is deleted by itself."""
    call.need(Permission.CAN_CREATE_DB)
    body = await bodies.json_object(call.request)
    async with call.plane.store.transaction() as tx:
        row = await _find(tx, call, tenant, snapshot)
        _, named = bodies.changes_of(Snapshot, body, {name: getattr(row, name) for name in Snapshot.inputs()})
        preconditions.check(call.request.headers.get("if-match"), _etag(row))
        row = await snapshots.change(tx, row, named.get("expires_at", row.expires_at), call.actor)
        answer = _answer(row, 200)
    return answer.response()


@router.post(
    "/tenants/{tenant}/snapshots/{snapshot}/verify",
    **documented("snapshot.verify", 200, Snapshot, "The snapshot", errors=(403, 409), idempotent=True, etag=True),
)
async def verify(call: Caller, tenant: str, snapshot: str) -> Response:
    """Has a snapshot verified when there is time: laid out as for a restore, its WAL replayed, all pages read. `last_verified_at` and `last_error` say
    what came of it."""
    call.need(Permission.CAN_CREATE_DB)
    body = await bodies.nothing(call.request)

    async def change(tx: Transaction) -> Answer:
        row = await _find(tx, call, tenant, snapshot)
        return _answer(await verifications.ask(tx, row, call.actor, now=call.plane.clock.now()), 200)

    return await once(call, body, change)


@router.delete(
    "/tenants/{tenant}/snapshots/{snapshot}",
    **documented("snapshot.delete", 204, None, "The snapshot is gone", errors=(403,), conditional=True),
)
async def delete(call: Caller, tenant: str, snapshot: str, uid: preconditions.Uid = None) -> Response:
    """Deletes a snapshot: its moment is kept no longer than others."""
    call.need(Permission.CAN_DELETE)
    async with call.plane.store.transaction() as tx:
        row = await _find(tx, call, tenant, snapshot)
        preconditions.check_uid(uid, row.snapshot_id)
        preconditions.check(call.request.headers.get("if-match"), _etag(row))
        await snapshots.delete(tx, row, call.actor)
    return Answer(204).response()


async def _find(tx: Transaction, call: Call, tenant: str, name: str) -> SnapshotRow:
    owner = await tenants.visible_tenant(tx, call, tenant)
    row = await snapshots.find(tx, owner.tenant_id, name) if is_name(name) else None
    if row is None:
        raise NotFound(f"Tenant '{owner.name}' has no snapshot '{name[:100]}'.")
    return row


def _answer(row: SnapshotRow, status: int) -> Answer:
    return answers.of_object(status, snapshots.as_json(row), etag=_etag(row))


def _etag(row: SnapshotRow) -> str:
    return preconditions.etag(row.snapshot_id, row.version)
