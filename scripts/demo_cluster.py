"""`make demo-cluster`: two Control Planes, two Gateways, three machines with a node and a safekeeper each, and one with a pageserver, over an S3 server; clients
write while one machine after the other is killed or cut off. Prints what was acknowledged against what is there, and whether the object store is whole; exit code 1
when anything is missing.

    python scripts/demo_cluster.py [--rounds N] [--databases N] [--seconds-max N] [--without-waiting]

`--without-waiting` has the clients not wait for safekeepers (synchronous_commit = off): then rows are lost, and this must see it.
Here: the story. Not here: the machines (cluster_machines.py), the S3 server (cluster_store.py).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
from cluster_machines import SPG99, Balancer, Machine, Machines, ready
from cluster_store import Store as ObjectStore

from spg99.control_plane import bootstrap
from spg99.control_plane.store import Store, migrate

CONTROL_PLANES: Final = ("cp1", "cp2")
GATEWAYS: Final = ("gw1", "gw2")
NODES: Final = ("m1", "m2", "m3")
PAGESERVER: Final = "ps1"
API_PORT, GATEWAY_PORT, AGENT_PORT, KEEPER_PORT = 8099, 5432, 7654, 7655
TENANT: Final = "acme"
_BEGAN: Final = time.monotonic()


class Writer(threading.Thread):
    """Inserts numbers into one database through any Gateway and remembers which were acknowledged."""

    def __init__(self, number: int, database: str, dsn: str, *, waits: bool) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self.number, self.database, self._dsn, self._waits = number, database, dsn, waits
        self.acknowledged: set[int] = set()
        self.ends = threading.Event()
        self._sent = 0
        self.last_error = ""

    def run(self) -> None:
        while not self.ends.is_set():
            try:
                with psycopg.connect(self._dsn, autocommit=True) as connection:
                    if not self._waits:
                        connection.execute("set synchronous_commit = off")
                    while not self.ends.is_set():
                        self._sent += 1
                        connection.execute("insert into rows values (%s, %s)", (self.number, self._sent))
                        self.acknowledged.add(self._sent)
            except psycopg.Error as error:
                self.last_error = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                time.sleep(0.1)


class Cluster:
    """The machines and what runs on them."""

    def __init__(self, machines: Machines, folder: Path, store: ObjectStore) -> None:
        self.machines = machines
        self.folder = folder
        self.shared = folder / "shared"
        self.shared.mkdir()
        self.store = store
        self.store_flags = ("--object-store", store.url, "--master-key-file", str(self.shared / "storage.key"))
        self.cp_url = ""
        self.catalogue_url = ""
        self.api_key = ""
        for name in (*CONTROL_PLANES, *GATEWAYS, *NODES, PAGESERVER):
            machines.add(name)

    def machine(self, name: str) -> Machine:
        """By name."""
        return self.machines.machines[name]

    def start_control_planes(self) -> None:
        """The first also bootstraps the catalogue."""
        for name in CONTROL_PLANES:
            self.start(name)
        self.api_key = (self.machine("cp1").folder / "secrets" / "admin.key").read_text().strip()

    def start(self, name: str) -> None:
        """Starts all that belongs on a machine."""
        machine, kind = self.machine(name), name[:2]
        if kind == "cp":
            machine.start(
                "control-plane", "--host", machine.address, "--port", str(API_PORT), "--no-tls",
                "--secret-key-file", str(self.shared / "catalogue.key"),
                "--gateway-host", self.machine("gw1").address, "--gateway-port", str(GATEWAY_PORT), *self.store_flags,
                environment=self.store.environment | {"SPG99_CATALOGUE_URL": self.catalogue_url},
            )  # fmt: skip
            return
        if kind == "gw":
            self._join(
                machine, "gateway", "gateway", "--host", machine.address, "--port", str(GATEWAY_PORT), "--workers", "1",
                "--tls-names", machine.address, "--connect-seconds", "60",
            )  # fmt: skip
            return
        if kind == "ps":
            self._join(machine, "pageserver", "pageserver", *self.store_flags)
            return
        self._join(machine, "safekeeper", "safekeeper", "--listen", f"{machine.address}:{KEEPER_PORT}")
        self._join(machine, "agent", "node", "--listen", f"{machine.address}:{AGENT_PORT}", *self.store_flags)

    def _join(self, machine: Machine, command: str, kind: Any, *flags: str) -> None:
        places = {
            "gateway": "gateway/{}.json",
            "safekeeper": "safekeeper/{}/identity.json",
            "node": "node/{}/identity.json",
            "pageserver": "pageserver/{}/identity.json",
        }
        known = (machine.folder / places[kind].format(machine.name)).exists()
        environment = self.store.environment | ({} if known else {"SPG99_ENROLMENT_TOKEN": self._token(kind)})
        machine.start(command, "--name", machine.name, "--cp-url", self.cp_url, *flags, environment=environment)

    def _token(self, kind: str) -> str:
        return str(self.api("POST", "/enrolment-tokens", json={"kind": kind})["enrolment_token"])

    def api(self, method: str, path: str, **arguments: Any) -> Any:
        """One call of the HTTP API, through the balancer, as often as it takes."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        for _ in range(30):
            try:
                answer = httpx.request(
                    method, self.cp_url + path, headers=headers, timeout=60, verify=False, **arguments
                )
            except httpx.HTTPError:
                time.sleep(0.5)
                continue
            if answer.status_code == 503:
                time.sleep(0.5)
                continue
            answer.raise_for_status()
            return answer.json() if answer.content else None
        raise SystemExit("no Control Plane answers")

    def dsn(self, database: str) -> str:
        """A connection string that names both Gateways, and notices when one of them is gone."""
        found = self.api("GET", f"/tenants/{TENANT}/dbs/{database}")["connection_string"]
        hosts = ",".join(self.machine(name).address for name in random.sample(GATEWAYS, len(GATEWAYS)))
        ports = ",".join([str(GATEWAY_PORT)] * len(GATEWAYS))
        silent = {
            "connect_timeout": "70",
            "keepalives_idle": "3",
            "keepalives_interval": "2",
            "keepalives_count": "3",
            "tcp_user_timeout": "8000",
        }
        return psycopg.conninfo.make_conninfo(found, host=hosts, port=ports, sslmode="require", **silent)

    def writers_node(self, database: str) -> str:
        """The machine on which a database's compute runs now, as the catalogue has it."""
        query = "select n.name from databases d join computes c on c.compute_id = d.compute_id join nodes n using (node_id) where d.name = %s"
        with psycopg.connect(self.catalogue_url, autocommit=True) as catalogue:
            row = catalogue.execute(query, (database,)).fetchone()
        return str(row[0]) if row else NODES[0]


def _catalogue(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    folder.mkdir()
    folder.chmod(0o711)
    process = subprocess.Popen([*SPG99, "catalogue", "--data-dir", str(folder)], stdout=subprocess.PIPE)
    return process, str(ready(process, "spg99 catalogue")["url"])


async def _prepare(catalogue_url: str) -> None:
    """The schema, and that new databases have three safekeepers."""
    await asyncio.to_thread(migrate.up, catalogue_url)
    store = Store(catalogue_url, pool_size=2)
    await store.open()
    await bootstrap.set_policy(store, "storage.safekeepers", len(NODES))
    await store.close()


def _story(cluster: Cluster, asked: argparse.Namespace) -> bool:
    """Whether everything that was acknowledged is there."""
    cluster.start_control_planes()
    for name in (*NODES, *GATEWAYS, PAGESERVER):
        cluster.start(name)
    say(
        f"{len(CONTROL_PLANES)} Control Planes, {len(GATEWAYS)} Gateways, {len(NODES)} nodes and safekeepers, a pageserver and {cluster.store.name}, "
        + (
            "each machine a network namespace"
            if cluster.machines.has_namespaces
            else "on addresses of this computer (not root: no namespaces)"
        )
    )
    databases = [f"app{number}" for number in range(1, asked.databases + 1)]
    cluster.api("POST", "/tenants", json={"name": TENANT})
    writers = []
    for number, name in enumerate(databases):
        cluster.api("POST", f"/tenants/{TENANT}/dbs", json={"name": name, "idle_timeout_seconds": 600})
        with psycopg.connect(cluster.dsn(name), autocommit=True) as connection:
            connection.execute("create table rows (writer int, n int)")
        writers += [Writer(number * 10 + n, name, cluster.dsn(name), waits=not asked.without_waiting) for n in range(2)]
    for writer in writers:
        writer.start()
    _until("all clients to write", _grown(writers, 20), asked.seconds_max, writers)
    for number in range(asked.rounds):
        _round(cluster, number, databases, writers, asked.seconds_max)
    for writer in writers:
        writer.ends.set()
    for writer in writers:
        writer.join(60)
    is_there = _is_all_there(cluster, databases, writers)
    return _is_store_whole(cluster, asked.seconds_max) and is_there


def _round(cluster: Cluster, number: int, databases: list[str], writers: list[Writer], seconds_max: float) -> None:
    """One machine is lost, and clients go on; then it comes back."""
    writer_of_one = cluster.writers_node(databases[number % len(databases)])
    name, is_cut = [
        (writer_of_one, False), ("gw1", False), (writer_of_one, True), (PAGESERVER, False), ("cp1", False), (writer_of_one, False), ("gw2", False), ("cp2", False),
    ][number % 8]  # fmt: skip
    is_cut = is_cut and cluster.machines.has_namespaces
    machine, began, before = cluster.machine(name), time.monotonic(), _count(writers)
    if is_cut:
        machine.cut()
    else:
        machine.kill()
    what = "is cut off, and all on it runs on" if is_cut else "is lost: every process of it is killed"
    _until(f"clients to write again without {name}", _grown(writers, 20), seconds_max, writers)
    took = time.monotonic() - began
    say(
        f"round {number + 1}: {name} {what}; all clients write again after {took:.1f} s, {_count(writers) - before} more rows acknowledged"
    )
    if is_cut:
        machine.heal()
    else:
        cluster.start(name)
    _until(f"clients to write with {name} back", _grown(writers, 20), seconds_max, writers)


def _is_all_there(cluster: Cluster, databases: list[str], writers: list[Writer]) -> bool:
    lost_count = 0
    for name in databases:
        acknowledged = {(one.number, n) for one in writers if one.database == name for n in one.acknowledged}
        with psycopg.connect(cluster.dsn(name), autocommit=True) as connection:
            found = {(int(row[0]), int(row[1])) for row in connection.execute("select writer, n from rows")}
        lost = acknowledged - found
        lost_count += len(lost)
        say(f"{name}: {len(acknowledged)} acknowledged, {len(acknowledged & found)} of them found, {len(lost)} lost")
    say("nothing that was acknowledged is lost" if not lost_count else f"LOST: {lost_count} acknowledged rows")
    return not lost_count


def _is_store_whole(cluster: Cluster, seconds_max: float) -> bool:
    """Whether the object store has what it should: the pageserver, on its own machine, has archived the WAL of all databases, and nothing is missing."""
    words = [*SPG99, "storage", "check", "--read", *cluster.store_flags, "--catalogue-url", cluster.catalogue_url]
    environment = os.environ | cluster.store.environment | {"SPG99_DATA_DIR": str(cluster.folder / "check")}
    deadline = time.monotonic() + seconds_max
    while True:  # what is being stored in this moment may be named once
        checked = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        lines = checked.stdout.strip().splitlines() or checked.stderr.strip().splitlines()
        pieces = re.search(r"(\d+) pieces of WAL", checked.stdout)
        if (checked.returncode == 0 and pieces and int(pieces[1])) or time.monotonic() > deadline:
            break
        time.sleep(1)
    say("the object store: " + " ".join(lines[-2:]))
    return checked.returncode == 0 and pieces is not None and int(pieces[1]) > 0


def _count(writers: list[Writer]) -> int:
    return sum(len(writer.acknowledged) for writer in writers)


def _grown(writers: list[Writer], rows: int) -> Callable[[], bool]:
    """A check: each of them has had so many more rows acknowledged since now."""
    before = {writer.number: len(writer.acknowledged) for writer in writers}
    return lambda: all(len(writer.acknowledged) >= before[writer.number] + rows for writer in writers)


def _until(what: str, check: Callable[[], bool], seconds_max: float, writers: list[Writer]) -> None:
    deadline = time.monotonic() + seconds_max
    while not check():
        if time.monotonic() > deadline:
            said = "; ".join(f"{writer.name} ({writer.database}): {writer.last_error}" for writer in writers)
            raise SystemExit(f"not within {seconds_max:.0f} s: {what}. Last errors: {said}")
        time.sleep(0.05)


def say(text: str) -> None:
    """A line for whoever watches, with the time since the beginning."""
    print(f"{time.monotonic() - _BEGAN:6.1f} s  {text}", flush=True)


def main() -> int:
    """The whole story."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--databases", type=int, default=2)
    parser.add_argument("--seconds-max", type=float, default=150.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--without-waiting", action="store_true")
    asked = parser.parse_args()
    random.seed(asked.seed)
    folder = Path(tempfile.mkdtemp(prefix="spgc-"))
    folder.chmod(0o711)
    catalogue: subprocess.Popen[bytes] | None = None
    failed = True
    try:
        with Machines(folder) as machines, ObjectStore(machines.outside, folder / "store") as store:
            cluster = Cluster(machines, folder, store)
            # On this computer, outside of all machines, as the S3 server is: they are what this demonstration does not lose.
            catalogue, cluster.catalogue_url = _catalogue(folder / "catalogue")
            asyncio.run(_prepare(cluster.catalogue_url))
            targets = [(cluster.machine(name).address, API_PORT) for name in CONTROL_PLANES]
            with Balancer(machines.outside, targets) as balancer:
                cluster.cp_url = f"http://{machines.outside}:{balancer.port}/v2"
                failed = not _story(cluster, asked)
    finally:
        if catalogue is not None:
            catalogue.terminate()
            catalogue.wait(30)
        if failed or asked.keep:
            print(f"Logs and data are in {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
