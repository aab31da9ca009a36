"""Who speaks on the internal API, by the bearer token. Here: finding the row, remembering it shortly. Not here: enrolment."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.requests import Request

from spg99.control_plane.fleet import gateways, nodes, pageservers, safekeepers
from spg99.control_plane.fleet.gateways import GatewayRow
from spg99.control_plane.fleet.nodes import NodeRow
from spg99.control_plane.fleet.pageservers import PageserverRow
from spg99.control_plane.fleet.safekeepers import SafekeeperRow
from spg99.control_plane.store import Store, Transaction
from spg99.errors import Unauthorized
from spg99.processes import BoundedTable

REMEMBERED_SECONDS = 5.0
REMEMBERED_MAX = 10_000

Row = TypeVar("Row")


class Identities:
    """Dependencies of routes: an identity that was right is right for a few seconds more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._nodes: BoundedTable[str, tuple[float, NodeRow]] = BoundedTable(REMEMBERED_MAX)
        self._gateways: BoundedTable[str, tuple[float, GatewayRow]] = BoundedTable(REMEMBERED_MAX)
        self._safekeepers: BoundedTable[str, tuple[float, SafekeeperRow]] = BoundedTable(REMEMBERED_MAX)
        self._pageservers: BoundedTable[str, tuple[float, PageserverRow]] = BoundedTable(REMEMBERED_MAX)

    async def node(self, request: Request) -> NodeRow:
        """The node that speaks. Raises Unauthorized."""
        return await self._identified(request, self._nodes, nodes.of_token)

    async def gateway(self, request: Request) -> GatewayRow:
        """The Gateway that speaks. Raises Unauthorized."""
        return await self._identified(request, self._gateways, gateways.of_token)

    async def safekeeper(self, request: Request) -> SafekeeperRow:
        """The safekeeper that speaks. Raises Unauthorized."""
        return await self._identified(request, self._safekeepers, safekeepers.of_token)

    async def pageserver(self, request: Request) -> PageserverRow:
        """The pageserver that speaks. Raises Unauthorized."""
        return await self._identified(request, self._pageservers, pageservers.of_token)

    async def _identified(
        self,
        request: Request,
        known: dict[str, tuple[float, Row]],
        find: Callable[[Transaction, str], Awaitable[Row]],
    ) -> Row:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized("This path is for enrolled nodes, gateways, safekeepers and pageservers.")
        remembered = known.get(token)
        if remembered is not None and time.monotonic() - remembered[0] < REMEMBERED_SECONDS:
            return remembered[1]
        known.pop(token, None)
        async with self._store.transaction() as tx:
            row = await find(tx, token)
        known[token] = (time.monotonic(), row)
        return row
