"""The packed Node.js SDK in JavaScript, TypeScript and linked programs, through the native plugin and the embedded engine."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from integration.sdk.sdk_project import ROOT, Project, changes
from kit.archives import unpack
from node_packages import node_modules
from proof.server import API_KEY, SECRET, Server
from spg99.engine.operations import run_destroy, run_preview, run_up

PROGRAM = """
const pulumi = require("@pulumi/pulumi");
const spg99 = require("@spg99/pulumi");

const acme = new spg99.Tenant("acme", { name: "acme" });
const app = new spg99.Database("app", { tenant: acme.name, name: "app", size: spg99.Size.L2, idleTimeoutSeconds: 60 });
const found = spg99.getDatabasesOutput({ tenant: app.tenant });
exports.id = app.id;
exports.found = found.apply((all) => all.databases.map((one) => one.name));
exports.connection = app.connectionString;
"""
TYPESCRIPT = """
import * as pulumi from "@pulumi/pulumi";
import * as spg99 from "@spg99/pulumi";

const acme = new spg99.Tenant("acme", { name: "acme" });
const app = new spg99.Database("app", { tenant: acme.name, name: "app", size: spg99.Size.L1, idleTimeoutSeconds: 60 });
export const database = pulumi.interpolate`${app.tenant}/${app.name}`;
"""


def npm(*arguments: str, folder: Path) -> None:
    """npm, which asks no registry."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not on PATH")
    command = ["npm", *arguments, "--offline", "--no-audit", "--no-fund", "--cache", str(folder / "cache")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SDK as npm would install it: packed and unpacked."""
    folder = tmp_path_factory.mktemp("packed")
    npm("pack", str(ROOT / "sdk" / "nodejs"), folder=folder)
    (archive,) = folder.glob("*.tgz")
    unpack(archive, folder)
    return folder / "package"


@pytest.fixture
def project(server: Server, tmp_path: Path, packed: Path) -> Project:
    packages = node_modules()
    modules = tmp_path / "node_modules"
    modules.mkdir()
    for path in packages.iterdir():
        if path.name not in (".package-lock.json", "@spg99"):
            (modules / path.name).symlink_to(path)
    shutil.copytree(packed, modules / "@spg99" / "pulumi")
    (tmp_path / "Pulumi.yaml").write_text("name: proj\nruntime: {name: nodejs, options: {typescript: false}}\n")
    (tmp_path / "package.json").write_text(json.dumps({"name": "proj", "main": "index.js"}))
    return Project(tmp_path, server)


def test_what_is_packed_is_whole(packed: Path) -> None:
    assert sorted(path.name for path in packed.iterdir()) == sorted(
        path.name for path in (ROOT / "sdk/nodejs").iterdir()
    )


@pytest.mark.long  # examples/03 runs with the SDK in every run
def test_a_javascript_program_lives_its_life(project: Project, server: Server) -> None:
    (project.folder / "index.js").write_text(PROGRAM)
    assert changes(project.run(run_preview)) == {"create": 3} and server.created == 0
    made = project.run(run_up)
    assert changes(made) == {"create": 3} and made.outputs["id"] == "acme/app"
    assert server.objects["database", "acme/app"]["idle_timeout_seconds"] == 60
    assert changes(project.run(run_up)) == {}, "the second up has nothing to do"
    (project.folder / "index.js").write_text(PROGRAM.replace("Size.L2", "Size.L3"))
    assert changes(project.run(run_up)) == {"update": 1} and server.objects["database", "acme/app"]["size"] == "L3"
    assert SECRET not in project.state_text and API_KEY not in project.state_text
    assert project.run(run_destroy).ok and server.objects == {}


@pytest.mark.long
def test_a_typescript_program_is_compiled_and_runs(project: Project, server: Server) -> None:
    (project.folder / "Pulumi.yaml").write_text("name: proj\nruntime: nodejs\n")
    (project.folder / "package.json").write_text(json.dumps({"name": "proj", "main": "index.ts"}))
    (project.folder / "index.ts").write_text(TYPESCRIPT)
    assert project.run(run_up).outputs["database"] == "acme/app"
    assert ("database", "acme/app") in server.objects
    (project.folder / "index.ts").write_text(TYPESCRIPT.replace("idleTimeoutSeconds: 60", "idleTimeoutSeconds: true"))
    result = project.run(run_preview, ok=False)
    assert "index.ts(6,94): error TS2322" in str(result.failures)


@pytest.mark.long
def test_npm_install_of_the_folder_makes_a_link_that_works(project: Project) -> None:
    shutil.rmtree(project.folder / "node_modules")
    npm("install", str(ROOT / "sdk" / "nodejs"), folder=project.folder)
    linked = project.folder / "node_modules" / "@spg99" / "pulumi"
    assert linked.is_symlink()
    for path in node_modules().iterdir():
        target = project.folder / "node_modules" / path.name
        if not path.name.startswith(".") and not target.exists():
            target.symlink_to(path)
    (project.folder / "index.js").write_text(PROGRAM)
    assert changes(project.run(run_preview)) == {"create": 3}


@pytest.mark.long
def test_a_require_costs_little_beside_pulumis_own(project: Project) -> None:
    program = """
        require("@pulumi/pulumi");
        const start = process.hrtime.bigint();
        require("@spg99/pulumi").Database;
        console.log(Number(process.hrtime.bigint() - start) / 1e6);
        """
    runs = [
        float(
            subprocess.run(
                ["node", "-e", program], cwd=project.folder, capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(5)
    ]
    assert min(runs) < 30, runs
