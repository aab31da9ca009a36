"""What a process shows: probes, the ready line; and what it notices: stop orders, jobs that fail, a clock that steps."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import structlog
from prometheus_client import CollectorRegistry, Counter

import spg99
from spg99.errors import BadRequest, Unavailable
from spg99.processes import (
    ClockSteps,
    Jobs,
    Unhealthy,
    loop_failures,
    read_ready,
    say_ready,
    serve_probes,
    stop_ordered,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def test_probes_show_figures_and_name_the_loop_that_is_not_well() -> None:
    registry = CollectorRegistry()
    counter = Counter("things", "Things.", registry=registry)
    told: list[Unhealthy] = []

    async def collect() -> None:
        counter.inc()

    server = await serve_probes("127.0.0.1", 0, registry, collect=collect, unhealthy=lambda: told)
    async with server, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert "things_total 1.0" in (await client.get(f"{url}/metrics")).text
        assert (await client.get(f"{url}/healthz")).text == "ok\n"
        assert (await client.get(f"{url}/readyz?verbose=1")).status_code == 200
        told.append(Unhealthy("reconciler", NOON, "failed 3 times in a row (KeyError)"))
        answer = await client.get(f"{url}/readyz")
        assert answer.status_code == 503
        assert answer.text == "reconciler, since 2026-01-01T12:00:00Z: failed 3 times in a row (KeyError)\n"
        assert (await client.get(f"{url}/secrets")).status_code == 404
        with pytest.raises(BadRequest, match="--metrics-port"):
            await serve_probes("127.0.0.1", int(url.rpartition(":")[2]), registry)


def test_a_ready_line_is_read_as_it_was_said_and_nothing_else_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    say_ready("agent", node_id="node_1", metrics_port=None)
    line = capsys.readouterr().out
    assert line.endswith("}\n")
    assert read_ready(line) == {"ready": True, "process": "agent", "node_id": "node_1", "metrics_port": None}
    for other in ("", "null", "ready", "[true]", '{"ready": 1}', '{"ready": "true"}', b"\xff"):
        assert read_ready(other) is None


async def test_the_first_order_to_stop_stops_and_the_second_hurries() -> None:
    hurried = asyncio.Event()
    stop = stop_ordered(again=hurried.set, signals=(signal.SIGUSR1, signal.SIGUSR2))
    os.kill(os.getpid(), signal.SIGUSR2)
    await asyncio.wait_for(stop.wait(), 5)
    assert not hurried.is_set()
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(hurried.wait(), 5)


async def test_a_job_that_fails_is_logged_and_counted_and_may_come_again() -> None:
    registry = CollectorRegistry()
    jobs = Jobs(failures=loop_failures(registry))

    async def fail(error: Exception) -> None:
        raise error

    with structlog.testing.capture_logs() as lines:
        jobs.begin("stop cmp_1", fail(Unavailable("away")))
        await jobs.finish(within_seconds=5)
        jobs.begin("stop cmp_1", fail(KeyError("x")))
        await jobs.finish(within_seconds=5)
    assert [line["log_level"] for line in lines] == ["warning", "error"]
    assert registry.get_sample_value("spg99_loop_failures_total", {"loop": "stop"}) == 2
    assert len(jobs) == 0


async def test_two_jobs_of_one_name_are_one_and_a_job_that_does_not_end_is_cancelled() -> None:
    jobs, runs = Jobs(), 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        await asyncio.Event().wait()

    jobs.begin("forget tl_1", run())
    jobs.begin("forget tl_1", run())
    await asyncio.sleep(0)
    await jobs.finish(within_seconds=0.01)
    assert runs == 1 and len(jobs) == 0


async def test_jobs_are_cancelled_by_how_their_names_begin_and_have_ended_then() -> None:
    jobs, ended = Jobs(), list[str]()

    async def run(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    for name in ("image tl_1 a", "image tl_1 b", "image tl_12 a"):
        jobs.begin(name, run(name))
    await asyncio.sleep(0)
    await jobs.cancel("image tl_1 ")
    assert ended == ["image tl_1 a", "image tl_1 b"] and len(jobs) == 1
    await jobs.finish(within_seconds=0)


@pytest.mark.parametrize("step_seconds", [-7200.0, -3.0, 3.0, 7200.0])
def test_a_step_of_the_wall_clock_is_noticed_once_in_both_directions(step_seconds: float) -> None:
    steps = ClockSteps(NOON, 100.0)
    assert steps.step(NOON + timedelta(seconds=5), 105.0) is None
    stepped = NOON + timedelta(seconds=10 + step_seconds)
    assert steps.step(stepped, 110.0) == timedelta(seconds=step_seconds)
    assert steps.step(stepped + timedelta(seconds=5.4), 115.0) is None, "slewing is no step"


@pytest.mark.parametrize("way", [r"add_signal_handler\(", r"\"ready\": True"])
def test_every_process_hears_signals_and_says_ready_in_one_way(way: str) -> None:
    """But for the native plugin, which is started without any of our processes' room."""
    root = Path(spg99.__file__).parent
    found = {str(path.relative_to(root)) for path in root.rglob("*.py") if re.search(way, path.read_text())}
    assert found - {"bridges/pulumi/native/process.py"} <= {"processes/signals.py", "processes/ready.py"}
