"""What users of every released version hold opens without a diff and without a lost row: data folder, states, configuration, DSNs.

The files are in tests/fixtures/released, made by each version itself (make.py there). Here: what the present version does with them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import terraform_cli
from kit import archives
from kit.platform import BIN, Platform
from kit.pulumi_cli import find_pulumi, pulumi_environment
from spg99.dsn import parse_dsn

pytestmark = pytest.mark.slow  # released

RELEASED = Path(__file__).resolve().parents[2] / "fixtures" / "released"
VERSIONS = sorted(path for path in RELEASED.iterdir() if (path / "data-folder.tar.xz").is_file())
PASSPHRASE = "released"
ROWS = 1000


def unpack(version: Path) -> Path:
    """The version's data folder, owners and rights included, in a fresh place."""
    folder = Path(tempfile.mkdtemp(prefix="spg99-"))
    folder.chmod(0o711)
    archives.unpack(version / "data-folder.tar.xz", folder)
    return folder


@contextmanager
def living(version: Path, folder: Path) -> Iterator[Platform]:
    """The present version on an old data folder, with the old configuration file."""
    platform = Platform(folder, environment={"SPG99_CONFIG": str(version / "spg99.toml")})
    try:
        yield platform.start(seconds=90)
        platform.stop()
    finally:
        for process in platform.processes():
            process.kill()


@pytest.fixture(scope="session", params=VERSIONS, ids=lambda path: path.name)
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[Path, Platform]]:
    """A released version's folder of fixtures, and the present version running on its data folder."""
    folder = unpack(request.param)
    try:
        with living(request.param, folder) as platform:
            yield request.param, platform
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ledger(platform: Platform, dsn: str) -> list[tuple[int, str]]:
    """The rows, by a connection string of then: only the port of this run is another one."""
    port = re.search(r":(\d+)$", platform.env["SPG99_GATEWAY"])
    assert port
    now = re.sub(r"@localhost:\d+/", f"@localhost:{port[1]}/", dsn)
    with psycopg.connect(now, connect_timeout=60) as connection:
        return connection.execute("select id, line from ledger order by id").fetchall()


def dsns(version: Path) -> list[str]:
    return (version / "dsns.txt").read_text().split()


def names_of(platform: Platform) -> dict[str, list[str]]:
    """Everything there is, by kind."""
    listed = {kind: platform.api("GET", f"/{kind}").json()["items"] for kind in ("tenants", "keys")}
    tenants = [each["name"] for each in listed["tenants"]]
    found = {kind: sorted(each["name"] for each in items) for kind, items in listed.items()}
    found["databases"] = [
        f"{tenant}/{each['name']}"
        for tenant in tenants
        for each in platform.api("GET", f"/tenants/{tenant}/dbs").json()["items"]
    ]
    assert all(found.values()), found
    return found


def complete(rows: list[tuple[int, str]]) -> None:
    assert rows == [(n, hashlib.md5(str(n).encode()).hexdigest()) for n in range(1, ROWS + 1)]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
@pytest.mark.timeout(400)
def test_the_catalogue_goes_forward_and_back_and_no_row_is_lost(version: Path) -> None:
    folder = unpack(version)

    def migrate(*arguments: str) -> str:
        command = [BIN / "spg99", "migrate", *arguments, "--data-dir", folder]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    def applied() -> list[str]:
        return [
            line.split()[0]
            for line in migrate("status").splitlines()
            if re.match(r"\d{4}\s", line) and "missing" not in line
        ]

    try:
        then = applied()
        assert then, "the fixture has a schema"
        migrate("up")
        with living(version, folder) as platform:
            before = names_of(platform)
            complete(ledger(platform, dsns(version)[0]))
        migrate("down", "--to", str(int(then[-1])), "--yes")
        assert applied() == then
        migrate("up")
        with living(version, folder) as platform:
            assert names_of(platform) == before
            complete(ledger(platform, dsns(version)[0]))
            for dsn in dsns(version):
                for scheme in ("postgres", "postgresql"):
                    assert parse_dsn(re.sub(r"^\w+", scheme, dsn))["database"] == "app"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Opened:
    """A copy of a released stack, driven by an engine of now."""

    def __init__(self, released: Path, folder: Path, platform: Platform, engine: list[str]) -> None:
        self.folder = folder / "project"
        shutil.copytree(released, self.folder)
        self.engine = engine
        self.environment = {
            **os.environ,
            **platform.env,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            **pulumi_environment(folder, passphrase=PASSPHRASE, state=self.folder / "state"),
        }
        self.run("plugin", "install", engine=[str(BIN / "spg99")])

    def run(self, *arguments: str, engine: list[str] | None = None) -> str:
        done = subprocess.run(
            [*(engine or self.engine), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=200,
        )
        assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def resources(self) -> dict[str, dict[str, Any]]:
        state = json.loads((self.folder / "state/.pulumi/stacks/released/dev.json").read_text())
        return {each["urn"]: each for each in state["checkpoint"]["latest"]["resources"]}

    def unprotect(self) -> None:
        for name in ("Pulumi.yaml", "__main__.py"):
            if (file := self.folder / name).exists():
                text = (
                    file.read_text().replace("protect: true", "protect: false").replace("protect=True", "protect=False")
                )
                file.write_text(text)


ENGINES: list[Callable[[], list[str] | None]] = [
    lambda: [str(BIN / "spg99")],
    lambda: [str(find_pulumi())] if find_pulumi() else None,
]
STACKS = ["pulumi-dynamic", "pulumi-native", "pulumi-cli-dynamic", "pulumi-cli-native"]


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.timeout(400)
def test_a_stack_opens_without_a_diff_and_can_be_destroyed(
    name: str, opened: tuple[Path, Platform], tmp_path: Path
) -> None:
    """By both engines; the one that did not write it destroys it."""
    version, platform = opened
    own, other = (1, 0) if "cli" in name else (0, 1)
    engines = [engine for index in (own, other) if (engine := ENGINES[index]()) is not None]
    if name == "pulumi-dynamic":
        complete(ledger(platform, dsns(version)[0]))
    stack = Opened(version / name, tmp_path, platform, engines[0])
    before = stack.resources()
    for stack.engine in engines:
        stack.run("preview", "--expect-no-changes", "--stack", "dev")
        stack.run("refresh", "--yes", "--skip-preview", "--stack", "dev")
        stack.run("up", "--yes", "--skip-preview", "--expect-no-changes", "--stack", "dev")
    after = stack.resources()
    assert after.keys() == before.keys()
    for urn, resource in before.items():
        assert after[urn].get("id") == resource.get("id")
        for key in ("__provider",):
            assert after[urn].get("inputs", {}).get(key) == resource.get("inputs", {}).get(key)
    stack.unprotect()
    stack.run("up", "--yes", "--skip-preview", "--stack", "dev")
    stack.run("destroy", "--yes", "--skip-preview", "--stack", "dev")
    tenant = name.removeprefix("pulumi-").replace("-", "_")
    assert platform.api("GET", f"/tenants/{tenant}").status_code == 404


@pytest.mark.parametrize("binary", [terraform_cli.terraform, terraform_cli.tofu], ids=["terraform", "tofu"])
@pytest.mark.timeout(400)
def test_a_terraform_state_plans_nothing(
    binary: Callable[[], Path], opened: tuple[Path, Platform], tmp_path: Path
) -> None:
    version, platform = opened
    lines = subprocess.run(
        [BIN / "spg99", "terraform", "install", "--dir", tmp_path / "mirror"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (tmp_path / "terraformrc").write_text(lines)
    environment = {**platform.env, "TF_CLI_CONFIG_FILE": str(tmp_path / "terraformrc")}
    work = terraform_cli.Workspace(tmp_path / "work", binary=binary(), environment=environment)
    (work.folder / "versions.tf").unlink()
    for name in ("main.tf", "terraform.tfstate"):
        shutil.copyfile(version / "terraform" / name, work.folder / name)
    plan = work.plan()
    assert plan.is_empty and len(plan.changes) == 4, plan.text
    assert work.plan(refresh=False).is_empty
    assert work.apply().code == 0
    assert work.plan().is_empty
