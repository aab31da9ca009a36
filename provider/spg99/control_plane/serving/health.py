"""`/healthz`, `/readyz`, `/metrics`: for those who run it. No key needed, nothing of users told."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from spg99 import log
from spg99.control_plane.records import outbox
from spg99.control_plane.serving.http_server import ON_METRICS_ADDRESS
from spg99.control_plane.serving.plane import Plane, plane_of
from spg99.control_plane.store import Transaction, migrate
from spg99.errors import NotFound, Unavailable
from spg99.resources import DatabaseState, StorageState

router = APIRouter(tags=["health"])

COUNTED_SECONDS = 15.0
"""Databases are counted this seldom: counting 100,000 rows for each scrape would be all the work there is."""


@router.get("/healthz", summary="Whether the process answers")
async def healthz() -> dict[str, str]:
    """Answers while the process runs. It looks at nothing else."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Whether it can do its work, and what is missing",
    responses={503: {"description": "What is missing"}},
)
async def readyz(request: Request) -> Response:
    """200 while the catalogue is there and up to date, and the loops that carry out what is asked turn. `missing` says what is
    not, a sentence each.

    Nodes that are away are named and yet 200: the API answers without them, and taking it out of service would keep them
    from coming back. So is a loop that only tidies up.
    """
    plane = plane_of(request)
    fatal, other = await _missing(plane)
    status = "not ready" if fatal else "degraded" if other else "ready"
    return JSONResponse({"status": status, "missing": fatal + other}, 503 if fatal else 200)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counters in Prometheus' text format. Where the API can be reached by others they are on an address of their own
    (the setting `metrics_address`), and 404 here."""
    plane = plane_of(request)
    if not plane.metrics_in_api and ON_METRICS_ADDRESS not in request.scope:
        raise NotFound(
            "/metrics is not part of the API here. An operator gives it an address of its own: metrics_address."
        )
    try:
        async with plane.store.transaction() as tx:
            await _count(tx, plane, request.app.state)
    except Exception as error:  # noqa: BLE001 - the counters of this process are told, whatever the catalogue says
        if not isinstance(error, Unavailable):
            log.get("health").exception("the catalogue cannot be counted")
        plane.metrics.outbox_pending.set(float("nan"))
    plane.metrics.subscribers.set(plane.feed.subscribers)
    plane.metrics.waiting.set(plane.wakeups.waiting)
    return Response(plane.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _missing(plane: Plane) -> tuple[list[str], list[str]]:
    fatal: list[str] = []
    other: list[str] = []
    for unhealthy in plane.loops.unhealthy():
        sentence = f"A background loop is not well: {unhealthy.sentence()}."
        (fatal if unhealthy.loop in plane.essential_loops else other).append(sentence)
    try:
        async with plane.store.transaction() as tx:
            applied = await migrate.applied_versions(tx)
            asked = [await missing(tx, plane.clock.now()) for missing in plane.missing]
    except Unavailable:
        return [*fatal, "The catalogue cannot be reached."], other
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the catalogue, this is where it must be said
        log.get("health").exception("the catalogue cannot be asked")
        return [*fatal, f"The catalogue cannot be asked ({type(error).__name__}); the log says why."], other
    pending = [str(m) for m in migrate.known() if m.version not in applied]
    if pending:
        fatal.append(f"The catalogue lacks {', '.join(pending)}: run `spg99 migrate up`.")
    if not plane.wakeups.listening.is_set():
        other.append("Notifications of the catalogue are not listened to yet: waits take longer.")
    return fatal, other + [sentence for sentence in asked if sentence is not None]


async def _count(tx: Transaction, plane: Plane, state: Any) -> None:
    lag = await outbox.lag(tx)
    plane.metrics.outbox_pending.set(lag.pending)
    age = (plane.clock.now() - lag.oldest_at).total_seconds() if lag.oldest_at else 0.0
    plane.metrics.outbox_lag_seconds.set(max(age, 0.0))
    if time.monotonic() - getattr(state, "counted_at", -COUNTED_SECONDS) < COUNTED_SECONDS:
        return
    state.counted_at = time.monotonic()
    found = await plane.databases_by_state(tx)
    for one in DatabaseState:
        plane.metrics.databases.labels(one.value).set(found.get(one.value, 0))
    limited = await plane.databases_by_storage_state(tx)
    for state in StorageState:
        if state is not StorageState.OK:
            plane.metrics.databases_limited.labels(state.value).set(limited.get(state.value, 0))
    plane.metrics.show_disks(await plane.disks(tx, plane.clock.now()))
