"""SnapshotSchedule: snapshots that are made by themselves, again and again. Not here: when that is and which of them go (control_plane/databases/due_snapshots.py)."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from spg99.patterns import NAME_PATTERN
from spg99.resources.fields import Immutable, Volatile
from spg99.resources.noun import Resource, Spec
from spg99.rules import Rule, cron_is_right


class SnapshotScheduleSpec(Spec):
    """A snapshot schedule as a user declares it."""

    RULES: ClassVar[tuple[Rule, ...]] = (cron_is_right,)

    tenant: Immutable[str] = Field(pattern=NAME_PATTERN, examples=["acme"])
    """Name of the tenant that owns the database."""
    name: Immutable[str] = Field(pattern=NAME_PATTERN, examples=["nightly"])
    """Name of the schedule, unique in its tenant. Its snapshots are called `<name>_<time>`."""
    database: Immutable[str] = Field(pattern=NAME_PATTERN, examples=["app"])
    """Name of the database whose moments are kept. It needs safekeepers. As long as the schedule is there, the database cannot be deleted."""
    cron: str = Field(max_length=100, examples=["30 2 * * *", "@daily"])
    """When a snapshot is made, in UTC: minute, hour, day of the month, month and day of the week as cron takes them, or `@hourly`, `@daily`, `@weekly`,
    `@monthly`, `@yearly`. Times that were missed because the service was away are made up for by one snapshot."""
    keep: int = Field(default=7, ge=1, le=1000)
    """How many of its snapshots are kept. Older ones are deleted when another one was made, except those in which a branch begins that was never started.
    Snapshots that somebody else made are left alone."""
    verify: bool = False
    """Whether each of its snapshots is verified after it was made, when there is time: laid out as for a restore, its WAL replayed, all pages read. The
    snapshot's `last_verified_at` and `last_error` say what came of it. One that is damaged does not count among `keep`."""


class SnapshotSchedule(SnapshotScheduleSpec, Resource):
    """Makes snapshots of a database by itself and keeps the latest of them. When it is deleted, its snapshots are deleted with it."""

    NOUN: ClassVar[str] = "snapshot_schedule"
    SPEC: ClassVar[type[Spec]] = SnapshotScheduleSpec
    COLLECTION_PATH: ClassVar[str] = "/tenants/{tenant}/schedules"
    ITEM_PATH: ClassVar[str] = "/tenants/{tenant}/schedules/{name}"
    ID_FORMAT: ClassVar[str] = "{tenant}/{name}"
    UID_FIELD: ClassVar[str] = "schedule_id"
    HOLDS_DATA: ClassVar[bool] = True
    FILTERS: ClassVar[tuple[str, ...]] = ("database", "name_prefix")

    model_config = Resource.model_config

    schedule_id: str
    """Id of the schedule."""
    db_id: str
    """Id of the database."""
    last_snapshot_at: Volatile[datetime | None] = None
    """When it made its last snapshot (UTC); null before the first."""
    next_snapshot_at: Volatile[datetime]
    """When the next one is due (UTC). In the past: it could not be made yet and is tried again every minute."""
    last_error: Volatile[str | None] = None
    """Why the last snapshot that was due could not be made; null when it could."""
    created_at: datetime
    """When the schedule was created (UTC)."""
    updated_at: Volatile[datetime]
    """When the schedule was last changed (UTC)."""
