"""Asking safekeepers costs a wake no more than the call itself."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from spg99.client.safekeeper import SafekeeperClient
from spg99.ids import new_id
from spg99.node.safekeepers import Safekeepers
from spg99.processes import safekeeper_clients
from spg99.protocol.safekeeper import Configuration, Members
from spg99.protocol.tasks import Kept


async def test_a_client_is_made_once_and_reads_no_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made anew for each call, and each one read all certificates of the system: 40 ms, twice in a wake."""
    made: list[str] = []

    class Counted(SafekeeperClient):
        def __init__(self, address: str, *more: Any, **options: Any) -> None:
            made.append(address)
            super().__init__(address, *more, **options)

    monkeypatch.setattr(safekeeper_clients, "SafekeeperClient", Counted)
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: pytest.fail("certificates were read"))
    members = Members(safekeeper_ids=["sk_1"], quorum=1)
    kept = Kept(
        configuration=Configuration(number=1, members=members), addresses={"sk_1": str(tmp_path / "nobody")},
        tenant_id=new_id("ten"),
    )  # fmt: skip
    asked = Safekeepers()
    for _ in range(3):
        await asked.rest(new_id("tl"), kept, 1)
    await asked.aclose()
    assert made == [str(tmp_path / "nobody")]
