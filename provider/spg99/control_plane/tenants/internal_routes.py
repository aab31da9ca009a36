"""Tenants' part of `/internal/v1`: what a Gateway checks passwords with, and which log-ins it slows. Here: HTTP. Not here: reading
verifiers (verifiers.py), the event (rows.py)."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from spg99.control_plane import fleet
from spg99.control_plane.store import Store
from spg99.control_plane.tenants import rows, verifiers
from spg99.protocol import INTERNAL_PREFIX
from spg99.protocol.gateway import Credentials, CredentialsQuery, SlowedLogins


def router(store: Store, identities: fleet.Identities) -> APIRouter:
    """Tenants' routes for Gateways."""
    routes = APIRouter(prefix=INTERNAL_PREFIX, include_in_schema=False)

    @routes.post("/gateways/credentials")
    async def credentials(query: CredentialsQuery, _: fleet.GatewayRow = Depends(identities.gateway)) -> Credentials:
        async with store.transaction() as tx:
            return await verifiers.of_user(tx, query.pg_user)

    @routes.post("/gateways/slowed-logins", status_code=204)
    async def slowed_logins(report: SlowedLogins, _: fleet.GatewayRow = Depends(identities.gateway)) -> Response:
        async with store.transaction() as tx:
            for login in report.logins:
                await rows.publish_slowed_login(tx, login.pg_user, login.client_addr)
        return Response(status_code=204)

    return routes
