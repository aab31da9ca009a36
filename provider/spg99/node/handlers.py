"""What an agent does for each order. Anything it does not know is refused without side effects.

Here: whether an order may be carried out, and who does it. Not here: which orders there are (protocol/tasks.py), pulling
them and telling results (agent.py).
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import re
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from spg99 import log
from spg99.errors import BadRequest, CannotWake, Spg99Error
from spg99.node import members
from spg99.node.computes import Computes
from spg99.node.exporting import Exporter
from spg99.node.observation import Observer
from spg99.node.schema_branches import SchemaBrancher
from spg99.node.timelines import Timelines
from spg99.postgres.cluster import StopMode
from spg99.protocol import Message
from spg99.protocol.node import Task, TaskResult
from spg99.protocol.tasks import (
    ComputeStart,
    ComputeStarted,
    ComputeStop,
    ComputeStopped,
    Done,
    Order,
    TaskDeclaration,
    TaskKind,
    TimelineCreate,
    TimelineDelete,
    TimelineExport,
    TimelineExported,
    TimelineLocate,
    TimelineLocated,
    TimelineMembers,
    TimelineMembersKnown,
    find_declaration,
    is_moment,
)

RECONCILE_SECONDS: Final = 5.0

_log = log.get("node")

_DISK_SENTENCES: Final = {
    errno.ENOSPC: "The disk of the node is full.",
    errno.EDQUOT: "The disk quota of the node's user is used up.",
    errno.EROFS: "The disk of the node is read-only.",
    errno.EIO: "The disk of the node has errors.",
    errno.EACCES: "The agent may not write there: check owner and mode of the node's data folder.",
    errno.EPERM: "The agent may not do this: check owner and mode of the node's data folder.",
    errno.EMFILE: "The agent has too many open files: raise its limit (ulimit -n).",
    errno.ENFILE: "The node has too many open files: raise fs.file-max.",
    errno.EAGAIN: "The node cannot make another process: raise its limits.",
    errno.ENOMEM: "The node has no memory left.",
    errno.EISDIR: "A folder stands where the agent needs a file: move it away.",
    errno.ENOTDIR: "A file stands where the agent needs a folder: move it away.",
}


class Handlers:
    """Carries out orders of one node. Two orders for one timeline never overlap; orders for different ones do."""

    def __init__(self, computes: Computes, timelines: Timelines, observer: Observer) -> None:
        self._computes = computes
        self.timelines = timelines
        self._observer = observer
        self._exports = asyncio.Lock()
        self._locks: dict[str, _Lock] = {}
        self.by_kind: dict[TaskKind, Callable[[Any], Awaitable[Message]]] = {
            TaskKind.TIMELINE_CREATE: self.timeline_create,
            TaskKind.TIMELINE_DELETE: self.timeline_delete,
            TaskKind.TIMELINE_LOCATE: self.timeline_locate,
            TaskKind.TIMELINE_EXPORT: self.timeline_export,
            TaskKind.TIMELINE_MEMBERS: self.timeline_members,
            TaskKind.COMPUTE_START: self.compute_start,
            TaskKind.COMPUTE_STOP: self.compute_stop,
        }

    async def carry_out(self, task: Task, *, bearer_token: str, now: datetime) -> TaskResult:
        """The result of a task; never raises, whatever is wrong with the task or the node."""
        try:
            declared, order = admitted(task, bearer_token=bearer_token)
        except BadRequest as error:
            _log.warning("task refused", task_id=task.task_id, kind=task.kind[:80], reason=error.message)
            return TaskResult(succeeded=False, attempt=task.attempt, error=error.message, retryable=False)
        if now >= task.expires_at:
            error_text = "The task came too late: it had expired before the agent could begin it."
            return TaskResult(succeeded=False, attempt=task.attempt, error=error_text, retryable=True)
        kind = declared.kind
        handler: Callable[[Any], Awaitable[Message]] = self.by_kind[kind]
        try:
            # Who only reads waits for nobody: somebody waits for the answer, and a start may take long.
            is_read = isinstance(order, TimelineLocate | TimelineExport)
            async with nullcontext() if is_read else self.only_one(order.timeline_id):
                answer = await handler(order)
        except Spg99Error as error:
            retryable = not isinstance(error, BadRequest)
            _log.warning("task failed", task_id=task.task_id, kind=kind, reason=error.message)
            sentence = without_places(error.message, self._computes.places, task_id=task.task_id)
            return TaskResult(succeeded=False, attempt=task.attempt, error=sentence, retryable=retryable)
        except OSError as error:
            _log.error("task failed", task_id=task.task_id, kind=kind, reason=str(error))
            sentence = without_places(sentence_of(error), self._computes.places, task_id=task.task_id)
            return TaskResult(succeeded=False, attempt=task.attempt, error=sentence)
        except Exception as error:  # noqa: BLE001  the edge of the agent: a mistake of ours fails one task, not the node
            _log.error("task failed", task_id=task.task_id, kind=kind, trace=traceback.format_exc())
            what = f"The agent made a mistake ({type(error).__name__}); its log holds more under task {task.task_id}."
            return TaskResult(succeeded=False, attempt=task.attempt, error=what)
        _log.info("task done", task_id=task.task_id, kind=kind, timeline_id=order.timeline_id)
        return TaskResult(succeeded=True, attempt=task.attempt, result=answer.model_dump(mode="json"))

    async def stop_by_id(self, compute_id: str) -> None:
        """Stops a compute the Control Plane does not want, if it runs here."""
        if (compute := self._computes.find(compute_id)) is not None:
            timeline_id = compute.timeline.timeline_id
            order = ComputeStop(compute_id=compute_id, timeline_id=timeline_id)
            async with self.only_one(timeline_id):
                await self.compute_stop(order)

    async def forget(self, timeline_id: str) -> None:
        """Removes a timeline that belongs to nothing any more."""
        async with self.only_one(timeline_id):
            await self.timeline_delete(TimelineDelete(timeline_id=timeline_id))

    async def reconcile_safekeepers(self) -> float:
        """Has the WAL of all computes taken by all of their safekeepers, and ends those whose commits would wait for ever, because their safekeepers cannot
        have it any more: they are replaced by ones that begin with what was kept. Answers after how many seconds to look again."""
        keeping = self._computes.keeping
        kept = [compute for compute in self._computes.running() if compute.record.kept is not None]
        for compute in kept if keeping is not None else []:
            assert keeping is not None
            reason = await keeping.reconcile(compute.timeline, compute.record)
            if reason is not None:
                async with self.only_one(compute.timeline.timeline_id):
                    await self._computes.end_stale(compute, reason)
        return RECONCILE_SECONDS

    async def timeline_create(self, order: TimelineCreate) -> Done:
        """`timeline.create`"""
        await self.timelines.create(order)
        self._observer.measure_again(order.timeline_id)
        return Done()

    async def timeline_delete(self, order: TimelineDelete) -> Done:
        """`timeline.delete`"""
        await self._computes.end_all_of(order.timeline_id)
        if order.kept is not None and self._computes.keeping is not None:
            await self._computes.keeping.delete(order.timeline_id, order.kept)
        await self.timelines.delete(order.timeline_id)
        self._observer.forget(order.timeline_id)
        return Done()

    async def timeline_members(self, order: TimelineMembers) -> TimelineMembersKnown:
        """`timeline.members`"""
        keeping = self._computes.keeping
        if keeping is None:
            raise CannotWake("This agent has no object store, and the database's images are in one.")
        compute = next((one for one in self._computes.running() if one.timeline.timeline_id == order.timeline_id), None)
        try:
            is_finished = await members.reconfigure(keeping, order.timeline_id, order.kept, compute)
        except CannotWake as error:  # it is ordered again: there is nothing in it that could be given up
            _log.info("a change of members waits", timeline_id=order.timeline_id, reason=error.message)
            is_finished = False
        return TimelineMembersKnown(configuration_number=order.kept.configuration.number, is_finished=is_finished)

    async def compute_start(self, order: ComputeStart) -> ComputeStarted:
        """`compute.start`"""
        if order.makes_timeline:
            if self._is_made_anew(order) and self._computes.find(order.compute_id) is None:
                if order.kept is not None and order.attempts is not None and self._computes.keeping is not None:
                    known = [*order.attempts, order.compute_id]
                    await self._computes.keeping.safekeepers.require_own(order.timeline_id, order.kept, known)
                # What an attempt before has left was never anybody's, and safekeepers are told where this one begins.
                self.timelines.admit(order)
                await self._computes.end_all_of(order.timeline_id)
                await self.timelines.delete(order.timeline_id)
            await self._make_timeline(order)
            self._observer.measure_again(order.timeline_id)
        answer = await self._computes.start(order)
        if order.origin is None or self._computes.keeping is None:
            return answer
        return answer.model_copy(update={"branch_lsn": self._computes.keeping.brancher.made.get(order.timeline_id)})

    @staticmethod
    def _is_made_anew(order: ComputeStart) -> bool:
        """Whether what lies there before the first start is nobody's: a kept one is its safekeepers', and a moment another timeline's."""
        return order.kept is not None or is_moment(order.timeline_id)

    async def _make_timeline(self, order: ComputeStart) -> None:
        keeping = self._computes.keeping
        is_read_only = is_moment(order.timeline_id)
        if order.origin is None and not is_read_only:
            await self.timelines.create(order)
        elif order.origin is None or order.origin.kept is None or keeping is None:
            raise BadRequest("A branch or a moment begins in a timeline that safekeepers keep.")
        elif is_read_only is not (order.kept is None):
            raise BadRequest("A branch has safekeepers itself, and a moment has none.")
        elif not self.timelines.has(order.timeline_id):
            # Of one tenant, and so is the key.
            opened = await keeping.opened(order.kept or order.origin.kept)
            if order.origin.schema_only:
                schemas = SchemaBrancher(self.timelines, self._computes.extensions_dir)
                begins_at = await schemas.make(order, order.origin, keeping.brancher, *opened)
                keeping.brancher.made[order.timeline_id] = begins_at
            else:
                await keeping.brancher.make(order, order.origin, self.timelines.binaries, *opened)

    async def timeline_locate(self, order: TimelineLocate) -> TimelineLocated:
        """`timeline.locate`"""
        if (keeping := self._computes.keeping) is None:
            raise BadRequest("This agent has no object store, and the timeline's images are in one.")
        return await keeping.brancher.locate(order.timeline_id, order.kept, *await keeping.opened(order.kept))

    async def timeline_export(self, order: TimelineExport) -> TimelineExported:
        """`timeline.export`"""
        if (keeping := self._computes.keeping) is None or order.origin.kept is None:
            raise BadRequest("This agent has no object store, or the order does not say who keeps the timeline.")
        opened = await keeping.opened(order.origin.kept)
        exporter = Exporter(self.timelines, self._computes.extensions_dir)
        async with self._exports:  # each takes the room of a whole database
            return await exporter.export(order, keeping.brancher, *opened)

    async def compute_stop(self, order: ComputeStop) -> ComputeStopped:
        """`compute.stop`"""
        if order.mode not in ("fast", "immediate"):
            raise BadRequest(f"A compute can be stopped 'fast' or 'immediate', not '{order.mode[:20]}'.")
        mode: StopMode = "fast" if order.mode == "fast" else "immediate"
        stopped = await self._computes.stop(
            order.compute_id, order.timeline_id, mode, only_if_unused=order.only_if_unused
        )
        self._observer.measure_again(order.timeline_id)
        return stopped

    @asynccontextmanager
    async def only_one(self, timeline_id: str) -> AsyncIterator[None]:
        """The lock of a timeline: whoever holds it works on its files alone."""
        entry = self._locks.setdefault(timeline_id, _Lock())
        entry.users += 1
        try:
            async with entry.lock:
                yield
        finally:
            entry.users -= 1
            if entry.users == 0:
                del self._locks[timeline_id]


class _Lock:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


def admitted(task: Task, *, bearer_token: str) -> tuple[TaskDeclaration, Order]:
    """Kind and order of a task that is from the Control Plane and that we know. Raises BadRequest otherwise."""
    if not task.is_signed_with(hashlib.sha256(bearer_token.encode()).hexdigest()):
        raise BadRequest("The task's signature is wrong: it is not from the Control Plane this node enrolled with.")
    if (declared := find_declaration(task.kind)) is None:
        raise BadRequest(f"This agent knows no task of kind '{task.kind[:80]}'. Is it older than the Control Plane?")
    return declared, declared.read_order(task.payload)


def without_places(sentence: str, places: Sequence[Path], *, task_id: int) -> str:
    """A sentence for the owner of a database, who reads it as `state_reason`: of a path the last name is left, because where
    things lie on the node is none of his business. Whoever runs the node finds all of it in the agent's log, by the task."""
    hidden = sentence
    for place in sorted(map(str, places), key=len, reverse=True):
        hidden = re.sub(re.escape(place) + r"(?:/[^\s'\"(),;]*)?", _last_name, hidden)
    hidden = _ABSOLUTE_PATH.sub(_last_name, hidden)
    return sentence if hidden == sentence else f"{hidden} The agent's log has the whole path under task {task_id}."


_ABSOLUTE_PATH = re.compile(r"(?<![\w/:.…])/(?:[\w.@%+~-]+/)+[\w.@%+~-]+")


def _last_name(path: re.Match[str]) -> str:
    text = path[0].rstrip("./:")
    return f"…/{text.rpartition('/')[2]}{path[0][len(text) :]}"


def sentence_of(error: OSError) -> str:
    """What an error of the system means to whoever runs the node."""
    path = error.filename2 or error.filename  # of a rename the target: the source is a draft of ours
    where = f" ({path})" if path else ""
    return _DISK_SENTENCES.get(error.errno or 0, f"The node's system refused: {error.strerror or error}.") + where
