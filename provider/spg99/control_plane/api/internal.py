"""The door for our own processes, `/internal/v1`: agents and Gateways. Not part of the public API, not in its OpenAPI.

Here: who speaks, and which call is which message (spg99/protocol). Not here: what follows from it (lifecycle/), the stream of
changes (changes.py).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.responses import StreamingResponse

from spg99.control_plane.api import changes
from spg99.control_plane.lifecycle.loops import Lifecycle
from spg99.control_plane.platform import gateways, nodes
from spg99.control_plane.platform.gateways import GatewayRow
from spg99.control_plane.platform.nodes import NodeRow
from spg99.control_plane.store import Transaction
from spg99.errors import Unauthorized
from spg99.protocol import INTERNAL_PREFIX, Enrolment, Identity
from spg99.protocol.gateway import Checkout, ConnectRequest, Credentials, CredentialsQuery, LeaseAnswer, LeaseReport
from spg99.protocol.node import Heartbeat, HeartbeatAnswer, LeasedTasks, LeaseTasks, TaskResult

IDENTITY_REMEMBERED_SECONDS = 5.0

Row = TypeVar("Row")


def router(life: Lifecycle) -> APIRouter:
    """All routes of agents and Gateways."""
    routes = APIRouter(prefix=INTERNAL_PREFIX, include_in_schema=False)
    _add_node_routes(routes, life)
    _add_gateway_routes(routes, life)
    return routes


def _add_node_routes(routes: APIRouter, life: Lifecycle) -> None:
    node_of = _identified_by(life, nodes.of_token)

    @routes.post("/nodes/enroll")
    async def enroll_node(enrolment: Enrolment) -> Identity:
        async with life.store.transaction() as tx:
            return await nodes.enroll(tx, enrolment, life.clock.now())

    @routes.post("/nodes/tasks/lease")
    async def lease_tasks(ask: LeaseTasks, request: Request, node: NodeRow = Depends(node_of)) -> LeasedTasks:
        request.state.waits = True
        return await life.reports.lease_tasks(node, ask, is_gone=request.is_disconnected)

    @routes.post("/nodes/tasks/{task_id}/result", status_code=204)
    async def finish_task(task_id: int, result: TaskResult, node: NodeRow = Depends(node_of)) -> Response:
        await life.reports.finish_task(node, task_id, result)
        return Response(status_code=204)

    @routes.post("/nodes/heartbeat")
    async def heartbeat(beat: Heartbeat, node: NodeRow = Depends(node_of)) -> HeartbeatAnswer:
        return await life.reports.heartbeat(node, beat)


def _add_gateway_routes(routes: APIRouter, life: Lifecycle) -> None:
    gateway_of = _identified_by(life, gateways.of_token)

    @routes.post("/gateways/enroll")
    async def enroll_gateway(enrolment: Enrolment) -> Identity:
        async with life.store.transaction() as tx:
            return await gateways.enroll(tx, enrolment, life.clock.now())

    @routes.post("/gateways/credentials")
    async def credentials(query: CredentialsQuery, _: GatewayRow = Depends(gateway_of)) -> Credentials:
        async with life.store.transaction() as tx:
            return await gateways.credentials(tx, query.pg_user)

    @routes.post("/gateways/connect")
    async def connect(ask: ConnectRequest, request: Request, gateway: GatewayRow = Depends(gateway_of)) -> Checkout:
        request.state.waits = True
        return await life.waker.connect(gateway.gateway_id, ask)

    @routes.post("/gateways/leases")
    async def report_leases(report: LeaseReport, gateway: GatewayRow = Depends(gateway_of)) -> LeaseAnswer:
        return await life.reports.leases(gateway, report)

    @routes.get("/gateways/changes")
    async def stream_changes(
        request: Request,
        after: Annotated[int | None, Query(ge=0)] = None,
        _: GatewayRow = Depends(gateway_of),
    ) -> StreamingResponse:
        request.state.waits = True
        begin = await changes.begin(life.store, after)
        return StreamingResponse(
            changes.stream(life, begin), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )


def _identified_by(
    life: Lifecycle, find: Callable[[Transaction, str], Awaitable[Row]]
) -> Callable[[Request], Awaitable[Row]]:
    """Who speaks, by the bearer token; an identity that was right is right for a few seconds more."""
    known: dict[str, tuple[float, Row]] = {}

    async def identified(request: Request) -> Row:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("This path is for enrolled nodes and gateways.")
        remembered = known.get(token)
        if remembered is not None and time.monotonic() - remembered[0] < IDENTITY_REMEMBERED_SECONDS:
            return remembered[1]
        known.pop(token, None)
        async with life.store.transaction() as tx:
            row = await find(tx, token)
        known[token] = (time.monotonic(), row)
        return row

    return identified
