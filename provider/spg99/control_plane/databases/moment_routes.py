"""`/tenants/{tenant}/moments`: which moments of databases somebody reads now. Here: HTTP. They begin with a connection and end with the last one
(time_travel.py), so there is nothing to make or delete."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from starlette.responses import Response

from spg99.control_plane import tenants
from spg99.control_plane.databases import moment_rows
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.serving import pages
from spg99.control_plane.serving.answers import Shape
from spg99.control_plane.serving.call import Caller
from spg99.control_plane.serving.openapi import documented
from spg99.resources import DatabaseState, Page
from spg99.wal.lsn import format_lsn

router = APIRouter(prefix="/v2", tags=["databases"])


class Moment(Shape):
    """A moment of a database that is open for reading."""

    name: str
    """What clients connect to in place of the database's name, such as `app@2026-11-26T10:00:00Z`."""
    state: DatabaseState
    """As of a database: `booting` while it is laid out, `ready` while somebody reads, `idle` for a while after the last has left."""
    state_reason: str | None
    """Why it could not be opened; null: it could."""
    lsn: str | None
    """Where in the database's WAL it is, once it was laid out."""
    active_connections: int
    """Who reads it, as Gateways reported last."""
    opened_at: datetime
    """When somebody asked for it first (UTC)."""


@router.get(
    "/tenants/{tenant}/moments",
    **documented("moment.list", 200, Page[Moment], "A page of moments, ordered by name"),
)
async def list_all(call: Caller, page: pages.Page, tenant: str) -> Response:
    """Lists the moments of a tenant's databases that are open for reading: whoever connects to `<database>@<time>` opens one, and it ends after the last has left."""
    list_id = pages.list_id(call)
    async with call.plane.store.reading() as tx:
        owner = await tenants.visible_tenant(tx, call, tenant)
        found = await moment_rows.page(tx, owner.tenant_id, page.window(list_id))
    return pages.answer(
        found,
        page,
        list_id,
        key=lambda row: (row.name, row.db_id),
        item=lambda row: _shown(row).model_dump(mode="json"),
    ).response()


def _shown(row: DatabaseRow) -> Moment:
    return Moment(
        name=row.name,
        state=DatabaseState(row.state),
        state_reason=row.state_reason,
        lsn=format_lsn(row.branch_lsn) if row.branch_lsn is not None else None,
        active_connections=row.active_connections,
        opened_at=row.created_at,
    )
