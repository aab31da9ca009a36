"""Two Control Planes on one catalogue: both work, either may die at any time, and a stream of events goes on across both."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil
import psycopg
import pytest

from faults.settled import wait_settled
from kit.platform import BIN, Platform, wait_for
from spg99.client import Client
from spg99.ids import new_id

pytestmark = pytest.mark.slow  # broken


class Plane:
    """A second Control Plane beside that of the platform, on a port of its own that stays over restarts."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}/v2"

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        gateway = self.platform.env["SPG99_GATEWAY"].rpartition(":")
        home = self.platform.data_dir / "second"
        home.mkdir(exist_ok=True)
        with (self.platform.data_dir / "second.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(BIN / "spg99", "control-plane", "--data-dir", home, "--port", str(self.port)),
                    *("--secret-key-file", self.platform.data_dir / "secrets" / "catalogue.key"),
                    *("--gateway-host", gateway[0], "--gateway-port", gateway[2]),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "SPG99_CATALOGUE_URL": self.platform.catalogue_url},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.platform.data_dir / "second.log").read_text()[-3000:]
        self.port = json.loads(line)["port"]

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            assert self.process.stdout is not None
            self.process.stdout.close()


@contextmanager
def two_planes(platform: Platform) -> Iterator[Plane]:
    """A running second Control Plane, ended in order at the end."""
    plane = Plane(platform)
    plane.start()
    try:
        yield plane
        assert plane.process is not None
        plane.process.send_signal(signal.SIGTERM)
        assert plane.process.wait(20) == 0
    finally:
        plane.kill()


def test_both_serve_the_same(platform: Platform) -> None:
    with two_planes(platform) as second:
        key = {"Authorization": f"Bearer {platform.env['SPG99_API_KEY']}"}
        made = httpx.post(f"{second.url}/tenants", json={"name": "both"}, headers=key, timeout=20)
        assert made.status_code == 201, made.text
        assert platform.api("GET", "/tenants/both/credentials").json() == (
            httpx.get(f"{second.url}/tenants/both/credentials", headers=key, timeout=20).json()
        )
        platform.api("POST", "/tenants/both/dbs", json={"name": "app"}).raise_for_status()
        there = httpx.get(f"{second.url}/tenants/both/dbs/app?wait_for=stopped&wait=30", headers=key, timeout=60).json()
        assert there == platform.database("both", "app")
        # One key, both planes, at once: one object, one answer.
        same = key | {"Idempotency-Key": new_id("idem")}
        one = platform.api("POST", "/tenants/both/dbs", json={"name": "twin"}, headers=same)
        two = httpx.post(f"{second.url}/tenants/both/dbs", json={"name": "twin"}, headers=same, timeout=20)
        assert (one.status_code, two.status_code) == (201, 201)
        assert one.json()["db_id"] == two.json()["db_id"]
    assert platform.api("DELETE", "/tenants/both?cascade=true").status_code == 202
    wait_settled(platform)


def test_either_may_die_and_events_have_no_gap(platform: Platform) -> None:
    asyncio.run(go_on(platform, "pair_short", databases=12, kills=3))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_either_may_die_many_times_and_events_have_no_gap(platform: Platform) -> None:
    asyncio.run(go_on(platform, "pair_long", databases=150, kills=40))


async def go_on(platform: Platform, tenant: str, *, databases: int, kills: int) -> None:
    """Creates and wakes through whichever plane answers, while one or the other is killed; a reader follows events."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    print(f"seed {seed}")
    platform.api("POST", "/tenants", json={"name": tenant}).raise_for_status()
    with two_planes(platform) as second:
        seen: list[tuple[str, str]] = []
        enough = asyncio.Event()
        reader = asyncio.create_task(
            _follow([platform.env["SPG99_CP_URL"], second.url], platform, tenant, seen, enough)
        )
        await asyncio.sleep(0)

        async def kill() -> None:
            for number in range(kills):
                # Gateway and agent know only the platform's: dead all the time it could serve nobody.
                await asyncio.to_thread(
                    wait_for, "the platform's Control Plane", lambda: _answers(platform), seconds=30
                )
                await asyncio.sleep(chance.uniform(0.1, 1.0))
                if number % 2:
                    await asyncio.to_thread(second.kill)
                    await asyncio.to_thread(second.start)
                elif pid := platform.child("control-plane"):
                    psutil.Process(pid).kill()

        async def create_and_wake(number: int) -> None:
            urls = [platform.env["SPG99_CP_URL"], second.url]
            if number % 2:
                urls.reverse()
            name = f"db{number}"
            await _post(urls, platform, f"/tenants/{tenant}/dbs", {"name": name, "idle_timeout_seconds": 1})
            dsn = await _dsn(urls, platform, f"/tenants/{tenant}/dbs/{name}")
            await asyncio.to_thread(_select_one, dsn)

        killer = asyncio.create_task(kill())
        limit = asyncio.Semaphore(4)

        async def one(number: int) -> None:
            async with limit:
                await create_and_wake(number)

        began = time.monotonic()
        await asyncio.gather(*(one(number) for number in range(databases)))
        took = time.monotonic() - began
        await killer
        wait_for("the platform's Control Plane", lambda: _answers(platform), seconds=30)
        await asyncio.to_thread(wait_settled, platform, seconds=60)
        with platform.catalogue() as catalogue:
            (tenant_id,) = catalogue.execute("select tenant_id from tenants where name = %s", (tenant,)).fetchone() or (
                "",
            )
            wanted = catalogue.execute(
                "select position, event_type from outbox_events where tenant_id = %s and event_type like 'database.%%' order by position",
                (tenant_id,),
            ).fetchall()
        # The reader runs on until it has read everything there is: what is missing then was skipped.
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and (not seen or int(seen[-1][0]) < wanted[-1][0]):
            await asyncio.sleep(0.05)
        enough.set()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        positions = [int(position) for position, _ in seen]
        assert positions == sorted(set(positions)), "an event came twice or out of order"
        told = [(int(position), kind) for position, kind in seen if kind.startswith("database.")]
        last = wanted[-1][0]
        assert [event for event in told if event[0] <= last] == wanted
        print(
            f"{databases} databases created and woken in {took:.1f} s over {kills} kills, {len(told)} events without gap"
        )
    assert platform.api("DELETE", f"/tenants/{tenant}?cascade=true&force=true").status_code == 202
    wait_settled(platform, seconds=60)


async def _follow(
    urls: list[str], platform: Platform, tenant: str, seen: list[tuple[str, str]], enough: asyncio.Event
) -> None:
    """Reads events by turns from one plane and the other, going on after the last one read."""
    turn = 0
    while not enough.is_set():
        last = seen[-1][0] if seen else "0"
        try:
            async with Client(urls[turn % 2], platform.env["SPG99_API_KEY"], max_attempts=1) as client:
                got = 0
                async for event in client.events(last_event_id=last, tenant=tenant):
                    seen.append((event.id, event.type))
                    got += 1
                    if got == 7:  # the other one's turn, also without a kill
                        break
        except Exception:
            await asyncio.sleep(0.05)
        turn += 1


async def _call(urls: list[str], platform: Platform, method: str, path: str, body: object = None) -> httpx.Response:
    """The first whole answer of either plane; a POST carries the same key everywhere."""
    headers = {"Authorization": f"Bearer {platform.env['SPG99_API_KEY']}"}
    if method == "POST":
        headers["Idempotency-Key"] = new_id("idem")
    deadline = time.monotonic() + 40
    async with httpx.AsyncClient(timeout=20) as http:
        while True:
            for url in urls:
                try:
                    answer = await http.request(method, url + path, json=body, headers=headers)
                except httpx.TransportError:
                    continue
                if answer.status_code not in (502, 503, 504):
                    return answer
            assert time.monotonic() < deadline, f"neither plane answers {method} {path}"
            await asyncio.sleep(0.05)


async def _post(urls: list[str], platform: Platform, path: str, body: object) -> None:
    answer = await _call(urls, platform, "POST", path, body)
    assert answer.status_code == 201, answer.text


async def _dsn(urls: list[str], platform: Platform, path: str) -> str:
    answer = await _call(urls, platform, "GET", path)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["connection_string"])


def _select_one(dsn: str) -> None:
    """Connects like a patient client: again until it is served."""
    deadline = time.monotonic() + 40
    while True:
        try:
            with psycopg.connect(dsn, connect_timeout=20) as connection:
                assert connection.execute("select 1").fetchone() == (1,)
            return
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise AssertionError("not served within 40 s") from error
            time.sleep(0.1)


def _answers(platform: Platform) -> bool:
    try:
        return platform.api("GET", "/account", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
