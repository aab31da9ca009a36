"""How long a client waits for a sleeper, against starting the same PostgreSQL bare and connecting directly."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import psycopg
from tests.benchmarks.table import Table, mid, ms, percentile, ratio

from house import House, a_house, wait_for

QUESTION = "select 1"


def stopped(house: House, name: str) -> None:
    """Puts a database to sleep."""
    wait_for("no lease", lambda: house.database(name=name)["active_connections"] == 0, every=0.01)
    house.api("POST", f"/tenants/acme/dbs/{name}/stop").raise_for_status()
    wait_for("sleep", lambda: house.database(name=name)["state"] == "stopped", every=0.01)


def bare_start(command: list[str], uid: int, gid: int, socket_dir: str, port: int, user: str, name: str) -> float:
    """Seconds from starting the same command line by hand until `select 1` answers over the socket."""
    folder = Path(socket_dir)
    folder.mkdir(exist_ok=True)
    os.chown(folder, uid, gid)
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **({"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}),  # type: ignore[arg-type]
    )
    while True:
        try:
            with psycopg.connect(host=socket_dir, port=port, user=user, dbname=name) as connection:
                connection.execute(QUESTION)
            break
        except psycopg.OperationalError:
            if time.perf_counter() - began > 20:
                process.kill()
                raise
            time.sleep(0.001)
    took = time.perf_counter() - began
    process.send_signal(signal.SIGINT)
    process.wait(timeout=20)
    return took


def through_gateway(dsn: str) -> float:
    """Seconds for connect + `select 1` through the gateway (TLS, SCRAM)."""
    began = time.perf_counter()
    with psycopg.connect(dsn) as connection:
        connection.execute(QUESTION)
    return time.perf_counter() - began


def directly(address: str, port: int, user: str, name: str) -> float:
    """Seconds for connect + `select 1` on the unix socket."""
    began = time.perf_counter()
    with psycopg.connect(host=address, port=port, user=user, dbname=name) as connection:
        connection.execute(QUESTION)
    return time.perf_counter() - began


def run(*, quick: bool = False) -> list[Table]:
    """The table of section 11: waking and connecting."""
    rounds = 8 if quick else 40
    table = Table(
        "Waking and connecting: connect + `select 1`",
        ("what", "median", "p99", "ratio of medians", "ratio of p99 to bare median"),
    )
    with a_house() as house:
        house.create_database(name="bench", idle_timeout_seconds=300)
        dsn = house.dsn(name="bench")
        through_gateway(dsn)
        seen = house.database(name="bench")
        user = house.api("GET", "/tenants/acme").json()["pg_user"]
        (postmaster,) = house.computes(seen["timeline"])
        command, uid, gid = postmaster.cmdline(), postmaster.uids().effective, postmaster.gids().effective
        command[0] = psutil.Process(postmaster.pid).exe()
        address, port = str(seen["backend_addr"]), int(seen["backend_port"])
        socket_dir = address
        waking: list[float] = []
        bare: list[float] = []
        for _ in range(rounds):
            stopped(house, "bench")
            bare.append(bare_start(command, uid, gid, socket_dir, port, user, "bench"))
            waking.append(through_gateway(dsn))
        through_gateway(dsn)
        running = [(through_gateway(dsn), directly(*_where(house), user, "bench")) for _ in range(rounds * 3)]
    table.add("bare start + direct connect", ms(mid(bare)), ms(percentile(bare, 0.99)), "1.00", "")
    table.add(
        "sleeping, through the Gateway",
        ms(mid(waking)),
        ms(percentile(waking, 0.99)),
        ratio(mid(waking), mid(bare), goal=1.5),
        ratio(percentile(waking, 0.99), mid(bare), goal=4),
    )
    gateway, direct = [g for g, _ in running], [d for _, d in running]
    table.add(
        "running, direct on the socket (no TLS, no SCRAM)", ms(mid(direct)), ms(percentile(direct, 0.99)), "1.00", ""
    )
    table.add(
        "running, through the Gateway",
        ms(mid(gateway)),
        ms(percentile(gateway, 0.99)),
        ratio(mid(gateway), mid(direct), goal=1.3),
        "",
    )
    start, door = mid(bare), mid(gateway) - mid(direct)
    rest = mid(waking) - start - door
    table.notes += [
        f"Where a wake-up's {ms(mid(waking))} go: {ms(start)} are PostgreSQL's own start and a direct connect, {ms(door)} TLS and SCRAM (the client's "
        f"share of SCRAM alone, 4,096 rounds of PBKDF2, is some 3 ms), and {ms(rest)} the decision: Gateway -> Control Plane -> "
        "agent -> Control Plane -> Gateway, three HTTP calls and their transactions between Python processes that share two cores.",
        "The direct connection has neither TLS nor a password (the wheel's PostgreSQL is built without OpenSSL), so the last ratio "
        "compares a door with no door.",
    ]
    return [table]


def _where(house: House) -> tuple[str, int]:
    seen = house.database(name="bench")
    return str(seen["backend_addr"]), int(seen["backend_port"])
