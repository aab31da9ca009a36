"""`/exports`: databases as archives of pg_dump's in the object store, and links by which they are downloaded. Here: HTTP. Not here: their rows (exports.py), making
them (exporting.py), what a link is (export_links.py).

What is stored is sealed with the tenant's key, so a link leads here and not to the bucket: this process opens it, piece by piece, for who may have it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from spg99 import log
from spg99.control_plane import storage, tenants
from spg99.control_plane.databases import export_links, exports, moments
from spg99.control_plane.databases import routes as databases
from spg99.control_plane.databases.export_links import NotSatisfiable, Part
from spg99.control_plane.databases.export_steps import ExportState
from spg99.control_plane.databases.exporting import NO_STORE
from spg99.control_plane.databases.exports import ExportRow
from spg99.control_plane.records import audit
from spg99.control_plane.serving import answers, bodies, pages
from spg99.control_plane.serving.answers import Answer, Shape
from spg99.control_plane.serving.call import Call, Caller, is_id
from spg99.control_plane.serving.idempotency import once
from spg99.control_plane.serving.openapi import documented, takes
from spg99.control_plane.serving.plane import plane_of
from spg99.control_plane.store import Transaction
from spg99.errors import BadRequest, Conflict, Damaged, Forbidden, NotFound, WrongState
from spg99.patterns import LSN_PATTERN
from spg99.resources import Page, Permission

router = APIRouter(prefix="/v2", tags=["exports"])

_log = log.get("api")

MEDIA_TYPE: Final = "application/octet-stream"


class ExportOf(BaseModel):
    """What is exported: all that is committed by now, or by an earlier moment."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    time: AwareDatetime | None = None
    """All that had been committed by then (RFC 3339)."""
    lsn: str | None = Field(default=None, pattern=LSN_PATTERN)
    """Or a place in the WAL, as `pg_current_wal_lsn()` says it: all records that end there or before."""
    schema_only: bool = False
    """Without rows."""


class Export(Shape):
    """A database as an archive of pg_dump's (custom format) in the object store."""

    export_id: str
    """Id: `exp_...`."""
    tenant: str
    """Tenant of the database."""
    database: str
    """Name that the database had when the export was asked for."""
    db_id: str
    """Id of the database."""
    op_id: str
    """The operation `database.export`: it runs until the export is ready or has failed."""
    state: ExportState
    """Where it stands."""
    schema_only: bool
    """Without rows."""
    size_bytes: int | None
    """Size of the archive; null until it is ready."""
    written_bytes: int | None
    """While it is being made: how much of it is in the store, as it is stored (compressed and sealed); else null."""
    error: str | None
    """Why it has failed, in a sentence."""
    created_at: datetime
    """When it was asked for (UTC)."""
    finished_at: datetime | None
    """When it was ready or had failed (UTC)."""
    expires_at: datetime
    """When it is removed by itself (UTC)."""


class LinkFor(BaseModel):
    """How long a link is valid."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    seconds: int = Field(default=export_links.LINK_SECONDS, ge=1, le=export_links.LINK_SECONDS_MAX)
    """From now on, and never longer than the export is there."""


class Link(Shape):
    """A link by which an export is downloaded without an API key: whoever has it can read all of the export."""

    path: str
    """Append it to scheme, host and port of this API. Requests for parts of it (`Range`) are answered, so a download that broke off can go on."""
    expires_at: datetime
    """Until when it is valid (UTC)."""


@router.post(
    "/tenants/{tenant}/dbs/{db}/exports",
    **documented(
        "export.create", 202, Export, "The export, under way",
        body=takes(ExportOf), body_optional=True, errors=(403, 409), idempotent=True,
    ),
)  # fmt: skip
async def create(call: Caller, tenant: str, db: str) -> Response:
    """Exports a database into the object store, without waking or disturbing it: a node lays its moment out aside and reads it there. Needs safekeepers and a
    pageserver, and `can_read_credentials`, because an export holds all rows. One at a time of each database."""
    call.need(Permission.CAN_READ_CREDENTIALS)
    body = await bodies.json_object(call.request, optional=True)
    wanted = bodies.shape_of(ExportOf, body)
    await _opened(call.request)
    now = call.plane.clock.now()
    found = await moments.of_export(call, tenant, db, wanted.time, wanted.lsn)

    async def change(tx: Transaction) -> Answer:
        _, row = await databases.find(tx, call, tenant, db, lock=True)
        beginning = moments.still(row, found)
        made = await exports.create(tx, row, beginning, call.actor, schema_only=wanted.schema_only, now=now)
        return _answer(made, 202, headers={"Location": f"/v2/exports/{made.export_id}"})

    return await once(call, body, change)


@router.get(
    "/tenants/{tenant}/exports",
    **documented("export.list", 200, Page[Export], "A page of exports, ordered by the name of their database"),
)
async def list_all(call: Caller, page: pages.Page, tenant: str, name_prefix: pages.NamePrefix = None) -> Response:
    """Lists the exports of a tenant. `name_prefix` is of the database's name; `written_bytes` is told by the export alone."""
    list_id = pages.list_id(call, name_prefix=name_prefix)
    async with call.plane.store.reading() as tx:
        owner = await tenants.visible_tenant(tx, call, tenant)
        found = await exports.page(tx, owner.tenant_id, page.window(list_id, name_prefix))
    return pages.answer(
        found, page, list_id, key=lambda row: (row.database, row.export_id), item=lambda row: _shown(row)
    ).response()


@router.get("/exports/{export_id}", **documented("export.read", 200, Export, "The export"))
async def read(call: Caller, export_id: str) -> Response:
    """Reads an export; of one that is being made with how much of it is stored by now."""
    async with call.plane.store.reading() as tx:
        row = await _find(tx, call, export_id)
    written_bytes = None
    if row.state == ExportState.RUNNING:
        opened, prefix = await _opened(call.request), exports.prefix_of(row)
        written_bytes = sum([entry.size_bytes async for entry in opened.objects.entries(prefix)])
    return _answer(row, 200, written_bytes=written_bytes).response()


@router.delete("/exports/{export_id}", **documented("export.delete", 204, None, "The export is gone", errors=(403,)))
async def delete(call: Caller, export_id: str) -> Response:
    """Deletes an export. None of its links is valid from then on; what is stored of it is removed within seconds, or when the node that makes it is done."""
    call.need(Permission.CAN_DELETE)
    async with call.plane.store.transaction() as tx:
        row = await _find(tx, call, export_id)
        locked = await exports.lock(tx, row.export_id)
        if locked is not None:
            await exports.begin_delete(tx, locked, call.actor, now=call.plane.clock.now())
    return Answer(204).response()


@router.post(
    "/exports/{export_id}/link",
    **documented("export.link", 200, Link, "The link", body=takes(LinkFor), body_optional=True, errors=(403, 409)),
)
async def link(call: Caller, export_id: str) -> Response:
    """Makes a link by which an export can be downloaded without an API key. Needs `can_read_credentials`: an export holds all rows."""
    call.need(Permission.CAN_READ_CREDENTIALS)
    asked = bodies.shape_of(LinkFor, await bodies.json_object(call.request, optional=True))
    now = call.plane.clock.now()
    async with call.plane.store.transaction() as tx:
        row = await _find(tx, call, export_id)
        if row.state != ExportState.READY:
            raise WrongState(f"The export is {row.state}; there is nothing to download.")
        until = export_links.until(now, asked.seconds, row.expires_at)
        await audit.record(
            tx, call.actor, "export.link", row.export_id, org_id=row.org_id, name=row.database, tenant=row.tenant
        )
    path = export_links.path_of(call.plane.box, row.tenant_id, row.export_id, until)
    return answers.of_model(200, Link(path=path, expires_at=until)).response()


_content = documented("export.content", 200, None, "The archive", errors=(403,))
_content["responses"][200]["content"] = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_content["responses"][206] = _content["responses"][200] | {"description": "The part that `Range` asks for"}
_content["responses"][416] = {"model": answers.Problem, "description": "Nothing of what `Range` asks for is there"}
del _content["responses"][401]


@router.get("/exports/{export_id}/content", **_content, response_class=Response)
async def content(
    request: Request,
    export_id: str,
    expires: Annotated[int, Query(ge=0, le=99_999_999_999, description="As in the link.")],
    signature: Annotated[str, Query(max_length=100, description="As in the link.")],
) -> Response:
    """Downloads an export by a link. No API key is needed; `Range` asks for a part."""
    plane = plane_of(request)
    now = plane.clock.now()
    async with plane.store.reading() as tx:
        row = await exports.find(tx, export_id) if is_id(export_id) else None
    is_there = row is not None and row.state == ExportState.READY and row.expires_at > now
    export_links.check(plane.box, row.tenant_id if row and is_there else None, export_id, expires, signature, now)
    assert row is not None and row.size_bytes is not None, "a link to something else is not valid"
    headers = {
        "accept-ranges": "bytes", "etag": f'"{row.attempt_id}"', "cache-control": "private, no-store",
        "content-disposition": f'attachment; filename="{row.database}.dump"',
    }  # fmt: skip
    given = request.headers.get("range")
    if request.headers.get("if-range") not in (None, headers["etag"]):
        given = None
    try:
        part = export_links.part_of(given, row.size_bytes)
    except NotSatisfiable:
        error = BadRequest(f"The export has {row.size_bytes} bytes, and none of those that are asked for.")
        body = answers.Answer(416, error.envelope()).body_bytes()
        return answers.http(416, body, {"content-range": f"bytes */{row.size_bytes}"})
    whole = Part(0, row.size_bytes - 1)
    status = 200
    if part is not None:
        status, headers["content-range"] = 206, f"bytes {part.first}-{part.last}/{row.size_bytes}"
    request.scope["state"]["waits"] = True
    opened = await _opened(request)
    pieces = _pieces(opened, row, part or whole)
    first = await anext(pieces)  # what is wrong with the store is an answer of its own, as long as nothing is sent
    headers["content-length"] = str((part or whole).length)
    return StreamingResponse(_after(first, pieces), status, headers, media_type=MEDIA_TYPE)


async def _pieces(opened: storage.Opened, row: ExportRow, part: Part) -> AsyncIterator[bytes]:
    assert row.piece_bytes is not None, "it is ready"
    key = await opened.keys.get(row.tenant_id)
    for number in range(part.first // row.piece_bytes, part.last // row.piece_bytes + 1):
        place = f"{exports.prefix_of(row)}{row.attempt_id}/{number:08d}"
        begin = number * row.piece_bytes
        try:
            raw = key.open((await opened.objects.get(place)).content, place)
            is_whole = len(raw) == min(row.piece_bytes, (row.size_bytes or 0) - begin)
        except (Damaged, Forbidden, NotFound) as error:
            _log.error("a piece of an export cannot be read", export_id=row.export_id, key=place, reason=error.message)
            is_whole = False
        if not is_whole:
            raise Damaged("The export is damaged: a part of it cannot be read. Make another one.")
        yield raw[max(part.first - begin, 0) : part.last + 1 - begin]


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for one in rest:
        yield one


async def _opened(request: Request) -> storage.Opened:
    """The object store. Raises Conflict where this Control Plane knows none."""
    access: storage.StoreAccess = request.app.state.store_access
    async with plane_of(request).store.reading() as tx:
        installation_id = await storage.Installation().id(tx)
    opened = await access.opened(installation_id)
    if opened is None:
        raise Conflict(NO_STORE)
    return opened


async def _find(tx: Transaction, call: Call, export_id: str) -> ExportRow:
    row = await exports.find(tx, export_id) if is_id(export_id) else None
    if row is None or row.state == ExportState.DELETING or not call.sees(org_id=row.org_id, tenant_id=row.tenant_id):
        raise NotFound(f"There is no export '{export_id[:100]}', or this API key may not see it.")
    return row


def _shown(row: ExportRow, *, written_bytes: int | None = None) -> dict[str, Any]:
    shown = Export(
        export_id=row.export_id,
        tenant=row.tenant,
        database=row.database,
        db_id=row.db_id,
        op_id=row.op_id,
        state=ExportState(row.state),
        schema_only=row.moment.schema_only,
        size_bytes=row.size_bytes,
        written_bytes=written_bytes,
        error=row.error,
        created_at=row.created_at,
        finished_at=row.finished_at,
        expires_at=row.expires_at,
    )
    return shown.model_dump(mode="json")


def _answer(
    row: ExportRow, status: int, *, written_bytes: int | None = None, headers: dict[str, str] | None = None
) -> Answer:
    return Answer(status, _shown(row, written_bytes=written_bytes), headers or {})
