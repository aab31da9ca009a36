"""InternalClient: paths, tokens, and which of our own processes' calls are repeated."""

from __future__ import annotations

import json

import pytest

from spg99.client import InternalClient, retry
from spg99.errors import CannotWake, Conflict, Unreachable
from spg99.protocol import Enrolment
from spg99.protocol.gateway import ConnectRequest, LeaseReport
from spg99.protocol.node import LeaseTasks, TaskResult
from unit.client.bad_network import answer, serve

pytestmark = pytest.mark.usefixtures("either_way")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.001)


async def test_enrolment_goes_without_a_token_and_then_with_one() -> None:
    identity = answer("200 OK", b'{"identity_id":"node_1","bearer_token":"tok"}')
    tasks = answer("200 OK", b'{"tasks":[]}')
    async with serve(identity, tasks) as script, InternalClient(script.url, None) as client:
        known = await client.enroll_node(Enrolment(enrolment_token="once", name="node-1"))
        client.authenticate(known.bearer_token)
        assert (await client.lease_tasks(LeaseTasks(wait_seconds=0))).tasks == []
    assert script.seen[0].startswith(b"POST /internal/v1/nodes/enroll ")
    assert b"authorization" not in script.seen[0].lower()
    assert b"authorization: Bearer tok" in script.seen[1].replace(b"Authorization", b"authorization")


async def test_leasing_tasks_is_repeated_and_a_lease_report_is_not() -> None:
    async with serve(None, answer("200 OK", b'{"tasks":[]}')) as script, InternalClient(script.url, "t") as client:
        assert (await client.lease_tasks(LeaseTasks(wait_seconds=0))).tasks == []
    assert len(script.seen) == 2
    async with serve(None) as script, InternalClient(script.url, "t") as client:
        with pytest.raises(Unreachable):
            await client.report_leases(LeaseReport(leases=[]))
    assert len(script.seen) == 1


async def test_a_result_without_a_body_is_fine() -> None:
    async with serve(answer("204 No Content")) as script, InternalClient(script.url, "t") as client:
        await client.finish_task(7, TaskResult(succeeded=True, attempt=1))
    assert script.seen[0].startswith(b"POST /internal/v1/nodes/tasks/7/result ")


async def test_a_database_that_cannot_wake_is_told_at_once() -> None:
    no = answer("503 Service Unavailable", b'{"error":"CannotWake","message":"No disk."}')
    async with serve(no) as script, InternalClient(script.url, "t") as client:
        with pytest.raises(CannotWake, match="No disk"):
            await client.connect(ConnectRequest(tenant_id="ten_1", database="app"))
    assert len(script.seen) == 1


async def test_changes_resume_and_a_position_too_old_is_a_conflict() -> None:
    change = json.dumps({"kind": "tenant", "tenant_id": "ten_1", "reason": "credentials.rotated"})
    body = f"id: 41\ndata: {change}\n\n".encode()
    good = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + body
    old = answer("409 Conflict", b'{"error":"Conflict","message":"Too old."}')
    async with serve(good, old) as script, InternalClient(script.url, "t") as client:
        changes = client.changes(40)
        position, seen = await anext(changes)
        assert (position, seen.reason) == (41, "credentials.rotated")
        with pytest.raises(Conflict):
            await anext(changes)
    assert b"after=40" in script.seen[0] and b"after=41" in script.seen[1]
