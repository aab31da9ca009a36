"""Organizations (the API's accounts) and their projects. Not here: tenants, users, payments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spg99.control_plane.platform import audit
from spg99.control_plane.platform.actors import Actor
from spg99.control_plane.store import Transaction
from spg99.ids import new_id

DEFAULT_ORG_ID = "org_default"
"""The organization of a fresh installation; keys of scope global act for it unless they name another."""
DEFAULT_PROJECT = "default"


@dataclass(frozen=True)
class OrganizationRow:
    """One account."""

    org_id: str
    name: str
    email: str
    company: str
    plan: str
    created_at: datetime
    updated_at: datetime


async def ensure_default(tx: Transaction) -> None:
    """Makes the organization `default` unless it is there."""
    await tx.execute("ensure_organization", org_id=DEFAULT_ORG_ID, name="default")


async def find(tx: Transaction, org_id: str) -> OrganizationRow | None:
    """One account."""
    return await tx.one_or_none(OrganizationRow, "find_organization", org_id=org_id)


async def lock(tx: Transaction, org_id: str) -> None:
    """Makes whoever counts what this account owns wait for us, so that a limit holds under concurrent creates."""
    await tx.execute("lock_organization", org_id=org_id)


async def set_contact(
    tx: Transaction, org_id: str, actor: Actor, *, email: str | None, name: str | None, company: str | None
) -> OrganizationRow:
    """Changes the contact of an account; None leaves a field as it is."""
    row = await tx.one(
        OrganizationRow, "set_organization_contact", org_id=org_id, email=email, name=name, company=company
    )
    given = [field for field, value in (("email", email), ("name", name), ("company", company)) if value is not None]
    await audit.record(tx, actor, "account.contact", org_id, org_id=org_id, fields=given)
    return row


async def project_named(tx: Transaction, org_id: str, name: str, actor: Actor) -> str:
    """The id of a project of an account; it is made when it is named for the first time."""
    project_id: str | None = await tx.value("find_project", org_id=org_id, name=name)
    if project_id is None and await tx.execute("make_project", project_id=new_id("prj"), org_id=org_id, name=name):
        await audit.record(tx, actor, "project.create", name, org_id=org_id, project=name)
    return project_id or str(await tx.value("find_project", org_id=org_id, name=name))
