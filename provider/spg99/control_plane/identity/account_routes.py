"""`/account`: who one is. Here: HTTP. Not here: its row (organizations.py)."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from spg99.control_plane.identity import organizations
from spg99.control_plane.identity.organizations import OrganizationRow
from spg99.control_plane.serving import answers, bodies
from spg99.control_plane.serving.answers import Answer
from spg99.control_plane.serving.call import Caller
from spg99.control_plane.serving.idempotency import once
from spg99.control_plane.serving.openapi import documented, takes
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
    async with call.plane.store.reading() as tx:
        row = await organizations.find(tx, call.org_id)
    if row is None:
        raise NotFound(f"There is no account '{call.org_id}' any more.", details={"account_id": call.org_id})
    return answers.of_model(200, _account(row)).response()


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
        return answers.of_model(200, _account(row))

    return await once(call, body, change)


def _account(row: OrganizationRow) -> Account:
    """An account as the API answers it."""
    return Account(
        account_id=row.org_id,
        name=row.name,
        email=row.email,
        company=row.company,
        plan=row.plan,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
