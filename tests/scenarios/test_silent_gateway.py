"""A Gateway that says nothing for longer than lease and idle timeout: no session of it is ended, whatever the reason."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from house import House, a_house

IDLE_SECONDS, LEASE_SECONDS = 2, 2


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with a_house() as house:
        with house.catalogue() as catalogue:
            catalogue.execute(
                "insert into policy_values (key, scope, value) values ('gateway.lease_seconds', 'global', %s::jsonb)",
                [str(LEASE_SECONDS)],
            )
        yield house


def test_a_reporting_process_that_stands_still_costs_no_session(house: House) -> None:
    """Its workers carry on: a busy session and a quiet one outlive three times the time after which it counts as gone."""
    house.create_database("acme", "app", idle_timeout_seconds=IDLE_SECONDS)
    with house.connect("acme", "app", autocommit=True) as busy, house.connect("acme", "app", autocommit=True) as quiet:
        quiet.execute("create temporary table mine (i int)")
        timeline = house.database("acme", "app")["timeline"]  # the other test's compute may run still
        (compute,) = house.computes(timeline)
        parent = psutil.Process(house.child("gateway"))
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
        assert house.database("acme", "app")["state"] in ("ready", "idle")
        assert [each.pid for each in house.computes(timeline)] == [compute.pid]
        with house.connect("acme", "app") as fresh:
            assert fresh.execute("select 1").fetchone() == (1,)
    # And silence after the last has left is silence: it goes to sleep.
    house.database("acme", "app", wait_for="stopped")


def test_a_transaction_that_waits_is_in_use(house: House) -> None:
    """One session only, idle in a transaction: nothing moves, and it is not ended."""
    house.create_database("acme", "waits", idle_timeout_seconds=IDLE_SECONDS)
    with house.connect("acme", "waits") as connection:
        connection.execute("create table kept (i int)")
        parent = psutil.Process(house.child("gateway"))
        parent.send_signal(signal.SIGSTOP)
        try:
            time.sleep(3 * (IDLE_SECONDS + LEASE_SECONDS))  # before, it was stopped within a third of it
        finally:
            parent.send_signal(signal.SIGCONT)
        connection.execute("insert into kept values (1)")
        connection.commit()
    with house.connect("acme", "waits") as connection:
        assert connection.execute("select i from kept").fetchone() == (1,)
