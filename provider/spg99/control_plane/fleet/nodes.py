"""Nodes: the machines that run computes. Here: enrolment, identity, what was last observed, placement. Not here: orders."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from spg99.control_plane.fleet import authority, joining, tokens
from spg99.control_plane.store import Transaction, Window
from spg99.errors import Conflict, Unavailable
from spg99.protocol import Enrolment, Identity
from spg99.protocol.node import HEARTBEAT_SECONDS, NODE_SILENT_AFTER, is_silent

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class NodeRow:
    """One node."""

    node_id: str
    name: str
    status: str
    token_sha256: str = field(repr=False)
    observed: dict[str, Any]
    last_seen_at: datetime | None
    hostname: str
    region: str
    drain_ends_sessions: bool
    enrolled_at: datetime

    @property
    def identity_id(self) -> str:
        """What it is known by."""
        return self.node_id

    @property
    def network_address(self) -> str | None:
        """Where Gateways and safekeepers of other machines reach its computes."""
        return self.observed.get("network_address")

    @property
    def disk_total_bytes(self) -> int:
        """As its agent saw it last; 0 when it has not said."""
        return int(self.observed.get("disk_total_bytes") or 0)

    @property
    def disk_free_bytes(self) -> int:
        """As its agent saw it last; 0 when it has not said."""
        return int(self.observed.get("disk_free_bytes") or 0)

    @property
    def disk_is_short(self) -> bool:
        """Whether its agent has said that its disk is nearly full."""
        return bool(self.observed.get("disk_is_short"))

    @property
    def makes_timelines(self) -> bool:
        """Whether its agent lays down a timeline with its first start; one of an older version wants an order of its own."""
        return bool(self.observed.get("makes_timelines"))

    @property
    def changes_members(self) -> bool:
        """Whether its agent can replace safekeepers (one of an older version cannot)."""
        return bool(self.observed.get("changes_members"))

    @property
    def keeps_wal(self) -> bool:
        """Whether its agent knows of safekeepers."""
        return bool(self.observed.get("keeps_wal"))

    @property
    def makes_branches(self) -> bool:
        """Whether its agent knows that a database may begin in another."""
        return bool(self.observed.get("makes_branches"))

    @property
    def opens_moments(self) -> bool:
        """Whether its agent starts servers that only read a moment."""
        return bool(self.observed.get("opens_moments"))

    @property
    def makes_schema_branches(self) -> bool:
        """Whether its agent knows that a branch may have no rows."""
        return bool(self.observed.get("makes_schema_branches"))

    @property
    def makes_exports(self) -> bool:
        """Whether its agent can write a database into the object store."""
        return bool(self.observed.get("makes_exports"))


async def enroll(tx: Transaction, enrolment: Enrolment, now: datetime, *, silence_is_known: bool) -> Identity:
    """An identity for one whose token was used up. A known name keeps its node id, so what lies on the node stays its own.

    Raises Conflict while an agent of this name is alive, and Unavailable for one that is silent while nobody can tell
    since when (`silence_is_known` False: this Control Plane has not been there for long enough, or its clock has just stepped).
    """
    silent_before = now - NODE_SILENT_AFTER if silence_is_known else _NEVER
    identity = await joining.join(
        tx, "node", enrolment, "enroll_node", region=enrolment.region, silent_before=silent_before
    )
    if identity is not None:
        return identity
    last_seen_at = await tx.value("node_last_seen", name=enrolment.name)
    if not silence_is_known and is_silent(last_seen_at, now):
        raise Unavailable(
            f"A node called '{enrolment.name}' is known, and this Control Plane has not listened for long enough to tell "
            "whether it is alive. Retry in a moment, or give this node another name (--name).",
            retry_after_seconds=HEARTBEAT_SECONDS,
        )
    raise Conflict(
        f"A node called '{enrolment.name}' is alive. Give this one another name (--name), or wait "
        f"{NODE_SILENT_AFTER.seconds} s after the other has stopped."
    )


async def restore(tx: Transaction, node_id: str, name: str) -> str:
    """Notes a node that a description names; nobody has its identity until it enrols again. One of this name that has done so already counts. Answers its id."""
    unknown = tokens.hash_of(tokens.new_bearer_token("node"))
    return str(await tx.value("restore_node", node_id=node_id, name=name, token_sha256=unknown))


async def of_token(tx: Transaction, bearer_token: str) -> NodeRow:
    """The node whose identity this is. Raises Unauthorized."""
    return await joining.known(tx, "node", NodeRow, "node_of_token", bearer_token)


async def find(tx: Transaction, node_id: str) -> NodeRow | None:
    """One node."""
    return await tx.one_or_none(NodeRow, "find_node", node_id=node_id)


async def with_room(tx: Transaction, *, org_id: str) -> list[NodeRow]:
    """Nodes a new timeline of an account may go to: active, shared or its own."""
    return await tx.many(NodeRow, "nodes_with_room", org_id=org_id)


async def retime(tx: Transaction, now: datetime) -> None:
    """After a step of the wall clock: nobody was heard of in the future."""
    await tx.execute("retime_nodes", now=now)


async def missing(tx: Transaction, now: datetime) -> str | None:
    """None while some active node is heard of, else a sentence for /readyz."""
    if await tx.value("nodes_heard_of", after=now - NODE_SILENT_AFTER):
        return None
    return f"No node has been heard of within {NODE_SILENT_AFTER.seconds} seconds: databases cannot start. Start `spg99 agent`."


async def page(tx: Transaction, window: Window) -> list[NodeRow]:
    """Nodes that were not removed, in name order."""
    return await tx.many(
        NodeRow, "page_of_nodes", after_name=window.after and window.after[0], limit=window.limit, offset=window.offset
    )


async def named(tx: Transaction, name_or_id: str, *, lock: bool = False) -> NodeRow | None:
    """The node of this name or id that was not removed."""
    if lock:
        return await tx.one_or_none(NodeRow, "lock_node", name_or_id=name_or_id)
    return await tx.one_or_none(NodeRow, "node_named", name_or_id=name_or_id)


async def set_status(tx: Transaction, node_id: str, status: str, *, ends_sessions: bool = False) -> None:
    """`active` takes new databases, `cordoned` none, `draining` gives up those that others can have."""
    await tx.execute("set_node_status", node_id=node_id, status=status, ends_sessions=ends_sessions)


async def remove(tx: Transaction, node_id: str, now: datetime) -> None:
    """Its identity is known no more and its name is free; an id that was removed never comes back."""
    await tx.execute("remove_node", node_id=node_id)
    await authority.revoke(tx, node_id, now)


@dataclass(frozen=True)
class NodeDisk:
    """The disk of one node, as its agent last told."""

    name: str
    total_bytes: int
    free_bytes: int
    is_short: bool
    reserve_is_given_up: bool


async def disks(tx: Transaction, now: datetime) -> list[NodeDisk]:
    """The disks of all nodes that are not silent."""
    return await tx.many(NodeDisk, "disks_of_nodes", after=now - NODE_SILENT_AFTER)


async def short_of_disk(tx: Transaction, now: datetime) -> str | None:
    """None while every node has room for its databases to grow, else a sentence for /readyz."""
    short = [disk for disk in await disks(tx, now) if disk.is_short]
    if not short:
        return None
    names = ", ".join(
        f"{disk.name} ({disk.free_bytes >> 20} MB free{', reserve given up' if disk.reserve_is_given_up else ''})"
        for disk in short
    )
    return f"The disk is nearly full on {names}: databases there may not grow until there is room. Add disk, or a node."


async def note_seen(tx: Transaction, node_id: str, observed: dict[str, Any], now: datetime) -> datetime | None:
    """Notes that an agent was heard of and what it saw; answers when it was heard of before."""
    before: datetime | None = await tx.value("note_node_seen", node_id=node_id, observed=observed, now=now)
    return before
