"""Operations as the API answers them (`GET /v2/operations/{op_id}`), for stand-ins of a Control Plane. Here: the shape and the states.
Not here: waiting, which each stand-in does in its own way."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


class Operations:
    """Those that a stand-in has begun, by op_id. What it answers is a copy; what it holds moves on."""

    def __init__(self) -> None:
        self._begun: dict[str, dict[str, Any]] = {}

    def begin(self, kind: str) -> dict[str, Any]:
        """One that is under way from now on."""
        operation = self._begun[f"op_{len(self._begun) + 1}"] = {
            "op_id": f"op_{len(self._begun) + 1}",
            "kind": kind,
            "status": "running",
            "tenant_id": None,
            "db_id": None,
            "error": None,
            "created_at": datetime.now(UTC).isoformat(),
            "finished_at": None,
        }
        return operation

    def succeed(self, operation: dict[str, Any]) -> None:
        """It has ended well."""
        operation |= {"status": "succeeded", "finished_at": datetime.now(UTC).isoformat()}

    def find(self, op_id: str) -> dict[str, Any] | None:
        """The operation itself; None when there is none of this id."""
        return self._begun.get(op_id)
