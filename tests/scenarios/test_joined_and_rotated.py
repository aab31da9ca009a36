"""One request id in the logs of Gateway, Control Plane and agent; credentials declared anew while clients are connected."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any
from urllib.parse import quote

import psycopg

from house import House, wait_for

OWN = "Träume / sind @Schäume: 4711"


def lines(house: House) -> list[dict[str, Any]]:
    """What all processes of the house have logged, as far as it is structured."""
    found = []
    for line in house.log().splitlines():
        start = line.find("{")
        try:
            found.append(json.loads(line[start:]) if start >= 0 else {})
        except ValueError:
            continue
    return found


def test_a_connection_is_found_in_all_three_logs_by_one_id(house: House) -> None:
    made = house.create_database("joined", "app")
    house.connect("joined", "app").close()
    woken = wait_for(
        "the gateway says that it woke the database",
        lambda: [line for line in lines(house) if line.get("event") == "woken" and line["db_id"] == made["db_id"]],
    )
    request_id = woken[0]["request_id"]

    def by_process() -> dict[str, set[str]] | None:
        events: dict[str, set[str]] = defaultdict(set)
        for line in lines(house):
            if line.get("request_id") == request_id:
                events[line["process"]].add(line["event"])
        return events if {"gateway", "control-plane", "agent"} <= events.keys() else None

    events = wait_for("all three have logged it", by_process)
    assert events is not None
    assert "woken" in events["gateway"]
    assert "step" in events["control-plane"]
    assert "task done" in events["agent"]
    with house.catalogue() as catalogue:
        kinds = catalogue.execute("select kind from node_tasks where request_id = %s", [request_id]).fetchall()
    assert kinds == [("compute.start",)]


def test_a_new_password_while_a_client_is_connected(house: House) -> None:
    house.create_database("rotated", "app")
    path, before = "/tenants/rotated/credentials", house.dsn("rotated", "app")
    with psycopg.connect(before, autocommit=True) as live:
        live.execute("create table kept (i int)")
        pid = live.execute("select pg_backend_pid()").fetchone()
        house.api("POST", path, json={"rotation_trigger": "1"}).raise_for_status()
        psycopg.connect(before).close()
        house.api("PATCH", path, json={"pg_password": OWN}).raise_for_status()
        wait_for("the old password is refused", lambda: _is_refused(before), seconds=5)
        mine = house.dsn("rotated", "app")
        assert quote(OWN, safe="") in mine
        with psycopg.connect(mine) as other:
            assert other.execute("select count(*) from kept").fetchone() == (0,)
        house.api("PATCH", path, json={"rotation_trigger": "2"}).raise_for_status()
        wait_for("the next one too", lambda: _is_refused(mine), seconds=5)
        assert live.execute("select pg_backend_pid()").fetchone() == pid, "the live connection has stayed"
    psycopg.connect(house.dsn("rotated", "app")).close()
    assert house.database("rotated", "app")["writer_term"] == 1, "the compute has stayed"
    assert OWN not in house.log()
    assert quote(OWN, safe="") not in house.log()
    assert house.api("DELETE", path).status_code == 204
    psycopg.connect(house.dsn("rotated", "app")).close()


def _is_refused(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError as error:
        return "password authentication failed" in str(error)
    return False


def test_what_goes_out_to_clients_is_counted(house: House) -> None:
    house.create_database("counted", "app")
    with house.connect("counted", "app") as connection:
        row = connection.execute("select repeat('x', 1000000)").fetchone()
        assert row is not None

    def counted() -> int:
        seen = int(house.database("counted", "app")["egress_bytes"])
        return seen if seen >= 1_000_000 else 0

    assert wait_for("the gateway has reported it", counted) < 1_010_000
