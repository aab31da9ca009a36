"""A database as the API answers it. Not here: its row (rows.py)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from spg99.control_plane import tenants
from spg99.control_plane.databases.rows import DatabaseRow
from spg99.control_plane.serving import rendering
from spg99.resources import Database
from spg99.resources import DatabaseState as State
from spg99.wal.lsn import format_lsn

_RUNS = frozenset({State.READY.value, State.IDLE.value, State.BOOTING.value, State.STOPPING.value})


def as_json(
    *, tenant_name: str, pg_user: str, password: str | None, gateway_host: str, gateway_port: int, now: datetime
) -> Callable[[DatabaseRow], dict[str, Any]]:
    """How to answer each row of a tenant as a `Database`, as of `now`; `password` None leaves it out of the connection string."""
    dsn_of = tenants.dsn_of_any(host=gateway_host, port=gateway_port, pg_user=pg_user, password=password)

    def shown(row: DatabaseRow) -> dict[str, Any]:
        milliseconds = row.compute_milliseconds
        if row.compute_started_at is not None:
            milliseconds += max(0, int((now - row.compute_started_at).total_seconds() * 1000))
        return rendering.as_json(
            Database,
            {
                **vars(row),
                "tenant": tenant_name,
                "status": row.state,
                "timeline": row.timeline_id,
                "worker_id": row.compute_id if row.state in _RUNS else None,
                "branch_lsn": format_lsn(row.branch_lsn) if row.branch_lsn is not None else None,
                "recoverable_from": row.history_begins_at,
                "recoverable_until": (row.history_failed_at or now) if row.history_begins_at is not None else None,
                "connection_string": dsn_of(row.name),
                "compute_seconds": milliseconds // 1000,
            },
        )

    return shown
