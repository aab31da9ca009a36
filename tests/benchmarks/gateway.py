"""pgbench and COPY through the Gateway, against the bare socket and against pgbouncer where it is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg
from tests.benchmarks.table import Table, mid, ratio

from kit.platform import Platform, a_platform, wait_for

TPS = re.compile(r"tps = ([0-9.]+)")
DONE = re.compile(r"actually processed: ([0-9]+)")
BOUNCER_PORT = 16432


class Seen(NamedTuple):
    """One run of pgbench."""

    tps: float
    cpu_microseconds: float
    """Of what stands between pgbench and the compute, for each transaction."""


class Target:
    """Where pgbench connects. `pid`: the process that stands between it and the compute, with its children; 0 where none does."""

    def __init__(self, title: str, environment: dict[str, str], *, pid: int = 0) -> None:
        self.title = title
        self.environment = environment
        self.pid = pid

    def pgbench(self, *arguments: str) -> Seen:
        """Runs it."""
        before = self._cpu_seconds()
        done = subprocess.run(
            ["pgbench", "-n", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        tps, transactions = TPS.search(done.stdout), DONE.search(done.stdout)
        if done.returncode or not tps or not transactions:
            raise RuntimeError(f"pgbench {arguments} on {self.title}: {done.stdout}{done.stderr}")
        return Seen(float(tps[1]), 1e6 * (self._cpu_seconds() - before) / max(1, int(transactions[1])))

    def _cpu_seconds(self) -> float:
        if not self.pid:
            return 0.0
        process = psutil.Process(self.pid)
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        return sum(each.user + each.system for each in times)

    def copy_out_megabytes_per_second(self, rows: int) -> float:
        """COPY TO STDOUT of `rows` rows of 1000 bytes."""
        names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname", "PGPASSWORD": "password"}
        names |= {"PGSSLMODE": "sslmode"}
        arguments = {names[key]: value for key, value in self.environment.items() if key in names}
        size = 0
        with psycopg.connect(**arguments) as connection:  # type: ignore[arg-type]
            began = time.perf_counter()
            statement = f"copy (select repeat('x', 999) from generate_series(1, {rows})) to stdout"
            with connection.cursor() as cursor, cursor.copy(statement) as copy:  # type: ignore[arg-type]
                while data := copy.read():
                    size += len(data)
            return size / 1e6 / (time.perf_counter() - began)


@contextmanager
def bouncer(platform: Platform, socket_dir: str, port: int, user: str, password: str) -> Iterator[Target | None]:
    """pgbouncer in front of the same compute with TLS and SCRAM, or None where it is not installed."""
    program = shutil.which("pgbouncer") or ("/usr/sbin/pgbouncer" if Path("/usr/sbin/pgbouncer").exists() else None)
    if program is None:
        yield None
        return
    folder = platform.data_dir / "bouncer"
    folder.mkdir(exist_ok=True)
    for name in ("server.crt", "server.key"):
        shutil.copy(platform.data_dir / "gateway" / "tls" / name, folder / name)
    (folder / "users.txt").write_text(f'"{user}" "{password}"\n')
    (folder / "bouncer.ini").write_text(
        f"[databases]\nbench = host={socket_dir} port={port} dbname=bench user={user}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {BOUNCER_PORT}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
        f"auth_file = {folder}/users.txt\npool_mode = session\ndefault_pool_size = 100\nmax_client_conn = 500\n"
        f"client_tls_sslmode = require\nclient_tls_key_file = {folder}/server.key\nclient_tls_cert_file = {folder}/server.crt\n"
        "log_connections = 0\nlog_disconnections = 0\nignore_startup_parameters = extra_float_digits\n"
    )
    identity = {}
    if os.geteuid() == 0:
        # It refuses to run as root, and only the compute's own user may open the folder of its socket.
        owner = Path(socket_dir).stat()
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.st_uid, owner.st_gid)
        identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    process = subprocess.Popen(
        [program, "-q", folder / "bouncer.ini"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **identity,  # type: ignore[arg-type]
    )
    target = Target(
        "pgbouncer, TLS + SCRAM",
        {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(BOUNCER_PORT),
            "PGUSER": user,
            "PGDATABASE": "bench",
            "PGPASSWORD": password,
            "PGSSLMODE": "require",
        },
        pid=process.pid,
    )
    try:
        wait_for("pgbouncer", lambda: _answers(target), seconds=10)
        yield target
    finally:
        process.terminate()
        process.wait(timeout=10)


def _answers(target: Target) -> bool:
    try:
        return target.pgbench("-S", "-c1", "-t1").tps > 0
    except RuntimeError:
        return False


WHERE_IT_GOES = (
    "User and system time of all processes between pgbench and the compute, of the same runs as the table above. Where one machine runs "
    "everything, what the Gateway takes is missing elsewhere, so this decides its throughput. Profile of a relayed round trip (8 clients, "
    "-S, 2026-11-30, 20 microseconds): the kernel 55 % (two reads, two writes, 1.1 waits; pgbouncer makes three reads), OpenSSL 13 %, and the "
    "rest, some 6 microseconds, Python and uvloop around them, for which pgbouncer needs 3. Four other byte paths were measured, Python and "
    "compiled, each beside pgbouncer in the same run: what they reached, and why none is here, says decision 56."
)
CASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("-S simple, 8 clients", ("-S", "-c8", "-j2")),
    ("-S prepared, 8 clients", ("-S", "-c8", "-j2", "-M", "prepared")),
    ("-S prepared, 32 clients", ("-S", "-c32", "-j2", "-M", "prepared")),
    ("TPC-B simple, 8 clients", ("-c8", "-j2")),
    ("TPC-B prepared, 32 clients", ("-c32", "-j2", "-M", "prepared")),
    ("new connection per transaction, 8 clients", ("-S", "-C", "-c8", "-j2")),
)


def run(*, quick: bool = False) -> list[Table]:
    """The table of section 11: throughput."""
    rounds, seconds, rows = (1, 1, 100_000) if quick else (3, 3, 400_000)
    table = Table(
        "Gateway throughput (pgbench scale 10; TLS on the Gateway's side, none on the socket)",
        ("case", "direct socket", "Gateway", "pgbouncer", "Gateway / direct", "Gateway / pgbouncer"),
    )
    cpu = Table(
        "Gateway CPU: microseconds of its own for each transaction",
        ("case", "Gateway", "pgbouncer", "Gateway / pgbouncer"),
        notes=[WHERE_IT_GOES],
    )
    if not shutil.which("pgbench"):
        table.notes.append("Not measured: there is no pgbench on PATH (Debian: postgresql-client).")
        return [table]
    with a_platform("--gateway-workers", str(os.cpu_count() or 1)) as platform:
        platform.create_database(name="bench", size="L3", idle_timeout_seconds=0)
        tenant = platform.api("GET", "/tenants/acme").json()
        user, password = tenant["pg_user"], tenant["pg_password"]
        host, _, gateway_port = platform.env["SPG99_GATEWAY"].rpartition(":")
        common = {"PGUSER": user, "PGDATABASE": "bench"}
        gateway = Target(
            "Gateway",
            {"PGHOST": host, "PGPORT": gateway_port, "PGPASSWORD": password, "PGSSLMODE": "require", **common},
            pid=platform.child("gateway"),
        )
        _load(gateway)
        seen = platform.database(name="bench")
        direct = Target("direct", {"PGHOST": seen["backend_addr"], "PGPORT": str(seen["backend_port"]), **common})
        with bouncer(platform, seen["backend_addr"], seen["backend_port"], user, password) as pooled:
            targets = [target for target in (direct, gateway, pooled) if target is not None]
            for title, arguments in CASES:
                runs: dict[str, list[Seen]] = {target.title: [] for target in targets}
                for _ in range(rounds):
                    for target in targets:
                        runs[target.title].append(target.pgbench(f"-T{seconds}", *arguments))
                _row(table, title, [mid([seen.tps for seen in runs[target.title]]) for target in targets], "tps")
                _cpu_row(
                    cpu, title, [mid([seen.cpu_microseconds for seen in runs[target.title]]) for target in targets]
                )
            copies = [mid([target.copy_out_megabytes_per_second(rows) for _ in range(rounds)]) for target in targets]
            _row(table, f"COPY out, {rows // 1000} MB", copies, "MB/s")
    if len(targets) < 3:
        table.notes.append("pgbouncer is not installed here (Debian: pgbouncer), so its column is empty.")
    return [table, cpu]


def _load(target: Target) -> None:
    subprocess.run(
        ["pgbench", "-i", "-q", "-s", "10"],
        env={**os.environ, **target.environment},
        check=True,
        capture_output=True,
        timeout=120,
    )


def _row(table: Table, title: str, medians: list[float], unit: str) -> None:
    direct, gateway, *rest = medians
    table.add(
        title,
        f"{direct:,.0f} {unit}",
        f"{gateway:,.0f} {unit}",
        f"{rest[0]:,.0f} {unit}" if rest else "",
        ratio(gateway, direct),
        ratio(gateway, rest[0], goal=1.0, at_most=False) if rest else "",
    )


def _cpu_row(table: Table, title: str, medians: list[float]) -> None:
    _, gateway, *rest = medians
    table.add(
        title,
        f"{gateway:,.0f}",
        f"{rest[0]:,.0f}" if rest else "",
        ratio(gateway, rest[0]) if rest else "",
    )
