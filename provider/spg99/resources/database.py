"""Database: which settings a user may give one, and what the system tells about it. Not here: how it lives (control_plane/databases/)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field

from spg99.patterns import LSN_PATTERN, NAME_PATTERN
from spg99.resources.fields import Immutable, MovedBy, Secret, Volatile
from spg99.resources.noun import Resource, Spec
from spg99.rules import (
    Rule,
    database_name_is_free,
    restore_has_a_moment,
    schema_is_of_a_source,
    sizes_in_order,
    source_is_one_point,
)

BY_RESTORE = MovedBy(("restore_trigger",))


class Size(StrEnum):
    """Product class of a database: the memory and connections of the compute that serves it."""

    L1 = "L1"
    """128 MB of memory, 50 connections."""
    L2 = "L2"
    """256 MB of memory, 100 connections."""
    L3 = "L3"
    """512 MB of memory, 200 connections."""
    L4 = "L4"
    """1 GB of memory, 300 connections."""
    L5 = "L5"
    """2 GB of memory, 500 connections."""


class DatabaseState(StrEnum):
    """Where a database stands in its life (contract, section 4)."""

    CREATING = "creating"
    """Its timeline is being made."""
    STOPPED = "stopped"
    """It sleeps: no process, no cost; the first connection wakes it."""
    BOOTING = "booting"
    """A compute is being started for it."""
    READY = "ready"
    """A compute runs and is in use or was so within the idle timeout."""
    IDLE = "idle"
    """A compute runs, nothing is connected, the idle clock runs."""
    STOPPING = "stopping"
    """Its compute is being stopped."""
    DELETING = "deleting"
    """It is being removed for good."""
    ERROR = "error"
    """The last attempt failed; `state_reason` says why. It is tried again by itself."""
    DELETED = "deleted"
    """It was deleted and can come back until `undelete_until`. It is found only in lists that ask for this state."""


class StorageState(StrEnum):
    """Whether a database may grow."""

    OK = "ok"
    """It may."""
    LIMIT_REACHED = "limit_reached"
    """It has reached `storage_limit_bytes`: what would make it larger fails with SQLSTATE 53100, all else works."""
    NODE_FULL = "node_full"
    """The disk of its node is nearly full: the same, until there is room again."""


class StorageHeldBy(StrEnum):
    """What keeps a running database below its storage limit."""

    LIBRARY = "library"
    """Exactly: the server itself refuses the call that would pass it."""
    WATCHER = "watcher"
    """The node's agent looks, cancels and makes new transactions read-only: a fast writer passes the limit for a moment."""


class ScaleState(StrEnum):
    """Step of a handoff to another profile (contract, section 5)."""

    STEADY = "STEADY"
    """No handoff is under way."""
    PREPARING = "PREPARING"
    """Another compute is being prepared."""
    FREEZING = "FREEZING"
    """The Gateway is told to hold new transactions back."""
    DRAINING = "DRAINING"
    """Transactions under way on the old compute come to their end."""
    STOPPING_OLD = "STOPPING_OLD"
    """The old compute is being stopped."""
    STARTING_NEW = "STARTING_NEW"
    """The new compute is being started."""
    SWITCHING = "SWITCHING"
    """The Gateway lets the clients that it held go on with the new compute."""
    COOLDOWN = "COOLDOWN"
    """The handoff is done; the autoscaler leaves the database alone for a while."""
    FAILED = "FAILED"
    """The handoff was given up and the old compute serves on; `scale_failure_reason` says why."""


class OnDelete(StrEnum):
    """What is left when a database is deleted."""

    DELETE = "delete"
    """Nothing, once it cannot come back any more."""
    RETAIN = "retain"
    """The database itself, asleep and without an end, as `<name>_retained_<time>`: who deletes it by that name deletes it."""
    SNAPSHOT_THEN_DELETE = "snapshot_then_delete"
    """A snapshot `<name>_deleted_<time>` of its last moment, in which another database may begin. Needs safekeepers and a pageserver: without them the deletion
    is refused."""


class DatabaseSpec(Spec):
    """A database as a user declares it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        database_name_is_free,
        sizes_in_order,
        source_is_one_point,
        schema_is_of_a_source,
        restore_has_a_moment,
    )

    tenant: Immutable[str] = Field(pattern=NAME_PATTERN, examples=["acme"])
    """Name of the tenant that owns the database."""
    name: Immutable[str] = Field(pattern=NAME_PATTERN, examples=["app"])
    """Name of the database, unique in its tenant."""
    size: Size = Size.L1
    """Product class of the compute. On a running database a change takes effect at its next start."""
    idle_timeout_seconds: int = Field(default=300, ge=0, le=2_592_000)
    """Time without connections after which the compute is stopped. 0 means never."""
    min_size: Size | None = None
    """Smallest size the autoscaler may choose. Equal to `size` unless set."""
    max_size: Size | None = None
    """Largest size the autoscaler may choose. Equal to `size` unless set."""
    storage_limit_bytes: int | None = Field(
        default=None, ge=67_108_864, le=70_368_744_177_664, examples=[10_737_418_240]
    )
    """How large the database may be, with its indexes, temporary files and WAL. What would make it larger fails with
    SQLSTATE 53100; reading, DELETE, TRUNCATE, DROP and VACUUM work. A change holds at once. Default: by size, 8 GiB (L1) to
    128 GiB (L5), unless the operator has set another."""
    deletion_protection: bool = False
    """While true, the database cannot be deleted."""
    on_delete: OnDelete = OnDelete.DELETE
    """What is left when the database is deleted, by somebody or by `expires_at`. A tenant's deletion takes that along."""
    source_database: Immutable[str | None] = Field(default=None, pattern=NAME_PATTERN)
    """Name of a database of the same tenant in which this one begins: a branch of it. It has the source's content of one moment and
    goes its own way from there; the source does not notice. It takes no room and no time until it is used. The source
    needs safekeepers. Without a point below: all that was committed in the source before the request."""
    source_time: Immutable[AwareDatetime | None] = None
    """The moment of the source at which the branch begins (RFC 3339, `2026-11-26T10:00:00Z`): all that had been committed by then."""
    source_lsn: Immutable[str | None] = Field(default=None, pattern=LSN_PATTERN)
    """The same as a place in the source's WAL (`0/1A2B3C8`), as `pg_current_wal_lsn()` says it: all records that end there or before."""
    source_snapshot: Immutable[str | None] = Field(default=None, pattern=NAME_PATTERN)
    """Instead of all these: name of a snapshot of the same tenant, in whose moment the branch begins."""
    schema_only: Immutable[bool] = False
    """A branch that begins with the schema of its source, and with none of its rows: neither its files nor its WAL hold any. Tables are empty, sequences
    stand at their beginning, materialized views are not filled."""
    restore_trigger: str | None = Field(default=None, max_length=200)
    """Any text, for example a date. Another value takes the database back to `restore_to`, in place: its id and its connection string
    stay, clients are ended, and the state before is kept for some days as the database `<name>_before_<time>`. The value it
    begins with, and null, change nothing. Needs safekeepers."""
    restore_to: str | None = Field(default=None, max_length=100)
    """To which moment: a time (RFC 3339, `2026-11-26T10:00:00Z`), a place in the WAL (`0/1A2B3C8`), or the name of a snapshot of
    this database. Without another `restore_trigger` it changes nothing."""
    expires_at: AwareDatetime | None = None
    """When the database is deleted by itself (RFC 3339), once nobody is connected and unless it is protected. Null means never."""
    history_seconds: int | None = Field(default=None, ge=0, le=31_622_400, examples=[604_800])
    """How far back every moment of the database can come back, where safekeepers keep it: so long images and WAL stay in the object store. A change holds
    at once; what was removed does not come back. Default: 7 days, unless the operator has set another."""


class Database(DatabaseSpec, Resource):
    """A PostgreSQL database that sleeps when idle and wakes on connect."""

    NOUN: ClassVar[str] = "database"
    SPEC: ClassVar[type[Spec]] = DatabaseSpec
    COLLECTION_PATH: ClassVar[str] = "/tenants/{tenant}/dbs"
    ITEM_PATH: ClassVar[str] = "/tenants/{tenant}/dbs/{name}"
    ID_FORMAT: ClassVar[str] = "{tenant}/{name}"
    UID_FIELD: ClassVar[str] = "db_id"
    HOLDS_DATA: ClassVar[bool] = True
    FORCE_DELETE: ClassVar[bool] = True
    PROTECTED_BY: ClassVar[str | None] = "deletion_protection"
    FILTERS: ClassVar[tuple[str, ...]] = ("state", "name_prefix")
    SETTLED_STATES: ClassVar[frozenset[str]] = frozenset(
        {DatabaseState.STOPPED, DatabaseState.BOOTING, DatabaseState.READY, DatabaseState.IDLE, DatabaseState.STOPPING}
    )
    FAILED_STATES: ClassVar[frozenset[str]] = frozenset({DatabaseState.ERROR})
    GONE_STATES: ClassVar[frozenset[str]] = frozenset({DatabaseState.DELETING, DatabaseState.DELETED})

    model_config = Resource.model_config

    db_id: str
    """Id of the database."""
    state: Volatile[DatabaseState]
    """Where the database stands in its life."""
    status: Volatile[DatabaseState]
    """The same as `state`; kept for old clients."""
    state_reason: Volatile[str | None] = None
    """Why the database is in state `error`, in a sentence."""
    timeline: Annotated[Volatile[str], BY_RESTORE]
    """Id of the durable history of the database: another one after a restore."""
    branch_lsn: Volatile[str | None] = None
    """Where in its source's WAL a branch begins; null for what is no branch, and while nobody has needed to know."""
    connection_string: Secret[str]
    """DSN of the database at the Gateway. It stays the same while computes change; it holds the password only for API keys
    that may read credentials. A run that rotates the password leaves the old one here until the next refresh: in that run
    use what the tenant's credentials (TenantCredentials) answer."""
    current_scale: Volatile[int]
    """1 while a writer runs, 0 while the database sleeps."""
    target_scale: Volatile[int]
    """1 when a writer shall run, else 0."""
    current_profile: Volatile[Size | None] = None
    """Profile the writer runs on; null while none runs."""
    target_profile: Volatile[Size]
    """Profile the next writer will run on."""
    candidate_profile: Volatile[Size | None] = None
    """Profile of the writer being prepared."""
    candidate_worker_id: Volatile[str | None] = None
    """Compute being prepared."""
    candidate_writer_term: Volatile[int | None] = None
    """Term of the compute being prepared."""
    scale_state: Volatile[ScaleState] = ScaleState.STEADY
    """Step of a handoff to another profile."""
    freeze_new_checkouts: Volatile[bool] = False
    """True while the Gateway holds new transactions back."""
    lease_control_epoch: Volatile[int]
    """Grows with every change that invalidates what a Gateway has cached."""
    autoscale_cooldown_until: Volatile[datetime | None] = None
    """Until when the autoscaler leaves the database alone (UTC)."""
    scale_phase_started_at: Volatile[datetime | None] = None
    """When the current step of the handoff began (UTC)."""
    scale_phase_deadline_at: Volatile[datetime | None] = None
    """When the current step of the handoff is given up (UTC)."""
    scale_failure_reason: Volatile[str | None] = None
    """Why the last handoff failed."""
    worker_id: Volatile[str | None] = None
    """Compute that serves the database; null while it sleeps."""
    writer_term: Volatile[int]
    """Number of the writer; only grows."""
    backend_addr: Volatile[str | None] = None
    """Address of the compute (a folder for a unix socket). Diagnostics only."""
    backend_port: Volatile[int | None] = None
    """Port of the compute. Diagnostics only."""
    active_connections: Volatile[int] = 0
    """Clients connected through all Gateways."""
    last_used_at: Volatile[datetime | None] = None
    """When a client was last connected (UTC)."""
    compute_seconds: Volatile[int] = 0
    """Seconds for which a compute has run in all."""
    storage_bytes: Volatile[int] = 0
    """Size on disk."""
    storage_state: Volatile[StorageState] = StorageState.OK
    """Whether the database may grow, as its node last told."""
    storage_held_by: Volatile[StorageHeldBy | None] = None
    """What keeps it below its storage limit, as its node last told; null before its first start."""
    recoverable_from: Volatile[datetime | None] = None
    """The oldest moment that can come back (UTC); null without safekeepers, and until the first image."""
    recoverable_until: Volatile[datetime | None] = None
    """The newest moment of which that is known (UTC): now, unless the object store takes nothing."""
    undelete_until: Volatile[datetime | None] = None
    """Until when a database that was deleted can come back (UTC); null for one that was not."""
    last_verified_at: Volatile[datetime | None] = None
    """When an image was last made by replaying WAL on the one before, with the checksums of all pages read (UTC): a restore that was tried."""
    egress_bytes: Volatile[int] = 0
    """Bytes sent to clients in all."""
    created_at: datetime
    """When the database was created (UTC)."""
    updated_at: Volatile[datetime]
    """When the database last changed (UTC)."""
