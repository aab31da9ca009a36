"""All routes of the public API. Here: the list. Not here: the internal API of our own processes (internal.py)."""

from __future__ import annotations

from fastapi import FastAPI

from spg99.control_plane.api import (
    account,
    credentials,
    databases,
    downloads,
    events,
    health,
    keys,
    openapi,
    problems,
    tenants,
)


def install(app: FastAPI) -> None:
    """Puts the public API into an app."""
    for module in (account, keys, tenants, credentials, databases, downloads, events, health):
        app.include_router(module.router)
    problems.install(app)
    openapi.install(app)
