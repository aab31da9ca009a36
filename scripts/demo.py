"""The demo: from nothing to a database that sleeps and wakes, and back to nothing.

Here: the walk that `make demo` shows, each step with its time. Not here: anything a user could not do by hand.
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

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
START_SECONDS = 60
SLEEP_SECONDS = 60


class DemoFailed(Exception):
    """A step did not do what it should; the message says which and what was seen."""


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
                [BIN / "spg99", "dev", "--data-dir", data_dir, "--ready-file", self.ready_file],
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


class Stack:
    """One Pulumi stack, driven by the `pulumi` on PATH or by the embedded engine: the same commands."""

    def __init__(self, project: Path, environment: dict[str, str]) -> None:
        pulumi = shutil.which("pulumi")
        self.program = [pulumi] if pulumi else [str(BIN / "spg99")]
        self.name = "the Pulumi CLI" if pulumi else "the embedded engine (no pulumi on PATH)"
        self.project = project
        self.environment = environment

    def run(self, *arguments: str) -> str:
        """Runs one command in the project; answers what it printed. Raises DemoFailed with it on failure."""
        done = subprocess.run(
            [*self.program, *arguments],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise DemoFailed(f"`{' '.join(arguments)}` ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout + done.stderr


def changes_in(output: str) -> str:
    """The lines of an `up` that count resources, on one line."""
    lines = [line.strip() for line in output.splitlines()]
    if "Resources:" not in lines:
        return "done"
    counted = []
    last = len(lines) - 1 - lines[::-1].index("Resources:")  # an `up` shows a preview first
    for line in lines[last + 1 :]:
        if not line:
            break
        counted.append(line)
    return ", ".join(counted)


def answer_of(url: str, key: str) -> tuple[int, dict[str, Any]]:
    """HTTP status and JSON body of a GET."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def walk(data_dir: Path) -> None:
    """All steps of the demo."""
    platform = Platform(data_dir)
    try:
        with step("start the platform (spg99 dev)") as saw:
            platform.wait_ready()
            environment = {
                **os.environ,
                **platform.environment(),
                "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
                "PULUMI_BACKEND_URL": f"file://{data_dir}/state",
                "PULUMI_CONFIG_PASSPHRASE": "demo",
                "PULUMI_SKIP_UPDATE_CHECK": "true",
            }
            api, key = environment["SPG99_CP_URL"], environment["SPG99_API_KEY"]
            saw(api)
        (data_dir / "state").mkdir()
        project = data_dir / "hello-database"
        shutil.copytree(ROOT / "examples" / "01-hello-database", project)
        stack = Stack(project, environment)
        print(f"  declared with {stack.name}")
        with step("stack init") as saw:
            stack.run("stack", "init", "dev")
        with step("up: a tenant and a database") as saw:
            saw(changes_in(stack.run("up", "--yes", "--stack", "dev")))
        database_url = f"{api}/tenants/acme/dbs/app"
        dsn = (
            stack.run("stack", "output", "connection_string", "--show-secrets", "--stack", "dev")
            .strip()
            .splitlines()[-1]
        )
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
        with step("up again") as saw:
            saw(changes_in(stack.run("up", "--yes", "--stack", "dev", "--expect-no-changes")))
        with step("change idle_timeout_seconds to 60") as saw:
            stack.run("config", "set", "idleTimeoutSeconds", "60", "--stack", "dev")
            saw(changes_in(stack.run("up", "--yes", "--stack", "dev")))
            if (seen := answer_of(database_url, key)[1]["idle_timeout_seconds"]) != 60:
                raise DemoFailed(f"the database still has idle_timeout_seconds {seen}")
        with step("destroy") as saw:
            saw(changes_in(stack.run("destroy", "--yes", "--stack", "dev")))
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
    data_dir = Path(tempfile.mkdtemp(prefix="spg99-demo-"))
    data_dir.chmod(0o711)  # root's PostgreSQL runs as another user, who must be able to walk through
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    began = time.perf_counter()
    print(f"SPG99 demo in {data_dir}")
    try:
        walk(data_dir)
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
