"""Before an agent has safekeepers let go of WAL it asks whether somebody archives it by now; without an answer nothing is let go of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from spg99.client import InternalClient
from spg99.config import AgentSettings
from spg99.node.agent import Agent
from spg99.node.folder import NodeFolder
from spg99.node.safekeepers import Safekeepers


@pytest.mark.parametrize(
    ("status", "body", "is_archived"),
    [(200, {"is_on": True}, True), (200, {"is_on": False}, False), (404, {}, True), (503, {}, True)],
)
async def test_it_is_asked_at_the_moment(tmp_path: Path, status: int, body: dict[str, Any], is_archived: bool) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(status, json=body)

    safekeepers, nothing = Safekeepers(), SimpleNamespace(prepare=None)
    computes: Any = SimpleNamespace(ended=None, keeping=SimpleNamespace(safekeepers=safekeepers))
    handlers: Any = SimpleNamespace(timelines=nothing, reconcile_safekeepers=None, only_one=None)
    client = InternalClient("http://cp.test/v2", "t", max_attempts=1, transport=httpx.MockTransport(answer))
    observer: Any = None
    Agent(AgentSettings(data_dir=tmp_path), NodeFolder(tmp_path, tmp_path), client, computes, handlers, observer)
    assert await safekeepers.is_archived() is is_archived
    assert asked == ["/internal/v1/nodes/archiving"]
    await client.aclose()
