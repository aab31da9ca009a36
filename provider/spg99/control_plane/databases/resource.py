"""A database as the API answers it. Not here: its row (rows.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from spg99.control_plane import tenants
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.serving import rendering
from spg99.resources import Database
from spg99.resources import DatabaseState as State


def as_json(
    row: DatabaseRow,
    *,
    tenant_name: str,
    pg_user: str,
    password: str | None,
    gateway_host: str,
    gateway_port: int,
    now: datetime | None = None,
) -> dict[str, Any]:
    """A `Database` as the API answers it; `password` None leaves it out of the connection string."""
    runs = row.state in (State.READY, State.IDLE, State.BOOTING, State.STOPPING)
    milliseconds = row.compute_milliseconds
    if now is not None and row.compute_started_at is not None:
        milliseconds += max(0, int((now - row.compute_started_at).total_seconds() * 1000))
    return rendering.as_json(
        Database,
        {
            **vars(row),
            "tenant": tenant_name,
            "status": row.state,
            "timeline": row.timeline_id,
            "worker_id": row.compute_id if runs else None,
            "connection_string": tenants.dsn(
                host=gateway_host, port=gateway_port, pg_user=pg_user, password=password, database=row.name
            ),
            "compute_seconds": milliseconds // 1000,
        },
    )
