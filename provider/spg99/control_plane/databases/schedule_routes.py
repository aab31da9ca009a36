"""`/tenants/{tenant}/schedules`: snapshots that are made by themselves. Here: HTTP. Not here: their rows (snapshot_schedules.py), making the snapshots
(scheduled_snapshots.py)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from spg99.control_plane import tenants
from spg99.control_plane.databases import snapshot_schedules
from spg99.control_plane.databases.snapshot_schedules import ScheduleRow
from spg99.control_plane.records import declarations
from spg99.control_plane.serving import answers, bodies, pages, preconditions
from spg99.control_plane.serving.answers import Answer
from spg99.control_plane.serving.call import Call, Caller, is_name
from spg99.control_plane.serving.idempotency import once
from spg99.control_plane.serving.openapi import changes, creates, documented
from spg99.control_plane.store import Transaction
from spg99.errors import NotFound
from spg99.patterns import NAME_PATTERN
from spg99.resources import Page, Permission, SnapshotSchedule, SnapshotScheduleSpec, TenantState

router = APIRouter(prefix="/v2", tags=["schedules"])


@router.post(
    "/tenants/{tenant}/schedules",
    **documented(
        "snapshot_schedule.create", 201, SnapshotSchedule, "The schedule",
        body=creates(SnapshotSchedule), errors=(403, 409), idempotent=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def create(call: Caller, tenant: str) -> Response:
    """Has snapshots of a database made by themselves, and the latest of them kept. Needs safekeepers."""
    call.need(Permission.CAN_CREATE_DB)
    body = await bodies.json_object(call.request)
    spec = bodies.spec_of(SnapshotSchedule, body, {"tenant": tenant if is_name(tenant) else "_"})
    assert isinstance(spec, SnapshotScheduleSpec)
    now = call.plane.clock.now()

    async def change(tx: Transaction) -> Answer:
        owner = await tenants.visible_tenant(tx, call, tenant)
        if owner.state != TenantState.ACTIVE:
            raise NotFound(f"Tenant '{owner.name}' does not exist or is being deleted.")
        row = await snapshot_schedules.create(tx, owner, spec, call.actor, now=now)
        answer = _answer(row, 201)
        return Answer(201, answer.body, answer.headers | {"Location": f"/v2/tenants/{owner.name}/schedules/{row.name}"})

    return await once(call, body, change)


@router.get(
    "/tenants/{tenant}/schedules",
    **documented("snapshot_schedule.list", 200, Page[SnapshotSchedule], "A page of schedules, ordered by name"),
)
async def list_all(
    call: Caller,
    page: pages.Page,
    tenant: str,
    database: Annotated[
        str | None, Query(pattern=NAME_PATTERN, description="Only schedules of the database of this name.")
    ] = None,
    name_prefix: pages.NamePrefix = None,
) -> Response:
    """Lists the snapshot schedules of a tenant."""
    list_id = pages.list_id(call, database=database, name_prefix=name_prefix)
    async with call.plane.store.reading() as tx:
        owner = await tenants.visible_tenant(tx, call, tenant)
        window = page.window(list_id, name_prefix)
        found = await snapshot_schedules.page(tx, owner.tenant_id, window, database=database)
    return pages.answer(
        found, page, list_id, key=lambda row: (row.name, row.schedule_id), item=snapshot_schedules.as_json
    ).response()


@router.get(
    "/tenants/{tenant}/schedules/{schedule}",
    **documented("snapshot_schedule.read", 200, SnapshotSchedule, "The schedule", declared=True, etag=True),
)
async def read(call: Caller, tenant: str, schedule: str) -> Response:
    """Reads a snapshot schedule."""
    async with call.plane.store.reading() as tx:
        row = await _find(tx, call, tenant, schedule)
        await declarations.seen(tx, call.actor, row.schedule_id)
    return _answer(row, 200).response()


@router.patch(
    "/tenants/{tenant}/schedules/{schedule}",
    **documented(
        "snapshot_schedule.update", 200, SnapshotSchedule, "The schedule",
        body=changes(SnapshotSchedule), errors=(403,), conditional=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def update(call: Caller, tenant: str, schedule: str) -> Response:
    """Changes when snapshots are made and how many are kept. What is too many then goes when the next one was made."""
    call.need(Permission.CAN_CREATE_DB)
    body = await bodies.json_object(call.request)
    async with call.plane.store.transaction() as tx:
        row = await _find(tx, call, tenant, schedule, locks=True)
        current = {name: getattr(row, name) for name in SnapshotSchedule.inputs()}
        spec, _ = bodies.changes_of(SnapshotSchedule, body, current)
        assert isinstance(spec, SnapshotScheduleSpec)
        preconditions.check(call.request.headers.get("if-match"), _etag(row))
        row = await snapshot_schedules.change(tx, row, spec, call.actor, now=call.plane.clock.now())
        answer = _answer(row, 200)
    return answer.response()


@router.delete(
    "/tenants/{tenant}/schedules/{schedule}",
    **documented("snapshot_schedule.delete", 204, None, "The schedule is gone", errors=(403,), conditional=True),
)
async def delete(
    call: Caller,
    tenant: str,
    schedule: str,
    keep_snapshots: Annotated[
        bool,
        Query(description="Its snapshots stay, as ones that somebody asked for. Default: they are deleted with it."),
    ] = False,
    uid: preconditions.Uid = None,
) -> Response:
    """Ends a snapshot schedule and deletes the snapshots that it has made. Branches that begin in one keep what they need."""
    call.need(Permission.CAN_DELETE)
    async with call.plane.store.transaction() as tx:
        row = await _find(tx, call, tenant, schedule, locks=True)
        preconditions.check_uid(uid, row.schedule_id)
        preconditions.check(call.request.headers.get("if-match"), _etag(row))
        await snapshot_schedules.delete(tx, row, call.actor, keep_snapshots=keep_snapshots)
    return Answer(204).response()


async def _find(tx: Transaction, call: Call, tenant: str, name: str, *, locks: bool = False) -> ScheduleRow:
    owner = await tenants.visible_tenant(tx, call, tenant)
    find = snapshot_schedules.find_locked if locks else snapshot_schedules.find
    row = await find(tx, owner.tenant_id, name) if is_name(name) else None
    if row is None:
        raise NotFound(f"Tenant '{owner.name}' has no snapshot schedule '{name[:100]}'.")
    return row


def _answer(row: ScheduleRow, status: int) -> Answer:
    return answers.of_object(status, snapshot_schedules.as_json(row), etag=_etag(row))


def _etag(row: ScheduleRow) -> str:
    return preconditions.etag(row.schedule_id, row.version)
