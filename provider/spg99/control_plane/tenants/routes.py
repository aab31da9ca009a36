"""`/tenants`: make, list, read, delete tenants. Here: HTTP. Not here: their rows (rows.py), their credentials (credential_routes.py)."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from spg99.control_plane.records import declarations, policies
from spg99.control_plane.serving import answers, bodies, pages, preconditions, waits
from spg99.control_plane.serving.answers import Answer, Operation
from spg99.control_plane.serving.call import Call, Caller
from spg99.control_plane.serving.idempotency import once
from spg99.control_plane.serving.openapi import changes, creates, documented
from spg99.control_plane.store import Deferred, Transaction
from spg99.control_plane.tenants import limits, passwords, projects, rows, visible
from spg99.control_plane.tenants.rows import TenantRow
from spg99.errors import Conflict, Spg99Error
from spg99.resources import Page, Permission, Scope, Tenant, TenantSpec, TenantState

DATABASES_NAMED_MAX: Final = 5
"""Databases that a refusal names."""

router = APIRouter(prefix="/v2", tags=["tenants"])


@router.post(
    "/tenants",
    **documented(
        "tenant.create", 201, Tenant, "The tenant, with its credentials for keys that may read them",
        body=creates(Tenant), errors=(403, 409), idempotent=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def create(call: Caller) -> Response:
    """Makes a tenant: a PostgreSQL user with a password, for all the databases it will own."""
    call.need(Permission.CAN_CREATE_TENANT)
    call.need_scope(Scope.ACCOUNT)
    body = await bodies.json_object(call.request)
    spec = bodies.spec_of(Tenant, body, {})
    assert isinstance(spec, TenantSpec)
    password = await asyncio.to_thread(passwords.new_password)
    asked: tuple[policies.Asked, Deferred, Deferred]

    async def ahead(tx: Transaction) -> None:
        nonlocal asked
        asked = (
            await policies.ask(tx, [limits.POLICY], org_id=call.org_id),
            await projects.ask(tx, call.org_id, spec.project),
            await tx.moment(),
        )

    async def change(tx: Transaction) -> Answer:
        limit, project, moment = asked
        await limits.check_tenants(tx, call.org_id, int((await limit.values())[limits.POLICY]))
        row = await rows.create(
            tx, call.org_id, spec, password, call.plane.box, call.actor, project=project, moment=moment
        )
        answer = _answer(call, row, 201)
        return Answer(201, answer.body, answer.headers | {"Location": f"/v2/tenants/{row.name}"})

    return await once(call, body, change, ahead=ahead)


@router.get("/tenants", **documented("tenant.list", 200, Page[Tenant], "A page of tenants, ordered by name"))
async def list_all(
    call: Caller,
    page: pages.Page,
    state: Annotated[TenantState | None, Query(description="Only tenants in this state.")] = None,
    name_prefix: pages.NamePrefix = None,
) -> Response:
    """Lists the tenants of the account that this key may see."""
    list_id = pages.list_id(call, state=state, name_prefix=name_prefix)
    async with call.plane.store.reading() as tx:
        found = await rows.page(
            tx,
            call.org_id,
            page.window(list_id, name_prefix),
            state=state.value if state else None,
            only_tenant_id=call.only_tenant_id,
        )
    return pages.answer(
        found, page, list_id, key=lambda row: (row.name, row.tenant_id), item=lambda row: shown(call, row)
    ).response()


@router.get("/tenants/{tenant}", **documented("tenant.read", 200, Tenant, "The tenant", declared=True, etag=True))
async def read(call: Caller, tenant: str) -> Response:
    """Reads a tenant by its name or its id. One that is being deleted is shown until it is gone."""
    async with call.plane.store.reading() as tx:
        row = await visible.named_or_id(tx, call, tenant)
        await declarations.seen(tx, call.actor, row.tenant_id)
    return _answer(call, row, 200).response()


@router.patch(
    "/tenants/{tenant}",
    **documented(
        "tenant.update", 200, Tenant, "The tenant",
        body=changes(Tenant), errors=(403,), conditional=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def update(call: Caller, tenant: str) -> Response:
    """Changes a tenant. No field of a tenant can change in place yet: naming one is 400 on that field."""
    call.need(Permission.CAN_CREATE_TENANT)
    body = await bodies.json_object(call.request)
    async with call.plane.store.transaction() as tx:
        row = await visible.named(tx, call, tenant)
        bodies.changes_of(Tenant, body, {"name": row.name, "project": row.project})
        preconditions.check(call.request.headers.get("if-match"), _etag(row))
        if row.state != TenantState.DELETING:
            await rows.declare(tx, row, call.actor)
    return _answer(call, row, 200).response()


@router.delete(
    "/tenants/{tenant}",
    **documented(
        "tenant.delete", 202, Operation, "The deletion, under way", errors=(403, 409), conditional=True
    ),
)  # fmt: skip
async def delete(
    call: Caller,
    tenant: str,
    cascade: Annotated[bool, Query(description="Delete its databases too.")] = False,
    force: Annotated[bool, Query(description="With cascade: also databases that clients are connected to.")] = False,
    uid: preconditions.Uid = None,
) -> Response:
    """Deletes a tenant for good. Its name is free at once; reading it answers 404 when everything is gone.

    With cascade, all of its databases go or none: those that run are asked first, as when one is deleted."""
    call.need(Permission.CAN_DELETE)

    async def attempt(tx: Transaction, refused: Spg99Error | None) -> Answer | tuple[str, ...]:
        row = await visible.named(tx, call, tenant, lock=True)
        preconditions.check_uid(uid, row.tenant_id)
        preconditions.check(call.request.headers.get("if-match"), _etag(row))
        if row.state != TenantState.DELETING:
            if refused is not None:
                raise refused
            if asked := await _delete_databases(tx, call, row, cascade=cascade, force=force):
                return asked
        return await answers.accepted(tx, await rows.begin_delete(tx, row, call.actor, cascade=cascade))

    refusal = call.plane.databases_of_tenants.refusal
    return (await waits.asking(call, attempt, refusal)).response()


def shown(call: Call, row: TenantRow) -> dict[str, Any]:
    """A `Tenant` as this key may see it."""
    settings = call.plane.settings
    return rows.as_json(
        row,
        password=visible.password(call, row),
        gateway_host=settings.gateway_host,
        gateway_port=settings.gateway_port,
    )


async def _delete_databases(
    tx: Transaction, call: Call, row: TenantRow, *, cascade: bool, force: bool
) -> tuple[str, ...]:
    live = await call.plane.databases_of_tenants.count(tx, row.tenant_id)
    if live and not cascade:
        names = await call.plane.databases_of_tenants.names(tx, row.tenant_id, limit=DATABASES_NAMED_MAX)
        named = ", ".join(names) + (" ..." if live > len(names) else "")
        owned = f"a database ({named})" if live == 1 else f"{live} databases ({named})"
        # A restore in place has made one that no program declares: its name has to be said.
        raise Conflict(
            f"Tenant '{row.name}' owns {owned}. Delete {'it' if live == 1 else 'them'} first, or delete with cascade=true.",
            details={"databases": live},
        )
    alone = 0 if cascade else await call.plane.databases_of_tenants.count_snapshots(tx, row.tenant_id)
    if alone:
        owned = "a snapshot of a database that is" if alone == 1 else f"{alone} snapshots of databases that are"
        raise Conflict(
            f"Tenant '{row.name}' has {owned} deleted. Delete {'it' if alone == 1 else 'them'} first, or delete with cascade=true.",
            details={"snapshots": alone},
        )
    return await call.plane.databases_of_tenants.begin_delete(
        tx, row.tenant_id, force=force, actor=call.actor, now=call.plane.clock.now()
    )


def _answer(call: Call, row: TenantRow, status: int) -> Answer:
    return answers.of_object(status, shown(call, row), etag=_etag(row))


def _etag(row: TenantRow) -> str:
    return preconditions.etag(row.tenant_id, row.version)
