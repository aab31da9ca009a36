"""What is opened for one run and never kept: a tenant's connection string, an API key that lives as long as the run.

Here: opening and closing. Not here: what they are called and take (emit/package.py), who calls them (the bridges).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from spg99.dsn import parse_dsn
from spg99.errors import Forbidden, Internal, NotFound
from spg99.shapes import FunctionFault

if TYPE_CHECKING:
    from spg99.client import Client

Opened = tuple[dict[str, Any], Any]
"""Outputs, and a JSON value that close needs."""


async def open_tenant_dsn(client: Client, inputs: Mapping[str, Any]) -> Opened:
    """A tenant's connection string, of one database or with `<db-name>` in its place. Nothing has to be given back.

    Raises NotFound, and Forbidden for an API key that may not read credentials.
    """
    tenant, database = str(inputs["tenant"]), inputs.get("database")
    path = f"/tenants/{quote(tenant, safe='')}"
    if database is not None:
        answer = await client.call("GET", f"{path}/dbs/{quote(str(database), safe='')}")
        dsn = _text(answer, "connection_string")
    else:
        answer = await client.call("GET", f"{path}/credentials")
        dsn = _text(answer, "dsn_template")
    try:
        parts = parse_dsn(dsn)
    except FunctionFault as fault:
        raise Internal(f"The Control Plane answered a connection string that is none: {fault.reason}.") from None
    if parts["password"] is None:
        raise Forbidden(
            f"This API key may not read the credentials of the tenant '{tenant}'. Use one with the permission "
            "can_read_credentials."
        )
    told = {name: parts[name] for name in ("host", "port", "user", "password", "sslmode")}
    return {"tenant": tenant, "database": database, "dsn": dsn} | told, None


async def open_api_key(client: Client, inputs: Mapping[str, Any]) -> Opened:
    """A new API key that ends by itself after `expires_in_seconds`, and earlier when it is closed."""
    wanted = {name: inputs.get(name) for name in ("name", "scope", "tenant", "permissions")}
    seconds = int(inputs["expires_in_seconds"])
    expires_at = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")
    body = {name: value for name, value in wanted.items() if value is not None} | {"expires_at": expires_at}
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
        await client.call("DELETE", f"/keys/{quote(str(private['key_id']), safe='')}")
    except NotFound:
        return


def _text(answer: Any, name: str) -> str:
    found = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(found, str):
        raise Internal(
            f"The Control Plane answered without {name}. Client and Control Plane should have the same version."
        )
    return found
