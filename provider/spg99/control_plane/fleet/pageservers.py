"""Pageservers: the processes that keep history in the object store. Here: enrolment, identity, whose turn it is. Not here: what they
say of timelines (databases/histories.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from spg99.control_plane.fleet import authority, tokens
from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.store import Transaction
from spg99.errors import Unauthorized
from spg99.ids import new_id
from spg99.processes import WatchedClock
from spg99.protocol import Enrolment, Identity
from spg99.protocol.node import NODE_SILENT_AFTER


@dataclass(frozen=True)
class PageserverRow:
    """One pageserver."""

    pageserver_id: str
    name: str
    token_sha256: str = field(repr=False)
    last_seen_at: datetime | None


async def enroll(tx: Transaction, enrolment: Enrolment, clock: WatchedClock) -> Identity:
    """Trades a single-use token for an identity. One of a known name takes the place of the former one: it keeps nothing that could be lost."""
    await tokens.use(tx, enrolment.enrolment_token, "pageserver", clock)
    bearer_token = tokens.new_bearer_token("pageserver")
    former_id = await tx.value("pageserver_of_name", name=enrolment.name)
    row = await tx.one(
        PageserverRow,
        "enroll_pageserver",
        pageserver_id=new_id("ps"),
        name=enrolment.name,
        hostname=enrolment.hostname,
        token_sha256=tokens.hash_of(bearer_token),
    )
    if former_id is not None:
        await authority.revoke(tx, former_id, clock.now())
    await audit.record(tx, SYSTEM, "pageserver.enroll", row.pageserver_id, name=enrolment.name)
    return Identity(identity_id=row.pageserver_id, bearer_token=bearer_token)


async def of_token(tx: Transaction, bearer_token: str) -> PageserverRow:
    """The pageserver whose identity this is. Raises Unauthorized."""
    row = await tx.one_or_none(PageserverRow, "pageserver_of_token", token_sha256=tokens.hash_of(bearer_token))
    if row is None:
        raise Unauthorized("This identity is not known. Enrol the pageserver again with a fresh token.")
    return row


async def note_seen(tx: Transaction, pageserver_id: str, now: datetime) -> bool:
    """Notes that it was heard of; answers whether it is the one that works: of those that are heard of, one. Two at once for a moment
    harm nothing: what they store is named by its content, and what they remove waits for a grace."""
    return bool(
        await tx.value(
            "note_pageserver_seen", pageserver_id=pageserver_id, now=now, silent_before=now - NODE_SILENT_AFTER
        )
    )


async def exist(tx: Transaction) -> bool:
    """Whether there is any: then WAL is archived before safekeepers let go of it."""
    return bool(await tx.value("pageservers_exist"))


async def retime(tx: Transaction, now: datetime) -> None:
    """After a step of the wall clock: nobody was heard of in the future."""
    await tx.execute("retime_pageservers", now=now)
