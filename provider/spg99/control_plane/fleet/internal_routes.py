"""The fleet's part of `/internal/v1`: enrolment, the orders of a node, the changes a Gateway must hear of. Here: HTTP.

The internal API is for our own processes: not part of the public API, not in its OpenAPI. Each domain answers what
is its own there. Not here: who speaks (identities.py), which call is which message (spg99/protocol).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import StreamingResponse

from spg99.control_plane.fleet import changes, gateways, nodes, pageservers, safekeepers, tokens
from spg99.control_plane.fleet.authority import Authorities
from spg99.control_plane.fleet.gateways import GatewayRow
from spg99.control_plane.fleet.identities import Identities
from spg99.control_plane.fleet.joining import Joined
from spg99.control_plane.fleet.nodes import NodeRow
from spg99.control_plane.fleet.polls import Polls
from spg99.control_plane.fleet.tokens import EnrolmentKind
from spg99.control_plane.serving import internal, sse
from spg99.control_plane.serving.internal import Speaker
from spg99.control_plane.store import Store, Transaction, Wakeups
from spg99.errors import BadRequest
from spg99.processes import WatchedClock
from spg99.protocol import Enrolment, Identity
from spg99.protocol.certificates import CertificateIssued, CertificateRequest
from spg99.protocol.gateway import CancelForward
from spg99.protocol.node import Archiving, LeasedTasks, LeaseTasks


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

    def joins(
        kind: EnrolmentKind, enroll: Callable[[Transaction, Enrolment], Awaitable[Identity]], who: Speaker
    ) -> None:
        """How one kind of process gets to be known: an identity for its token, and certificates of that."""

        @here.post(f"/{kind}s/enroll", takes=Enrolment)
        async def trade(_: Request, enrolment: Enrolment) -> Identity:
            async with store.transaction() as tx:
                await tokens.use(tx, enrolment.enrolment_token, kind, clock)
                return await enroll(tx, enrolment)

        @here.post(f"/{kind}s/certificate", who=who, takes=CertificateRequest)
        async def certify(_: Request, row: Joined, ask: CertificateRequest) -> CertificateIssued:
            return await authorities.issue(row.identity_id, ask)

    async def as_node(tx: Transaction, enrolment: Enrolment) -> Identity:
        return await nodes.enroll(tx, enrolment, clock.now(), silence_is_known=silence_is_known())

    async def as_gateway(tx: Transaction, enrolment: Enrolment) -> Identity:
        return await gateways.enroll(tx, enrolment, clock.now())

    async def as_safekeeper(tx: Transaction, enrolment: Enrolment) -> Identity:
        return await safekeepers.enroll(tx, enrolment, clock.now(), silence_is_known=silence_is_known())

    async def as_pageserver(tx: Transaction, enrolment: Enrolment) -> Identity:
        return await pageservers.enroll(tx, enrolment, clock.now())

    joins("node", as_node, identities.node)
    joins("gateway", as_gateway, identities.gateway)
    joins("safekeeper", as_safekeeper, identities.safekeeper)
    joins("pageserver", as_pageserver, identities.pageserver)

    @here.post("/nodes/tasks/lease", who=identities.node, takes=LeaseTasks)
    async def lease_tasks(request: Request, node: NodeRow, ask: LeaseTasks) -> LeasedTasks:
        request.state.waits = True
        return await polls.lease_tasks(node, ask, is_gone=request.is_disconnected)

    @here.get("/nodes/archiving", who=identities.node)
    async def archiving(_: Request, __: NodeRow) -> Archiving:
        async with store.reading() as tx:
            return Archiving(is_on=await pageservers.exist(tx))

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
