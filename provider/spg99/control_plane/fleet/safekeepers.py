"""Safekeepers: the processes that keep WAL. Here: enrolment, identity, what was last observed. Not here: which timeline each of them
keeps (storage/), the rules of a quorum (wal/)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from spg99.control_plane.fleet import authority, joining, tokens
from spg99.control_plane.store import Transaction, Window
from spg99.errors import Conflict, Unavailable
from spg99.protocol import Enrolment, Identity
from spg99.protocol.node import HEARTBEAT_SECONDS, NODE_SILENT_AFTER, is_silent
from spg99.protocol.safekeeper import Trouble


@dataclass(frozen=True)
class SafekeeperRow:
    """One safekeeper."""

    safekeeper_id: str
    name: str
    status: str
    token_sha256: str = field(repr=False)
    observed: dict[str, Any]
    last_seen_at: datetime | None
    hostname: str
    enrolled_at: datetime

    @property
    def identity_id(self) -> str:
        """What it is known by."""
        return self.safekeeper_id

    @property
    def address(self) -> str:
        """Where agents reach it; empty before it has said."""
        return str(self.observed.get("address") or "")

    @property
    def disk_is_short(self) -> bool:
        """Whether it asks for room."""
        return self.observed.get("disk_is_short") is True

    @property
    def network_address(self) -> str | None:
        """Where agents of other machines reach it."""
        return self.observed.get("network_address")

    @property
    def disk_total_bytes(self) -> int:
        """As it saw it last."""
        return int(self.observed.get("disk_total_bytes") or 0)

    @property
    def trouble(self) -> str | None:
        """What it last said is wrong with it, as a sentence. A compute that does not answer is no trouble of its own: after a loss of power all that sleep are like that
        until their next start."""
        said = [
            f"{count} timelines take no WAL ({what})"
            for what, count in (self.observed.get("troubles") or {}).items()
            if what != Trouble.AWAY
        ]
        if damaged := self.observed.get("damaged"):
            said.append(f"{damaged} timelines cannot be read")
        return "; ".join(said) or None

    @property
    def disk_free_bytes(self) -> int:
        """As it saw it last."""
        return int(self.observed.get("disk_free_bytes") or 0)


async def enroll(tx: Transaction, enrolment: Enrolment, now: datetime, *, silence_is_known: bool) -> Identity:
    """An identity for one whose token was used up. One of a known name is another: it comes without an identity, so without what the former
    one kept, and must never vote in its place. The former one counts as lost.

    Raises Conflict while that is alive (a second machine was given the same name), Unavailable while nobody can tell (as nodes.enroll).
    """
    if enrolment.former_id is not None:
        # One with its disk, and the id of its disk, that this catalogue has never heard: its catalogue was lost, and this one is made anew. It goes on as
        # who it was. None: it is known as lost, or lives, and comes as another one.
        again = await joining.join(
            tx, "safekeeper", enrolment, "readmit_safekeeper", identity_id=enrolment.former_id, state="readmitted"
        )
        if again is not None:
            return again
    before = await tx.one_or_none(SafekeeperRow, "safekeeper_of_name", name=enrolment.name)
    if before is not None and before.last_seen_at is not None:
        if not is_silent(before.last_seen_at, now):
            raise Conflict(
                f"A safekeeper called '{enrolment.name}' is alive. Give this one another name (--name), or wait "
                f"{NODE_SILENT_AFTER.seconds} s after the other has stopped."
            )
        if not silence_is_known:
            raise Unavailable(
                f"A safekeeper called '{enrolment.name}' is known, and this Control Plane has not listened for long enough to tell whether it is "
                "alive. Retry in a moment, or give this one another name (--name).",
                retry_after_seconds=HEARTBEAT_SECONDS,
            )
    if before is not None:
        await lose(tx, before.safekeeper_id, now)
    identity = await joining.join(tx, "safekeeper", enrolment, "enroll_safekeeper")
    assert identity is not None, "nothing holds it up"
    return identity


async def lose(tx: Transaction, safekeeper_id: str, now: datetime) -> None:
    """Counts it as lost from now on: its identity is known no more, and no other machine lets it in."""
    await tx.execute("lose_safekeeper", safekeeper_id=safekeeper_id)
    await authority.revoke(tx, safekeeper_id, now)


async def page(tx: Transaction, window: Window) -> list[SafekeeperRow]:
    """Those that are not lost, in name order."""
    return await tx.many(
        SafekeeperRow,
        "page_of_safekeepers",
        after_name=window.after and window.after[0],
        limit=window.limit,
        offset=window.offset,
    )


async def named(tx: Transaction, name_or_id: str, *, lock: bool = False) -> SafekeeperRow | None:
    """The one of this name or id that is not lost. `lock`: nobody makes it a member (`hold`) until this transaction ends."""
    if lock:
        return await tx.one_or_none(SafekeeperRow, "lock_safekeeper", name_or_id=name_or_id)
    return await tx.one_or_none(SafekeeperRow, "safekeeper_named", name_or_id=name_or_id)


async def hold(tx: Transaction, safekeeper_ids: list[str]) -> set[str]:
    """Which of these are not lost; none of them is until this transaction ends."""
    return {
        row.safekeeper_id for row in await tx.many(SafekeeperRow, "hold_safekeepers", safekeeper_ids=safekeeper_ids)
    }


async def names(tx: Transaction, safekeeper_ids: list[str]) -> dict[str, str]:
    """What these are called, by id."""
    rows = await tx.many(SafekeeperRow, "safekeepers_of_ids", safekeeper_ids=safekeeper_ids)
    return {row.safekeeper_id: row.name for row in rows}


async def restore(tx: Transaction, safekeeper_id: str, name: str) -> None:
    """Notes a safekeeper that a description names; nobody has its identity until it enrols again. One that has done so already stays."""
    unknown = tokens.hash_of(tokens.new_bearer_token("safekeeper"))
    await tx.execute("restore_safekeeper", safekeeper_id=safekeeper_id, name=name, token_sha256=unknown)


async def of_token(tx: Transaction, bearer_token: str) -> SafekeeperRow:
    """The safekeeper whose identity this is. Raises Unauthorized."""
    return await joining.known(tx, "safekeeper", SafekeeperRow, "safekeeper_of_token", bearer_token)


async def retime(tx: Transaction, now: datetime) -> None:
    """After a step of the wall clock: nobody was heard of in the future."""
    await tx.execute("retime_safekeepers", now=now)


async def active(tx: Transaction) -> list[SafekeeperRow]:
    """Those that are not lost, most free disk first."""
    return await tx.many(SafekeeperRow, "active_safekeepers")


async def gone(tx: Transaction, silent_before: datetime | None) -> list[str]:
    """Ids of those that will not come back, for all that is known: lost ones, and ones that were not heard of since (None: nobody could have been)."""
    return [row.safekeeper_id for row in await tx.many(SafekeeperRow, "safekeepers_gone", silent_before=silent_before)]


async def not_seen_since(tx: Transaction, moment: datetime) -> list[str]:
    """Ids of those that are not lost and were not heard of since: they may still have what was removed meanwhile."""
    return [row.safekeeper_id for row in await tx.many(SafekeeperRow, "safekeepers_not_seen_since", moment=moment)]


async def of_ids(tx: Transaction, safekeeper_ids: list[str]) -> list[SafekeeperRow]:
    """These, as far as they have ever said where they are."""
    rows = await tx.many(SafekeeperRow, "safekeepers_of_ids", safekeeper_ids=safekeeper_ids)
    return [row for row in rows if row.address]


async def note_seen(tx: Transaction, safekeeper_id: str, observed: dict[str, Any], now: datetime) -> datetime | None:
    """Notes that a safekeeper was heard of and what it said; answers when it was heard of before."""
    before: datetime | None = await tx.value(
        "note_safekeeper_seen", safekeeper_id=safekeeper_id, observed=observed, now=now
    )
    return before
