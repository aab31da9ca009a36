"""`/declarations`: which stack or state declares which object. Here: HTTP. Not here: rows (records/declarations.py), who tells (serving/call.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from spg99.control_plane.records import declarations
from spg99.control_plane.records.declarations import DeclarationRow
from spg99.control_plane.serving import pages
from spg99.control_plane.serving.answers import Shape
from spg99.control_plane.serving.call import Call, Caller
from spg99.control_plane.serving.openapi import documented
from spg99.declarer import STATE_LENGTH_MAX
from spg99.resources import Page, Scope

router = APIRouter(prefix="/v2", tags=["account"])


class Declaration(Shape):
    """An object in use, and who declares it."""

    noun: str
    """Kind of the object: `tenant`, `database`, `api_key`, `tenant_credentials`."""
    id: str
    """Id of the object for people: `acme/app`."""
    uid: str
    """Id that never comes again: `db_...`."""
    tool: str
    """What declared it: `pulumi-dynamic`, `pulumi-native`, `terraform`, `opentofu`, or another client's name for itself."""
    state: str
    """Stack or state that declares it: `pulumi:shop/dev`."""
    resource: str | None
    """The resource in that stack (Pulumi's URN); null where the tool does not say."""
    by_this_key: bool
    """Whether it was declared with the API key of this call."""
    also_known_to: str | None
    """Another stack or state that has read the object as one of its own since: it was imported there, or is looked up."""
    also_known_at: datetime | None
    """When that was noted (UTC)."""
    declared_at: datetime
    """When it was made, or taken over by a change from another stack or state (UTC)."""


@router.get(
    "/declarations",
    **documented("declaration.list", 200, Page[Declaration], "A page of declared objects, ordered by id"),
)
async def list_all(
    call: Caller,
    page: pages.Page,
    state: Annotated[
        str | None,
        Query(min_length=1, max_length=STATE_LENGTH_MAX, description="Only objects of this stack or state."),
    ] = None,
) -> Response:
    """Lists the objects in use whose declarer is known and that this key may see. Objects of clients that do not say so, and
    those from before this list, are not in it."""
    list_id = pages.list_id(call, state=state)
    async with call.plane.store.reading() as tx:
        found = await declarations.page(
            tx,
            call.org_id,
            page.window(list_id),
            state=state,
            tenant_id=call.only_tenant_id,
            with_global=call.scope is Scope.GLOBAL,
        )
    return pages.answer(
        found,
        page,
        list_id,
        key=lambda row: (row.human_id, row.uid),
        item=lambda row: _shown(call, row).model_dump(mode="json"),
    ).response()


def _shown(call: Call, row: DeclarationRow) -> Declaration:
    return Declaration(
        noun=row.noun,
        id=row.human_id,
        uid=row.uid,
        tool=row.tool,
        state=row.state,
        resource=row.resource,
        by_this_key=row.key_id == call.key.key_id,
        also_known_to=row.also_known_to,
        also_known_at=row.also_known_at,
        declared_at=row.declared_at,
    )
