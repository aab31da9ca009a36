"""Which tenants a call may see. Here: names and ids -> rows, or NotFound. Not here: what may be done with them (routes.py)."""

from __future__ import annotations

from collections.abc import Callable

from spg99.control_plane.serving.call import Call, is_id, is_name
from spg99.control_plane.store import Deferred, Transaction
from spg99.control_plane.tenants import rows
from spg99.control_plane.tenants.rows import TenantRow
from spg99.errors import NotFound
from spg99.resources import Permission


async def named(tx: Transaction, call: Call, name: str, *, lock: bool = False) -> TenantRow:
    """The tenant of this name, if this call may see it. Raises NotFound."""
    row = await rows.find(tx, call.org_id, name) if is_name(name) else None
    if row is None or not call.sees(org_id=row.org_id, tenant_id=row.tenant_id):
        raise _unknown(name)
    if lock:
        row = await rows.lock(tx, row.tenant_id)
        if row is None:
            raise _unknown(name)
    return row


class Asked:
    """A tenant that is asked for with the next statement, and stays as it is until this transaction ends."""

    def __init__(self, name: str, found: Deferred | None, sees: Callable[[TenantRow], bool]) -> None:
        self._name = name
        self._found = found
        self._sees = sees

    async def row(self) -> TenantRow:
        """The tenant, if whoever asked may see it. Raises NotFound."""
        found = await self._found.rows(TenantRow) if self._found is not None else []
        if not found or not self._sees(found[0]):
            raise _unknown(self._name)
        return found[0]


async def ask_held(tx: Transaction, call: Call, name: str) -> Asked:
    """Asks for the tenant of this name with the next statement, and holds it."""

    def sees(row: TenantRow) -> bool:
        return call.sees(org_id=row.org_id, tenant_id=row.tenant_id)

    return Asked(name, await rows.ask_held(tx, call.org_id, name) if is_name(name) else None, sees)


async def named_or_id(tx: Transaction, call: Call, wanted: str) -> TenantRow:
    """The tenant of this name, or else of this id, if this call may see it. Raises NotFound."""
    found = await rows.find(tx, call.org_id, wanted) if is_name(wanted) else None
    row = found or (await rows.by_id(tx, wanted) if is_id(wanted) else None)
    if row is None or not call.sees(org_id=row.org_id, tenant_id=row.tenant_id):
        raise _unknown(wanted)
    return row


def password(call: Call, row: TenantRow) -> str | None:
    """The tenant's password for keys that may read it, else None."""
    return rows.password_of(row, call.plane.box) if call.may(Permission.CAN_READ_CREDENTIALS) else None


def _unknown(wanted: str) -> NotFound:
    return NotFound(f"There is no tenant '{wanted[:100]}', or this API key may not see it.")
