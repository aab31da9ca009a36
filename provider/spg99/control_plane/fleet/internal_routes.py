"""The fleet's part of `/internal/v1`: enrolment, the orders of a node, the changes a Gateway must hear of. Here: HTTP.

The internal API is for our own processes: not part of the public API, not in its OpenAPI. Each domain answers what
is its own there. Not here: who speaks (identities.py), which call is which message (spg99/protocol).
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import StreamingResponse

from spg99.control_plane.fleet import changes, gateways, nodes, pageservers, safekeepers
from spg99.control_plane.fleet.authority import Authorities
from spg99.control_plane.fleet.gateways import GatewayRow
from spg99.control_plane.fleet.identities import Identities
from spg99.control_plane.fleet.nodes import NodeRow
from spg99.control_plane.fleet.pageservers import PageserverRow
from spg99.control_plane.fleet.polls import Polls
from spg99.control_plane.fleet.safekeepers import SafekeeperRow
from spg99.control_plane.serving import internal, sse
from spg99.control_plane.store import Store, Wakeups
from spg99.errors import BadRequest
from spg99.processes import WatchedClock
from spg99.protocol import Enrolment, Identity
from spg99.protocol.certificates import CertificateIssued, CertificateRequest
from spg99.protocol.gateway import CancelForward
from spg99.protocol.node import LeasedTasks, LeaseTasks


def routes(
    store: Store,
    clock: WatchedClock,
    wakeups: Wakeups,
    identities: Identities,
    polls: Polls,
    authorities: Authorities,
    *,
    silence_is_known: Callable[[], bool],
) -> list[internal.Route]:
    """The fleet's routes for agents and Gateways. `silence_is_known` answers whether a node that was not heard of is silent, or
    we were away ourselves."""
    here = internal.Routes()

    @here.post("/nodes/enroll", takes=Enrolment)
    async def enroll_node(_: Request, enrolment: Enrolment) -> Identity:
        async with store.transaction() as tx:
            return await nodes.enroll(tx, enrolment, clock, silence_is_known=silence_is_known())

    @here.post("/nodes/tasks/lease", who=identities.node, takes=LeaseTasks)
    async def lease_tasks(request: Request, node: NodeRow, ask: LeaseTasks) -> LeasedTasks:
        request.state.waits = True
        return await polls.lease_tasks(node, ask, is_gone=request.is_disconnected)

    @here.post("/gateways/enroll", takes=Enrolment)
    async def enroll_gateway(_: Request, enrolment: Enrolment) -> Identity:
        async with store.transaction() as tx:
            return await gateways.enroll(tx, enrolment, clock)

    @here.post("/safekeepers/enroll", takes=Enrolment)
    async def enroll_safekeeper(_: Request, enrolment: Enrolment) -> Identity:
        async with store.transaction() as tx:
            return await safekeepers.enroll(tx, enrolment, clock, silence_is_known=silence_is_known())

    @here.post("/pageservers/enroll", takes=Enrolment)
    async def enroll_pageserver(_: Request, enrolment: Enrolment) -> Identity:
        async with store.transaction() as tx:
            return await pageservers.enroll(tx, enrolment, clock)

    @here.post("/nodes/certificate", who=identities.node, takes=CertificateRequest)
    async def node_certificate(_: Request, node: NodeRow, ask: CertificateRequest) -> CertificateIssued:
        return await authorities.issue(node.node_id, ask)

    @here.post("/gateways/certificate", who=identities.gateway, takes=CertificateRequest)
    async def gateway_certificate(_: Request, gateway: GatewayRow, ask: CertificateRequest) -> CertificateIssued:
        return await authorities.issue(gateway.gateway_id, ask)

    @here.post("/safekeepers/certificate", who=identities.safekeeper, takes=CertificateRequest)
    async def safekeeper_certificate(
        _: Request, safekeeper: SafekeeperRow, ask: CertificateRequest
    ) -> CertificateIssued:
        return await authorities.issue(safekeeper.safekeeper_id, ask)

    @here.post("/pageservers/certificate", who=identities.pageserver, takes=CertificateRequest)
    async def pageserver_certificate(
        _: Request, pageserver: PageserverRow, ask: CertificateRequest
    ) -> CertificateIssued:
        return await authorities.issue(pageserver.pageserver_id, ask)

    @here.post("/gateways/cancel", who=identities.gateway, takes=CancelForward)
    async def forward_cancel(_: Request, __: GatewayRow, forward: CancelForward) -> None:
        async with store.transaction() as tx:
            await changes.forward_cancel(tx, forward.key_hash)

    @here.get("/gateways/changes", who=identities.gateway)
    async def stream_changes(request: Request, _: GatewayRow) -> StreamingResponse:
        request.state.waits = True
        asked = request.query_params.get("after")
        after = None if asked is None else internal.number(asked)
        if asked is not None and after is None:
            raise BadRequest("A parameter is not valid.", fields={"after": "must be a whole number, 0 or more"})
        begin = await changes.begin(store, after)
        return sse.answer(changes.stream(store, wakeups, begin))

    return here.routes
