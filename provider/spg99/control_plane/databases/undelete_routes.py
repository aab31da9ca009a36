"""`POST /tenants/{tenant}/dbs/{db}/undelete`: a deleted database comes back. Here: HTTP. Not here: the rules and the change (undeleting.py)."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from spg99.control_plane import tenants
from spg99.control_plane.databases import routes, rows, undeleting
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.serving import bodies
from spg99.control_plane.serving.answers import Answer
from spg99.control_plane.serving.call import Call, Caller, is_name
from spg99.control_plane.serving.idempotency import once
from spg99.control_plane.serving.openapi import documented, takes
from spg99.control_plane.store import Transaction
from spg99.errors import NotFound
from spg99.patterns import NAME_PATTERN
from spg99.resources import Database, DatabaseState, Permission, TenantState

router = APIRouter(prefix="/v2", tags=["databases"])


class Undelete(BaseModel):
    """How a deleted database comes back."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str | None = Field(default=None, pattern=NAME_PATTERN)
    """Under which name. Default: the one that it had."""
    db_id: str | None = Field(default=None, max_length=64)
    """Which one, where several of this name were deleted. Default: the latest."""


@router.post(
    "/tenants/{tenant}/dbs/{db}/undelete",
    **documented(
        "database.undelete", 200, Database, "The database, asleep",
        body=takes(Undelete), body_optional=True, errors=(403, 409), idempotent=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def undelete(call: Caller, tenant: str, db: str) -> Response:
    """Has a deleted database come back, asleep: with its id, its settings, its connection string and all that was committed in it. Possible until `undelete_until`
    (policy `storage.undelete_seconds`) for databases that have safekeepers and were started once; `GET /tenants/{tenant}/dbs?state=deleted` lists them."""
    call.need(Permission.CAN_CREATE_DB)
    body = await bodies.json_object(call.request, optional=True)
    asked = bodies.shape_of(Undelete, body)
    if asked.name is not None:
        bodies.spec_of(Database, {"name": asked.name}, {"tenant": tenant if is_name(tenant) else "_"})

    async def change(tx: Transaction) -> Answer:
        owner, row = await _find(tx, call, tenant, db, asked.db_id)
        back = await undeleting.undelete(tx, row, asked.name or row.name, call.actor, call.plane.clock.now())
        return routes.answer_of(call, owner, back, 200)

    return await once(call, body, change)


async def _find(
    tx: Transaction, call: Call, tenant: str, db: str, db_id: str | None
) -> tuple[tenants.TenantRow, DatabaseRow]:
    # Held: a tenant that is deleted in the same moment takes all of its databases along, or finds this one there.
    owner = await (await tenants.ask_held_tenant(tx, call, tenant)).row()
    if owner.state != TenantState.ACTIVE:
        raise NotFound(f"Tenant '{owner.name}' does not exist or is being deleted.")
    found = await rows.find_deleted(tx, owner.tenant_id, db, db_id) if is_name(db) else None
    # What is read before the lock may have changed: another call may have had it come back.
    row = await rows.lock(tx, found) if found is not None else None
    if row is None or row.state not in (DatabaseState.DELETING, DatabaseState.DELETED):
        which = "" if db_id is None else f" with the id {db_id}"
        raise NotFound(f"Tenant '{owner.name}' has no deleted database '{db[:100]}'{which}.")
    return owner, row
