"""`/nodes`: the machines that run computes, as their operator sees them: list, cordon, drain, remove. Here: HTTP, and the guard before a removal.

Not here: their rows and enrolment (fleet/nodes.py), what a node that is emptied means to a database (decide.py). It stands in this domain because a
removal asks what lies on the node.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from spg99.control_plane import fleet
from spg99.control_plane.databases import schedule
from spg99.control_plane.records import audit
from spg99.control_plane.serving import answers, bodies, pages
from spg99.control_plane.serving.answers import Answer, Shape
from spg99.control_plane.serving.call import Call, Caller
from spg99.control_plane.serving.openapi import documented, takes
from spg99.control_plane.store import Transaction
from spg99.errors import Conflict, NotFound
from spg99.protocol.node import is_silent
from spg99.resources import Page

router = APIRouter(prefix="/v2", tags=["nodes"])


class Node(Shape):
    """A machine that runs computes."""

    node_id: str
    """Id: `node_...`."""
    name: str
    """Name, unique in the installation."""
    hostname: str
    """What the machine calls itself."""
    region: str
    """Region it has said it is in."""
    status: str
    """`active`; `cordoned`: takes no new databases; `draining`: databases that safekeepers keep go elsewhere."""
    silent: bool
    """Whether its agent was not heard of within the last 30 seconds."""
    last_seen_at: datetime | None
    """When it was heard of last (UTC)."""
    network_address: str | None
    """Where Gateways and safekeepers of other machines reach its computes; null: nowhere."""
    disk_total_bytes: int
    """Size of its disk."""
    disk_free_bytes: int
    """What is free of it."""
    computes: int
    """Computes that are not known to have ended there."""
    only_copies: int
    """Databases without safekeepers whose files are there and nowhere else: as long as there are any it cannot be removed."""
    enrolled_at: datetime
    """When it got its identity (UTC)."""


class Drain(BaseModel):
    """How a node is emptied."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ends_sessions: bool = False
    """Stop databases that are in use as well: their sessions end, and who connects again finds them on another node. Default: wait until nobody uses them."""


class Enrols(BaseModel):
    """Who is to join."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    kind: fleet.EnrolmentKind
    """What the token is for."""


class EnrolmentToken(Shape):
    """What lets one process join."""

    kind: str
    """What it is for."""
    enrolment_token: str = Field(repr=False)
    """For `--enrolment-token` or SPG99_ENROLMENT_TOKEN: single use, 15 minutes."""


@router.get("/nodes", **documented("node.list", 200, Page[Node], "A page of nodes, ordered by name", errors=(403,)))
async def list_all(call: Caller, page: pages.Page) -> Response:
    """Lists the nodes of the installation. Needs `can_admin_platform` and a key of scope `global`."""
    call.need_operator()
    list_id = pages.list_id(call)
    async with call.plane.store.reading() as tx:
        rows = await fleet.page_of_nodes(tx, page.window(list_id))
        shown = {row.node_id: (await _shown(tx, call, row)).model_dump(mode="json") for row in rows}
    return pages.answer(
        rows, page, list_id, key=lambda row: (row.name, row.node_id), item=lambda row: shown[row.node_id]
    ).response()


@router.get("/nodes/{node}", **documented("node.read", 200, Node, "The node", errors=(403,)))
async def read(call: Caller, node: str) -> Response:
    """Reads a node by name or id."""
    call.need_operator()
    async with call.plane.store.reading() as tx:
        return answers.of_model(200, await _shown(tx, call, await _find(tx, node))).response()


@router.post("/nodes/{node}/cordon", **documented("node.cordon", 200, Node, "The node", errors=(403,)))
async def cordon(call: Caller, node: str) -> Response:
    """Gives a node no new databases. Those that it has stay and wake there. Done twice it is done once."""
    return await _set_status(call, node, "cordon", "cordoned")


@router.post("/nodes/{node}/uncordon", **documented("node.uncordon", 200, Node, "The node", errors=(403,)))
async def uncordon(call: Caller, node: str) -> Response:
    """Gives a node databases again; ends a drain."""
    return await _set_status(call, node, "uncordon", "active")


@router.post(
    "/nodes/{node}/drain",
    **documented("node.drain", 200, Node, "The node", body=takes(Drain), body_optional=True, errors=(403,)),
)
async def drain(call: Caller, node: str) -> Response:
    """Empties a node of databases that safekeepers keep: those that sleep wake elsewhere, those that run are stopped when nobody uses them. Databases
    without safekeepers stay: their only copy is there."""
    body = bodies.shape_of(Drain, await bodies.json_object(call.request, optional=True))
    return await _set_status(call, node, "drain", "draining", ends_sessions=body.ends_sessions)


@router.delete(
    "/nodes/{node}", **documented("node.delete", 204, None, "The node is no longer known", errors=(403, 409))
)
async def delete(call: Caller, node: str) -> Response:
    """Removes a node: its agent is known no more, and no other machine lets it in. 409 while anything is there that is nowhere else, or runs."""
    call.need_operator()
    now = call.plane.clock.now()
    async with call.plane.store.transaction() as tx:
        row = await _find(tx, node, lock=True)
        _check_removal(row, await _what_lies_on(tx, row.node_id), is_away=is_silent(row.last_seen_at, now))
        await fleet.remove_node(tx, row.node_id, now)
        await schedule.reconcile_running_of_node(tx, row.node_id, now)
        await audit.record(tx, call.actor, "node.delete", row.node_id, name=row.name)
    return Answer(204).response()


@dataclass(frozen=True)
class _Lies:
    only_copies: int
    examples: list[str] | None
    computes: int


def _check_removal(row: fleet.NodeRow, lies: _Lies, *, is_away: bool) -> None:
    """The guard: raises Conflict while the node holds what nothing else has, or runs what is not known to be elsewhere."""
    if lies.only_copies:
        named = ", ".join(lies.examples or [])
        raise Conflict(
            f"Node '{row.name}' has the only copy of {lies.only_copies} database(s) without safekeepers ({named}"
            f"{', ...' if lies.only_copies > len(lies.examples or []) else ''}). Delete them, or dump them and restore them as new "
            "databases that have safekeepers (policy storage.safekeepers).",
            details={"node_id": row.node_id, "only_copies": lies.only_copies},
        )
    if row.status == "active" and not is_away:
        raise Conflict(
            f"Node '{row.name}' is active. Drain it first: spg99 nodes drain {row.name}",
            details={"node_id": row.node_id},
        )
    if lies.computes and not is_away:
        raise Conflict(
            f"Node '{row.name}' still runs {lies.computes} database(s). They stop when nobody uses them any more; with "
            "ends_sessions (spg99 nodes drain --end-sessions) at once.",
            details={"node_id": row.node_id, "computes": lies.computes},
        )


@router.post(
    "/enrolment-tokens",
    **documented(
        "enrolment_token.create",
        201,
        EnrolmentToken,
        "The token, which is never shown again",
        body=takes(Enrols),
        errors=(403,),
    ),
)
async def new_enrolment_token(call: Caller) -> Response:
    """Makes a token with which one node, gateway, safekeeper or pageserver joins, once and within 15 minutes."""
    call.need_operator()
    asked = bodies.shape_of(Enrols, await bodies.json_object(call.request))
    async with call.plane.store.transaction() as tx:
        token = await fleet.new_enrolment_token(tx, asked.kind, call.plane.clock.now(), call.actor)
    return answers.of_model(201, EnrolmentToken(kind=asked.kind, enrolment_token=token)).response()


async def _set_status(call: Call, node: str, word: str, status: str, *, ends_sessions: bool = False) -> Response:
    call.need_operator()
    async with call.plane.store.transaction() as tx:
        row = await _find(tx, node, lock=True)
        if (row.status, row.drain_ends_sessions) != (status, ends_sessions):
            await fleet.set_node_status(tx, row.node_id, status, ends_sessions=ends_sessions)
            await schedule.reconcile_running_of_node(tx, row.node_id, call.plane.clock.now())
            await audit.record(tx, call.actor, f"node.{word}", row.node_id, name=row.name)
        return answers.of_model(200, await _shown(tx, call, await _find(tx, row.node_id))).response()


async def _find(tx: Transaction, node: str, *, lock: bool = False) -> fleet.NodeRow:
    row = await fleet.node_named(tx, node, lock=lock) if "\x00" not in node else None
    if row is None:
        raise NotFound(f"There is no node '{node[:100]}'.")
    return row


async def _what_lies_on(tx: Transaction, node_id: str) -> _Lies:
    return await tx.one(_Lies, "what_lies_on_node", node_id=node_id)


async def _shown(tx: Transaction, call: Call, row: fleet.NodeRow) -> Node:
    lies = await _what_lies_on(tx, row.node_id)
    facts: dict[str, Any] = {
        name: getattr(row, name) for name in Node.model_fields if name not in ("silent", "computes", "only_copies")
    }
    silent = is_silent(row.last_seen_at, call.plane.clock.now())
    return Node(**facts, silent=silent, computes=lies.computes, only_copies=lies.only_copies)
