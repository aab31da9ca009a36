"""Databases' part of `/internal/v1`: connects, and what agents and Gateways report. Here: HTTP. Not here: what follows from it."""

from __future__ import annotations

from starlette.requests import Request

from spg99 import log
from spg99.control_plane import fleet
from spg99.control_plane.databases.lifecycle import Lifecycle
from spg99.control_plane.serving import internal
from spg99.errors import NotFound
from spg99.protocol.gateway import Checkout, ConnectRequest, LeaseAnswer, LeaseReport
from spg99.protocol.node import Heartbeat, HeartbeatAnswer, TaskResult
from spg99.protocol.pageserver import PageserverAnswer, PageserverHeartbeat
from spg99.protocol.safekeeper import SafekeeperAnswer, SafekeeperHeartbeat


def routes(life: Lifecycle, identities: fleet.Identities) -> list[internal.Route]:
    """Databases' routes for agents and Gateways."""
    here = internal.Routes()

    @here.post("/nodes/tasks/{task_id}/result", who=identities.node, takes=TaskResult)
    async def finish_task(request: Request, node: fleet.NodeRow, result: TaskResult) -> None:
        if (task_id := internal.number(request.path_params["task_id"])) is None:
            raise NotFound()
        await life.reports.finish_task(node, task_id, result)

    @here.post("/nodes/heartbeat", who=identities.node, takes=Heartbeat)
    async def heartbeat(_: Request, node: fleet.NodeRow, beat: Heartbeat) -> HeartbeatAnswer:
        return await life.reports.heartbeat(node, beat)

    @here.post("/safekeepers/heartbeat", who=identities.safekeeper, takes=SafekeeperHeartbeat)
    async def safekeeper_heartbeat(
        _: Request, safekeeper: fleet.SafekeeperRow, beat: SafekeeperHeartbeat
    ) -> SafekeeperAnswer:
        return await life.reports.safekeeper_heartbeat(safekeeper, beat)

    @here.post("/pageservers/heartbeat", who=identities.pageserver, takes=PageserverHeartbeat)
    async def pageserver_heartbeat(
        _: Request, pageserver: fleet.PageserverRow, beat: PageserverHeartbeat
    ) -> PageserverAnswer:
        return await life.reports.pageserver_heartbeat(pageserver, beat)

    @here.post("/gateways/connect", who=identities.gateway, takes=ConnectRequest)
    async def connect(request: Request, gateway: fleet.GatewayRow, ask: ConnectRequest) -> Checkout:
        request.state.waits = True
        if ask.client_addr is not None:
            log.bind_client(ask.client_addr)
        return await life.waker.connect(gateway.gateway_id, ask)

    @here.post("/gateways/leases", who=identities.gateway, takes=LeaseReport)
    async def report_leases(_: Request, gateway: fleet.GatewayRow, report: LeaseReport) -> LeaseAnswer:
        return await life.reports.leases(gateway, report)

    return here.routes
