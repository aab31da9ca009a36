"""Databases' part of `/internal/v1`: connects, and what agents and Gateways report. Here: HTTP. Not here: what follows from it."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from spg99 import log
from spg99.control_plane import fleet
from spg99.control_plane.databases.lifecycle import Lifecycle
from spg99.protocol import INTERNAL_PREFIX
from spg99.protocol.gateway import Checkout, ConnectRequest, LeaseAnswer, LeaseReport
from spg99.protocol.node import Heartbeat, HeartbeatAnswer, TaskResult
from spg99.protocol.safekeeper import SafekeeperAnswer, SafekeeperHeartbeat


def router(life: Lifecycle, identities: fleet.Identities) -> APIRouter:
    """Databases' routes for agents and Gateways."""
    routes = APIRouter(prefix=INTERNAL_PREFIX, include_in_schema=False)

    @routes.post("/nodes/tasks/{task_id}/result", status_code=204)
    async def finish_task(task_id: int, result: TaskResult, node: fleet.NodeRow = Depends(identities.node)) -> Response:
        await life.reports.finish_task(node, task_id, result)
        return Response(status_code=204)

    @routes.post("/nodes/heartbeat")
    async def heartbeat(beat: Heartbeat, node: fleet.NodeRow = Depends(identities.node)) -> HeartbeatAnswer:
        return await life.reports.heartbeat(node, beat)

    @routes.post("/safekeepers/heartbeat")
    async def safekeeper_heartbeat(
        beat: SafekeeperHeartbeat, safekeeper: fleet.SafekeeperRow = Depends(identities.safekeeper)
    ) -> SafekeeperAnswer:
        return await life.reports.safekeeper_heartbeat(safekeeper, beat)

    @routes.post("/gateways/connect")
    async def connect(
        ask: ConnectRequest, request: Request, gateway: fleet.GatewayRow = Depends(identities.gateway)
    ) -> Checkout:
        request.state.waits = True
        if ask.client_addr is not None:
            log.bind_client(ask.client_addr)
        return await life.waker.connect(gateway.gateway_id, ask)

    @routes.post("/gateways/leases")
    async def report_leases(
        report: LeaseReport, gateway: fleet.GatewayRow = Depends(identities.gateway)
    ) -> LeaseAnswer:
        return await life.reports.leases(gateway, report)

    return routes
