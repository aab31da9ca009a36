"""A resource that is renamed in the program without an alias, on the real platform with real engines: what is said leads to the
alias, and who follows the way of the import instead loses nothing. Not here: the rules (tests/unit/engine)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kit.platform import BIN, Platform
from kit.pulumi_cli import pulumi, pulumi_environment

pytestmark = pytest.mark.timeout(300)  # real platform, real tools; the first test starts the platform


class Stack:
    """A project whose only database is called as a test says; `native` in YAML, `dynamic` in Python."""

    def __init__(self, platform: Platform, folder: Path, tenant: str, *, kind: str, engine: Path) -> None:
        self.folder, self.tenant, self.kind, self.engine = folder, tenant, kind, engine
        (folder / "state").mkdir()
        self.environment = {
            **os.environ, **platform.env, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            **pulumi_environment(folder, passphrase="x"), "SPG99_STATE_NAME": tenant,
        }  # fmt: skip
        token = "pulumi-python:dynamic/spg99" if kind == "dynamic" else "spg99:index"
        self.urn = f"urn:pulumi:dev::shop::{token}:Database::"

    def write(self, name: str, alias: str = "") -> None:
        project: dict[str, Any] = {"name": "shop", "runtime": "python" if self.kind == "dynamic" else "yaml"}
        if self.kind == "dynamic":
            opts = f", opts=pulumi.ResourceOptions(aliases=[{alias!r}])" if alias else ""
            (self.folder / "__main__.py").write_text(
                f"import pulumi\nfrom spg99.dynamic import Database, Tenant\nt = Tenant('it', name={self.tenant!r})\n"
                f"Database({name!r}, tenant=t.name, name='app'{opts})\n"
            )
        else:
            database: dict[str, Any] = {"type": "spg99:Database", "properties": {"tenant": "${it.name}", "name": "app"}}
            if alias:
                database["options"] = {"aliases": [alias]}
            project["resources"] = {
                "it": {"type": "spg99:Tenant", "properties": {"name": self.tenant}},
                name: database,
            }
        (self.folder / "Pulumi.yaml").write_text(json.dumps(project))

    def run(self, *arguments: str, program: Path | None = None) -> tuple[int, str]:
        done = subprocess.run(
            [program or self.engine, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def up(self) -> tuple[int, str]:
        return self.run("up", "--yes", "--skip-preview", "--stack", "dev")

    def import_as(self, name: str) -> tuple[int, str]:
        """Takes the database in under another name, as the message of a name that is taken says."""
        more = ["--generate-code=false"] if self.engine != BIN / "spg99" else []
        if self.kind == "native":
            what = ("spg99:index:Database", name, f"{self.tenant}/app")
            return self.run("import", *what, "--yes", "--stack", "dev", *more)
        code, said = self.run("import-file", f"dbs:{self.tenant}/app", "-o", "import.json", program=BIN / "spg99")
        assert code == 0, said
        file = self.folder / "import.json"
        content = json.loads(file.read_text())
        content["resources"][0]["name"] = name
        file.write_text(json.dumps(content))
        return self.run("import", "--file", "import.json", "--yes", "--stack", "dev", *more)

    def held(self) -> list[str]:
        """Names of the databases in the state."""
        done = subprocess.run(
            [self.engine, "stack", "export", "--stack", "dev"], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        resources = json.loads(done.stdout)["deployment"]["resources"]
        return [r["urn"].rpartition("::")[2] for r in resources if r["type"].endswith(":Database")]


@pytest.mark.parametrize(
    ("engine", "kind"),
    [
        ("embedded", "dynamic"),
        pytest.param("embedded", "native", marks=pytest.mark.slow),
        pytest.param("pulumi", "dynamic", marks=pytest.mark.slow),
        pytest.param("pulumi", "native", marks=pytest.mark.slow),
    ],
)
def test_a_renamed_database_is_led_to_the_alias_and_outlives_an_import(
    platform: Platform, tmp_path: Path, engine: str, kind: str
) -> None:
    tenant = f"r_{engine}_{kind}"
    stack = Stack(platform, tmp_path, tenant, kind=kind, engine=BIN / "spg99" if engine == "embedded" else pulumi())
    stack.write("app")
    assert stack.run("stack", "init", "dev")[0] == 0
    code, said = stack.up()
    assert code == 0, said
    before = platform.database(tenant, "app")["db_id"]

    stack.write("eng-app")
    code, said = stack.up()
    assert code != 0 and f'aliases=["{stack.urn}app"]' in said and "of this very stack" in said, said
    assert "was not made by this resource" not in said

    code, said = stack.import_as("eng-app")
    if engine == "embedded":
        assert code != 0 and f"as {stack.urn}app" in said and "aliases=" in said, said
    else:
        assert code == 0, said  # Pulumi imports it all the same: the provider cannot know what else its state holds
        stack.write("eng-app")
        code, said = stack.up()
        assert code == 0, said
        assert stack.held() == ["eng-app"]
    assert platform.database(tenant, "app")["db_id"] == before
    if engine == "embedded":
        stack.write("eng-app", alias=f"{stack.urn}app")
        code, said = stack.up()
        assert code == 0 and stack.held() == ["eng-app"], said
        assert platform.database(tenant, "app")["db_id"] == before
    code, said = stack.run("destroy", "--yes", "--skip-preview", "--stack", "dev")
    assert code == 0 and platform.api("GET", f"/tenants/{tenant}").status_code == 404, said


@pytest.mark.slow  # again
@pytest.mark.parametrize("way", ["destroy", "up"])
def test_what_the_platform_protects_is_seen_before_anything_is_deleted(
    platform: Platform, tmp_path: Path, way: str
) -> None:
    tenant = f"p_{way}"
    stack = Stack(platform, tmp_path, tenant, kind="dynamic", engine=BIN / "spg99")
    stack.write("app")
    program = tmp_path / "__main__.py"
    whole = program.read_text()
    more = "Database('{0}', tenant=t.name, name='{0}'{1})\n"
    program.write_text(whole + more.format("safe", ", deletion_protection=True") + more.format("other", ""))
    assert stack.run("stack", "init", "dev")[0] == 0
    code, said = stack.up()
    assert code == 0, said
    if way == "up":
        program.write_text(whole)
    for command in ((way, "--yes", "--skip-preview"), ("preview",) if way == "up" else (way, "--yes")):
        code, said = stack.run(*command, "--stack", "dev")
        assert code != 0 and f"'{tenant}/safe' is protected" in said and "Nothing was deleted" in said, said
    assert sorted(stack.held()) == ["app", "other", "safe"]
    for name in ("app", "other", "safe"):
        assert platform.api("GET", f"/tenants/{tenant}/dbs/{name}").status_code == 200
    program.write_text(whole + more.format("safe", ", deletion_protection=False"))
    code, said = stack.up()
    assert code == 0 and sorted(stack.held()) == ["app", "safe"], said
    code, said = stack.run("destroy", "--yes", "--skip-preview", "--stack", "dev")
    assert code == 0, said
