"""Tenants' part of `/internal/v1`: what a Gateway checks passwords with, and which log-ins it slows. Here: HTTP. Not here: reading
verifiers (verifiers.py), the event (rows.py)."""

from __future__ import annotations

from starlette.requests import Request

from spg99.control_plane import fleet
from spg99.control_plane.serving import internal
from spg99.control_plane.store import Store
from spg99.control_plane.tenants import rows, verifiers
from spg99.protocol.gateway import Credentials, CredentialsQuery, SlowedLogins


def routes(store: Store, identities: fleet.Identities) -> list[internal.Route]:
    """Tenants' routes for Gateways."""
    here = internal.Routes()

    @here.post("/gateways/credentials", who=identities.gateway, takes=CredentialsQuery)
    async def credentials(_: Request, __: fleet.GatewayRow, query: CredentialsQuery) -> Credentials:
        async with store.transaction() as tx:
            return await verifiers.of_user(tx, query.pg_user)

    @here.post("/gateways/slowed-logins", who=identities.gateway, takes=SlowedLogins)
    async def slowed_logins(_: Request, __: fleet.GatewayRow, report: SlowedLogins) -> None:
        async with store.transaction() as tx:
            for login in report.logins:
                await rows.publish_slowed_login(tx, login.pg_user, login.client_addr)

    return here.routes
