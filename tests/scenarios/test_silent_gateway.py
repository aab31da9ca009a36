"""A Gateway that says nothing for longer than lease and idle timeout: no session of it is ended, whatever the reason."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from kit.platform import Platform, a_platform

pytestmark = pytest.mark.slow  # broken

IDLE_SECONDS, LEASE_SECONDS = 2, 2


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with a_platform("--gateway-workers", "1") as platform:
        with platform.catalogue() as catalogue:
            catalogue.execute(
                "insert into policy_values (key, scope, value) values ('gateway.lease_seconds', 'global', %s::jsonb)",
                [str(LEASE_SECONDS)],
            )
        yield platform


def test_a_reporting_process_that_stands_still_costs_no_session(platform: Platform) -> None:
    """Its workers carry on: a busy session and a quiet one outlive three times the time after which it counts as gone."""
    platform.create_database("acme", "app", idle_timeout_seconds=IDLE_SECONDS)
    with (
        platform.connect("acme", "app", autocommit=True) as busy,
        platform.connect("acme", "app", autocommit=True) as quiet,
    ):
        quiet.execute("create temporary table mine (i int)")
        timeline = platform.database("acme", "app")["timeline"]  # the other test's compute may run still
        (compute,) = platform.computes(timeline)
        parent = psutil.Process(platform.child("gateway"))
        parent.send_signal(signal.SIGSTOP)
        try:
            ends_at = time.monotonic() + 3 * (IDLE_SECONDS + LEASE_SECONDS)
            transactions = 0
            while time.monotonic() < ends_at:
                assert busy.execute("select 1").fetchone() == (1,)
                transactions += 1
        finally:
            parent.send_signal(signal.SIGCONT)
        assert transactions > 100
        assert quiet.execute("select count(*) from mine").fetchone() == (0,), "it is the same session"
        assert platform.database("acme", "app")["state"] in ("ready", "idle")
        assert [each.pid for each in platform.computes(timeline)] == [compute.pid]
        with platform.connect("acme", "app") as fresh:
            assert fresh.execute("select 1").fetchone() == (1,)
    # And silence after the last has left is silence: it goes to sleep.
    platform.database("acme", "app", wait_for="stopped")


def test_a_transaction_that_waits_is_in_use(platform: Platform) -> None:
    """One session only, idle in a transaction: nothing moves, and it is not ended."""
    platform.create_database("acme", "waits", idle_timeout_seconds=IDLE_SECONDS)
    with platform.connect("acme", "waits") as connection:
        connection.execute("create table kept (i int)")
        parent = psutil.Process(platform.child("gateway"))
        parent.send_signal(signal.SIGSTOP)
        try:
            time.sleep(3 * (IDLE_SECONDS + LEASE_SECONDS))  # before, it was stopped within a third of it
        finally:
            parent.send_signal(signal.SIGCONT)
        connection.execute("insert into kept values (1)")
        connection.commit()
    with platform.connect("acme", "waits") as connection:
        assert connection.execute("select i from kept").fetchone() == (1,)
