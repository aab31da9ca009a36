"""`/keys`: API keys. Here: HTTP, and that no key gives away more than it has. Not here: rows (keys.py)."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from spg99.control_plane.identity import keys
from spg99.control_plane.identity.keys import KeyRow
from spg99.control_plane.records import declarations, policies
from spg99.control_plane.serving import answers, bodies, pages, preconditions
from spg99.control_plane.serving.answers import Answer
from spg99.control_plane.serving.call import Call, Caller, is_id
from spg99.control_plane.serving.idempotency import once
from spg99.control_plane.serving.openapi import changes, creates, documented, takes
from spg99.control_plane.store import Transaction
from spg99.errors import BadRequest, Forbidden, NotFound
from spg99.resources import ApiKey, ApiKeySpec, Page, Permission, Scope, TenantState

router = APIRouter(prefix="/v2", tags=["keys"])


class Rotation(BaseModel):
    """How a token is replaced."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    grace_seconds: int | None = Field(default=None, ge=0, le=2_592_000)
    """Time for which the old token stays valid. Default: the policy `keys.rotation_grace_seconds`."""


@router.post(
    "/keys",
    **documented(
        "key.create", 201, ApiKey, "The key with its token, which is never shown again",
        body=creates(ApiKey), errors=(403, 409), idempotent=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def create(call: Caller) -> Response:
    """Makes an API key with at most the rights of the key that makes it."""
    call.need(Permission.CAN_MANAGE_KEYS)
    body = await bodies.json_object(call.request)
    spec = bodies.spec_of(ApiKey, body, {})
    assert isinstance(spec, ApiKeySpec)
    if spec.expires_at is not None and spec.expires_at <= call.plane.clock.now():
        raise BadRequest("A field has a value that is not allowed.", fields={"expires_at": "must lie in the future"})
    token = keys.new_token()

    async def change(tx: Transaction) -> Answer:
        tenant_id = None
        if spec.tenant is not None:
            tenant = await call.plane.tenant_of(tx, call, spec.tenant)
            if tenant.state == TenantState.DELETING:
                raise NotFound(f"Tenant '{tenant.name}' is being deleted.")
            tenant_id = tenant.tenant_id
        _check_grant(call, spec, tenant_id)
        org_id = None if spec.scope is Scope.GLOBAL else call.org_id
        row = await keys.create(tx, org_id, tenant_id, spec, token, call.actor)
        answer = _answer(row, 201, token=token)
        return Answer(201, answer.body, answer.headers | {"Location": f"/v2/keys/{row.key_id}"})

    return await once(call, body, change)


@router.get("/keys", **documented("key.list", 200, Page[ApiKey], "A page of keys, ordered by name; without tokens"))
async def list_all(call: Caller, page: pages.Page) -> Response:
    """Lists the keys that this key may see: those of its account, or of its tenant."""
    list_id = pages.list_id(call)
    async with call.plane.store.reading() as tx:
        rows = await keys.page(
            tx,
            call.org_id,
            page.window(list_id),
            tenant_id=call.only_tenant_id,
            with_global=call.scope is Scope.GLOBAL,
        )
    return pages.answer(rows, page, list_id, key=lambda row: (row.name, row.key_id), item=keys.as_json).response()


@router.get(
    "/keys/{key_id}", **documented("key.read", 200, ApiKey, "The key, without its token", declared=True, etag=True)
)
async def read(call: Caller, key_id: str) -> Response:
    """Reads a key."""
    async with call.plane.store.reading() as tx:
        row = await _find(tx, call, key_id)
        await declarations.seen(tx, call.actor, row.key_id)
    return _answer(row, 200).response()


@router.patch(
    "/keys/{key_id}",
    **documented(
        "key.update", 200, ApiKey, "The key",
        body=changes(ApiKey), errors=(403,), conditional=True, declared=True, etag=True,
    ),
)  # fmt: skip
async def update(call: Caller, key_id: str) -> Response:
    """Changes the name of a key. What it may do cannot change: make another one."""
    call.need(Permission.CAN_MANAGE_KEYS)
    body = await bodies.json_object(call.request)
    async with call.plane.store.transaction() as tx:
        row = await _find(tx, call, key_id, lock=True)
        shown = keys.as_json(row)
        _, named = bodies.changes_of(ApiKey, body, {name: shown[name] for name in ApiKey.inputs()})
        preconditions.check(call.request.headers.get("if-match"), _etag(row))
        await keys.declare(tx, row, call.actor)
        if named.get("name", row.name) != row.name:
            row = await keys.rename(tx, row, named["name"], call.actor)
        answer = _answer(row, 200)
    return answer.response()


@router.delete(
    "/keys/{key_id}",
    **documented("key.delete", 204, None, "The key no longer works", errors=(403, 409), conditional=True),
)
async def delete(call: Caller, key_id: str) -> Response:
    """Revokes a key, at once and for good. 409 for the last one that can administer the platform."""
    call.need(Permission.CAN_MANAGE_KEYS)
    async with call.plane.store.transaction() as tx:
        row = await _find(tx, call, key_id, lock=True)
        preconditions.check(call.request.headers.get("if-match"), _etag(row))
        _check_rights(call, row)
        await keys.check_not_last_administrator(tx, row, call.plane.clock)
        await keys.revoke(tx, row, call.actor)
    return Answer(204).response()


@router.post(
    "/keys/{key_id}/rotate",
    **documented(
        "key.rotate", 200, ApiKey, "The key with its new token, which is never shown again",
        body=takes(Rotation), body_optional=True, errors=(403, 409), idempotent=True, etag=True,
    ),
)  # fmt: skip
async def rotate(call: Caller, key_id: str) -> Response:
    """Gives a key a new token; the old one works for `grace_seconds` more."""
    call.need(Permission.CAN_MANAGE_KEYS)
    body = await bodies.json_object(call.request, optional=True)
    rotation = bodies.shape_of(Rotation, body)
    token = keys.new_token()

    async def change(tx: Transaction) -> Answer:
        row = await _find(tx, call, key_id, lock=True)
        _check_rights(call, row)
        _check_end(call, row)
        grace_seconds = rotation.grace_seconds
        if grace_seconds is None:
            grace_seconds = int(await policies.value(tx, "keys.rotation_grace_seconds", org_id=row.org_id))
        now = call.plane.clock.now()
        fresh = await keys.rotate(tx, row, token, call.actor, now=now, grace_seconds=grace_seconds)
        return _answer(fresh, 200, token=token)

    return await once(call, body, change)


async def _find(tx: Transaction, call: Call, key_id: str, *, lock: bool = False) -> KeyRow:
    row = None
    if is_id(key_id):
        row = await (keys.lock if lock else keys.by_id)(tx, key_id)
    if row is not None:
        is_visible = (
            call.scope is Scope.GLOBAL if row.org_id is None else call.sees(org_id=row.org_id, tenant_id=row.tenant_id)
        )
        if is_visible:
            return row
    raise NotFound(f"There is no API key '{key_id[:100]}', or this API key may not see it.")


def _check_grant(call: Call, spec: ApiKeySpec, tenant_id: str | None) -> None:
    beyond = call.could_grant(scope=spec.scope, permissions=[p.value for p in spec.permissions], tenant_id=tenant_id)
    ends_at = call.key.expires_at
    if beyond is None and ends_at is not None and (spec.expires_at is None or spec.expires_at > ends_at):
        beyond = f"this key ends at {ends_at.isoformat()}, so the new one must end by then too"
    if beyond is not None:
        raise Forbidden(f"A key cannot grant more than it has: {beyond}.")


def _check_rights(call: Call, row: KeyRow) -> None:
    # Who replaces a key's token holds the key: that must give nobody more than they have.
    beyond = call.could_grant(scope=Scope(row.scope), permissions=row.permissions, tenant_id=row.tenant_id)
    if beyond is not None:
        raise Forbidden(f"A key with more rights is out of reach: {beyond}.")


def _check_end(call: Call, row: KeyRow) -> None:
    # The new token must not outlive the key that asked for it.
    ends_at = call.key.expires_at
    if row.key_id != call.key.key_id and ends_at is not None and (row.expires_at is None or row.expires_at > ends_at):
        raise Forbidden(f"A key that lives longer is out of reach: this key ends at {ends_at.isoformat()}.")


def _answer(row: KeyRow, status: int, *, token: str | None = None) -> Answer:
    return answers.of_object(status, keys.as_json(row, token=token), etag=_etag(row))


def _etag(row: KeyRow) -> str:
    return preconditions.etag(row.key_id, row.version)
