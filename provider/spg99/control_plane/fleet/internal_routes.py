"""The fleet's part of `/internal/v1`: enrolment, the orders of a node, the changes a Gateway must hear of. Here: HTTP.

The internal API is for our own processes: not part of the public API, not in its OpenAPI. Each domain answers what
is its own there. Not here: who speaks (identities.py), which call is which message (spg99/protocol).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.responses import StreamingResponse

from spg99.control_plane.fleet import changes, gateways, nodes, safekeepers
from spg99.control_plane.fleet.gateways import GatewayRow
from spg99.control_plane.fleet.identities import Identities
from spg99.control_plane.fleet.nodes import NodeRow
from spg99.control_plane.fleet.polls import Polls
from spg99.control_plane.serving import sse
from spg99.control_plane.store import Store, Wakeups
from spg99.processes import WatchedClock
from spg99.protocol import INTERNAL_PREFIX, Enrolment, Identity
from spg99.protocol.gateway import CancelForward
from spg99.protocol.node import LeasedTasks, LeaseTasks


def router(
    store: Store,
    clock: WatchedClock,
    wakeups: Wakeups,
    identities: Identities,
    polls: Polls,
    *,
    silence_is_known: Callable[[], bool],
) -> APIRouter:
    """The fleet's routes for agents and Gateways. `silence_is_known` answers whether a node that was not heard of is silent, or
    we were away ourselves."""
    routes = APIRouter(prefix=INTERNAL_PREFIX, include_in_schema=False)

    @routes.post("/nodes/enroll")
    async def enroll_node(enrolment: Enrolment) -> Identity:
        async with store.transaction() as tx:
            return await nodes.enroll(tx, enrolment, clock, silence_is_known=silence_is_known())

    @routes.post("/nodes/tasks/lease")
    async def lease_tasks(ask: LeaseTasks, request: Request, node: NodeRow = Depends(identities.node)) -> LeasedTasks:
        request.state.waits = True
        return await polls.lease_tasks(node, ask, is_gone=request.is_disconnected)

    @routes.post("/gateways/enroll")
    async def enroll_gateway(enrolment: Enrolment) -> Identity:
        async with store.transaction() as tx:
            return await gateways.enroll(tx, enrolment, clock)

    @routes.post("/safekeepers/enroll")
    async def enroll_safekeeper(enrolment: Enrolment) -> Identity:
        async with store.transaction() as tx:
            return await safekeepers.enroll(tx, enrolment, clock, silence_is_known=silence_is_known())

    @routes.post("/gateways/cancel", status_code=204)
    async def forward_cancel(forward: CancelForward, _: GatewayRow = Depends(identities.gateway)) -> Response:
        async with store.transaction() as tx:
            await changes.forward_cancel(tx, forward.key_hash)
        return Response(status_code=204)

    @routes.get("/gateways/changes")
    async def stream_changes(
        request: Request,
        after: Annotated[int | None, Query(ge=0)] = None,
        _: GatewayRow = Depends(identities.gateway),
    ) -> StreamingResponse:
        request.state.waits = True
        begin = await changes.begin(store, after)
        return sse.answer(changes.stream(store, wakeups, begin))

    return routes
