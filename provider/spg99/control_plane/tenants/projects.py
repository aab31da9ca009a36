"""Projects: names under which an account groups its tenants. Not here: the account (identity/organizations.py)."""

from __future__ import annotations

from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import Actor
from spg99.control_plane.store import Deferred, Transaction
from spg99.ids import new_id

DEFAULT_PROJECT = "default"


async def ask(tx: Transaction, org_id: str, name: str) -> Deferred:
    """Asks for the id of a project with the next statement."""
    return await tx.defer("find_project", org_id=org_id, name=name)


async def named(tx: Transaction, org_id: str, name: str, actor: Actor, *, asked: Deferred | None = None) -> str:
    """The id of a project of an account; it is made when it is named for the first time. `asked`: what `ask` has answered."""
    found = asked.value() if asked is not None else tx.value("find_project", org_id=org_id, name=name)
    project_id: str | None = await found
    if project_id is None and await tx.execute("make_project", project_id=new_id("prj"), org_id=org_id, name=name):
        await audit.record(tx, actor, "project.create", name, org_id=org_id, project=name)
    return project_id or str(await tx.value("find_project", org_id=org_id, name=name))
