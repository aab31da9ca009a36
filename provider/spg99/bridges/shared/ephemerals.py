"""What is opened for one run and never kept: a tenant's connection string, an API key that lives as long as the run.

Here: opening and closing. Not here: what they are called and take (emit/package.py), who calls them (the bridges).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from spg99.dsn import parse_dsn
from spg99.errors import Forbidden, Internal, NotFound
from spg99.shapes import FunctionFault

if TYPE_CHECKING:
    from spg99.client import Client

Opened = tuple[dict[str, Any], Any]
"""Outputs, and a JSON value that close needs."""


_TENANT_ID, _DATABASE_ID = re.compile(r"ten_[0-9a-z]{20}"), re.compile(r"db_[0-9a-z]{20}")
"""The system's own ids (ids.py). They are valid names too, which nobody would choose."""


async def open_tenant_dsn(client: Client, inputs: Mapping[str, Any]) -> Opened:
    """A tenant's connection string, of one database or with `<db-name>` in its place. Nothing has to be given back.

    Tenant and database may be given by name or by the system's own id. Raises NotFound, and Forbidden for an API key
    that may not read credentials.
    """
    tenant, database = str(inputs["tenant"]), inputs.get("database")
    name = await _tenant_name(client, tenant)
    if database is not None:
        dsn = _text(await _database(client, name, str(database)), "connection_string")
    else:
        dsn = _text(await client.call("GET", "/tenants/{tenant}/credentials", {"tenant": name}), "dsn_template")
    try:
        parts = parse_dsn(dsn)
    except FunctionFault as fault:
        raise Internal(f"The Control Plane answered a connection string that is none: {fault.reason}.") from None
    if parts["password"] is None:
        raise Forbidden(
            f"This API key may not read the credentials of the tenant '{name}'. Use one with the permission "
            "can_read_credentials."
        )
    dsn = f"postgresql://{dsn.partition('://')[2]}"  # older Control Planes and the template say `postgres://`
    known = {name: parts[name] for name in ("host", "port", "user", "password", "sslmode")}
    return {"tenant": tenant, "database": database, "dsn": dsn} | known, None


async def open_api_key(client: Client, inputs: Mapping[str, Any]) -> Opened:
    """A new API key that ends by itself after `expires_in_seconds`, and earlier when it is closed.

    Its tenant may be given by name or by the system's own id. Raises NotFound.
    """
    wanted = {name: inputs.get(name) for name in ("name", "scope", "tenant", "permissions")}
    seconds = int(inputs["expires_in_seconds"])
    expires_at = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")
    body = {name: value for name, value in wanted.items() if value is not None} | {"expires_at": expires_at}
    if "tenant" in body:
        body["tenant"] = await _tenant_name(client, str(body["tenant"]))
    answer = await client.call("POST", "/keys", json=body)
    key_id = _text(answer, "key_id")
    outputs = wanted | {
        "expires_in_seconds": seconds,
        "key_id": key_id,
        "token": _text(answer, "token"),
        "expires_at": answer.get("expires_at") or expires_at,
    }
    return outputs, {"key_id": key_id}


async def close_api_key(client: Client, private: Mapping[str, Any]) -> None:
    """Revokes the key. One that is gone is fine."""
    try:
        await client.call("DELETE", "/keys/{key_id}", private)
    except NotFound:
        return


async def _tenant_name(client: Client, tenant: str) -> str:
    if not _TENANT_ID.fullmatch(tenant):
        return tenant
    return _text(await client.call("GET", "/tenants/{tenant}", {"tenant": tenant}), "name")


async def _database(client: Client, tenant: str, database: str) -> Any:
    """The database of this name or id, if it is the tenant's. Raises NotFound."""
    if _DATABASE_ID.fullmatch(database):
        try:
            found = await client.call("GET", "/dbs/{db_id}", {"db_id": database})
        except NotFound:
            found = None  # then it is a name after all
        if found is not None and _text(found, "tenant") == tenant:
            return found
    return await client.call("GET", "/tenants/{tenant}/dbs/{name}", {"tenant": tenant, "name": database})


def _text(answer: Any, name: str) -> str:
    found = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(found, str):
        raise Internal(
            f"The Control Plane answered without {name}. Client and Control Plane should have the same version."
        )
    return found
