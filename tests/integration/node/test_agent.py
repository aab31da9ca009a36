"""The agent as a process, against a small Control Plane: enrols, takes orders, survives, adopts, ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from integration.node.conftest import dsn
from integration.node.fake_plane import FakePlane
from kit.tiers import others_slow
from spg99.ids import new_id
from spg99.node.folder import NodeFolder
from spg99.node.storage import LIBRARY
from spg99.node.template import TENANT_RULES
from spg99.postgres import Account, Binaries
from spg99.process_table import all_processes
from spg99.protocol.node import ComputeSeen, HeartbeatAnswer, TaskResult
from spg99.protocol.tasks import TimelineCreate

PROGRAM = """
import sys
from spg99 import log
from spg99.config import AgentSettings
from spg99.node.agent import run
log.configure("agent", json=True)
run(AgentSettings.model_validate_json(sys.argv[1]))
"""


class AgentProcess:
    def __init__(self, plane: FakePlane, data_dir: Path, **settings: Any) -> None:
        self.settings = {
            "cp_url": plane.url, "data_dir": str(data_dir), "name": "n1", "enrolment_token": "enrol-me",
            "heartbeat_seconds": 1.0, **settings,
        }  # fmt: skip
        self.process: subprocess.Popen[str] | None = None
        self.errors = data_dir / "agent.log"

    def start(self, **environment: str) -> dict[str, Any]:
        """Starts it and returns its ready line."""
        self.spawn(**environment)
        assert self.process is not None and self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def spawn(self, **environment: str) -> None:
        with self.errors.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, json.dumps(self.settings)],
                stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **environment},
            )  # fmt: skip

    def end(self, sign: int = signal.SIGTERM, seconds: float = 20) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(sign)
        code = self.process.wait(seconds)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def agent(
    plane: FakePlane, data_dir: Path, prepared: tuple[Binaries, Account | None, Path, Path]
) -> Iterator[Callable[..., AgentProcess]]:
    """Makes agents of one node whose template is there already (one that has none makes it: test_agent_first_start)."""
    made: list[AgentProcess] = []
    home = NodeFolder.prepare(data_dir, "n1", prepared[1]).root
    subprocess.run(["cp", "-a", prepared[2].parent.parent, home / "template"], check=True)

    def make(**settings: Any) -> AgentProcess:
        made.append(AgentProcess(plane, data_dir, **settings))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.end(signal.SIGKILL)
    for process in postmasters(data_dir):
        process.kill()
        psutil.wait_procs([process], timeout=10)


def postmasters(data_dir: Path) -> list[psutil.Process]:
    found = {}
    for process in all_processes(["cmdline", "ppid"]):
        words = process.info["cmdline"] or []
        if "-D" in words and any(word.startswith(f"{data_dir}/") for word in words):
            found[process.pid] = process
    # A child that was forked a moment ago still bears its postmaster's command line.
    return [process for process in found.values() if process.info["ppid"] not in found]


def new_timeline(plane: FakePlane) -> TimelineCreate:
    timeline = TimelineCreate(timeline_id=new_id("tl"), database_name="app", pg_user="acme_user")
    result = plane.do("timeline.create", timeline.model_dump())
    assert result.succeeded, result.error
    return timeline


def start_payload(timeline: TimelineCreate, term: int = 1) -> dict[str, Any]:
    return {
        **timeline.model_dump(), "compute_id": new_id("cmp"), "db_id": new_id("db"), "writer_term": term, "profile": "L1",
    }  # fmt: skip


def started(plane: FakePlane, timeline: TimelineCreate, term: int = 1) -> dict[str, Any]:
    result = plane.do("compute.start", start_payload(timeline, term))
    assert result.succeeded, result.error
    return result.result


def refused(result: TaskResult) -> bool:
    return not result.succeeded and not result.retryable and bool(result.error)


def test_enrols_once_and_is_the_same_node_at_its_next_start(plane: FakePlane, agent: Any, data_dir: Path) -> None:
    first = agent()
    assert first.start() == {"ready": True, "process": "agent", "node_id": "node_1"}
    identity_file = data_dir / "node" / "n1" / "identity.json"
    assert identity_file.stat().st_mode & 0o777 == 0o600
    assert first.end() == 0
    second = agent(enrolment_token=None)
    assert second.start()["node_id"] == "node_1"
    assert second.end(signal.SIGINT) == 0
    assert len(plane.bearers) == 1


def test_carries_out_orders_and_tells_what_runs(plane: FakePlane, agent: Any) -> None:
    agent().start()
    timeline = new_timeline(plane)
    compute = started(plane, timeline)
    with psycopg.connect(dsn(compute, timeline)) as db:
        assert db.execute("select current_database(), current_user").fetchone() == ("app", "acme_user")
        plane.wait(
            "the connection in a heartbeat", lambda: (s := plane.seen(compute["compute_id"])) and s.connections == 1
        )
    seen = plane.seen(compute["compute_id"])
    assert seen is not None and seen.running and seen.pid == compute["pid"]
    plane.wait("the size on disk", lambda: any(beat.timelines.get(timeline.timeline_id) for _, beat in plane.beats))
    stop = {"compute_id": compute["compute_id"], "timeline_id": timeline.timeline_id}
    assert plane.do("compute.stop", stop).succeeded
    plane.wait("a heartbeat without it", lambda: plane.seen(compute["compute_id"]) is None)
    assert plane.do("timeline.delete", {"timeline_id": timeline.timeline_id}).succeeded


def test_a_heartbeat_tells_process_start_socket_and_disk_also_of_what_was_adopted(
    plane: FakePlane, agent: Any, data_dir: Path
) -> None:
    first = agent(heartbeat_seconds=0.2)
    first.start()
    timeline = new_timeline(plane)
    payload = start_payload(timeline, term=7) | {"profile": "L2"}
    compute = plane.do("compute.start", payload).result

    def told() -> ComputeSeen:
        heard = len(plane.beats)
        plane.wait("a heartbeat", lambda: len(plane.beats) > heard and plane.seen(payload["compute_id"]))
        (seen,) = plane.beats[-1][1].computes
        return seen

    seen = told()
    assert seen.model_dump(include={"compute_id", "timeline_id", "db_id", "writer_term", "profile"}) == {
        key: payload[key] for key in ("compute_id", "timeline_id", "db_id", "writer_term", "profile")
    }
    assert seen.running and seen.exit_reason is None and seen.connections == 0
    (postmaster,) = postmasters(data_dir)
    assert seen.pid == compute["pid"] == postmaster.pid
    assert seen.started_at is not None
    assert seen.started_at.isoformat() == datetime.fromisoformat(compute["started_at"]).isoformat()
    assert abs(seen.started_at.timestamp() - postmaster.create_time()) < 2
    assert (seen.backend_addr, seen.backend_port) == (compute["backend_addr"], compute["backend_port"])
    assert (Path(str(seen.backend_addr)) / f".s.PGSQL.{seen.backend_port}").is_socket()
    disk = shutil.disk_usage(data_dir)
    assert plane.beats[-1][1].disk_total_bytes == disk.total
    assert abs(plane.beats[-1][1].disk_free_bytes - disk.free) < 2 << 30  # others write here too

    first.end(signal.SIGKILL)
    agent(heartbeat_seconds=0.2).start()
    again = told()
    # Not to the byte: a new agent has walked through the files, the former had counted what the server told.
    assert again.storage is not None and seen.storage is not None
    assert (again.storage.limit_bytes, again.storage.held_by) == (seen.storage.limit_bytes, seen.storage.held_by)
    assert again.model_copy(update={"storage": None}) == seen.model_copy(update={"storage": None})


@pytest.mark.slow  # broken
def test_what_stands_where_the_socket_goes_is_told_and_the_start_works_once_it_is_gone(
    plane: FakePlane, agent: Any, data_dir: Path
) -> None:
    agent().start()
    timeline = new_timeline(plane)
    payload = start_payload(timeline)
    place = data_dir / "run" / payload["compute_id"].partition("_")[2][-12:]
    place.write_text("not ours")
    result = plane.do("compute.start", payload)
    assert not result.succeeded and result.retryable
    told = f"A file stands where the agent needs a folder: move it away. (…/{place.name}) The agent's log has the whole path"
    assert (result.error or "").startswith(told) and str(data_dir) not in (result.error or "")
    assert place.read_text() == "not ours" and postmasters(data_dir) == []
    place.unlink()
    (place / ".s.PGSQL.5432" / "full").mkdir(parents=True)  # in a folder of this name everything is the agent's
    again = plane.do("compute.start", payload)
    assert again.succeeded, again.error
    assert (place / ".s.PGSQL.5432").is_socket()


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "unknown kind": ("shell.run", {"command": "touch /"}, {}),
    "path as id": ("timeline.create", {"timeline_id": "../../etc", "database_name": "a", "pg_user": "b"}, {}),
    "half a payload": ("timeline.create", {"timeline_id": "tl_1"}, {}),
    "sql as name": ("timeline.create", {"timeline_id": "tl_1", "database_name": 'a"; drop', "pg_user": "b"}, {}),
    "newline in name": ("timeline.create", {"timeline_id": "tl_1", "database_name": "a\nb", "pg_user": "b"}, {}),
    "wrong signature": ("timeline.create", {"timeline_id": "tl_1", "database_name": "a", "pg_user": "b"}, {"signature": "00" * 32}),
    "unknown mode": ("compute.stop", {"timeline_id": "tl_1", "compute_id": "cmp_1", "mode": "smart"}, {}),
}  # fmt: skip


def test_refuses_without_side_effects(plane: FakePlane, agent: Any, data_dir: Path) -> None:
    agent().start()
    for name, (kind, payload, how) in REFUSED.items():
        assert refused(plane.do(kind, payload, **how)), name
        assert list((data_dir / "node" / "n1" / "timelines").iterdir()) == [], name


def test_does_not_begin_what_has_expired(plane: FakePlane, agent: Any, data_dir: Path) -> None:
    agent().start()
    order = TimelineCreate(timeline_id="tl_1", database_name="a", pg_user="b")
    result = plane.do("timeline.create", order.model_dump(), expires_in=-1)
    assert not result.succeeded and "too late" in (result.error or "")
    assert list((data_dir / "node" / "n1" / "timelines").iterdir()) == []


@pytest.mark.parametrize("ahead_seconds", others_slow([-7200.0, 7200.0]))
def test_orders_expire_by_the_clock_that_gave_them_not_by_the_nodes(
    plane: FakePlane, agent: Any, ahead_seconds: float
) -> None:
    plane.clock_ahead_seconds = ahead_seconds
    agent().start()
    order = TimelineCreate(timeline_id="tl_1", database_name="a", pg_user="b").model_dump()
    late = plane.do("timeline.create", order, expires_in=-1)
    assert not late.succeeded and "too late" in (late.error or "")
    assert plane.do("timeline.create", order).succeeded


def test_shows_its_loops_and_says_which_one_is_not_well(plane: FakePlane, agent: Any) -> None:
    ready = agent(heartbeat_seconds=0.2, metrics_port=0).start()
    url = f"http://127.0.0.1:{ready['metrics_port']}"
    assert httpx.get(f"{url}/readyz").status_code == 200
    plane.away = True

    def is_told() -> bool:
        answer = httpx.get(f"{url}/readyz")
        return answer.status_code == 503 and answer.text.startswith(("heartbeat, since", "orders, since"))

    plane.wait("that it says so", is_told)
    metrics = httpx.get(f"{url}/metrics").text
    failures = re.search(r'spg99_loop_failures_total{loop="heartbeat"} (\S+)', metrics)
    assert failures and float(failures[1]) >= 1
    plane.away = False
    plane.wait("that it is well again", lambda: httpx.get(f"{url}/readyz").status_code == 200)


def test_tells_and_counts_what_holds_the_storage_limits_and_obeys_another(plane: FakePlane, agent: Any) -> None:
    ready = agent(heartbeat_seconds=0.2, metrics_port=0).start()
    compute = started(plane, new_timeline(plane))
    by = "library" if LIBRARY.exists() else "watcher"

    def is_counted() -> bool:
        return (
            f'spg99_computes_held{{held_by="{by}"}} 1.0'
            in httpx.get(f"http://127.0.0.1:{ready['metrics_port']}/metrics").text
        )

    plane.wait("that it counts the compute", is_counted)
    rules = f"spg99_tenant_rules_held {float(TENANT_RULES.exists())}"
    assert rules in httpx.get(f"http://127.0.0.1:{ready['metrics_port']}/metrics").text

    def limit_told() -> int | None:
        seen = plane.seen(compute["compute_id"])
        return seen.storage.limit_bytes if seen is not None and seen.storage is not None else None

    plane.wait("the first limit", lambda: limit_told() == 0)
    seen = plane.seen(compute["compute_id"])
    assert seen is not None and seen.storage is not None and seen.storage.held_by == by
    plane.answers.append(HeartbeatAnswer(storage_limits_bytes={seen.timeline_id: 1 << 30}))
    plane.wait("the new limit", lambda: limit_told() == 1 << 30)


@pytest.mark.slow  # broken
def test_tells_at_once_when_a_compute_is_killed(plane: FakePlane, agent: Any) -> None:
    agent(heartbeat_seconds=60).start()
    compute = started(plane, new_timeline(plane))
    os.kill(compute["pid"], signal.SIGKILL)
    begin = time.monotonic()
    plane.wait("the news", lambda: (s := plane.seen(compute["compute_id"])) and not s.running, seconds=1)
    assert time.monotonic() - begin < 1
    seen = plane.seen(compute["compute_id"])
    assert seen is not None and "SIGKILL" in (seen.exit_reason or "")


@pytest.mark.slow  # broken
def test_a_killed_agent_comes_back_and_adopts(plane: FakePlane, agent: Any, data_dir: Path) -> None:
    first = agent()
    first.start()
    timelines = [new_timeline(plane) for _ in range(3)]
    computes = [started(plane, timeline) for timeline in timelines]
    with psycopg.connect(dsn(computes[0], timelines[0])) as db:
        first.end(signal.SIGKILL)
        heard = len(plane.beats)
        agent().start()
        plane.wait("its first heartbeat", lambda: len(plane.beats) > heard)
        assert {seen.pid for seen in plane.beats[-1][1].computes} == {compute["pid"] for compute in computes}
        assert all(seen.running for seen in plane.beats[-1][1].computes)
        assert len(postmasters(data_dir)) == 3
        assert db.execute("select 1").fetchone() == (1,), "the session has not noticed"
    os.kill(computes[1]["pid"], signal.SIGKILL)
    plane.wait(
        "the end of an adopted one", lambda: (s := plane.seen(computes[1]["compute_id"])) and not s.running, seconds=1
    )
    stop = {"compute_id": computes[2]["compute_id"], "timeline_id": timelines[2].timeline_id}
    assert plane.do("compute.stop", stop).succeeded
    assert len(postmasters(data_dir)) == 1


def test_ends_and_leaves_computes_running(plane: FakePlane, agent: Any, data_dir: Path) -> None:
    one = agent()
    one.start()
    compute = started(plane, new_timeline(plane))
    assert one.end() == 0
    assert [process.pid for process in postmasters(data_dir)] == [compute["pid"]]


def test_ends_and_stops_computes_when_told_so(plane: FakePlane, agent: Any, data_dir: Path) -> None:
    one = agent(stop_computes_on_exit=True)
    one.start()
    compute = started(plane, new_timeline(plane))
    assert one.end() == 0
    assert postmasters(data_dir) == [] and list((data_dir / "run").iterdir()) == []
    seen = plane.seen(compute["compute_id"])
    assert seen is not None and not seen.running, "the Control Plane has heard of it"


@pytest.mark.slow  # broken
def test_goes_on_while_the_control_plane_is_away(plane: FakePlane, agent: Any) -> None:
    agent(heartbeat_seconds=0.2).start()
    timeline = new_timeline(plane)
    compute = started(plane, timeline)
    plane.away = True
    with psycopg.connect(dsn(compute, timeline)) as db:
        assert db.execute("select 1").fetchone() == (1,)
    os.kill(compute["pid"], signal.SIGKILL)
    heard = len(plane.beats)
    plane.away = False
    plane.wait(
        "the end that happened meanwhile",
        lambda: len(plane.beats) > heard and not plane.seen(compute["compute_id"]).running,
    )  # type: ignore[union-attr]
    assert started(plane, timeline, term=2)["pid"] != compute["pid"]


@pytest.mark.slow  # broken
def test_a_result_survives_an_outage(plane: FakePlane, agent: Any, data_dir: Path) -> None:
    agent().start()
    task_id = plane.order("timeline.create", {"timeline_id": "tl_1", "database_name": "a", "pg_user": "b"})
    plane.wait("that it is taken", lambda: not plane.queue)
    plane.away = True
    home = data_dir / "node" / "n1" / "timelines" / "tl_1"
    plane.wait("the files", home.exists)
    assert task_id not in plane.results
    plane.away = False
    assert plane.wait("the result", lambda: plane.results.get(task_id)).succeeded
    plane.wait("a question without it", lambda: plane.asked[-1].held_task_ids == [])


def test_stops_and_forgets_what_the_control_plane_does_not_want(plane: FakePlane, agent: Any, data_dir: Path) -> None:
    agent(heartbeat_seconds=0.2).start()
    timeline, other = new_timeline(plane), new_timeline(plane)
    compute, kept = started(plane, timeline), started(plane, other)
    plane.answers.append(
        HeartbeatAnswer(
            stop_compute_ids=[compute["compute_id"], "cmp_unknown"], forget_timeline_ids=[timeline.timeline_id]
        )
    )
    home = data_dir / "node" / "n1" / "timelines" / timeline.timeline_id
    plane.wait("that both are gone", lambda: not home.exists() and not psutil.pid_exists(compute["pid"]))
    assert psutil.pid_exists(kept["pid"])


@pytest.mark.slow  # broken
def test_a_node_that_was_forgotten_says_what_to_do(plane: FakePlane, agent: Any) -> None:
    one = agent(enrolment_token=None)
    one.spawn()
    assert one.end(0) != 0
    assert "SPG99_ENROLMENT_TOKEN" in one.errors.read_text()


@pytest.mark.slow  # again
def test_a_forgotten_node_comes_back_with_a_fresh_token(plane: FakePlane, agent: Any) -> None:
    first = agent()
    first.start()
    first.end()
    plane.bearers.clear()
    plane.tokens.add("again")
    assert agent(enrolment_token="again").start()["node_id"] == "node_1"


@pytest.mark.slow  # broken
def test_two_agents_never_share_a_folder(plane: FakePlane, agent: Any) -> None:
    agent().start()
    second = agent()
    second.spawn()
    assert second.end(0, seconds=30) != 0
    assert "Another agent works" in second.errors.read_text()


@pytest.mark.slow  # broken
def test_waits_for_a_control_plane_that_is_not_up_yet(plane: FakePlane, agent: Any) -> None:
    plane.away = True
    one = agent()
    one.spawn()
    plane.wait(
        "that it waits", lambda: one.errors.exists() and "waiting for the Control Plane" in one.errors.read_text()
    )
    plane.away = False
    assert json.loads(one.process.stdout.readline())["ready"] is True


@pytest.mark.slow  # broken
@pytest.mark.parametrize("point", ["timeline.create.before_rename", "timeline.create.before_result"])
def test_killed_while_creating(plane: FakePlane, agent: Any, data_dir: Path, point: str) -> None:
    one = agent()
    one.start(SPG99_FAULT_POINT=point)
    order = {"timeline_id": "tl_1", "database_name": "a", "pg_user": "b"}
    plane.order("timeline.create", order)
    assert one.process.wait(20) == -signal.SIGKILL
    one.end()
    agent().start()
    assert plane.do("timeline.create", order).succeeded
    assert [path.name for path in (data_dir / "node" / "n1" / "timelines").iterdir()] == ["tl_1"]
    assert plane.do("compute.start", start_payload(TimelineCreate.model_validate(order))).succeeded


@pytest.mark.slow  # broken
@pytest.mark.parametrize("point", ["compute.start.before_process", "compute.start.before_result"])
def test_killed_while_starting(plane: FakePlane, agent: Any, data_dir: Path, point: str) -> None:
    one = agent()
    one.start(SPG99_FAULT_POINT=point)
    timeline = new_timeline(plane)
    payload = start_payload(timeline)
    plane.order("compute.start", payload)
    assert one.process.wait(20) == -signal.SIGKILL
    one.end()
    pids = [process.pid for process in postmasters(data_dir)]
    agent().start()
    result = plane.do("compute.start", payload)
    assert result.succeeded, result.error
    assert [process.pid for process in postmasters(data_dir)] == (pids or [result.result["pid"]])
    assert len(list((data_dir / "run").iterdir())) == 1


@pytest.mark.slow  # broken
@pytest.mark.parametrize("point", ["compute.stop.before_signal", "compute.stop.before_result"])
def test_killed_while_stopping(plane: FakePlane, agent: Any, data_dir: Path, point: str) -> None:
    one = agent()
    one.start(SPG99_FAULT_POINT=point)
    timeline = new_timeline(plane)
    compute = started(plane, timeline)
    stop = {"compute_id": compute["compute_id"], "timeline_id": timeline.timeline_id}
    plane.order("compute.stop", stop)
    assert one.process.wait(20) == -signal.SIGKILL
    one.end()
    agent().start()
    assert plane.do("compute.stop", stop).succeeded
    assert postmasters(data_dir) == [] and list((data_dir / "run").iterdir()) == []


@pytest.mark.slow  # broken
def test_killed_while_deleting(plane: FakePlane, agent: Any, data_dir: Path) -> None:
    one = agent()
    one.start(SPG99_FAULT_POINT="timeline.delete.after_rename")
    timeline = new_timeline(plane)
    plane.order("timeline.delete", {"timeline_id": timeline.timeline_id})
    assert one.process.wait(20) == -signal.SIGKILL
    one.end()
    agent().start()
    assert plane.do("timeline.delete", {"timeline_id": timeline.timeline_id}).succeeded
    assert list((data_dir / "node" / "n1" / "timelines").iterdir()) == []
