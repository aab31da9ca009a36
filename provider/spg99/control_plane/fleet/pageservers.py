"""Pageservers: the processes that keep history in the object store. Here: enrolment, identity, whose turn it is. Not here: what they
say of timelines (databases/histories.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from spg99.control_plane.fleet import authority, joining
from spg99.control_plane.store import Transaction
from spg99.protocol import Enrolment, Identity
from spg99.protocol.node import NODE_SILENT_AFTER


@dataclass(frozen=True)
class PageserverRow:
    """One pageserver."""

    pageserver_id: str
    name: str
    token_sha256: str = field(repr=False)
    last_seen_at: datetime | None

    @property
    def identity_id(self) -> str:
        """What it is known by."""
        return self.pageserver_id


async def enroll(tx: Transaction, enrolment: Enrolment, now: datetime) -> Identity:
    """An identity for one whose token was used up. One of a known name takes the place of the former one: it keeps nothing that could be lost."""
    former_id = await tx.value("pageserver_of_name", name=enrolment.name)
    identity = await joining.join(tx, "pageserver", enrolment, "enroll_pageserver")
    assert identity is not None, "nothing holds it up"
    if former_id is not None:
        await authority.revoke(tx, former_id, now)
    return identity


async def of_token(tx: Transaction, bearer_token: str) -> PageserverRow:
    """The pageserver whose identity this is. Raises Unauthorized."""
    return await joining.known(tx, "pageserver", PageserverRow, "pageserver_of_token", bearer_token)


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
