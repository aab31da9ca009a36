"""Timelines: the durable history of a database and on which node its files are. Not here: the files (node/)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from spg99.control_plane.store import Transaction
from spg99.protocol.safekeeper import Configuration
from spg99.protocol.tasks import Origin

TimelineState = Literal["creating", "present", "deleting", "gone"]
"""`creating`: no compute has started on it yet. Without a node nothing of it was ever ordered, with one there may be files.
`present`: a compute has started on it, so its node has files that count."""


@dataclass(frozen=True)
class TimelineRow:
    """One timeline."""

    timeline_id: str
    db_id: str
    node_id: str | None
    state: TimelineState
    configuration: dict[str, Any] | None
    origin: dict[str, Any] | None
    created_at: datetime

    @property
    def keepers(self) -> Configuration | None:
        """Who keeps its WAL; None: its files are the only copy."""
        return Configuration.model_validate(self.configuration) if self.configuration else None

    @property
    def begins_in(self) -> Origin | None:
        """Of a branch: where it begins."""
        return Origin.model_validate(self.origin) if self.origin else None


async def insert(tx: Transaction, timeline_id: str, db_id: str, origin: Origin | None = None) -> None:
    """Writes a timeline that has no node yet; of a branch with where it begins."""
    await tx.defer(
        "insert_timeline",
        timeline_id=timeline_id,
        db_id=db_id,
        parent_id=origin.timeline_id if origin is not None else None,
        origin=origin.model_dump(mode="json", exclude={"kept"}) if origin is not None else None,
    )


async def find(tx: Transaction, timeline_id: str) -> TimelineRow | None:
    """One of them."""
    return await tx.one_or_none(TimelineRow, "find_timeline", timeline_id=timeline_id)


async def give(tx: Transaction, timeline_id: str, db_id: str) -> None:
    """It is the history of another database from here on."""
    await tx.execute("give_timeline", timeline_id=timeline_id, db_id=db_id)


async def place(tx: Transaction, timeline_id: str, node_id: str) -> None:
    """Chooses the node of a timeline."""
    await tx.execute("place_timeline", timeline_id=timeline_id, node_id=node_id)


async def configure(
    tx: Transaction, timeline_id: str, configuration: Configuration, *, tenant_id: str, is_pending: bool = False
) -> None:
    """Notes which safekeepers keep its WAL, and whose it is: that tenant has something in the object store from now on. `is_pending`: not all of them have heard of it."""
    said = configuration.model_dump(mode="json") | ({"is_pending": True} if is_pending else {})
    await tx.defer("configure_timeline", timeline_id=timeline_id, configuration=said, tenant_id=tenant_id)
    await tx.defer("insert_stored_tenant", tenant_id=tenant_id)


async def with_members(tx: Transaction, gone_ids: list[str], *, limit: int) -> list[str]:
    """Databases of which a safekeeper is one of these, or whose safekeepers are being changed."""
    return [row.db_id for row in await tx.many(_DatabaseId, "timelines_with_members", gone_ids=gone_ids, limit=limit)]


UNSWEPT_KEPT_FOR = timedelta(days=330)
"""Longer than the others: a pageserver may be away, and without the record nobody would know that the store has something of it."""


@dataclass(frozen=True)
class KeptTimeline:
    """One whose WAL safekeepers keep."""

    timeline_id: str
    tenant_id: str
    configuration: dict[str, Any]
    is_gone: bool
    has_started: bool
    """It has an image in the store then."""


async def kept(tx: Transaction) -> list[KeptTimeline]:
    """All of them, also those that are gone, until the store has nothing of them any more."""
    return await tx.many(KeptTimeline, "kept_timelines")


async def note_history(tx: Transaction, timeline_id: str, history: dict[str, Any], *, is_swept: bool) -> None:
    """Notes what a pageserver says that the store has of it. `is_swept`: of one that is gone the store has nothing any more."""
    await tx.execute("note_history", timeline_id=timeline_id, history=history, is_swept=is_swept)


async def note_described(tx: Transaction, timeline_id: str, revision: str, object_key: str, tag: str) -> None:
    """Notes as of when the store describes its database."""
    await tx.execute(
        "note_timeline_described", timeline_id=timeline_id, revision=revision, object_key=object_key, tag=tag
    )


async def descriptions_to_remove(tx: Transaction) -> list[DescriptionRow]:
    """Descriptions of databases that are gone."""
    return await tx.many(DescriptionRow, "descriptions_to_remove")


async def note_description_removed(tx: Transaction, timeline_id: str) -> None:
    """Notes that the store says nothing of it any more."""
    await tx.execute("note_description_removed", timeline_id=timeline_id)


async def restore(
    tx: Transaction,
    timeline_id: str,
    *,
    db_id: str,
    tenant_id: str,
    node_id: str | None,
    state: TimelineState,
    configuration: Configuration,
) -> None:
    """Writes a timeline as the object store describes it, into a catalogue that was lost."""
    await tx.execute(
        "restore_timeline",
        timeline_id=timeline_id,
        db_id=db_id,
        tenant_id=tenant_id,
        node_id=node_id,
        state=state,
        configuration=configuration.model_dump(mode="json"),
    )


async def mark(tx: Transaction, timeline_id: str, state: TimelineState) -> None:
    """Notes what has become of its files."""
    await tx.execute("mark_timeline", timeline_id=timeline_id, state=state)


async def to_forget(tx: Transaction, timeline_ids: list[str]) -> list[str]:
    """Of the timelines on a node, those that belong to nothing any more."""
    rows = await tx.many(_Id, "timelines_to_forget", timeline_ids=timeline_ids)
    return [row.timeline_id for row in rows]


async def node_of(tx: Transaction, timeline_id: str) -> str | None:
    """The node that keeps the files of a timeline."""
    node_id: str | None = await tx.value("node_of_timeline", timeline_id=timeline_id)
    return node_id


async def forget_before(tx: Transaction, moment: datetime, *, limit: int, away: list[str]) -> int:
    """Deletes at most `limit` records of timelines that were gone before `moment`. `away`: safekeepers that may not have heard of it."""
    unswept_moment = moment - UNSWEPT_KEPT_FOR
    return await tx.execute("forget_timelines", moment=moment, unswept_moment=unswept_moment, limit=limit, away=away)


@dataclass(frozen=True)
class DescriptionRow:
    """A description that says of a database that is gone."""

    timeline_id: str
    description_key: str


@dataclass(frozen=True)
class _Id:
    timeline_id: str


@dataclass(frozen=True)
class _DatabaseId:
    db_id: str
