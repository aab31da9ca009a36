"""Every example, run as its README says, against the real platform. Here: what a reader of examples/ would see. 01 is `make demo`'s."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from kit.platform import BIN, Platform, wait_for
from node_packages import node_modules

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
Run = Callable[..., str]


class Project:
    """A copy of an example with a stack `dev` of its own."""

    def __init__(self, name: str, folder: Path, platform: Platform) -> None:
        self.folder = folder / name
        shutil.copytree(EXAMPLES / name, self.folder, ignore=shutil.ignore_patterns("Pulumi.*.yaml", "node_modules"))
        (folder / "state").mkdir()
        self.environment = {
            **os.environ,
            **platform.env,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "sdk" / "python"),
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "examples",
            "PULUMI_HOME": str(folder / "home"),
        }

    def run(self, *arguments: str) -> str:
        """`spg99 ...` in the project; fails with what it said."""
        done = subprocess.run(
            [BIN / "spg99", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def output(self, name: str) -> str:
        return self.run("stack", "output", name, "--show-secrets", "--stack", "dev").strip()


@pytest.fixture
def project(tmp_path: Path, platform: Platform) -> Iterator[Callable[[str], Project]]:
    """Opens an example; what is left of it is destroyed."""
    opened = []

    def open_example(name: str) -> Project:
        made = Project(name, tmp_path, platform)
        opened.append(made)
        made.run("plugin", "install")
        made.run("stack", "init", "dev")
        return made

    yield open_example
    for made in opened:
        made.run("destroy", "--yes", "--skip-preview", "--stack", "dev")


def connected(platform: Platform, dsn: str) -> str:
    """Who and where a client of this DSN is."""
    with psycopg.connect(dsn, sslrootcert=platform.env["PGSSLROOTCERT"], connect_timeout=30) as connection:
        row = connection.execute("select current_user || '/' || current_database()").fetchone()
    assert row is not None
    return str(row[0])


def test_02_native_python_rotates_by_one_text(project: Callable[[str], Project], platform: Platform) -> None:
    example = project("02-native-python")
    example.run("up", "--yes", "--skip-preview", "--stack", "dev")
    assert example.output("host") == platform.env["PGHOST"] if "PGHOST" in platform.env else example.output("host")
    first = example.output("password")
    dsn = platform.api("GET", "/tenants/acme_native/dbs/app").json()["connection_string"]
    assert first in dsn
    with psycopg.connect(dsn, sslrootcert=platform.env["PGSSLROOTCERT"], connect_timeout=30) as open_connection:
        example.run("config", "set", "rotation", "second", "--stack", "dev")
        example.run("up", "--yes", "--skip-preview", "--stack", "dev")
        assert open_connection.execute("select 1").fetchone() == (1,)  # the database keeps running
    assert example.output("password") != first
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn, sslrootcert=platform.env["PGSSLROOTCERT"], connect_timeout=30)
    example.run("up", "--yes", "--skip-preview", "--expect-no-changes", "--stack", "dev")


@pytest.mark.slow  # again
def test_03_typescript(project: Callable[[str], Project], platform: Platform) -> None:
    packages = node_modules()
    example = project("03-typescript")
    installed = example.folder / "node_modules"
    shutil.copytree(ROOT / "sdk" / "nodejs", installed / "@spg99" / "pulumi")
    (installed / "@pulumi").symlink_to(packages / "@pulumi")
    (installed / "@types").symlink_to(packages / "@types")
    (installed / "typescript").symlink_to(packages / "typescript")
    example.run("up", "--yes", "--skip-preview", "--stack", "dev")
    assert example.output("database") == "acme_ts/app"
    assert connected(platform, example.output("connectionString")).endswith("/app")
    example.run("up", "--yes", "--skip-preview", "--expect-no-changes", "--stack", "dev")


@pytest.mark.slow  # again
def test_04_yaml(project: Callable[[str], Project], platform: Platform) -> None:
    example = project("04-yaml")
    example.run("up", "--yes", "--skip-preview", "--stack", "dev")
    assert example.output("database") == "acme_yaml/app"
    assert example.output("host") in example.output("connectionString")
    assert platform.api("GET", "/tenants/acme_yaml/dbs/reports").json()["size"] == "L2"
    example.run("up", "--yes", "--skip-preview", "--expect-no-changes", "--stack", "dev")


@pytest.mark.slow  # again
def test_05_terraform_as_the_demo_walks_it() -> None:
    if shutil.which("terraform") is None and shutil.which("tofu") is None:
        pytest.skip("neither terraform nor tofu is on PATH")
    demo = [sys.executable, str(ROOT / "scripts" / "demo.py"), "terraform"]
    done = subprocess.run(demo, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1000 rows found" in done.stdout
    assert "no changes" in done.stdout
    assert "HTTP 404 NotFound" in done.stdout
    assert "nothing is left behind" in done.stdout


@pytest.mark.slow  # again
@pytest.mark.parametrize(("tenants", "databases"), [(3, 2), pytest.param(50, 4, marks=pytest.mark.long)])
@pytest.mark.timeout(400)
def test_06_many_tenants(project: Callable[[str], Project], platform: Platform, tenants: int, databases: int) -> None:
    example = project("06-many-tenants")
    example.run("config", "set", "tenants", str(tenants), "--stack", "dev")
    example.run("config", "set", "databasesPerTenant", str(databases), "--stack", "dev")
    example.run("up", "--yes", "--skip-preview", "--stack", "dev")
    found = platform.api("GET", "/tenants", params={"name_prefix": "customer_", "limit": 500}).json()["items"]
    assert len(found) == tenants
    last = platform.api("GET", f"/tenants/customer_{tenants - 1:03d}/dbs").json()["items"]
    assert [item["state"] for item in last] == ["stopped"] * databases
    assert len(last) == databases
    example.run("up", "--yes", "--skip-preview", "--expect-no-changes", "--stack", "dev")


def test_07_an_application_finds_its_database_and_wakes_it(
    project: Callable[[str], Project], platform: Platform
) -> None:
    example = project("07-application")
    example.run("up", "--yes", "--skip-preview", "--stack", "dev")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"],
        cwd=example.folder,
        env={**example.environment, "DATABASE_URL": example.output("database_url")},
        stdin=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}/orders"

        def answers() -> bool:
            assert server.poll() is None, "the application ended"
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(url).status_code == 200
            return False

        wait_for("the application to answer", answers, seconds=30)
        assert httpx.post(f"{url}/tea").json() == {"id": 1}
        platform.api("PATCH", "/tenants/shop/dbs/orders", json={"idle_timeout_seconds": 1})
        wait_for(
            "the database to sleep",
            lambda: platform.api("GET", "/tenants/shop/dbs/orders").json()["state"] == "stopped",
        )
        assert httpx.get(url, timeout=30).json() == ["tea"]
    finally:
        server.terminate()
        server.wait(timeout=10)
