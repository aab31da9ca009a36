"""An agent and a Gateway that do what the test says, over the real internal API. Not here: PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Self

from integration.control_plane.databases.in_process_platform import InProcessPlatform, Plane
from spg99.client import InternalClient
from spg99.errors import Spg99Error, Unavailable
from spg99.protocol import Enrolment, Identity
from spg99.protocol.gateway import Checkout, ConnectRequest, Egress, LeaseAnswer, LeaseReport, LeaseUse
from spg99.protocol.node import ComputeSeen, Heartbeat, HeartbeatAnswer, LeaseTasks, Task, TaskResult
from spg99.protocol.tasks import TaskKind
from spg99.resources import Size

Hook = Callable[[Task], Awaitable[TaskResult | None]]


class Agent:
    """Carries orders out in memory and watches that there is never a second writer for a timeline."""

    def __init__(self, platform: InProcessPlatform, identity: Identity, client: InternalClient) -> None:
        self.platform = platform
        self.identity = identity
        self.client = client
        self.timelines: set[str] = set()
        self.makes_timelines = True
        """False: it is of a version that wants an order of its own for them."""
        self.keeps_wal = True
        """False: it is of a version that knows no safekeepers."""
        self.makes_branches = True
        """False: it is of a version that knows no branches."""
        self.opens_moments = True
        """False: it is of a version that knows no moments."""
        self.makes_schema_branches = True
        """False: it is of a version that would copy the rows, too."""
        self.makes_exports = True
        self.running: dict[str, Task] = {}
        self.done: list[Task] = []
        self.refused: list[str] = []
        self.hooks: dict[str, Hook] = {}
        """Kind of task -> what to do instead; a hook that answers None lets the order go on as usual."""
        self._held: set[int] = set()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._work: set[asyncio.Task[Any]] = set()

    @classmethod
    async def enroll(
        cls,
        platform: InProcessPlatform,
        name: str = "node-1",
        plane: Plane | None = None,
        *,
        start: bool = True,
        makes_timelines: bool = True,
        keeps_wal: bool = True,
    ) -> Self:
        client = (plane or platform.plane).client()
        token = await platform.enrolment_token("node")
        identity = await client.enroll_node(Enrolment(enrolment_token=token, name=name))
        client.authenticate(identity.bearer_token)
        agent = cls(platform, identity, client)
        agent.makes_timelines, agent.keeps_wal = makes_timelines, keeps_wal
        await agent.heartbeat()
        if start:
            agent.start()
        return agent

    def start(self) -> None:
        self._spawn(self._pull())

    def forget(self) -> Agent:
        """The agent is killed and started again: what ran still runs, what was in work is forgotten."""
        self.kill()
        self._held.clear()
        self.start()
        return self

    def kill(self) -> None:
        for work in self._work:
            work.cancel()
        self._work.clear()

    async def heartbeat(self, *, computes: list[ComputeSeen] | None = None, free: int = 10**9) -> HeartbeatAnswer:
        seen = [self.seen(task) for task in self.running.values()] if computes is None else computes
        return await self.client.heartbeat(
            Heartbeat(
                computes=seen,
                timelines=dict.fromkeys(self.timelines, 8_000_000),
                disk_free_bytes=free,
                makes_timelines=self.makes_timelines,
                keeps_wal=self.keeps_wal,
                changes_members=True,
                makes_branches=self.makes_branches,
                opens_moments=self.opens_moments,
                makes_schema_branches=self.makes_schema_branches,
                makes_exports=self.makes_exports,
            )
        )

    def seen(self, task: Task, *, running: bool = True, exit_reason: str | None = None) -> ComputeSeen:
        payload = task.payload
        return ComputeSeen(
            compute_id=payload["compute_id"],
            timeline_id=payload["timeline_id"],
            db_id=payload["db_id"],
            writer_term=payload["writer_term"],
            profile=Size(payload["profile"]),
            running=running,
            exit_reason=exit_reason,
        )

    async def compute_dies(self, reason: str = "PostgreSQL was killed by signal 9.") -> HeartbeatAnswer:
        """The only running compute ends by itself; told at once."""
        (compute_id,) = self.running
        task = self.running.pop(compute_id)
        return await self.heartbeat(computes=[self.seen(task, running=False, exit_reason=reason)])

    def orders(self, kind: TaskKind) -> list[Task]:
        return [task for task in self.done if task.kind == kind]

    async def finish(self, task: Task, **result: Any) -> None:
        await self.client.finish_task(task.task_id, TaskResult(attempt=task.attempt, **result))

    def result_of_start(self, task: Task) -> dict[str, Any]:
        return {
            "compute_id": task.payload["compute_id"],
            "backend_addr": f"/run/{task.payload['timeline_id']}",
            "backend_port": 5432,
            "pid": 4711,
            "started_at": datetime.now(UTC).isoformat(),
        }

    async def _pull(self) -> None:
        while True:
            try:
                given = await self.client.lease_tasks(LeaseTasks(wait_seconds=20, held_task_ids=sorted(self._held)))
            except Unavailable:
                await asyncio.sleep(0.01)
                continue
            for task in given.tasks:
                assert task.is_signed_with(_sha256(self.identity.bearer_token))
                self._held.add(task.task_id)
                self._spawn(self._carry_out(task))

    async def _carry_out(self, task: Task) -> None:
        hook = self.hooks.get(task.kind)
        is_read = task.kind == TaskKind.TIMELINE_LOCATE
        async with contextlib.nullcontext() if is_read else self._locks[task.payload["timeline_id"]]:
            result = await hook(task) if hook is not None else None
            if result is None and self._lacks_files(task):
                result = TaskResult(succeeded=False, attempt=task.attempt, error="The files are not on this node.")
            if result is None:
                result = TaskResult(succeeded=True, attempt=task.attempt, result=self._do(task))
        self.done.append(task)
        while True:
            try:
                await self.client.finish_task(task.task_id, result)
            except Unavailable:
                await asyncio.sleep(0.01)
                continue
            except Spg99Error as error:
                self.refused.append(str(error))
            self._held.discard(task.task_id)
            return

    def _lacks_files(self, task: Task) -> bool:
        made = self.makes_timelines and task.payload.get("makes_timeline")
        return task.kind == TaskKind.COMPUTE_START and not made and task.payload["timeline_id"] not in self.timelines

    def _do(self, task: Task) -> dict[str, Any]:
        payload = task.payload
        match task.kind:
            case TaskKind.TIMELINE_CREATE:
                self.timelines.add(payload["timeline_id"])
            case TaskKind.TIMELINE_DELETE:
                assert not [t for t in self.running.values() if t.payload["timeline_id"] == payload["timeline_id"]], (
                    "files deleted under a running compute"
                )
                self.timelines.discard(payload["timeline_id"])
            case TaskKind.COMPUTE_START:
                if payload["makes_timeline"]:
                    self.timelines.add(payload["timeline_id"])
                self.running[payload["compute_id"]] = task
                writers: dict[str, list[int]] = defaultdict(list)
                for other in self.running.values():
                    writers[other.payload["timeline_id"]].append(other.payload["writer_term"])
                assert all(len(set(terms)) == 1 for terms in writers.values()), f"two writers: {dict(writers)}"
                return self.result_of_start(task)
            case TaskKind.COMPUTE_STOP:
                self.running.pop(payload["compute_id"], None)
        return {}

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.refused.append(f"broken: {task.exception()!r}")


class Gateway:
    """Connects, reports leases, dies."""

    def __init__(self, platform: InProcessPlatform, client: InternalClient, identity: Identity) -> None:
        self.platform = platform
        self.client = client
        self.identity = identity
        self.batches = 0

    @classmethod
    async def enroll(cls, platform: InProcessPlatform, name: str = "gateway-1", plane: Plane | None = None) -> Self:
        client = (plane or platform.plane).client()
        token = await platform.enrolment_token("gateway")
        identity = await client.enroll_gateway(Enrolment(enrolment_token=token, name=name))
        client.authenticate(identity.bearer_token)
        return cls(platform, client, identity)

    async def connect(self, database: str = "app", *, wait_seconds: float = 10.0) -> Checkout:
        return await self.client.connect(
            ConnectRequest(tenant_id=self.platform.tenant.tenant_id, database=database, wait_seconds=wait_seconds)
        )

    async def sent(
        self, db_id: str, sent_bytes: int, *, batch: int | None = None, run_id: str = "run_1"
    ) -> LeaseAnswer:
        """Tells only of bytes; as the next batch unless one is named."""
        self.batches = batch if batch is not None else self.batches + 1
        egress = Egress(run_id=run_id, batch=self.batches, sent_bytes={db_id: sent_bytes})
        return await self.client.report_leases(LeaseReport(leases=[], egress=egress))

    async def report(self, db_id: str, connections: int) -> LeaseAnswer:
        use = LeaseUse(db_id=db_id, active_connections=connections, last_used_at=self.platform.clock.now())
        return await self.client.report_leases(LeaseReport(leases=[use]))


class Sessions:
    """Sessions inside the computes of an agent: it answers as the real one does when it is asked to stop one."""

    def __init__(self, agent: Agent, count: int) -> None:
        self.count = count
        self.asked: list[Task] = []
        self.cut = False
        self._agent = agent
        agent.hooks[TaskKind.COMPUTE_STOP] = self._answer

    async def _answer(self, task: Task) -> TaskResult | None:
        self.asked.append(task)
        if not self.count:
            return None
        if not task.payload["only_if_unused"]:
            self.cut = True
            return None
        result = {"stopped": False, "sessions": self.count, "reason": f"{self.count} sessions are open."}
        return TaskResult(succeeded=True, attempt=task.attempt, result=result)


async def start_busy(platform: InProcessPlatform, **spec: Any) -> tuple[Agent, Gateway, str, Sessions]:
    agent, gateway = await Agent.enroll(platform), await Gateway.enroll(platform)
    row = await platform.create(**{"idle_timeout_seconds": 30} | spec)
    await gateway.connect()
    await gateway.report(row.db_id, 3)
    return agent, gateway, row.db_id, Sessions(agent, 3)


def _sha256(token: str) -> str:
    from spg99.control_plane.fleet.tokens import hash_of

    return hash_of(token)
