"""`/tenants/{tenant}/dbs` and `/dbs/{db_id}`: databases. Here: HTTP. Not here: what may be asked (requests.py), their life."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from spg99.control_plane import tenants
from spg99.control_plane.databases import deletion_requests, limits, moments, requests, resource, rows
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.records import declarations
from spg99.control_plane.serving import answers, bodies, pages, preconditions, waits
from spg99.control_plane.serving.answers import Answer, Operation
from spg99.control_plane.serving.call import Call, Caller, is_id, is_name
from spg99.control_plane.serving.idempotency import once
from spg99.control_plane.serving.openapi import changes, creates, documented, takes
from spg99.control_plane.store import Transaction
from spg99.errors import NotFound, Spg99Error
from spg99.resources import Database, DatabaseSpec, DatabaseState, Page, Permission

router = APIRouter(prefix="/v2", tags=["databases"])

_SIZES = frozenset({"size", "min_size", "max_size"})
_STATE = "|".join([*DatabaseState, "settled"])
_RUNS = frozenset({DatabaseState.READY.value, DatabaseState.IDLE.value})

Wait = Annotated[
    int, Query(ge=0, le=waits.WAIT_SECONDS_MAX, description="Seconds to wait at most; then the answer shows what is.")
]
WaitFor = Annotated[
    str | None,
    Query(
        pattern=f"^({_STATE})(,({_STATE}))*$",
        description="States to wait for, with commas between. `ready` is also true for `idle`; `settled` is every state "
        "but `creating` and `deleting`. A database that is gone answers 404.",
        examples=["ready"],
    ),
]


class StartAtCreate(BaseModel):
    """What a create may ask for beyond the database itself."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    start_immediately: bool = False
    """Start a writer as soon as the database is made. Only where the operator allows starting by hand."""
    initial_scale: int = Field(default=0, ge=0, le=1)
    """1 = the same as `start_immediately`."""


class Scale(BaseModel):
    """How many writers shall run."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    target_scale: int = Field(ge=0, le=1)
    """1 = start, 0 = stop."""


@router.post(
    "/tenants/{tenant}/dbs",
    **documented(
        "database.create", 201, Database, "The database, asleep",
        body=creates(Database, extra=StartAtCreate.model_json_schema()["properties"]),
        errors=(403, 409), idempotent=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def create(call: Caller, tenant: str) -> Response:
    """Makes a database: a record and a timeline. No writer runs until somebody connects; its files are made then."""
    call.need(Permission.CAN_CREATE_DB)
    body = await bodies.json_object(call.request)
    start = bodies.shape_of(StartAtCreate, {n: v for n, v in body.items() if n in StartAtCreate.model_fields})
    rest = {n: v for n, v in body.items() if n not in StartAtCreate.model_fields}
    spec = bodies.spec_of(Database, rest, {"tenant": tenant if is_name(tenant) else "_"})
    assert isinstance(spec, DatabaseSpec)

    branch = await moments.of_branch(call, tenant, spec) if spec.source_database or spec.source_snapshot else None
    asked: requests.AskedForCreate

    async def ahead(tx: Transaction) -> None:
        nonlocal asked
        held = await tenants.ask_held_tenant(tx, call, tenant)
        asked = await requests.ask_for_create(tx, held, org_id=call.org_id)

    async def change(tx: Transaction) -> Answer:
        if isinstance(branch, Spg99Error):  # now: what was made before is answered again though its source is gone
            raise branch
        owner, row = await requests.create(tx, asked, spec, call.actor, branch=branch)
        if start.start_immediately or start.initial_scale:
            await _check_start(tx, call, owner.org_id)
            locked = await _locked(tx, row)
            await requests.want_running(tx, locked, call.actor, now=call.plane.clock.now())
            row = await _locked(tx, locked)
        answer = answer_of(call, owner, row, 201)
        return Answer(201, answer.body, answer.headers | {"Location": f"/v2/tenants/{owner.name}/dbs/{row.name}"})

    return await once(call, body, change, ahead=ahead)


@router.get(
    "/tenants/{tenant}/dbs", **documented("database.list", 200, Page[Database], "A page of databases, ordered by name")
)
async def list_all(
    call: Caller,
    page: pages.Page,
    tenant: str,
    state: Annotated[DatabaseState | None, Query(description="Only databases in this state.")] = None,
    name_prefix: pages.NamePrefix = None,
) -> Response:
    """Lists the databases of a tenant. Those that were deleted and can come back are listed with `state=deleted` only."""
    list_id = pages.list_id(call, state=state, name_prefix=name_prefix)
    async with call.plane.store.reading() as tx:
        owner = await tenants.visible_tenant(tx, call, tenant)
        found = await rows.page(
            tx,
            owner.tenant_id,
            page.window(list_id, name_prefix),
            state=state.value if state else None,
            now=call.plane.clock.now(),
        )
    return pages.answer(
        found, page, list_id, key=lambda row: (row.name, row.db_id), item=_shown(call, owner)
    ).response()


@router.get(
    "/tenants/{tenant}/dbs/{db}", **documented("database.read", 200, Database, "The database", declared=True, etag=True)
)  # fmt: skip
async def read(call: Caller, tenant: str, db: str, wait_for: WaitFor = None, wait: Wait = 0) -> Response:
    """Reads a database, at once or when it has reached a state. One that is being deleted is shown until it is gone."""

    async def read_now() -> tuple[tenants.TenantRow, DatabaseRow]:
        async with call.plane.store.reading() as tx:
            owner, row = await find(tx, call, tenant, db)
            await declarations.seen(tx, call.actor, row.db_id)
            return owner, row

    owner, row = await _seen(call, read_now, wait_for, wait)
    return answer_of(call, owner, row, 200).response()


@router.get(
    "/dbs/{db_id}", **documented("database.read_by_id", 200, Database, "The database", declared=True, etag=True)
)
async def read_by_id(call: Caller, db_id: str, wait_for: WaitFor = None, wait: Wait = 0) -> Response:
    """Reads a database by its id."""

    async def read_now() -> tuple[tenants.TenantRow, DatabaseRow]:
        async with call.plane.store.reading() as tx:
            row = await rows.by_id(tx, db_id) if is_id(db_id) else None
            if row is not None and row.undelete_until is not None:
                row = None  # it was deleted
            owner = await tenants.tenant_by_id(tx, row.tenant_id) if row else None
            if (
                row is None
                or owner is None
                or row.moment_of is not None
                or not call.sees(org_id=row.org_id, tenant_id=row.tenant_id)
            ):
                raise NotFound(f"There is no database '{db_id[:100]}', or this API key may not see it.")
            await declarations.seen(tx, call.actor, row.db_id)
        return owner, row

    owner, row = await _seen(call, read_now, wait_for, wait)
    return answer_of(call, owner, row, 200).response()


@router.patch(
    "/tenants/{tenant}/dbs/{db}",
    **documented(
        "database.update", 200, Database, "The database",
        body=changes(Database), errors=(403, 409), conditional=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def update(call: Caller, tenant: str, db: str) -> Response:
    """Changes settings in place. A new size takes effect at the next start (`target_profile` shows it). Another
    `restore_trigger` takes the database back to `restore_to`; the answer waits until that is done, some seconds at most."""
    body = await bodies.json_object(call.request)
    call.need(*_permissions_to_change(body))
    back = await moments.of_change(call, tenant, db, body)
    op_id: str | None = None
    async with call.plane.store.transaction() as tx:
        owner, row = await find(tx, call, tenant, db, lock=True)
        current = {name: getattr(row, name) for name in Database.inputs()}
        _, named = bodies.changes_of(Database, body, current)
        preconditions.check(call.request.headers.get("if-match"), _etag(row))
        differing = {name: value for name, value in named.items() if value != current[name]}
        row = await requests.change(tx, row, differing, call.actor)
        if differing.get("restore_trigger") is not None:
            op_id = await moments.go_back(tx, row, back, call.actor)
        answer = answer_of(call, owner, row, 200)
    if op_id is not None:
        await moments.wait_for(call, op_id)
        async with call.plane.store.reading() as tx:
            owner, row = await find(tx, call, tenant, db)
            answer = answer_of(call, owner, row, 200)
    return answer.response()


@router.delete(
    "/tenants/{tenant}/dbs/{db}",
    **documented("database.delete", 202, Operation, "The deletion, under way", errors=(403, 409), conditional=True),
)
async def delete(
    call: Caller,
    tenant: str,
    db: str,
    force: Annotated[bool, Query(description="Also while clients are connected.")] = False,
    uid: preconditions.Uid = None,
) -> Response:
    """Deletes a database. Its name is free at once; reading it answers 404 when it is gone, which one that was never started is at
    once. One that has safekeepers can come back for a while (`POST .../undelete`); of others the data are gone.

    One that runs is asked first: while clients are connected to it, or nobody can tell, the answer is 409 unless `force`."""
    call.need(Permission.CAN_DELETE)
    questions = deletion_requests.Questions(call.plane.store, call.plane.wakeups)

    async def attempt(tx: Transaction, refused: Spg99Error | None) -> Answer | tuple[str, ...]:
        _, row = await find(tx, call, tenant, db, lock=True)
        preconditions.check_uid(uid, row.db_id)
        preconditions.check(call.request.headers.get("if-match"), _etag(row))
        if refused is not None and row.state != DatabaseState.DELETING:
            deletion_requests.check(row, force=force)  # who has come meanwhile is the better reason
            raise refused
        now = call.plane.clock.now()
        if asked := await questions.ask(tx, [row], force=force, actor=call.actor, now=now):
            return asked
        op_id = await deletion_requests.begin_delete(tx, row, force=force, actor=call.actor, now=now)
        return await answers.accepted(tx, op_id)

    return (await waits.asking(call, attempt, questions.refusal)).response()


def _documented_action(name: str, text: str, body: str = "Nothing") -> dict[str, Any]:
    return documented(
        name, 202, Operation, text, body=body, body_optional=body == "Nothing", errors=(403, 409), idempotent=True
    )


@router.post("/tenants/{tenant}/dbs/{db}/start", **_documented_action("database.start", "The start, under way"))
async def start(call: Caller, tenant: str, db: str) -> Response:
    """Starts a writer without a connection. OperationDisabled in managed mode."""
    return await _scale(call, tenant, db, await _may_scale(call), 1)


@router.post("/tenants/{tenant}/dbs/{db}/stop", **_documented_action("database.stop", "The stop, under way"))
async def stop(call: Caller, tenant: str, db: str) -> Response:
    """Stops the writer; refused while clients are connected. OperationDisabled in managed mode."""
    return await _scale(call, tenant, db, await _may_scale(call), 0)


@router.post(
    "/tenants/{tenant}/dbs/{db}/scale", **_documented_action("database.scale", "The change, under way", takes(Scale))
)
async def scale(call: Caller, tenant: str, db: str) -> Response:
    """Starts or stops the writer. OperationDisabled in managed mode."""
    call.need(Permission.CAN_SCALE)
    body = await bodies.json_object(call.request)
    return await _scale(call, tenant, db, body, bodies.shape_of(Scale, body).target_scale)


@router.post(
    "/tenants/{tenant}/dbs/{db}/restore",
    **documented(
        "database.restore", 202, Operation, "The restore, under way",
        body=takes(moments.RestoreTo), errors=(403, 409), idempotent=True,
    ),
)  # fmt: skip
async def restore(call: Caller, tenant: str, db: str) -> Response:
    """Takes a database back to a moment of its history, in place: its id and its connection string stay, its clients are ended, and the
    state before is kept for a while as the database `<name>_before_<time>`. Needs safekeepers."""
    call.need(Permission.CAN_CREATE_DB)
    body = await bodies.json_object(call.request)
    back = await moments.of_restore(call, tenant, db, bodies.shape_of(moments.RestoreTo, body))

    async def change(tx: Transaction) -> Answer:
        _, row = await find(tx, call, tenant, db, lock=True)
        return await answers.accepted(tx, await moments.go_back(tx, row, back, call.actor))

    return await once(call, body, change)


async def _may_scale(call: Call) -> dict[str, Any]:
    call.need(Permission.CAN_SCALE)
    return await bodies.nothing(call.request)


async def _scale(call: Call, tenant: str, db: str, body: dict[str, Any], target_scale: int) -> Response:
    async def change(tx: Transaction) -> Answer:
        owner, row = await find(tx, call, tenant, db, lock=True)
        if target_scale:
            await _check_start(tx, call, owner.org_id)
            return await answers.accepted(
                tx, await requests.want_running(tx, row, call.actor, now=call.plane.clock.now())
            )
        await limits.check_start_stop(tx, owner.org_id)
        return await answers.accepted(tx, await requests.want_stopped(tx, row, call.actor))

    return await once(call, body, change)


async def _check_start(tx: Transaction, call: Call, org_id: str) -> None:
    await limits.check_start_stop(tx, org_id)
    await limits.check_usage(tx, org_id, call.plane.clock.now())


async def find(
    tx: Transaction, call: Call, tenant: str, db: str, *, lock: bool = False
) -> tuple[tenants.TenantRow, DatabaseRow]:
    """A tenant and its database of this name, if this call may see it; `lock`: nobody else changes it. Raises NotFound."""
    owner = await tenants.visible_tenant(tx, call, tenant)
    row = await rows.find(tx, owner.tenant_id, db) if is_name(db) else None
    if row is None:
        raise NotFound(f"Tenant '{owner.name}' has no database '{db[:100]}'.")
    return owner, await _locked(tx, row) if lock else row


async def _locked(tx: Transaction, row: DatabaseRow) -> DatabaseRow:
    locked = await rows.lock(tx, row.db_id)
    if locked is None or locked.undelete_until is not None:  # gone while we waited for it
        raise NotFound(f"Tenant '{row.tenant}' has no database '{row.name}'.")
    return locked


async def _seen(call: Call, read_now: Any, wait_for: str | None, wait: int) -> tuple[tenants.TenantRow, DatabaseRow]:
    owner, row = await read_now()
    wanted = _wanted_states(wait_for or "settled")
    if not wait or row.state in wanted:
        return owner, row
    found: tuple[tenants.TenantRow, DatabaseRow] = await waits.until(
        call, read_now, lambda pair: pair[1].state in wanted, ("spg99_database", row.db_id), seconds=wait
    )
    return found


def _wanted_states(wait_for: str) -> frozenset[str]:
    wanted = set(wait_for.split(","))
    if "ready" in wanted:
        wanted |= _RUNS
    if "settled" in wanted:
        wanted |= set(DatabaseState) - {DatabaseState.CREATING, DatabaseState.DELETING}
    return frozenset(wanted)


def _permissions_to_change(body: dict[str, Any]) -> list[Permission]:
    needed = [Permission.CAN_SCALE] if _SIZES & body.keys() else []
    return needed + ([Permission.CAN_CREATE_DB] if body.keys() - _SIZES or not body else [])


def _shown(call: Call, owner: tenants.TenantRow) -> Callable[[DatabaseRow], dict[str, Any]]:
    """How this call shows each database of a tenant."""
    settings = call.plane.settings
    return resource.as_json(
        tenant_name=owner.name,
        pg_user=owner.pg_user,
        password=tenants.visible_password(call, owner),
        gateway_host=settings.gateway_host,
        gateway_port=settings.gateway_port,
        now=call.plane.clock.now(),
    )


def answer_of(call: Call, owner: tenants.TenantRow, row: DatabaseRow, status: int) -> Answer:
    """A database as this key may see it."""
    return answers.of_object(status, _shown(call, owner)(row), etag=_etag(row))


def _etag(row: DatabaseRow) -> str:
    return preconditions.etag(row.db_id, row.version)
