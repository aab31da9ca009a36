"""All routes, public and internal. Here: the list. Not here: any route (each domain's `routes.py` and `internal_routes.py`)."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.routing import APIRoute

from spg99.control_plane.databases import (
    export_routes,
    moment_routes,
    node_routes,
    safekeeper_routes,
    schedule_routes,
    snapshot_routes,
    undelete_routes,
)
from spg99.control_plane.databases import internal_routes as databases_internal
from spg99.control_plane.databases import routes as databases
from spg99.control_plane.databases.lifecycle import Lifecycle
from spg99.control_plane.fleet import internal_routes as fleet_internal
from spg99.control_plane.fleet.authority import Authorities
from spg99.control_plane.fleet.identities import Identities
from spg99.control_plane.identity import account_routes, key_routes
from spg99.control_plane.records.secret_box import SecretBox
from spg99.control_plane.serving import (
    declaration_routes,
    downloads,
    events,
    health,
    idempotency_routes,
    openapi,
    operation_routes,
    problems,
)
from spg99.control_plane.serving.internal import Internal
from spg99.control_plane.tenants import credential_routes
from spg99.control_plane.tenants import internal_routes as tenants_internal
from spg99.control_plane.tenants import routes as tenants

_PUBLIC = (
    account_routes, operation_routes, idempotency_routes, declaration_routes, key_routes, tenants, credential_routes, databases, undelete_routes, snapshot_routes, export_routes, schedule_routes, moment_routes, node_routes, safekeeper_routes, downloads, events, health
)  # fmt: skip


def public() -> list[APIRoute]:
    """The routes of the public API, in the order in which they are tried."""
    return [route for module in _PUBLIC for route in module.router.routes if isinstance(route, APIRoute)]


def install(app: FastAPI) -> None:
    """Puts the public API into an app."""
    for module in _PUBLIC:
        app.include_router(module.router)
    problems.install(app)
    openapi.install(app)


def install_internal(app: FastAPI, life: Lifecycle, box: SecretBox) -> None:
    """Puts the internal API, which is for our own processes, into an app."""
    identities = Identities(life.store)
    authorities = Authorities(life.store, box, life.clock)
    fleets = fleet_internal.routes(
        *(life.store, life.clock, life.wakeups, identities, life.polls, authorities),
        silence_is_known=life.reconciler.knows_silence,
    )
    tenants_ = tenants_internal.routes(life.store, identities)
    databases_ = databases_internal.routes(life, identities)
    app.add_middleware(Internal, routes=[*fleets, *tenants_, *databases_])
