"""Every order an agent may get, each declared once: what is ordered, what is answered, how long it may wait. Every one may come
twice, after a lost answer or an agent's death, and says what it does then. Only the node that it was given to may answer.
Control Plane and agent read the same table.

Here: kinds of tasks and their messages. Not here: how tasks travel (node.py), the queue (the Control Plane's), carrying
them out (node/handlers.py). A new kind is a declaration here and a handler there; a test sees to it that none is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from pydantic import Field, ValidationError

from spg99.errors import BadRequest
from spg99.protocol import Message
from spg99.protocol.safekeeper import Configuration
from spg99.resources import Size

MOMENT_PREFIX: Final = "mom"
"""Of the id of a timeline that is one moment of another one's history, only read and thrown away afterwards. It stands in the id, so that nobody who
holds one, or finds a folder of that name, can take it for a database's."""


def is_moment(timeline_id: str) -> bool:
    """Whether this is the timeline of a moment."""
    return timeline_id.startswith(f"{MOMENT_PREFIX}_")


class TaskKind(StrEnum):
    """Every order an agent knows. Anything else is refused without side effects."""

    TIMELINE_CREATE = "timeline.create"
    TIMELINE_DELETE = "timeline.delete"
    TIMELINE_EXPORT = "timeline.export"
    TIMELINE_LOCATE = "timeline.locate"
    TIMELINE_MEMBERS = "timeline.members"
    COMPUTE_START = "compute.start"
    COMPUTE_STOP = "compute.stop"


class Order(Message):
    """What is ordered. Two orders for one timeline are never carried out at the same time, unless one only reads."""

    timeline_id: str


class Done(Message):
    """The result of an order of which there is nothing to tell."""


class Kept(Message):
    """Who keeps the WAL of a timeline beside its compute, and whose its images are."""

    configuration: Configuration
    addresses: dict[str, str]
    """Of the safekeepers in it: id -> path of a unix socket."""
    network_addresses: dict[str, str] = Field(default_factory=dict)
    """The same for agents of other machines: id -> host:port. Those that are on one machine only are not in it."""
    tenant_id: str
    installation_id: str | None = None
    """Whose the object store must be. None: whoever gave the order was of a version that does not say."""
    is_archived: bool = False
    """A pageserver takes the WAL into the object store: safekeepers are let go of it by that one, once it is there, and images of a
    timeline that is deleted are removed by it."""


class Point(Message):
    """A moment of a timeline's history: one of these."""

    lsn: int | None = None
    """All records that end here or before."""
    time: datetime | None = None
    """All that was committed by then, by the clock of the compute that committed it."""
    end_of_term: int | None = None
    """All that computes of this term and of lower ones have ever written."""


class Origin(Message):
    """Where a branch begins."""

    timeline_id: str
    point: Point
    database_name: str
    """What the database is called there."""
    kept: Kept | None = None
    """Who keeps the WAL of that timeline. Given with an order, never None there."""
    schema_only: bool = False
    """Its schema and none of its rows. An agent that does not know it would make all of it: it gets none (Heartbeat.makes_schema_branches)."""


class TimelineCreate(Order):
    """Lay down the files of a new timeline. Again: one that is there is a success; half of one is removed and made anew. Only for
    an agent that cannot do it with the first start (Heartbeat.makes_timelines)."""

    database_name: str
    pg_user: str
    """Role that owns the database; no superuser."""


class TimelineDelete(Order):
    """Remove the files of a timeline. Again: one that is not there is a success."""

    kept: Kept | None = None
    """Its WAL and images are removed, too."""


class TimelineLocate(Order):
    """Say where a kept timeline ends by now, and from where on it can be gone back to. Nothing is changed, its compute notices nothing. Again: it
    is looked up anew."""

    kept: Kept


class TimelineLocated(Message):
    """Any place from the first to the last of these can be gone back to. Whatever was acknowledged before the order is before the last."""

    timeline_id: str
    from_lsn: int
    from_time: datetime
    end_lsn: int


class TimelineExport(Order):
    """Write a moment of a kept timeline into the object store as an archive of pg_dump's. Nothing is changed, its compute notices nothing. Takes up to hours.
    Again: it is begun anew, and what the attempt before has stored is removed."""

    export_id: str
    origin: Origin
    """The moment; `schema_only`: without rows."""
    database_name: str
    """What the database is called in the archive."""
    pg_user: str
    """Role that owns it."""


class TimelineExported(Message):
    """The archive is in the store: pieces of `piece_bytes`, the last one shorter (node/exporting.py)."""

    timeline_id: str
    export_id: str
    attempt_id: str
    """Part of the keys of its objects."""
    size_bytes: int
    piece_bytes: int


class ComputeStart(Order):
    """Start a compute for a timeline. Again: one that runs with the same compute id is a success; a compute that has ended is
    never started again."""

    compute_id: str
    db_id: str
    writer_term: int
    profile: Size
    database_name: str
    pg_user: str
    storage_limit_bytes: int = 0
    """How large the database may be; 0: as large as its node lets it."""
    kept: Kept | None = None
    """None: the files on the node are the only copy. Else its commits wait for safekeepers, and the files are a cache: where they are missing
    or not up to date, they are made anew from an image and WAL."""
    makes_timeline: bool = False
    """No start of this timeline has succeeded yet: its files are laid down first where they are not there. Never true afterwards,
    because files that are lost must not be taken for files that were never made."""
    attempts: list[str] | None = None
    """With `makes_timeline`: the computes of all attempts before, as the catalogue knows them (TimelineBegin.attempts)."""
    origin: Origin | None = None
    """Of a branch, as long as it makes a timeline: what is laid down then is the content of another timeline at one moment. Of a moment always, and
    nobody keeps WAL of that one: its server only reads (`is_moment`)."""


class ComputeStarted(Message):
    """The compute takes connections."""

    compute_id: str
    backend_addr: str
    """Folder of the unix socket (starts with `/`), or a host name."""
    backend_port: int
    pid: int
    started_at: datetime
    branch_lsn: int | None = None
    """Of a branch, or a moment, that was made with this start: where in its source's WAL it begins."""


class ComputeStop(Order):
    """Stop a compute. Again: one that does not run is a success."""

    compute_id: str
    mode: str = "fast"
    """`fast` ends sessions and checkpoints; `immediate` is for a database that is being deleted."""
    only_if_unused: bool = False
    """A question and not an order: stop it only if no client, no replication and no prepared work is there. An agent that
    does not know this field stops it in any case."""


class ComputeStopped(Message):
    """Whether the compute runs no more. An agent that does not know this message answers nothing: then it has stopped."""

    stopped: bool = True
    """False only for `only_if_unused`: it is in use, or nobody can tell, and it runs on."""
    sessions: int = 0
    """Client and replication connections that were seen; 0 when it was something else that kept it."""
    reason: str | None = None
    """A sentence: why it runs on."""


class TimelineMembers(Order):
    """The safekeepers of a timeline are these, or are being changed to `next_members`: whoever runs, and they, hear of it. Again: a success."""

    kept: Kept


class TimelineMembersKnown(Message):
    """How far it has come."""

    configuration_number: int
    """Of the order."""
    is_finished: bool = False
    """Of two sets the new one may be alone now. One set: it is."""


@dataclass(frozen=True)
class TaskDeclaration:
    """All that is to be known of a kind of task."""

    kind: TaskKind
    order: type[Order]
    result: type[Message]
    waits_for: timedelta
    """How long the order waits for an agent to begin it."""

    def read_order(self, payload: Mapping[str, Any]) -> Order:
        """The order in a task. Raises BadRequest that names the wrong fields."""
        try:
            return self.order.model_validate(payload)
        except ValidationError as error:
            fields = _fields_of(error)
            raise BadRequest(f"The payload of {self.kind} is not valid: {', '.join(fields)}.", fields=fields) from None

    def read_result(self, order: Mapping[str, Any], result: Mapping[str, Any]) -> Message:
        """The result of a task that succeeded. Raises BadRequest when it is none of this kind, or is about another thing
        than was ordered (what both name must be the same): nothing may be built on it."""
        try:
            parsed = self.result.model_validate(result)
        except ValidationError as error:
            fields = _fields_of(error)
            raise BadRequest(f"The result of {self.kind} is not valid: {', '.join(fields)}.", fields=fields) from None
        for name in self.result.model_fields.keys() & self.order.model_fields.keys():
            if getattr(parsed, name) != order.get(name):
                raise BadRequest(f"The result of {self.kind} is about another {name.removesuffix('_id')}.")
        return parsed


_AT_ONCE: Final = timedelta(seconds=10)
"""Somebody waits for the answer."""
_SOON: Final = timedelta(seconds=60)
_LATE_IS_STILL_RIGHT: Final = timedelta(days=1)
"""What these remove is named by an id that is never used again."""

TASKS: Final[Mapping[TaskKind, TaskDeclaration]] = {
    declared.kind: declared
    for declared in (
        TaskDeclaration(
            TaskKind.TIMELINE_CREATE,
            TimelineCreate,
            Done,
            waits_for=_SOON,
        ),
        TaskDeclaration(
            TaskKind.TIMELINE_DELETE,
            TimelineDelete,
            Done,
            waits_for=_LATE_IS_STILL_RIGHT,
        ),
        TaskDeclaration(
            TaskKind.TIMELINE_EXPORT,
            TimelineExport,
            TimelineExported,
            waits_for=_SOON,
        ),
        TaskDeclaration(
            TaskKind.TIMELINE_LOCATE,
            TimelineLocate,
            TimelineLocated,
            waits_for=_AT_ONCE,
        ),
        TaskDeclaration(
            TaskKind.TIMELINE_MEMBERS,
            TimelineMembers,
            TimelineMembersKnown,
            waits_for=_AT_ONCE,
        ),
        TaskDeclaration(
            TaskKind.COMPUTE_START,
            ComputeStart,
            ComputeStarted,
            waits_for=_SOON,
        ),
        TaskDeclaration(
            TaskKind.COMPUTE_STOP,
            ComputeStop,
            ComputeStopped,
            waits_for=_LATE_IS_STILL_RIGHT,
        ),
    )
}


def declaration_of(order: Order) -> TaskDeclaration:
    """The kind of task that an order belongs to."""
    return next(declared for declared in TASKS.values() if declared.order is type(order))


def find_declaration(kind: str) -> TaskDeclaration | None:
    """The declaration of a kind as it stands in a message; None for one we do not know (the other side is newer)."""
    return next((declared for declared in TASKS.values() if declared.kind == kind), None)


def _fields_of(error: ValidationError) -> dict[str, str]:
    problems = error.errors(include_url=False, include_input=False)
    return {".".join(map(str, problem["loc"])): problem["msg"] for problem in problems}
