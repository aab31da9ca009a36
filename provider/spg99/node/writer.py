"""Which compute may write a timeline: the record that outlives the agent, and the fence. Not here: processes."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from spg99.atomic_write import write_file
from spg99.errors import Conflict, Internal
from spg99.node.folder import TimelineFolder
from spg99.protocol.node import ComputeSeen
from spg99.protocol.tasks import ComputeStart, Kept
from spg99.resources import Size

_LIFE = {"compute_id", "pid", "started_at", "stopped"}


class Writer(BaseModel):
    """The last compute of a timeline, in three files. The fence lasts before anybody hears that the compute runs, so nothing that a
    client wrote is without one. That it has begun is written before its process is made, so no process is ever without a
    record; this file and what became of the writer may be taken away by a power cut, with the process itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    compute_id: str
    db_id: str
    writer_term: int
    profile: Size
    backend_addr: str
    backend_port: int
    kept: Kept | None = None
    """Who keeps its WAL."""
    boot_id: str | None = None
    """The run of the machine in which its files were written, if they may be lost with it."""
    pid: int | None = None
    started_at: datetime | None = None
    stopped: bool = False
    """It was told to stop, or its end has been reported: it must not be started again."""

    def seen(self, timeline_id: str, *, connections: int = 0, exit_reason: str | None = None) -> ComputeSeen:
        """The compute as a heartbeat tells it; with an exit reason it has ended."""
        return ComputeSeen(
            compute_id=self.compute_id,
            timeline_id=timeline_id,
            db_id=self.db_id,
            writer_term=self.writer_term,
            profile=self.profile,
            running=exit_reason is None,
            pid=self.pid,
            backend_addr=self.backend_addr,
            backend_port=self.backend_port,
            started_at=self.started_at,
            connections=connections,
            exit_reason=exit_reason,
        )


def read(folder: TimelineFolder) -> Writer | None:
    """The record; None when the timeline never had a compute."""
    begun = _begun(folder)
    record: Writer | None
    try:
        record = Writer.model_validate_json(folder.writer_file.read_text())
    except FileNotFoundError:
        record = begun
    except ValidationError as error:
        # Without the last term nobody can tell a late order from a new one.
        raise Internal(
            f"The record of the last writer of {folder.timeline_id} ({folder.writer_file}) is damaged, so it cannot be started "
            "safely. Put the file back from a backup of the node; nothing else was changed."
        ) from error
    if record is None:
        return None
    if begun is not None and begun.writer_term > record.writer_term:
        record = begun
    with contextlib.suppress(OSError, ValueError):
        life = json.loads(folder.life_file.read_text())
        if isinstance(life, dict) and life.get("compute_id") == record.compute_id:
            return Writer.model_validate(record.model_dump() | life)
    return record


def _begun(folder: TimelineFolder) -> Writer | None:
    # Half of it, or nothing: a power cut took it before the fence lasted, and then no client was let in.
    with contextlib.suppress(FileNotFoundError, ValidationError, UnicodeDecodeError):
        return Writer.model_validate_json(folder.begun_file.read_text())
    return None


def write_begun(folder: TimelineFolder, record: Writer) -> None:
    """From here on this compute is the writer, whatever happens to the agent."""
    text = record.model_dump_json(exclude=_LIFE - {"compute_id"})
    write_file(folder.begun_file, text, mode=0o600, durable=False)


def write_fence(folder: TimelineFolder, record: Writer) -> None:
    """From here on this compute is the writer, whatever happens to the machine."""
    write_file(folder.writer_file, record.model_dump_json(exclude=_LIFE - {"compute_id"}), mode=0o600, durable=True)


def write_life(folder: TimelineFolder, record: Writer) -> None:
    """What became of the writer."""
    write_file(folder.life_file, record.model_dump_json(include=_LIFE), mode=0o600, durable=False)


def admit(last: Writer | None, order: ComputeStart) -> None:
    """The fence: terms only grow, and one term has one compute, once. Raises Conflict for an order that comes too late."""
    if last is None or order.writer_term > last.writer_term:
        return
    if order.writer_term < last.writer_term:
        raise Conflict(
            f"{order.compute_id} has term {order.writer_term}, and {order.timeline_id} has had a writer of term "
            f"{last.writer_term} already."
        )
    if order.compute_id != last.compute_id:
        raise Conflict(f"Term {order.writer_term} of {order.timeline_id} belongs to {last.compute_id}.")
    if last.stopped:
        raise Conflict(f"{order.compute_id} has ended; a new start needs a new term.")
