"""The whole platform as tests see it: `spg99 dev` in a folder of its own, its API, its gateway, its processes.

Here: starting, asking, killing, waiting for conditions. Not here: what is right (that is the tests').
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import psutil
import psycopg

from kit.waits import wait_for
from spg99.commands.dev_folder import DevFolder
from spg99.commands.env import variables
from spg99.process_table import all_processes

BIN = Path(sys.executable).parent
T = TypeVar("T")


class Platform:
    """A running platform."""

    def __init__(
        self, data_dir: Path, *, arguments: tuple[str, ...] = (), environment: dict[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.arguments = arguments
        self.extra = dict(environment or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.env: dict[str, str] = {}

    # -- the platform ---------------------------------------------------------------------------------------------

    def start(self, *, seconds: float = 120) -> Platform:
        """Starts `spg99 dev` and waits until it serves."""
        ready = self.data_dir / "ready.json"
        ready.unlink(missing_ok=True)
        with (self.data_dir / "dev.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(BIN / "spg99", "dev", "--data-dir", self.data_dir, "--ready-file", ready),
                    *("--api-port", "0", "--gateway-port", "0"),  # platforms of other workers start at the same time
                    *self.arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.extra},
            )
        wait_for("spg99 dev to be ready", lambda: ready.exists() or self._fail_if_dead(), seconds=seconds)
        self.env = variables(
            DevFolder(self.data_dir)
        )  # what `spg99 env` prints, without a process (test_dev*.py run that)
        return self

    def stop(self) -> None:
        """Ends it as Ctrl-C would; it must be gone within 30 s."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=30)

    def dev(self) -> dict[str, Any]:
        """What `spg99 dev` wrote about its processes."""
        return dict(json.loads((self.data_dir / "dev.json").read_text()))

    def log(self) -> str:
        """Everything the platform has logged."""
        return (self.data_dir / "dev.log").read_text(errors="replace")

    def _fail_if_dead(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"spg99 dev ended with {self.process.returncode}:\n{self.log()[-4000:]}")
        return False

    # -- its processes --------------------------------------------------------------------------------------------

    def processes(self, *parts: str) -> list[psutil.Process]:
        """Living processes of this platform whose command line holds all `parts`."""
        found = []
        for process in all_processes(["cmdline", "name", "status", "ppid"]):
            line = " ".join(process.info["cmdline"] or ())
            alive = process.info["status"] != psutil.STATUS_ZOMBIE
            if alive and str(self.data_dir) in line and all(part in line for part in parts):
                found.append(process)
        return found

    def computes(self, *parts: str) -> list[psutil.Process]:
        """Postmasters of databases, or of the one whose timeline is named.

        A child has its parent's command line for a moment after the fork: it is not counted.
        """
        found = [p for p in self.processes(str(self.data_dir / "node"), *parts) if p.info["name"] == "postgres"]
        pids = {p.pid for p in found}
        return [p for p in found if p.info["ppid"] not in pids]

    def child(self, name: str) -> int:
        """Process id of the child `name` of `spg99 dev` that runs now; 0 while none does."""
        return int(self.dev()["processes"].get(name, {}).get("pid", 0))

    # -- its catalogue --------------------------------------------------------------------------------------------

    @property
    def catalogue_url(self) -> str:
        """URL of the embedded catalogue, as the role that owns it."""
        return f"postgresql://spg99_owner@/spg99?host={quote(str(self.data_dir / 'run' / 'catalogue'), safe='')}"

    def catalogue(self) -> psycopg.Connection[Any]:
        """A look into the catalogue, past the API."""
        return psycopg.connect(self.catalogue_url, autocommit=True, connect_timeout=5)

    # -- its API --------------------------------------------------------------------------------------------------

    def api(self, method: str, path: str, *, key: str | None = None, **arguments: Any) -> httpx.Response:
        """One HTTP call; `path` begins after /v2."""
        headers = {"Authorization": f"Bearer {key or self.env['SPG99_API_KEY']}", **arguments.pop("headers", {})}
        timeout = arguments.pop("timeout", 60)
        ca_file = self.env.get("SPG99_CA_FILE")
        arguments.setdefault("verify", _trust(ca_file, Path(ca_file).stat().st_mtime_ns) if ca_file else False)
        return httpx.request(method, self.env["SPG99_CP_URL"] + path, headers=headers, timeout=timeout, **arguments)

    def create_database(self, tenant: str = "acme", name: str = "app", **spec: Any) -> dict[str, Any]:
        """A tenant (where it is missing) and a database that is created and sleeps; its resource."""
        if self.api("GET", f"/tenants/{tenant}").status_code == 404:
            self.api("POST", "/tenants", json={"name": tenant}).raise_for_status()
        self.api("POST", f"/tenants/{tenant}/dbs", json={"name": name, **spec}).raise_for_status()
        return self.database(tenant, name, wait_for="stopped")

    def database(self, tenant: str = "acme", name: str = "app", *, wait_for: str | None = None) -> dict[str, Any]:
        """The database's resource, after a long poll for a state if one is named."""
        query = {"wait_for": wait_for, "wait": "30"} if wait_for else {}
        answer = self.api("GET", f"/tenants/{tenant}/dbs/{name}", params=query)
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        if wait_for:
            assert body["state"] == wait_for, body
        return body

    def dsn(self, tenant: str = "acme", name: str = "app") -> str:
        """The DSN with the password, for a client that verifies the certificate."""
        text: str = self.database(tenant, name)["connection_string"]
        return (
            text.replace("sslmode=require", "sslmode=verify-full") + "&sslrootcert=" + quote(self.env["PGSSLROOTCERT"])
        )

    def connect(self, tenant: str = "acme", name: str = "app", **options: Any) -> psycopg.Connection[Any]:
        """A psycopg connection through the gateway."""
        options.setdefault("connect_timeout", 30)
        return psycopg.connect(self.dsn(tenant, name), **options)


@functools.cache
def _trust(ca_file: str, _changed_ns: int) -> ssl.SSLContext:
    """What a call verifies the server by, made once for each content. (Plain HTTP needs none: httpx reads all the world's authorities
    for it, 25 ms a call.)"""
    return ssl.create_default_context(cafile=ca_file)


@contextmanager
def a_platform_not_started(
    *arguments: str, environment: dict[str, str] | None = None, folder_name: str = ""
) -> Iterator[Platform]:
    """A platform in a fresh folder that the test starts, in a folder of that name inside of it if one is given; afterwards
    whatever is left of it is killed."""
    parent = Path(tempfile.mkdtemp(prefix="spg99-"))
    parent.chmod(0o711)
    data_dir = parent / folder_name
    data_dir.mkdir(exist_ok=True)
    made = Platform(data_dir, arguments=arguments, environment=environment)
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        for process in made.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(parent, ignore_errors=True)


@contextmanager
def a_platform(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[Platform]:
    """A running platform in a fresh folder; afterwards nothing of it may be left."""
    with a_platform_not_started(*arguments, environment=environment) as running:
        yield running.start()
        running.stop()
        wait_for("no process of the platform is left", lambda: not running.processes(), seconds=10)
