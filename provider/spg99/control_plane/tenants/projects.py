"""Projects: names under which an account groups its tenants. Not here: the account (identity/organizations.py)."""

from __future__ import annotations

from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import Actor
from spg99.control_plane.store import Transaction
from spg99.ids import new_id

DEFAULT_PROJECT = "default"


async def named(tx: Transaction, org_id: str, name: str, actor: Actor) -> str:
    """The id of a project of an account; it is made when it is named for the first time."""
    project_id: str | None = await tx.value("find_project", org_id=org_id, name=name)
    if project_id is None and await tx.execute("make_project", project_id=new_id("prj"), org_id=org_id, name=name):
        await audit.record(tx, actor, "project.create", name, org_id=org_id, project=name)
    return project_id or str(await tx.value("find_project", org_id=org_id, name=name))
