"""The tools of these tests do what they say: an order kills once and only at its point, the proxy cuts where it claims to."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faults.cutting_proxy import Cut, CuttingProxy
from faults.orders import Orders, all_points

PASSES = """
import sys
from spg99 import faults
for name in sys.argv[1:]:
    faults.point(name)
    print(name, flush=True)
"""


def passes(environment: dict[str, str], *names: str) -> tuple[int, list[str]]:
    """A process that passes these points: its exit code, and the points it survived."""
    done = subprocess.run(
        [sys.executable, "-c", PASSES, *names], env=environment, capture_output=True, text=True, timeout=30
    )
    return done.returncode, done.stdout.split()


def test_an_order_kills_once_at_its_nth_pass(tmp_path: Path) -> None:
    orders = Orders(tmp_path / "order")
    orders.arm("b:2")
    assert passes(orders.environment, "a", "b", "a") == (0, ["a", "b", "a"])  # passes are counted in each process
    assert not orders.was_taken()
    assert passes(orders.environment, "b", "a", "b", "a") == (-signal.SIGKILL, ["b", "a"])
    assert orders.was_taken()
    assert passes(orders.environment, "b", "b", "b") == (0, ["b", "b", "b"])


def test_an_order_may_name_victims(tmp_path: Path) -> None:
    orders = Orders(tmp_path / "order")
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        orders.arm("b", victim.pid)
        assert passes(orders.environment, "a", "b") == (0, ["a", "b"])
        assert victim.wait(5) == -signal.SIGKILL
    finally:
        victim.kill()


def test_the_environment_alone_kills_at_every_start() -> None:
    for _ in range(2):
        assert passes({"SPG99_FAULT_POINT": "b:2"}, "b", "a", "b", "a") == (-signal.SIGKILL, ["b", "a"])


def test_every_step_of_a_life_has_its_points() -> None:
    kinds = {name.partition(".")[0] for name in all_points()}
    assert kinds >= {"timeline", "compute", "create", "wake", "sleep", "delete", "api"}


@pytest.mark.parametrize("cut", list(Cut))
async def test_the_proxy_cuts_where_it_says(cut: Cut) -> None:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while await reader.read(100):
            asked += 1
            writer.write(b"a whole answer")
            await writer.drain()
        writer.close()

    async def ask(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"question")
        got = b""
        try:
            while len(got) < len(b"a whole answer") and (piece := await reader.read(100)):
                got += piece
        except ConnectionError:
            pass
        writer.close()
        return got

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, CuttingProxy(server.sockets[0].getsockname()[1], chance=0.0, seed=1) as proxy:
        assert await ask(proxy.port) == b"a whole answer"
        proxy.chance = 1.0
        proxy.kinds = [cut]
        asked = 0
        answers = [await ask(proxy.port) for _ in range(20)]
        assert all(len(answer) < len(b"a whole answer") for answer in answers)
        deadline = time.monotonic() + 5
        while asked < (0 if cut is Cut.BEFORE_REQUEST else 20) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        assert asked == (0 if cut is Cut.BEFORE_REQUEST else 20)
        assert any(answers) == (cut is Cut.IN_ANSWER)
        assert proxy.cuts == {cut: 20}
