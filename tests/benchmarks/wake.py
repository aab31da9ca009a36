"""How long a client waits for a sleeper, against starting the same PostgreSQL bare and connecting to it with TLS and SCRAM; and
where the time goes, by the moments that our processes note (spg99.spans)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
from tests.benchmarks.table import Table, mid, ms, percentile, ratio

from kit.platform import Platform, a_platform, wait_for

QUESTION = "select 1"
AT_ONCE = 10
SPARE_SECONDS = 1.5
STEPS = (
    ("client.connects", "client and Gateway: TCP, TLS, SCRAM"),
    ("gateway.logged_in", "Gateway: worker to parent"),
    ("gateway.asks", "Gateway to Control Plane: one call"),
    ("wake.asked", "Control Plane: decides, writes, orders"),
    ("wake.ordered", "Control Plane: hands the order to the agent's poll"),
    ("wake.order_given", "Control Plane to agent: the answer to its poll"),
    ("agent.has_order", "agent: checks the order, writes the fence, prepares"),
    ("agent.begins", "agent: clears the way, makes the process"),
    ("postgres.spawned", "PostgreSQL: its own start"),
    ("postgres.serves", "agent: takes it into its books"),
    ("agent.tells", "agent to Control Plane: one call"),
    ("wake.result_heard", "Control Plane: writes that it is ready"),
    ("wake.ready", "Control Plane: finds out who waits, takes the lease"),
    ("wake.checked_out", "Control Plane to Gateway: the answer"),
    ("gateway.answered", "Gateway: parent to worker"),
    ("gateway.knows_compute", "Gateway: a session on the compute"),
    ("gateway.joined", "client: greeting, `select 1`"),
    ("client.answered", ""),
)
"""The moments of a wake in their order, each with what happens from there to the next."""


def stopped(platform: Platform, name: str) -> None:
    """Puts a database to sleep."""
    wait_for("no lease", lambda: platform.database(name=name)["active_connections"] == 0, every=0.01)
    platform.api("POST", f"/tenants/acme/dbs/{name}/stop").raise_for_status()
    wait_for("sleep", lambda: platform.database(name=name)["state"] == "stopped", every=0.01)


def spans_of(lines: list[str]) -> dict[str, float]:
    """Seconds from each moment of one wake to the next, by the moment it begins with; adds up to the whole. Of a moment that came
    twice the first counts; one that did not come takes no time."""
    seen: dict[str, int] = {}
    for line in lines:
        moment, _, name = line.partition(" ")
        seen.setdefault(name, int(moment))
    spans, before, at = {}, STEPS[0][0], seen[STEPS[0][0]]
    for name, _ in STEPS[1:]:
        there = max(at, seen.get(name, at))
        spans[before] = (there - at) / 1e9
        before, at = name, there
    return spans


def traced(dsn: str, file: Path) -> tuple[float, dict[str, float]]:
    """One wake through the gateway: its seconds, and where they went."""
    file.write_text("")
    began = time.monotonic_ns()
    took = through_gateway(dsn)
    ended = time.monotonic_ns()
    lines = [f"{began} {STEPS[0][0]}", *file.read_text().splitlines(), f"{ended} {STEPS[-1][0]}"]
    return took, spans_of(lines)


def through_gateway(dsn: str) -> float:
    """Seconds for connect + `select 1` through the gateway (TLS, SCRAM)."""
    began = time.perf_counter()
    with psycopg.connect(dsn) as connection:
        connection.execute(QUESTION)
    return time.perf_counter() - began


class Sleeper:
    """One database that was woken once, and the command line by which its PostgreSQL can be started bare."""

    def __init__(self, platform: Platform, name: str) -> None:
        platform.create_database(name=name, idle_timeout_seconds=300)
        self.platform, self.name, self.dsn = platform, name, platform.dsn(name=name)
        through_gateway(self.dsn)
        seen = platform.database(name=name)
        self.user = platform.api("GET", "/tenants/acme").json()["pg_user"]
        (postmaster,) = platform.computes(seen["timeline"])
        self.command = [postmaster.exe(), *postmaster.cmdline()[1:]]
        self.uid, self.gid = postmaster.uids().effective, postmaster.gids().effective
        self.socket_dir, self.port = str(seen["backend_addr"]), int(seen["backend_port"])

    def connect(self, socket_dir: str) -> None:
        """Connect + `select 1` on the unix socket: no TLS, no password."""
        with psycopg.connect(host=socket_dir, port=self.port, user=self.user, dbname=self.name) as connection:
            connection.execute(QUESTION)

    def directly(self) -> float:
        """Seconds for that, on the database that runs."""
        socket_dir = str(self.platform.database(name=self.name)["backend_addr"])
        self.connect(socket_dir)
        began = time.perf_counter()
        self.connect(socket_dir)
        return time.perf_counter() - began

    def bare_start(self) -> float:
        """Seconds from starting the same command line by hand until `select 1` answers over the socket."""
        Path(self.socket_dir).mkdir(exist_ok=True)
        os.chown(self.socket_dir, self.uid, self.gid)
        began = time.perf_counter()
        process = subprocess.Popen(
            self.command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **({"user": self.uid, "group": self.gid, "extra_groups": []} if os.geteuid() == 0 else {}),  # type: ignore[arg-type]
        )
        while True:
            try:
                self.connect(self.socket_dir)
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


def run(*, quick: bool = False) -> list[Table]:
    """The tables of section 11: waking and connecting, and where the time goes."""
    rounds, rounds_at_once = (8, 2) if quick else (60, 10)
    folder = Path(tempfile.mkdtemp(prefix="spg99-spans-"))
    folder.chmod(0o711)
    file = folder / "spans"
    try:
        with a_platform(environment={"SPG99_SPANS_FILE": str(file)}) as platform:
            one, where = _one(Sleeper(platform, "bench"), rounds, file)
            _first(one, platform, rounds)
            _at_once(one, platform, rounds_at_once)
            return [one, where]
    finally:
        shutil.rmtree(folder)


def _one(sleeper: Sleeper, rounds: int, file: Path) -> tuple[Table, Table]:
    """Wakes of one database, each beside a bare start and connects of the same moment."""
    doors: list[float] = []
    directs: list[float] = []
    starts: list[float] = []
    bare: list[float] = []
    wakes: list[float] = []
    spans: list[dict[str, float]] = []
    for _ in range(rounds):
        through_gateway(sleeper.dsn)
        doors.append(through_gateway(sleeper.dsn))
        directs.append(sleeper.directly())
        stopped(sleeper.platform, sleeper.name)
        starts.append(sleeper.bare_start())
        bare.append(starts[-1] - directs[-1] + doors[-1])
        took, where = traced(sleeper.dsn, file)
        wakes.append(took)
        spans.append(where)
    base = mid(bare)
    table = Table(
        "Waking and connecting: connect + `select 1`",
        ("what", "median", "p99", "ratio of medians", "ratio of p99 to the bare median"),
    )
    table.add("bare start + direct connect on the socket", ms(mid(starts)), ms(percentile(starts, 0.99)), "", "")
    table.add("bare start + connect with TLS and SCRAM", ms(base), ms(percentile(bare, 0.99)), "1.00", "")
    table.add(
        "sleeping, through the Gateway",
        ms(mid(wakes)),
        ms(percentile(wakes, 0.99)),
        ratio(mid(wakes), base, goal=1.5),
        ratio(percentile(wakes, 0.99), base, goal=3),
    )
    table.add(
        "running, direct on the socket (no TLS, no SCRAM)", ms(mid(directs)), ms(percentile(directs, 0.99)), "1.00", ""
    )
    table.add(
        "running, through the Gateway",
        ms(mid(doors)),
        ms(percentile(doors, 0.99)),
        ratio(mid(doors), mid(directs), goal=1.3),
        "",
    )
    table.notes.append(
        "A bare start is the compute's own command line, run by hand, until it answers. The wheel's PostgreSQL is built without OpenSSL, so the "
        "connect with TLS and SCRAM that goes with it is the Gateway's to the running database, of the same round (the client's share of "
        "SCRAM alone, 4,096 rounds of PBKDF2, is some 3 ms)."
    )
    parts = Table("Where the time of a wake goes", ("from there to the next", "median", "mean"))
    for name, what in STEPS[:-1]:
        values = [each[name] for each in spans]
        parts.add(what, ms(mid(values)), ms(sum(values) / len(values)))
    parts.add("all of it", ms(mid(wakes)), ms(sum(wakes) / len(wakes)))
    parts.notes.append("Moments noted by each process on one clock; the means add up, medians only nearly.")
    return table, parts


def _first(table: Table, platform: Platform, rounds: int) -> None:
    """First wakes, of databases that are a row so far, each beside a later wake of the same database."""
    firsts: list[float] = []
    later: list[float] = []
    for number in range(rounds):
        name = f"first{number}"
        platform.create_database(name=name, idle_timeout_seconds=300)
        dsn = platform.dsn(name=name)
        time.sleep(
            SPARE_SECONDS
        )  # a user takes longer between two new databases; the node copies its template meanwhile
        firsts.append(through_gateway(dsn))
        stopped(platform, name)
        later.append(through_gateway(dsn))
        stopped(platform, name)
    more = mid(firsts) - mid(later)
    table.add(
        "first connect to a new database: its files are made",
        ms(mid(firsts)),
        ms(percentile(firsts, 0.99)),
        f"{ms(more)} more than a later wake (goal <= 60 ms: {'met' if more <= 0.06 else 'missed'})",
        "",
    )


def _at_once(table: Table, platform: Platform, rounds: int) -> None:
    """Ten wakes at once, beside ten bare starts at once."""
    sleepers = [Sleeper(platform, f"bench{number}") for number in range(AT_ONCE)]
    alone: list[float] = []
    bare: list[float] = []
    bare_alone: list[float] = []
    wakes: list[float] = []
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for turn in range(rounds):
            for sleeper in sleepers:
                stopped(platform, sleeper.name)
            bare += threads.map(Sleeper.bare_start, sleepers)
            wakes += threads.map(lambda sleeper: through_gateway(sleeper.dsn), sleepers)
            stopped(platform, sleepers[turn % AT_ONCE].name)
            bare_alone.append(sleepers[turn % AT_ONCE].bare_start())
            alone.append(through_gateway(sleepers[turn % AT_ONCE].dsn))
    table.add(
        f"{AT_ONCE} bare starts at once, each: PostgreSQL alone on these cores",
        ms(mid(bare)),
        ms(percentile(bare, 0.99)),
        f"{ratio(mid(bare), mid(bare_alone))} of one bare start",
        "",
    )
    table.add(
        f"{AT_ONCE} sleepers at once, each",
        ms(mid(wakes)),
        ms(percentile(wakes, 0.99)),
        f"{ratio(mid(wakes), mid(alone), goal=2)} of one alone, {ratio(mid(wakes), mid(bare))} of as many bare starts",
        "",
    )
