"""Agent and Control Plane: how tasks travel, heartbeats. The agent only pulls. Not here: which tasks there are (tasks.py).

POST /nodes/tasks/lease            LeaseTasks   -> LeasedTasks   (long poll, up to `wait_seconds`)
POST /nodes/tasks/{task_id}/result TaskResult   -> 204           (403 when another identity holds the task)
POST /nodes/heartbeat              Heartbeat    -> HeartbeatAnswer
GET  /nodes/archiving                           -> Archiving
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import Field

from spg99.protocol import Message
from spg99.resources import Size, StorageHeldBy, StorageState

HEARTBEAT_SECONDS: Final = 5
NODE_SILENT_AFTER: Final = timedelta(seconds=30)
"""An agent that has not been heard of for this long (six heartbeats) is counted as away; until then nobody else may take its
name. That it is away proves nothing about the computes on its node."""


def is_silent(last_seen_at: datetime | None, now: datetime) -> bool:
    """Whether an agent was not heard of for so long that it counts as away. Whether that is its silence or ours (the Control
    Plane was away too) is for the caller to know."""
    return last_seen_at is None or now - last_seen_at > NODE_SILENT_AFTER


class Archiving(Message):
    """Whether WAL of databases is archived: then safekeepers are let go of it by pageservers alone."""

    is_on: bool


class Task(Message):
    """One order to one agent."""

    task_id: int
    kind: str
    payload: dict[str, Any]
    attempt: int
    expires_at: datetime
    """An agent does not begin a task after this moment."""
    request_id: str | None = None
    """The request that led to it, for the logs. Not signed: nothing is done by it."""
    signature: str = ""
    """HMAC-SHA256 over `signed_bytes`, hex; the key is the SHA-256 (hex text) of the node's bearer token."""

    def signed_bytes(self) -> bytes:
        """What the signature covers."""
        body = {
            "task_id": self.task_id,
            "kind": self.kind,
            "payload": self.payload,
            "attempt": self.attempt,
            "expires_at": self.expires_at.isoformat(),
        }
        return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()

    def signed_with(self, bearer_token_sha256_hex: str) -> Task:
        """This task with its signature."""
        return self.model_copy(update={"signature": self._mac(bearer_token_sha256_hex)})

    def is_signed_with(self, bearer_token_sha256_hex: str) -> bool:
        """Whether the signature is right (constant time)."""
        return hmac.compare_digest(self.signature, self._mac(bearer_token_sha256_hex))

    def _mac(self, key: str) -> str:
        return hmac.new(key.encode(), self.signed_bytes(), hashlib.sha256).hexdigest()


class LeaseTasks(Message):
    """Asks for tasks; tasks held by this identity whose lease ran out come again with `attempt` + 1."""

    wait_seconds: int = 30
    max_tasks: int = 16
    held_task_ids: list[int] | None = None
    """Tasks this agent holds: under way, or finished with a result not yet answered. Their leases are renewed; every other
    task given to this identity (the agent was restarted, an answer was lost) comes again at once. None: only when its
    lease ran out."""


class LeasedTasks(Message):
    """Tasks for this agent; empty when none came within the wait."""

    tasks: list[Task]
    now: datetime | None = None
    """The clock that `expires_at` was read from. The agent compares with it and not with its own, which may be hours off."""


class TaskResult(Message):
    """What became of a task."""

    succeeded: bool
    attempt: int
    result: dict[str, Any] = Field(default_factory=dict)
    error: str | None = None
    """A sentence for a user when it failed: what, and what to do."""
    retryable: bool = True
    """False when trying again cannot help (an unknown kind, a bad signature)."""


class StorageSeen(Message):
    """The storage of one running database."""

    limit_bytes: int
    """Its own limit; 0 = none."""
    used_bytes: int
    """Length of its files: tables, indexes, temporary files, WAL."""
    held_by: StorageHeldBy
    state: StorageState


class ComputeSeen(Message):
    """One compute as the agent sees it now."""

    compute_id: str
    timeline_id: str
    db_id: str
    writer_term: int
    profile: Size
    running: bool
    pid: int | None = None
    backend_addr: str | None = None
    backend_port: int | None = None
    started_at: datetime | None = None
    connections: int = 0
    exit_reason: str | None = None
    """A sentence when it ended without being told to."""
    storage: StorageSeen | None = None
    """None from an agent that knows no limits, and of a compute that has ended."""


class Heartbeat(Message):
    """What an agent observes; sent every few seconds and at once when a compute ends by itself."""

    computes: list[ComputeSeen]
    timelines: dict[str, int] = Field(default_factory=dict)
    """Timelines on this node: id -> bytes on disk. Those that are news; all of them about once a minute."""
    disk_total_bytes: int = 0
    disk_free_bytes: int = 0
    disk_is_short: bool = False
    """No room is left for databases to grow."""
    reserve_is_given_up: bool = False
    """Even the node's reserve was needed: only what makes room should be done there."""
    makes_timelines: bool = False
    """This agent lays down the files of a timeline with its first start (`ComputeStart.makes_timeline`). An older one, which does
    not say so, is ordered to create the timeline before."""
    network_address: str | None = None
    """Where Gateways and safekeepers of other machines reach this node's computes (host:port, mutual TLS); None: nowhere."""
    changes_members: bool = False
    """Whether this agent can replace safekeepers of a timeline."""
    keeps_wal: bool = False
    """This agent heeds `ComputeStart.kept`. An older one would start such a database without its safekeepers: it gets none."""
    makes_branches: bool = False
    """This agent heeds `ComputeStart.origin`. An older one would make an empty database in place of a branch: it gets none."""
    opens_moments: bool = False
    """This agent starts servers that only read, on a moment of a timeline. An older one refuses the order: it gets none."""
    makes_schema_branches: bool = False
    """This agent heeds `Origin.schema_only`. An older one would copy the rows, too: it gets none."""
    makes_exports: bool = False
    """This agent knows `timeline.export`."""


class HeartbeatAnswer(Message):
    """What the agent should know in return."""

    stop_compute_ids: list[str] = Field(default_factory=list)
    """Computes that must not run (ended, deleted or superseded by a higher term): stop them at once."""
    forget_timeline_ids: list[str] = Field(default_factory=list)
    """Timelines on this node which belong to nothing any more: remove them."""
    heartbeat_seconds: int = HEARTBEAT_SECONDS
    revoked_ids: list[str] = Field(default_factory=list)
    """Identities that were removed: let none of them in, though its certificate has not ended."""
    storage_limits_bytes: dict[str, int] = Field(default_factory=dict)
    """Running timelines whose limit is another than the agent told: id -> limit (0 = none). It holds at once."""
