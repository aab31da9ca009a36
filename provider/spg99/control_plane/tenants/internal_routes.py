"""Tenants' part of `/internal/v1`: what a Gateway checks passwords with. Here: HTTP. Not here: reading it (verifiers.py)."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from spg99.control_plane import fleet
from spg99.control_plane.store import Store
from spg99.control_plane.tenants import verifiers
from spg99.protocol import INTERNAL_PREFIX
from spg99.protocol.gateway import Credentials, CredentialsQuery


def router(store: Store, identities: fleet.Identities) -> APIRouter:
    """Tenants' routes for Gateways."""
    routes = APIRouter(prefix=INTERNAL_PREFIX, include_in_schema=False)

    @routes.post("/gateways/credentials")
    async def credentials(query: CredentialsQuery, _: fleet.GatewayRow = Depends(identities.gateway)) -> Credentials:
        async with store.transaction() as tx:
            return await verifiers.of_user(tx, query.pg_user)

    return routes
