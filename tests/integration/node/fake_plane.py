"""A Control Plane as small as an agent can be content with: speaks protocol/node.py over real HTTP, and can go away.

Here: what it is told, kept as values; orders it gives. Not here: any rule of the real one.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from spg99.protocol import INTERNAL_PREFIX, Enrolment, Identity
from spg99.protocol.node import ComputeSeen, Heartbeat, HeartbeatAnswer, LeasedTasks, LeaseTasks, Task, TaskResult

T = TypeVar("T")


class FakePlane:
    """Listens on a free port of 127.0.0.1 until `close`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.away = False
        self.clock_ahead_seconds = 0.0
        self.tokens: set[str] = {"enrol-me"}
        self.bearers: dict[str, str] = {}
        self.queue: list[Task] = []
        self.given: dict[int, Task] = {}
        self.results: dict[int, TaskResult] = {}
        self.asked: list[LeaseTasks] = []
        self.beats: list[tuple[float, Heartbeat]] = []
        self.answers: list[HeartbeatAnswer] = []
        self._ids = itertools.count(1)
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if plane.away:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                path = self.path.removeprefix(INTERNAL_PREFIX)
                status, answer = plane.answer(path, self.headers.get("authorization", ""), body)
                if plane.away:  # it went away while the question was open
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                text = json.dumps(answer).encode() if answer is not None else b""
                with contextlib.suppress(ConnectionError):  # an agent that was killed does not listen any more
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v2"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.away = True
        with self.changed:
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    # -- what the agent asks

    def answer(self, path: str, authorization: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/nodes/enroll":
            return self._enroll(Enrolment.model_validate(body))
        bearer = authorization.removeprefix("Bearer ")
        if bearer not in self.bearers:
            return 401, {"error": "Unauthorized", "message": "not known", "details": {}}
        if path == "/nodes/heartbeat":
            with self.changed:
                self.beats.append((time.monotonic(), Heartbeat.model_validate(body)))
                answer = self.answers.pop(0) if self.answers else HeartbeatAnswer()
                self.changed.notify_all()
            return 200, answer.model_dump(mode="json")
        if path == "/nodes/tasks/lease":
            return self._lease(LeaseTasks.model_validate(body), bearer)
        task_id = int(path.split("/")[3])
        with self.changed:
            self.results[task_id] = TaskResult.model_validate(body)
            self.given.pop(task_id, None)
            self.changed.notify_all()
        return 204, None

    def _enroll(self, enrolment: Enrolment) -> tuple[int, Any]:
        if enrolment.enrolment_token not in self.tokens:
            return 401, {"error": "Unauthorized", "message": "spent", "details": {}}
        self.tokens.discard(enrolment.enrolment_token)
        bearer = f"bearer-{next(self._ids)}"
        self.bearers[bearer] = enrolment.name
        return 200, Identity(identity_id="node_1", bearer_token=bearer).model_dump()

    def _lease(self, ask: LeaseTasks, bearer: str) -> tuple[int, Any]:
        with self.changed:
            self.asked.append(ask)
            # Given out and not known to the agent: the answer was lost, or the agent is a new one.
            lost = [task for number, task in self.given.items() if number not in (ask.held_task_ids or [])]
            self.queue += [task.model_copy(update={"attempt": task.attempt + 1}) for task in lost]
            for task in lost:
                del self.given[task.task_id]
            self.changed.notify_all()
            newest = lambda: self.asked[-1] is ask  # noqa: E731  an older question comes from an agent that is gone
            self.changed.wait_for(lambda: self.queue or self.away or not newest(), timeout=min(ask.wait_seconds, 5))
            if self.away or not newest():
                return 503, None
            given, self.queue = self.queue[: ask.max_tasks], self.queue[ask.max_tasks :]
            self.given |= {task.task_id: task for task in given}
        key = hashlib.sha256(bearer.encode()).hexdigest()
        tasks = [task if task.signature else task.signed_with(key) for task in given]
        return 200, LeasedTasks(tasks=tasks, now=self.now()).model_dump(mode="json")

    # -- what a test says and asks

    def order(self, kind: str, payload: dict[str, Any], *, expires_in: float = 60, signature: str = "") -> int:
        task_id = next(self._ids)
        expires_at = self.now() + timedelta(seconds=expires_in)
        task = Task(task_id=task_id, kind=kind, payload=payload, attempt=1, expires_at=expires_at, signature=signature)
        with self.changed:
            self.queue.append(task)
            self.changed.notify_all()
        return task_id

    def now(self) -> datetime:
        """Its wall clock."""
        return datetime.now(UTC) + timedelta(seconds=self.clock_ahead_seconds)

    def wait(self, what: str, check: Callable[[], T], *, seconds: float = 20) -> T:
        """Waits until `check` answers something true, looking whenever the agent has said something."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not (seen := check()):
                if time.monotonic() > deadline:
                    raise AssertionError(f"not within {seconds:.0f} s: {what}")
                self.changed.wait(0.05)
        return seen

    def do(self, kind: str, payload: dict[str, Any], **how: Any) -> TaskResult:
        """Gives an order and waits for its result."""
        task_id = self.order(kind, payload, **how)
        return self.wait(f"the result of {kind}", lambda: self.results.get(task_id))

    def seen(self, compute_id: str) -> ComputeSeen | None:
        """The compute in the last heartbeat."""
        if not self.beats:
            return None
        return next((c for c in self.beats[-1][1].computes if c.compute_id == compute_id), None)
