"""Snapshot: a moment of a database that is kept. Not here: how what it needs is kept (control_plane/databases/snapshots.py)."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from pydantic import AwareDatetime, Field

from spg99.patterns import LSN_PATTERN, NAME_PATTERN
from spg99.resources.fields import Immutable, Volatile
from spg99.resources.noun import Resource, Spec
from spg99.rules import Rule, snapshot_is_one_moment


class SnapshotSpec(Spec):
    """A snapshot as a user declares it."""

    RULES: ClassVar[tuple[Rule, ...]] = (snapshot_is_one_moment,)

    tenant: Immutable[str] = Field(pattern=NAME_PATTERN, examples=["acme"])
    """Name of the tenant that owns the database."""
    name: Immutable[str] = Field(pattern=NAME_PATTERN, examples=["before_upgrade"])
    """Name of the snapshot, unique in its tenant."""
    database: Immutable[str] = Field(pattern=NAME_PATTERN, examples=["app"])
    """Name of the database whose moment it keeps. It needs safekeepers. Without a moment below: all that was committed before the
    request."""
    time: Immutable[AwareDatetime | None] = None
    """The moment (RFC 3339, `2026-11-26T10:00:00Z`): all that had been committed by then."""
    lsn: Immutable[str | None] = Field(default=None, pattern=LSN_PATTERN)
    """The same as a place in the WAL (`0/1A2B3C8`), as `pg_current_wal_lsn()` says it."""
    expires_at: AwareDatetime | None = None
    """When the snapshot is deleted by itself (RFC 3339). Null means never."""


class Snapshot(SnapshotSpec, Resource):
    """A moment of a database that is kept for as long as the snapshot is there. A branch may begin in it, and the database may go back to
    it. Until it is deleted, the database cannot be."""

    NOUN: ClassVar[str] = "snapshot"
    SPEC: ClassVar[type[Spec]] = SnapshotSpec
    COLLECTION_PATH: ClassVar[str] = "/tenants/{tenant}/snapshots"
    ITEM_PATH: ClassVar[str] = "/tenants/{tenant}/snapshots/{name}"
    ID_FORMAT: ClassVar[str] = "{tenant}/{name}"
    UID_FIELD: ClassVar[str] = "snapshot_id"
    HOLDS_DATA: ClassVar[bool] = True
    FILTERS: ClassVar[tuple[str, ...]] = ("database", "schedule", "name_prefix")

    model_config = Resource.model_config

    snapshot_id: str
    """Id of the snapshot."""
    db_id: str
    """Id of the database."""
    timeline: str
    """Id of the history that it is a moment of."""
    snapshot_lsn: Volatile[str | None] = None
    """The place in the WAL; null while nobody has needed to know."""
    schedule: Volatile[str | None] = None
    """Name of the snapshot schedule that made it and removes it again; null: somebody asked for it, and it stays until somebody deletes
    it or its time is over."""
    last_verified_at: Volatile[datetime | None] = None
    """When it was laid out last as for a restore, its WAL replayed and all pages read, and was right (UTC); null: never."""
    last_error: Volatile[str | None] = None
    """Why it was not right when that was tried last, or could not be tried yet; null when it was."""
    created_at: datetime
    """When the snapshot was made (UTC)."""
    updated_at: Volatile[datetime]
    """When the snapshot last changed (UTC)."""
