"""One request id in the logs of Gateway, Control Plane and agent; credentials declared anew while clients are connected."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any
from urllib.parse import quote

import psycopg

from kit.platform import Platform, wait_for

OWN = "Träume / sind @Schäume: 4711"


def lines(platform: Platform) -> list[dict[str, Any]]:
    """What all processes of the platform have logged, as far as it is structured."""
    found = []
    for line in platform.log().splitlines():
        start = line.find("{")
        try:
            found.append(json.loads(line[start:]) if start >= 0 else {})
        except ValueError:
            continue
    return found


def test_a_connection_is_found_in_all_three_logs_by_one_id(platform: Platform) -> None:
    made = platform.create_database("joined", "app")
    platform.connect("joined", "app").close()
    woken = wait_for(
        "the gateway says that it woke the database",
        lambda: [line for line in lines(platform) if line.get("event") == "woken" and line["db_id"] == made["db_id"]],
    )
    request_id = woken[0]["request_id"]

    def by_process() -> dict[str, set[str]] | None:
        events: dict[str, set[str]] = defaultdict(set)
        for line in lines(platform):
            if line.get("request_id") == request_id:
                events[line["process"]].add(line["event"])
        return events if {"gateway", "control-plane", "agent"} <= events.keys() else None

    events = wait_for("all three have logged it", by_process)
    assert events is not None
    assert "woken" in events["gateway"]
    assert "step" in events["control-plane"]
    assert "task done" in events["agent"]
    with platform.catalogue() as catalogue:
        kinds = catalogue.execute("select kind from node_tasks where request_id = %s", [request_id]).fetchall()
    assert kinds == [("compute.start",)]


def test_a_new_password_while_a_client_is_connected(platform: Platform) -> None:
    platform.create_database("rotated", "app")
    path, before = "/tenants/rotated/credentials", platform.dsn("rotated", "app")
    with psycopg.connect(before, autocommit=True) as live:
        live.execute("create table kept (i int)")
        pid = live.execute("select pg_backend_pid()").fetchone()
        platform.api("POST", path, json={"rotation_trigger": "1"}).raise_for_status()
        psycopg.connect(before).close()
        platform.api("PATCH", path, json={"pg_password": OWN}).raise_for_status()
        wait_for("the old password is refused", lambda: _is_refused(before), seconds=5)
        mine = platform.dsn("rotated", "app")
        assert quote(OWN, safe="") in mine
        with psycopg.connect(mine) as other:
            assert other.execute("select count(*) from kept").fetchone() == (0,)
        platform.api("PATCH", path, json={"rotation_trigger": "2"}).raise_for_status()
        wait_for("the next one too", lambda: _is_refused(mine), seconds=5)
        assert live.execute("select pg_backend_pid()").fetchone() == pid, "the live connection has stayed"
    psycopg.connect(platform.dsn("rotated", "app")).close()
    assert platform.database("rotated", "app")["writer_term"] == 1, "the compute has stayed"
    assert OWN not in platform.log()
    assert quote(OWN, safe="") not in platform.log()
    assert platform.api("DELETE", path).status_code == 204
    psycopg.connect(platform.dsn("rotated", "app")).close()


def _is_refused(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError as error:
        return "password authentication failed" in str(error)
    return False


def test_what_goes_out_to_clients_is_counted(platform: Platform) -> None:
    platform.create_database("counted", "app")
    with platform.connect("counted", "app") as connection:
        row = connection.execute("select repeat('x', 1000000)").fetchone()
        assert row is not None

    def counted() -> int:
        seen = int(platform.database("counted", "app")["egress_bytes"])
        return seen if seen >= 1_000_000 else 0

    assert wait_for("the gateway has reported it", counted) < 1_010_000
