"""`/safekeepers`: the processes that keep WAL, as their operator sees them: list, remove. Here: HTTP, and the guard before a removal.

Not here: their rows and enrolment (fleet/safekeepers.py), who takes the place of one (members.py). It stands in this domain because a removal asks which
databases rest on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from spg99.control_plane import fleet
from spg99.control_plane.databases.members import is_needed
from spg99.control_plane.records import audit
from spg99.control_plane.serving import answers, pages
from spg99.control_plane.serving.answers import Answer, Shape
from spg99.control_plane.serving.call import Call, Caller
from spg99.control_plane.serving.openapi import documented
from spg99.control_plane.store import Transaction
from spg99.errors import Conflict, NotFound
from spg99.protocol.node import NODE_SILENT_AFTER, is_silent
from spg99.protocol.safekeeper import Configuration
from spg99.resources import Page

router = APIRouter(prefix="/v2", tags=["safekeepers"])

NAMED_MAX = 5
"""Databases that a refusal names."""


class Safekeeper(Shape):
    """A process that keeps the WAL of databases."""

    safekeeper_id: str
    """Id: `sk_...`. It is of one disk: one that has lost it comes back as another."""
    name: str
    """Name, unique among those that are not lost."""
    hostname: str
    """What its machine calls itself."""
    silent: bool
    """Whether it was not heard of within the last 30 seconds."""
    last_seen_at: datetime | None
    """When it was heard of last (UTC)."""
    network_address: str | None
    """Where other machines reach it; null: nowhere."""
    disk_total_bytes: int
    """Size of its disk."""
    disk_free_bytes: int
    """What is free of it."""
    disk_is_short: bool
    """Whether it gets new databases last, because its disk is nearly full."""
    trouble: str | None
    """What is wrong with timelines that it keeps; null: nothing."""
    databases: int
    """Databases whose WAL it keeps."""
    only_copies: int
    """Those of them whose WAL may be nowhere else: their other safekeepers are too few, or silent. As long as there are any it is not removed."""
    enrolled_at: datetime
    """When it got its identity (UTC)."""


@router.get(
    "/safekeepers",
    **documented("safekeeper.list", 200, Page[Safekeeper], "A page of safekeepers, ordered by name", errors=(403,)),
)
async def list_all(call: Caller, page: pages.Page) -> Response:
    """Lists the safekeepers that are not lost. Needs `can_admin_platform` and a key of scope `global`."""
    call.need_operator()
    list_id = pages.list_id(call)
    async with call.plane.store.reading() as tx:
        rows = await fleet.page_of_safekeepers(tx, page.window(list_id))
        silent = await _silent_ids(tx, call)
        shown = {row.safekeeper_id: (await _shown(tx, row, silent)).model_dump(mode="json") for row in rows}
    return pages.answer(
        rows, page, list_id, key=lambda row: (row.name, row.safekeeper_id), item=lambda row: shown[row.safekeeper_id]
    ).response()


@router.get(
    "/safekeepers/{safekeeper}", **documented("safekeeper.read", 200, Safekeeper, "The safekeeper", errors=(403,))
)
async def read(call: Caller, safekeeper: str) -> Response:
    """Reads a safekeeper by name or id."""
    call.need_operator()
    async with call.plane.store.reading() as tx:
        row = await _find(tx, safekeeper)
        return answers.of_model(200, await _shown(tx, row, await _silent_ids(tx, call))).response()


@router.delete(
    "/safekeepers/{safekeeper}",
    **documented("safekeeper.delete", 204, None, "The safekeeper counts as lost", errors=(403, 409)),
)
async def delete(
    call: Caller,
    safekeeper: str,
    loses_wal: Annotated[
        bool, Query(description="Remove it though commits may be lost with it: those that no object store has yet.")
    ] = False,
) -> Response:
    """Says that a safekeeper is lost for good: another takes its place in every database, and it is let in nowhere any more. 409 while it is alive, and while
    it may have the only copy of a database's WAL."""
    call.need_operator()
    now = call.plane.clock.now()
    async with call.plane.store.transaction() as tx:
        row = await _find(tx, safekeeper, lock=True)
        rests = await _what_rests_on(tx, row.safekeeper_id, await _silent_ids(tx, call))
        _check_removal(row, rests, is_away=is_silent(row.last_seen_at, now), loses_wal=loses_wal)
        await fleet.lose_safekeeper(tx, row.safekeeper_id, now)
        reason = f"with the only copy of WAL of {', '.join(rests.only_copies)}"[:500] if rests.only_copies else None
        await audit.record(tx, call.actor, "safekeeper.delete", row.safekeeper_id, name=row.name, reason=reason)
    return Answer(204).response()


@dataclass(frozen=True)
class _Rests:
    databases: int
    only_copies: tuple[str, ...]
    """Databases whose WAL may be nowhere else."""


def _check_removal(row: fleet.SafekeeperRow, rests: _Rests, *, is_away: bool, loses_wal: bool) -> None:
    """The guard: raises Conflict while the safekeeper lives, or may have what nobody else has and its loss was not asked for."""
    if not is_away:
        raise Conflict(
            f"Safekeeper '{row.name}' is alive. Stop it, and wait {NODE_SILENT_AFTER.seconds} s: until then its databases count on it.",
            details={"safekeeper_id": row.safekeeper_id},
        )
    if rests.only_copies and not loses_wal:
        more = ", ..." if len(rests.only_copies) > NAMED_MAX else ""
        raise Conflict(
            f"Safekeeper '{row.name}' may have the only copy of the WAL of {len(rests.only_copies)} database(s) "
            f"({', '.join(rests.only_copies[:NAMED_MAX])}{more}): too many of their other safekeepers are lost or silent. Start it, or those, again. "
            "To remove it all the same, and lose the commits that no object store has yet: loses_wal (spg99 safekeepers remove --loses-wal).",
            details={"safekeeper_id": row.safekeeper_id, "only_copies": len(rests.only_copies)},
        )


async def _find(tx: Transaction, safekeeper: str, *, lock: bool = False) -> fleet.SafekeeperRow:
    row = await fleet.safekeeper_named(tx, safekeeper, lock=lock) if "\x00" not in safekeeper else None
    if row is None:
        raise NotFound(f"There is no safekeeper '{safekeeper[:100]}', or it is lost.")
    return row


async def _silent_ids(tx: Transaction, call: Call) -> set[str]:
    """Those that do not answer now, for all that is known."""
    now = call.plane.clock.now()
    return {row.safekeeper_id for row in await fleet.active_safekeepers(tx) if is_silent(row.last_seen_at, now)}


@dataclass(frozen=True)
class _Kept:
    database: str
    configuration: dict[str, Any]


async def _what_rests_on(tx: Transaction, safekeeper_id: str, silent_ids: set[str]) -> _Rests:
    gone_ids = silent_ids | set(await fleet.safekeepers_gone(tx, None))
    kept = await tx.many(_Kept, "databases_kept_by", safekeeper_id=safekeeper_id)
    only = [
        one.database
        for one in kept
        if is_needed(Configuration.model_validate(one.configuration), safekeeper_id, gone_ids)
    ]
    return _Rests(len(kept), tuple(only))


async def _shown(tx: Transaction, row: fleet.SafekeeperRow, silent_ids: set[str]) -> Safekeeper:
    rests = await _what_rests_on(tx, row.safekeeper_id, silent_ids)
    computed = {
        "silent": row.safekeeper_id in silent_ids, "databases": rests.databases, "only_copies": len(rests.only_copies)
    }  # fmt: skip
    facts: dict[str, Any] = {name: getattr(row, name) for name in Safekeeper.model_fields if name not in computed}
    return Safekeeper(**facts, **computed)
