"""The network between a Gateway and the Control Plane is cut without a word, for longer than lease and idle timeout: sessions go
on, no compute in use is stopped, awake databases take new connections, and all heals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kit.cuttable_network import CuttableNetwork
from kit.platform import BIN, Platform, a_platform, wait_for
from spg99.clock import SystemClock
from spg99.control_plane import bootstrap
from spg99.control_plane.store import Store

pytestmark = [
    pytest.mark.slow,  # broken
    pytest.mark.timeout(300),  # most of it waits: a lease and an idle timeout, four times
]

IDLE_SECONDS, LEASE_SECONDS, CONNECT_SECONDS = 2, 2, 6


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with a_platform() as platform:
        with platform.catalogue() as catalogue:
            catalogue.execute(
                "insert into policy_values (key, scope, value) values ('gateway.lease_seconds', 'global', %s::jsonb)",
                [str(LEASE_SECONDS)],
            )
        yield platform


class FarGateway:
    """A Gateway of the platform behind a network of its own."""

    def __init__(self, platform: Platform, network: CuttableNetwork, folder: Path) -> None:
        self.platform, self.folder = platform, folder
        token = asyncio.run(_enrolment_token(platform.catalogue_url))
        with (folder / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(BIN / "spg99", "gateway", "--data-dir", folder, "--name", "far", "--port", "0", "--workers", "1"),
                    *("--connect-seconds", str(CONNECT_SECONDS), "--cp-url", f"http://127.0.0.1:{network.port}/v2"),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "SPG99_ENROLMENT_TOKEN": token},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log()
        self.port = json.loads(line)["port"]

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()

    def connect(self, tenant: str, name: str, dsn: str = "", **options: Any) -> psycopg.Connection[Any]:
        where = {"port": self.port, "sslmode": "require", "sslrootcert": "", "connect_timeout": 30}
        return psycopg.connect(
            make_conninfo(dsn or self.platform.dsn(tenant, name), **where), autocommit=True, **options
        )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


async def _enrolment_token(url: str) -> str:
    store = Store(url, pool_size=2)
    await store.open()
    try:
        return await bootstrap.new_enrolment_token(store, "gateway", SystemClock())
    finally:
        await store.close()


@pytest.fixture
def network(platform: Platform) -> Iterator[CuttableNetwork]:
    with CuttableNetwork(int(platform.dev()["api_port"])) as network:
        yield network


@pytest.fixture
def gateway(platform: Platform, network: CuttableNetwork, tmp_path: Path) -> Iterator[FarGateway]:
    gateway = FarGateway(platform, network, tmp_path)
    try:
        yield gateway
    finally:
        network.heal()
        gateway.stop()
        print(gateway.log())  # shown where a test fails


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_network_that_is_cut_without_a_word(
    platform: Platform, network: CuttableNetwork, gateway: FarGateway
) -> None:
    for name in ("busy", "quiet", "asleep", "left"):
        platform.create_database("acme", name, idle_timeout_seconds=IDLE_SECONDS)
    dsns = {name: platform.dsn("acme", name) for name in ("busy", "quiet", "asleep", "left")}
    with contextlib.ExitStack() as stack:
        busy, quiet = (stack.enter_context(gateway.connect("acme", name)) for name in ("busy", "quiet"))
        quiet.execute("create temporary table mine (i int)")
        gateway.connect("acme", "left").close()
        computes = {each.pid for each in platform.computes()}
        # Long enough for a stream of changes to stand and a report to have come.
        wait_for("the leases are held", lambda: _connections(platform, "busy") == _connections(platform, "quiet") == 1)

        network.cut()
        cut_at = time.monotonic()
        while time.monotonic() < cut_at + 4 * (IDLE_SECONDS + LEASE_SECONDS):
            assert busy.execute("select 1").fetchone() == (1,)
            time.sleep(0.02)
        assert network.swallowed_bytes > 0, "it has tried to report"
        # 1. Sessions go on, busy and quiet; what they use is not stopped.
        assert quiet.execute("select count(*) from mine").fetchone() == (0,), "it is the same session"
        for name in ("busy", "quiet"):
            assert platform.database("acme", name)["state"] in ("ready", "idle")
        # 2. What nobody uses is put to sleep, though its Gateway cannot say so.
        platform.database("acme", "left", wait_for="stopped")
        assert {each.pid for each in platform.computes()} < computes
        # 3. New connections to awake databases, by what was known before the cut.
        began = time.monotonic()
        with gateway.connect("acme", "busy", dsns["busy"]) as more:
            assert more.execute("select 1").fetchone() == (1,)
        assert time.monotonic() - began < CONNECT_SECONDS
        # 4. One that sleeps cannot be woken from here: a sentence, in time.
        for name in ("asleep", "left"):
            began = time.monotonic()
            with pytest.raises(psycopg.OperationalError) as refused:
                gateway.connect("acme", name, dsns[name])
            assert re.search("the Control Plane (does not answer|has not answered in time)", str(refused.value)), str(
                refused.value
            )
            assert time.monotonic() - began < 3 * CONNECT_SECONDS
        # 5. From elsewhere everything works.
        with platform.connect("acme", "asleep") as near:
            assert near.execute("select 1").fetchone() == (1,)

        network.heal()
        # 6. It heals by itself, with the same sessions and the same computes.
        wait_for("the far Gateway wakes again", lambda: _answers(gateway, dsns["left"]), seconds=30)
        wait_for(
            "its leases stand again", lambda: _connections(platform, "busy") == _connections(platform, "quiet") == 1
        )
        assert quiet.execute("select count(*) from mine").fetchone() == (0,)
        assert busy.execute("select 1").fetchone() == (1,)
        assert (
            platform.database("acme", "busy")["writer_term"] == platform.database("acme", "quiet")["writer_term"] == 1
        )
        wait_for(
            "it hears of changes again",
            lambda: re.search(r"a loop works again.*changes|changes.*a loop works again", gateway.log()),
            seconds=30,
        )
    # 7. And silence after the last has left is silence.
    for name in ("busy", "quiet", "asleep", "left"):
        platform.database("acme", name, wait_for="stopped")


def test_a_password_that_changes_while_the_network_is_cut(
    platform: Platform, network: CuttableNetwork, gateway: FarGateway
) -> None:
    """What a cut-off Gateway cannot know it does not know; within seconds of the healing it does."""
    platform.create_database("turned", "app", idle_timeout_seconds=0)
    before = platform.dsn("turned", "app")
    with gateway.connect("turned", "app", before) as held:
        network.cut()
        platform.api("POST", "/tenants/turned/credentials/rotate").raise_for_status()
        after = platform.dsn("turned", "app")
        network.heal()
        healed_at = time.monotonic()
        wait_for("the new password opens", lambda: _answers(gateway, after), seconds=30)
        wait_for("the old one does not", lambda: not _answers(gateway, before), seconds=30)
        assert time.monotonic() - healed_at < 20, "a stream that is silent is not believed for long"
        assert held.execute("select 1").fetchone() == (1,)


def _answers(gateway: FarGateway, dsn: str) -> bool:
    try:
        with gateway.connect("", "", dsn) as connection:
            return bool(connection.execute("select 1").fetchone() == (1,))
    except psycopg.OperationalError:
        return False


def _connections(platform: Platform, name: str) -> int:
    return int(platform.database("acme", name)["active_connections"])
