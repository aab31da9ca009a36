"""The SDKs that Pulumi itself makes of our schema (`pulumi package add`, `gen-sdk`): they compile, and say what ours say.

Python, Node.js and Go, with Pulumi's own generators (scripts/tools/pulumi-sdkgen). Not here: our SDKs (test_sdk_*.py); .NET and Java,
whose generators are in no package registry.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kit.tiers import only_when_slow
from node_packages import node_modules

pytestmark = pytest.mark.slow  # built

ROOT = Path(__file__).resolve().parents[3]
GENERATOR = ROOT / ".tools/bin/pulumi-sdkgen"


def generated(language: str, folder: Path) -> Path:
    """The folder with the SDK; skips the test, and says why, where there is no generator."""
    only_when_slow("Pulumi's generator of SDKs")
    if not GENERATOR.is_file():
        pytest.skip("there is no .tools/bin/pulumi-sdkgen (`make cli-tools` builds it)")
    run([str(GENERATOR), str(ROOT / "schema.json"), language, str(folder)], folder=ROOT)
    return folder


def python_sdk(folder: Path) -> Path:
    """Python's, as pip would leave it: it asks for its own version as soon as it is imported."""
    theirs = generated("python", folder)
    (theirs / "pulumi_spg99-0.1.0.dist-info").mkdir()
    (theirs / "pulumi_spg99-0.1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: pulumi_spg99\nVersion: 0.1.0\n"
    )
    return theirs


def run(command: list[str], *, folder: Path, seconds: float = 120, **environment: str) -> str:
    """What a command printed; fails with it unless it ends with 0."""
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


NAMES = """
import inspect, json, pulumi, pulumi_spg99
def parameters(kind):
    found = inspect.signature(kind._internal_init).parameters
    return sorted(name for name in found if name not in ("__self__", "resource_name", "opts", "__props__"))
print(json.dumps({
    name: parameters(kind)
    for name, kind in vars(pulumi_spg99).items()
    if inspect.isclass(kind) and issubclass(kind, pulumi.CustomResource) and not issubclass(kind, pulumi.ProviderResource)
}))
"""
USED = """
import json, pulumi
class Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args):
        seen.append((args.typ, dict(args.inputs)))
        return args.name + "-id", {**args.inputs}
    def call(self, args):
        return {}
seen = []
pulumi.runtime.set_mocks(Mocks())
import pulumi_spg99 as spg99
@pulumi.runtime.test
def program():
    tenant = spg99.Tenant("acme", name="acme")
    return spg99.Database("app", tenant=tenant.name, name="app", size=spg99.Size.L2, idle_timeout_seconds=60).urn
program()
print(json.dumps(sorted(seen)))
"""


def test_pythons_has_the_resources_and_inputs_of_ours(tmp_path: Path) -> None:
    theirs = python_sdk(tmp_path / "sdk")
    run([sys.executable, "-m", "compileall", "-q", str(theirs)], folder=tmp_path)
    found = json.loads(run([sys.executable, "-c", NAMES], folder=tmp_path, PYTHONPATH=str(theirs)))
    schema = json.loads((ROOT / "schema.json").read_text())
    named = {token.rpartition(":")[2]: made for token, made in schema["resources"].items()}
    assert found.keys() == named.keys() and found
    for name, made in named.items():
        assert found[name] == sorted(snake(each) for each in made["inputProperties"]), name
    ours = ROOT / "sdk/python"
    for name in found:
        assert re.search(rf"^class {name}\b", "\n".join(each.read_text() for each in ours.rglob("*.py")), re.MULTILINE)


def test_a_program_runs_with_pythons(tmp_path: Path) -> None:
    theirs = python_sdk(tmp_path / "sdk")
    seen = json.loads(run([sys.executable, "-c", USED], folder=tmp_path, PYTHONPATH=str(theirs)))
    assert [kind for kind, _ in seen] == ["spg99:index:Database", "spg99:index:Tenant"]
    assert seen[0][1]["idleTimeoutSeconds"] == 60 and seen[0][1]["size"] == "L2"


TYPESCRIPT = """
import * as spg99 from "./index";
const acme = new spg99.Tenant("acme", { name: "acme" });
export const app = new spg99.Database("app", { tenant: acme.name, name: "app", size: spg99.Size.L2, idleTimeoutSeconds: 60 });
export const dsn: import("@pulumi/pulumi").Output<string> = app.connectionString;
"""


def test_that_for_nodejs_compiles_with_a_program(tmp_path: Path) -> None:
    packages = node_modules()
    theirs = generated("nodejs", tmp_path / "sdk")
    (theirs / "node_modules").symlink_to(packages)
    (theirs / "program.ts").write_text(TYPESCRIPT)
    (theirs / "tsconfig.program.json").write_text('{"extends": "./tsconfig.json", "files": ["program.ts"]}')
    run(["node", str(packages / "typescript/bin/tsc"), "-p", "tsconfig.program.json"], folder=theirs)
    assert (theirs / "bin/database.js").is_file()
    (theirs / "program.ts").write_text(TYPESCRIPT.replace("idleTimeoutSeconds: 60", 'idleTimeoutSeconds: "a minute"'))
    with pytest.raises(AssertionError, match=r"program.ts.*TS2322"):
        run(["node", str(packages / "typescript/bin/tsc"), "-p", "tsconfig.program.json"], folder=theirs)


GO = """package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/spg99/spg99/sdk/go/spg99"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		acme, err := spg99.NewTenant(ctx, "acme", &spg99.TenantArgs{Name: pulumi.String("acme")})
		if err != nil {
			return err
		}
		app, err := spg99.NewDatabase(ctx, "app", &spg99.DatabaseArgs{Tenant: acme.Name, Name: pulumi.String("app")})
		if err != nil {
			return err
		}
		ctx.Export("dsn", app.ConnectionString)
		return nil
	})
}
"""


@pytest.mark.timeout(600)  # the first build of the SDK compiles two hundred packages
def test_that_for_go_compiles_with_a_program(tmp_path: Path) -> None:
    theirs = generated("go", tmp_path / "sdk")
    if shutil.which("go") is None:
        pytest.skip("go is not on PATH")
    required = re.search(r"^\tgithub.com/pulumi/pulumi/sdk/v3 (v\S+)", go_mod(), re.MULTILINE)
    assert required is not None
    (theirs / "go.mod").write_text(
        f"module github.com/spg99/spg99/sdk/go\n\ngo 1.26.6\n\nrequire github.com/pulumi/pulumi/sdk/v3 {required[1]}\n"
    )
    (theirs / "program").mkdir()
    (theirs / "program/main.go").write_text(GO)
    run(["go", "vet", "./..."], folder=theirs, seconds=500, GOFLAGS="-mod=mod", GOSUMDB="off")


def go_mod() -> str:
    return (ROOT / "scripts/tools/pulumi-sdkgen/go.mod").read_text()


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()
