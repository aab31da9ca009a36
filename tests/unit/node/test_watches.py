"""A compute's end is told, whatever fails on the way there. Here: a process that stands for PostgreSQL, and everything
that a watch calls, failing. Not here: PostgreSQL (tests/integration/node)."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import CollectorRegistry

from kit.waits import wait_for
from spg99.node import computes as computes_module
from spg99.node.compute import Compute
from spg99.node.computes import Computes
from spg99.node.folder import NodeFolder
from spg99.node.writer import Writer
from spg99.postgres import Binaries, Cluster, Running, postmaster
from spg99.processes import loop_failures
from spg99.protocol.node import ComputeSeen
from spg99.resources import Size

TOLD_SECONDS_MAX = 20.0


class NodeUnderTest:
    """One compute of one node that "runs"."""

    def __init__(self, root: Path) -> None:
        self.registry = CollectorRegistry()
        self.folder = NodeFolder(root / "node", root / "run")
        timeline = self.folder.timeline("tl_1")
        timeline.data_dir.mkdir(parents=True)
        self.computes = Computes(
            self.folder, Binaries(root, "18.4"), None, extensions_dir=root, failures=loop_failures(self.registry)
        )
        self.process = subprocess.Popen(["sh", "-c", "read line", str(timeline.data_dir)], stdin=subprocess.PIPE)
        # Between its exec and its first steps the system shows no command line, one time in a hundred.
        wait_for("its command line", lambda: psutil.Process(self.process.pid).cmdline(), every=0.001)
        record = Writer(
            compute_id="cmp_1",
            db_id="db_1",
            writer_term=1,
            profile=Size.L1,
            backend_addr=str(root / "s"),
            backend_port=1,
        )
        self.compute = Compute(timeline, record, self.computes._compute(timeline, record).cluster, log_begin=0)
        self.pid_file = timeline.data_dir / postmaster.PID_FILE
        self.pid_file.write_text(f"{self.process.pid}\n")

    def begin(self) -> None:
        self.computes._register(self.compute, Running(self.process.pid, datetime.now(UTC)))

    def end_process(self) -> None:
        self.process.kill()
        self.process.wait()

    async def told(self) -> ComputeSeen:
        """What heartbeats tell in the end."""
        deadline = time.monotonic() + TOLD_SECONDS_MAX
        while time.monotonic() < deadline:
            await self.computes.notice_ends()
            (seen,) = self.computes.seen({})
            if not seen.running:
                return seen
            await asyncio.sleep(0.01)
        raise AssertionError("heartbeats say that it runs, for ever")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeUnderTest]:
    node = NodeUnderTest(tmp_path)
    yield node
    node.end_process()
    assert node.process.stdin is not None
    node.process.stdin.close()


def fails(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


STEPS = [
    (postmaster, "read_pid_file"),
    (postmaster, "wait_end"),
    (computes_module, "read_since"),
    (computes_module, "cause_of_end"),
    (Cluster, "remove_sockets"),
]
ERRORS = [OSError(errno.EMFILE, os.strerror(errno.EMFILE)), PermissionError(errno.EACCES, "no"), RuntimeError("what?")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: str(step[1]))
async def test_an_end_is_told_whatever_fails_on_the_way(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str], error: Exception
) -> None:
    monkeypatch.setattr(*step, fails(error))
    node.begin()
    await node.computes.notice_ends()
    assert [seen.running for seen in node.computes.seen({})] == [True]
    node.end_process()
    seen = await node.told()
    assert seen.exit_reason and not node.computes.running()
    await node.computes.leave()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_bounds_that_cannot_be_set_or_let_go_do_not_hide_an_end(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    for name in ("confine", "release"):
        monkeypatch.setattr(node.computes.confinement, name, fails(error))
    node.begin()
    node.computes._begin_confining(node.compute, node.process.pid)
    node.end_process()
    assert (await node.told()).exit_reason
    assert node.registry.get_sample_value("spg99_loop_failures_total", {"loop": "confine"}) == 1
    await node.computes.leave()


async def test_a_watch_that_cannot_look_is_counted_and_looks_again(
    node: NodeUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(postmaster, "living", fails(ERRORS[0]))
        node.begin()
        deadline = time.monotonic() + TOLD_SECONDS_MAX
        while not node.registry.get_sample_value("spg99_loop_failures_total", {"loop": "watch"}):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        await node.computes.notice_ends()  # nobody can tell: it runs until somebody can
        assert [seen.running for seen in node.computes.seen({})] == [True]
    node.end_process()
    assert not (await node.told()).running
    await node.computes.leave()


@pytest.mark.parametrize("torn", ["", "12", "\x00\x00", "\udcff", "0\n"])
async def test_a_torn_pid_file_ends_nothing(node: NodeUnderTest, torn: str) -> None:
    node.begin()
    node.pid_file.write_bytes(torn.encode(errors="surrogateescape"))
    for _ in range(3):
        await asyncio.sleep(0)
        await node.computes.notice_ends()
    assert [seen.running for seen in node.computes.seen({})] == [True]
    node.end_process()
    assert (await node.told()).exit_reason == "PostgreSQL ended."
    await node.computes.leave()
