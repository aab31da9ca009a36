"""One whole life of a tenant and its database, lived by a patient user: whoever dies meanwhile, every step is tried again
until it is done. Here: the steps and what each must have led to. Not here: killing (test_kills.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
import psycopg

from kit.platform import Platform, wait_for
from spg99.ids import new_id

T = TypeVar("T")

PATIENCE_SECONDS = 40
STEPS = ("create", "wake", "update", "rotate", "sleep", "wake_again", "delete")


class Life:
    """A tenant `name` with the database `app`. `rows` counts the acknowledged ones."""

    def __init__(self, platform: Platform, name: str) -> None:
        self.platform = platform
        self.name = name
        self.rows = 0
        self.db_id = ""
        self.dsn = ""

    def live(self, before: Callable[[str], None]) -> None:
        """All steps in order; `before` is told each."""
        for step in STEPS:
            before(step)
            getattr(self, f"_{step}")()

    # The steps.

    def _create(self) -> None:
        self._patiently("POST", "/tenants", json={"name": self.name})
        path = f"/tenants/{self.name}/dbs"
        self.db_id = self._patiently("POST", path, json={"name": "app", "idle_timeout_seconds": 300})["db_id"]
        assert self._until("stopped")["db_id"] == self.db_id
        items = self._patiently("GET", path)["items"]
        assert [item["db_id"] for item in items] == [self.db_id], items
        self.dsn = self._dsn()

    def _wake(self) -> None:
        self._query("create table if not exists acknowledged (n int primary key)")
        self._write()

    def _update(self) -> None:
        changed = self._patiently("PATCH", self._path, json={"idle_timeout_seconds": 301, "size": "L2"})
        assert (changed["idle_timeout_seconds"], changed["size"]) == (301, "L2")
        seen = self._patiently("GET", self._path)
        assert (seen["idle_timeout_seconds"], seen["size"]) == (301, "L2")

    def _rotate(self) -> None:
        old = self.dsn
        self._patiently("POST", f"/tenants/{self.name}/credentials/rotate", json={})
        self.dsn = self._dsn()
        assert self.dsn != old
        self._write()
        refused = wait_for("the old password to be refused", lambda: _refusal(old), seconds=PATIENCE_SECONDS)
        assert "password authentication failed" in refused, refused

    def _sleep(self) -> None:
        self._write()
        # Refused while the Gateway has not told yet that our connection has ended.
        wait_for(
            "stop to be accepted", lambda: self._status(f"{self._path}/stop", "POST") == 202, seconds=PATIENCE_SECONDS
        )
        stopped = self._until("stopped")
        assert stopped["current_scale"] == 0
        assert stopped["current_profile"] in (None, "L2"), stopped

    def _wake_again(self) -> None:
        self._write()

    def _delete(self) -> None:
        self._patiently("DELETE", f"{self._path}?force=true", gone_is_fine=True)
        wait_for("the database to be gone", lambda: self._status(self._path) == 404, seconds=PATIENCE_SECONDS)
        self._patiently("DELETE", f"/tenants/{self.name}", gone_is_fine=True)
        wait_for(
            "the tenant to be gone", lambda: self._status(f"/tenants/{self.name}") == 404, seconds=PATIENCE_SECONDS
        )

    # How a patient user does them.

    @property
    def _path(self) -> str:
        return f"/tenants/{self.name}/dbs/app"

    def _patiently(self, method: str, path: str, *, gone_is_fine: bool = False, **arguments: Any) -> Any:
        """One call, sent again (a POST under the same key) until a whole answer comes."""
        headers = {"Idempotency-Key": new_id("idem")} if method == "POST" else {}

        def answer() -> httpx.Response | None:
            try:
                got = self.platform.api(method, path, headers=headers, timeout=10, **arguments)
            except httpx.TransportError:
                return None
            return None if got.status_code in (502, 503, 504) else got

        got = wait_for(
            f"an answer to {method} {path}", lambda: _Whole(a) if (a := answer()) else None, seconds=PATIENCE_SECONDS
        )
        if gone_is_fine and got.answer.status_code == 404:
            return None
        assert got.answer.is_success, (got.answer.status_code, got.answer.text)
        return got.answer.json() if got.answer.content else None

    def _status(self, path: str, method: str = "GET") -> int:
        try:
            return self.platform.api(method, path, timeout=10).status_code
        except httpx.TransportError:
            return 0

    def _until(self, state: str) -> dict[str, Any]:
        body: dict[str, Any] = {}

        def seen() -> dict[str, Any] | None:
            body.update(self._patiently("GET", self._path))
            return body if body["state"] == state else None

        try:
            return wait_for(f"state {state}", seen, seconds=PATIENCE_SECONDS)
        except AssertionError as error:
            told = {key: body.get(key) for key in ("state", "state_reason", "target_scale", "current_scale")}
            raise AssertionError(f"{error}; {told}") from None

    def _dsn(self) -> str:
        return str(self._patiently("GET", self._path)["connection_string"])

    def _write(self) -> None:
        """One more row, and all acknowledged ones must be there."""
        self._query("insert into acknowledged values (%s) on conflict do nothing", (self.rows,))
        self.rows += 1
        found = self._query("select n from acknowledged order by n")
        assert [n for (n,) in found] == list(range(self.rows)), f"acknowledged {self.rows} rows, found {found}"

    def _query(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """One statement in its own connection, tried again until it is acknowledged."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with psycopg.connect(self.dsn, connect_timeout=15) as connection:
                    cursor = connection.execute(statement, parameters)
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"not acknowledged within {PATIENCE_SECONDS} s: {statement}") from error
                time.sleep(0.05)


class _Whole:
    """An answer as a thing that is true also when its status is an error."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer


def _refusal(dsn: str) -> str:
    try:
        psycopg.connect(dsn, connect_timeout=15).close()
    except psycopg.OperationalError as error:
        return str(error) if "password" in str(error) else ""
    return ""
