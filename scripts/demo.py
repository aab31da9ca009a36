"""The demo: from nothing to a database that sleeps and wakes, and back to nothing.

Here: the walk that `make demo` and `make demo-terraform` show, each step with its time. Not here: the tools that declare
(demo_tools.py), anything a user could not do by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
from demo_tools import DemoFailed, Pulumi, Terraform

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
START_SECONDS = 60
SLEEP_SECONDS = 60
LOST_AT_ROWS = 100


@contextlib.contextmanager
def step(title: str) -> Iterator[Callable[[str], None]]:
    """Prints one line for a step: what, what was seen, and how long it took."""
    seen: list[str] = []
    began = time.perf_counter()
    yield seen.append
    took = time.perf_counter() - began
    print(f"  {title:<44} {'; '.join(seen):<58} {took * 1000:8.0f} ms", flush=True)


def wait_until(what: str, seconds: float, check: Callable[[], bool]) -> None:
    """Waits for a condition, looking ten times a second."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise DemoFailed(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.1)


def processes_of(data_dir: Path, *, only: str | None = None) -> list[psutil.Process]:
    """Living processes that name the data folder in their command line (every one of ours does)."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        ours = str(data_dir) in line and process.pid != os.getpid()
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE and (only is None or only in line):
            found.append(process)
    return found


class Platform:
    """`spg99 dev` in a folder of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.ready_file = data_dir / "ready.json"
        self.log = data_dir / "dev.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [BIN / "spg99", "dev", "--safekeeper", "--data-dir", data_dir, "--ready-file", self.ready_file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self) -> dict[str, Any]:
        """Waits until the platform serves; answers its addresses."""

        def ready() -> bool:
            if self.process.poll() is not None:
                raise DemoFailed(f"spg99 dev ended with exit code {self.process.returncode}:\n{self._tail()}")
            return self.ready_file.exists()

        try:
            wait_until("the platform's start", START_SECONDS, ready)
        except DemoFailed as error:
            raise DemoFailed(f"{error}\n{self._tail()}") from None
        answer: dict[str, Any] = json.loads(self.ready_file.read_text())
        return answer

    def environment(self) -> dict[str, str]:
        """What `spg99 env` prints, as a dictionary."""
        out = subprocess.run(
            [BIN / "spg99", "env", "--data-dir", self.data_dir, "--json"], check=True, capture_output=True, text=True
        )
        variables: dict[str, str] = json.loads(out.stdout)
        return variables

    def stop(self) -> None:
        """Ends it as Ctrl-C would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise DemoFailed(f"spg99 dev did not stop within 30 s:\n{self._tail()}") from None

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


def answer_of(url: str, key: str) -> tuple[int, dict[str, Any]]:
    """HTTP status and JSON body of a GET."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def lose_compute(data_dir: Path, timeline: str, dsn: str, connect: dict[str, Any]) -> str:
    """Takes a compute and its folder away between two commits: what was acknowledged is with the safekeeper."""
    folder = next((data_dir / "node").glob(f"*/timelines/{timeline}"))
    with psycopg.connect(dsn, **connect, autocommit=True) as connection:
        for n in range(LOST_AT_ROWS):
            connection.execute("insert into visits (who) values (%s)", [f"late visitor {n}"])
        processes = processes_of(data_dir, only=str(folder))
        lost = folder.rename(
            data_dir / "lost"
        )  # at once: the agent makes the files anew as soon as it sees the compute gone
        for process in processes:
            process.kill()
        shutil.rmtree(lost)
    return f"after {LOST_AT_ROWS} more acknowledged rows"


TOOLS = {"pulumi": Pulumi, "terraform": Terraform}


def walk(data_dir: Path, tool_name: str) -> None:
    """All steps of the demo."""
    platform = Platform(data_dir)
    try:
        with step("start the platform (spg99 dev)") as saw:
            platform.wait_ready()
            environment = {
                **os.environ,
                **platform.environment(),
                "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            }
            api, key = environment["SPG99_CP_URL"], environment["SPG99_API_KEY"]
            saw(api)
        tool = TOOLS[tool_name](data_dir, environment)
        print(f"  declared with {tool.name}")
        with step(tool.prepare_title) as saw:
            saw(tool.prepare())
        with step(f"{tool.apply_title}: a tenant and a database") as saw:
            saw(tool.apply())
        database_url = f"{api}/tenants/{tool.tenant}/dbs/app"
        dsn = tool.output("connection_string")
        verified = dsn.replace("sslmode=require", "sslmode=verify-full")
        connect: dict[str, Any] = {"sslrootcert": environment["PGSSLROOTCERT"], "connect_timeout": 30}
        with step("connect (TLS, verify-full), write rows") as saw:
            with psycopg.connect(verified, **connect) as connection:
                connection.execute("create table visits (id bigint generated always as identity, who text)")
                connection.execute("insert into visits (who) select 'visitor ' || n from generate_series(1, 1000) n")
                row = connection.execute("show server_version").fetchone()
                saw(f"1000 rows in PostgreSQL {row[0] if row else '?'}")
        timelines = str(data_dir / "node")
        with step("wait until it sleeps") as saw:
            wait_until("falling asleep", SLEEP_SECONDS, lambda: answer_of(database_url, key)[1]["state"] == "stopped")
            computes = [p for p in processes_of(data_dir, only=timelines) if p.name().startswith("postgres")]
            if computes:
                raise DemoFailed(f"it sleeps, but compute processes are left: {computes}")
            saw("state stopped, no compute process")
        with step("connect again: it wakes") as saw:
            began = time.perf_counter()
            with psycopg.connect(verified, **connect) as connection:
                row = connection.execute("select count(*) from visits").fetchone()
            woke = (time.perf_counter() - began) * 1000
            if row is None or row[0] != 1000:
                raise DemoFailed(f"expected 1000 rows, found {row}")
            saw(f"1000 rows found, connect + query {woke:.0f} ms")
        with step("kill its PostgreSQL, delete its files") as saw:
            saw(lose_compute(data_dir, answer_of(database_url, key)[1]["timeline"], verified, connect))
        with step("connect again: nothing is lost") as saw:
            with psycopg.connect(verified, **connect) as connection:
                row = connection.execute("select count(*), max(id) from visits").fetchone()
            if row is None or row[0] < 1000 + LOST_AT_ROWS:
                raise DemoFailed(f"expected {1000 + LOST_AT_ROWS} rows at least, found {row}")
            saw(f"all {1000 + LOST_AT_ROWS} acknowledged rows found")
        with step(f"{tool.apply_title} again") as saw:
            saw(tool.apply_again())
        with step("change idle_timeout_seconds to 60") as saw:
            tool.change_idle_timeout(60)
            saw(tool.apply())
            if (seen := answer_of(database_url, key)[1]["idle_timeout_seconds"]) != 60:
                raise DemoFailed(f"the database still has idle_timeout_seconds {seen}")
        with step("destroy") as saw:
            saw(tool.destroy())
        with step("ask the API for the database") as saw:
            status, body = answer_of(database_url, key)
            if status != 404:
                raise DemoFailed(f"the API answers {status} {body}, not 404")
            saw(f"HTTP {status} {body['error']}")
    finally:
        with step("stop everything") as saw:
            platform.stop()
            wait_until("the end of all processes", 10, lambda: not processes_of(data_dir))
            sockets = [path for path in data_dir.rglob("*") if path.is_socket()]
            if sockets:
                raise DemoFailed(f"sockets are left: {sockets}")
            saw("no process, no socket left")


def main() -> int:
    """Runs the demo in a fresh folder; 0 when all of it went well, 130 after Ctrl-C."""
    tool_name = sys.argv[1] if len(sys.argv) > 1 else "pulumi"
    if tool_name not in TOOLS:
        print(f"usage: demo.py [{'|'.join(TOOLS)}]", file=sys.stderr)
        return 2
    data_dir = Path(tempfile.mkdtemp(prefix="spg99-demo-"))
    data_dir.chmod(0o711)  # root's PostgreSQL runs as another user, who must be able to walk through
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    began = time.perf_counter()
    print(f"SPG99 demo in {data_dir}")
    try:
        walk(data_dir, tool_name)
    except DemoFailed as error:
        print(f"demo failed: {error}\nThe folder {data_dir} is kept.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; everything is stopped", file=sys.stderr)
        shutil.rmtree(data_dir, ignore_errors=True)
        return 130
    shutil.rmtree(data_dir, ignore_errors=True)
    print(f"done in {time.perf_counter() - began:.1f} s; nothing is left behind")
    return 0


if __name__ == "__main__":
    sys.exit(main())
