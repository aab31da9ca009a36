"""`/account` and `/operations`: who one is, and what is under way. Here: HTTP. Not here: platform/organizations.py, operations.py."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from spg99.control_plane.api import answers, bodies, waits
from spg99.control_plane.api.answers import Answer, Operation
from spg99.control_plane.api.call import Caller, is_id
from spg99.control_plane.api.idempotency import once
from spg99.control_plane.api.openapi import documented, takes
from spg99.control_plane.platform import operations, organizations
from spg99.control_plane.platform.operations import OperationRow
from spg99.control_plane.store import Transaction
from spg99.errors import BadRequest, NotFound
from spg99.resources import Account, Permission, Scope

router = APIRouter(prefix="/v2", tags=["account"])


class Contact(BaseModel):
    """Whom to reach. What is not named stays as it is."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_extra={"minProperties": 1})

    email: str = Field(
        default="", max_length=254, pattern=r"^[^@\s]{1,64}@[^@\s]{1,180}$", examples=["ops@example.com"]
    )
    """Address."""
    name: str = Field(default="", min_length=1, max_length=200)
    """Name of the contact."""
    company: str = Field(default="", max_length=200)
    """Company."""


@router.get("/account", **documented("account.read", 200, Account, "The account", errors=(403,)))
async def read_account(call: Caller) -> Response:
    """Reads the account the key acts for."""
    call.need_scope(Scope.ACCOUNT)
    async with call.plane.store.transaction() as tx:
        row = await organizations.find(tx, call.org_id)
    if row is None:
        raise NotFound("There is no such account.")
    return answers.of_model(200, answers.account(row)).response()


@router.post(
    "/account/contact",
    **documented(
        "account.contact", 200, Account, "The account", body=takes(Contact), errors=(403, 409), idempotent=True
    ),
)
async def set_contact(call: Caller) -> Response:
    """Changes the contact of the account. Needs `can_manage_keys`."""
    call.need(Permission.CAN_MANAGE_KEYS)
    call.need_scope(Scope.ACCOUNT)
    body = await bodies.json_object(call.request)
    if not body:
        raise BadRequest("Name at least one of email, name and company.")
    contact = bodies.shape_of(Contact, body)

    async def change(tx: Transaction) -> Answer:
        named = {name: getattr(contact, name) if name in body else None for name in Contact.model_fields}
        row = await organizations.set_contact(tx, call.org_id, call.actor, **named)
        return answers.of_model(200, answers.account(row))

    return await once(call, body, change)


@router.get(
    "/operations/{op_id}",
    **documented("operation.read", 200, Operation, "The operation"),
    tags=["operations"],
)
async def read_operation(
    call: Caller,
    op_id: str,
    wait: Annotated[
        int, Query(ge=0, le=waits.WAIT_SECONDS_MAX, description="Seconds to wait at most until it is over.")
    ] = 0,
) -> Response:
    """Reads an operation, at once or when it is over."""

    async def look() -> OperationRow:
        async with call.plane.store.transaction() as tx:
            row = await operations.find(tx, op_id) if is_id(op_id) else None
        if row is None or not call.sees(org_id=row.org_id, tenant_id=row.tenant_id):
            raise NotFound(f"There is no operation '{op_id[:100]}', or this API key may not see it.")
        return row

    row = await waits.until(
        call, look, lambda found: found.status != "running", ("spg99_operation", op_id), seconds=wait
    )
    return answers.of_model(200, answers.operation(row)).response()
