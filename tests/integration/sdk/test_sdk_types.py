"""What type checkers say of the SDKs, how long an import takes, and `npm`'s and TypeScript's own view. Minutes, not seconds: marked long."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from node_packages import node_modules
from proof.gadget import PACKAGE as PROOF
from unit.emit.sdk_folder import ROOT, write
from unit.emit.test_nodejs_sdk import project

PYTHON_SDK, NODE_SDK = ROOT / "sdk" / "python", ROOT / "sdk" / "nodejs"
MODULE = "pulumi_spg99"

PYTHON_SAMPLE = """
import pulumi
import pulumi_spg99 as spg99
from pulumi_spg99 import Database, DatabaseArgs, Tenant, get_databases, parse_dsn_output

acme = Tenant("acme", name="acme")
app = Database("app", tenant=acme.name, name="app", size=spg99.Size.L1, idle_timeout_seconds=60)
two = Database("two", DatabaseArgs(tenant=acme.name, size="L2"), pulumi.ResourceOptions(protect=True))
three: Database = Database.get("three", "acme/three")
key = spg99.ApiKey("ci", name="ci", permissions=["can_scale", acme.name])
four = Database("four", pulumi.ResourceOptions(provider=spg99.Provider("eu", url="u")), tenant="acme")
names: list[str] = [item.name for item in get_databases(tenant="acme", state="ready")]
host: pulumi.Output[str | None] = parse_dsn_output(dsn=app.connection_string).host
text: str = spg99.get_database(tenant="acme", name="app").connection_string
url: str | None = spg99.config.url
"""
WRONG = {
    'Database("a", tenant=3)': "arg-type",
    'Database("a", name="x")': "call-overload",
    'Database("a", tenant="x", nmae="x")': "call-overload",
    "number: pulumi.Output[int] = app.name": "assignment",
    'get_databases(tenant="a", size="L1")': "call-arg",
    "app.nothing": "attr-defined",
}


@pytest.mark.long
def test_a_type_checker_takes_the_sdk_and_what_is_right_and_refuses_what_is_wrong(tmp_path: Path) -> None:
    proof = write(PROOF, "python", tmp_path / "proof")

    def mypy(*what: str, path: Path = PYTHON_SDK) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path / "cache"), *what],
            env={"MYPYPATH": str(path), "PATH": ""},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=110,
        )
        return done.stdout + done.stderr

    (tmp_path / "sample.py").write_text(PYTHON_SAMPLE)
    assert "Success" in mypy("sample.py")
    assert "Success" in mypy("-p", MODULE)
    (tmp_path / "wrong.py").write_text(PYTHON_SAMPLE + "\n".join(WRONG) + "\n")
    found = [line for line in mypy("wrong.py").splitlines() if ": error: " in line]
    first = len(PYTHON_SAMPLE.splitlines()) + 1
    for number, (line, code) in enumerate(WRONG.items()):
        assert any(f"wrong.py:{first + number}:" in text or code in text for text in found), (line, found)
    assert len({text.split(":")[1] for text in found}) == len(WRONG), found
    assert "Success" in mypy("-p", MODULE, path=proof)


@pytest.mark.long
def test_the_import_costs_little_beside_pulumis_own() -> None:
    def milliseconds(statement: str) -> float:
        program = f"import time, pulumi\nstart = time.perf_counter()\n{statement}\nprint((time.perf_counter() - start) * 1000)"
        runs = [
            float(
                subprocess.run(
                    [sys.executable, "-c", program],
                    env={"PYTHONPATH": str(PYTHON_SDK)},
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            for _ in range(5)
        ]
        return min(runs)

    assert milliseconds("import pulumi_spg99") < 30
    assert milliseconds("from pulumi_spg99 import Database, Tenant") < 80


TYPESCRIPT_SAMPLE = """
import * as pulumi from "@pulumi/pulumi";
import * as spg99 from "@spg99/pulumi";

const acme = new spg99.Tenant("acme", { name: "acme" });
const app = new spg99.Database("app", { tenant: acme.name, size: spg99.Size.L1 }, { protect: true });
new spg99.Database("two", { tenant: "acme", size: "L9", minSize: spg99.types.enums.Size.L2 });
new spg99.ApiKey("ci", { name: "ci", permissions: ["can_scale", spg99.Permission.CanDelete] });
const found: Promise<spg99.GetDatabasesResult> = spg99.getDatabases({ tenant: "acme", namePrefix: "a" });
const host: pulumi.Output<string | undefined> = spg99.parseDsnOutput({ dsn: app.connectionString }).apply((parts) => parts.host);
const names = (items: spg99.types.output.DatabaseItem[]): string[] => items.map((item) => item.name);
new spg99.Provider("eu", { url: "https://x/v2", apiKey: "k" });
export const url: string | undefined = spg99.config.url;
export const other: spg99.Database = spg99.Database.get("o", "acme/x");
export { found, host, names };
// @ts-expect-error the tenant is required
new spg99.Database("bad", { name: "x" });
// @ts-expect-error there is no such input
new spg99.Database("bad", { tenant: "x", nmae: "x" });
// @ts-expect-error a text is no number
export const wrong: pulumi.Output<number> = app.name;
"""


def compiled(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    compiler = node_modules() / "typescript" / "bin" / "tsc"
    if not compiler.is_file():
        pytest.skip(f"the TypeScript compiler is not in {compiler.parents[1]}")
    options = {"strict": True, "noEmit": True, "target": "es2022", "module": "commonjs", "preserveSymlinks": True}
    # Only ours are to be checked; the declarations of Pulumi are taken as they are.
    options |= {"skipLibCheck": True, "types": []}
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["index.ts"]}))
    (folder / "index.ts").write_text(program)
    return subprocess.run(["node", str(compiler), "-p", "."], cwd=folder, capture_output=True, text=True, timeout=110)


@pytest.mark.long
def test_the_typescript_compiler_takes_what_is_right_and_refuses_what_is_wrong(tmp_path: Path) -> None:
    product = project(tmp_path, NODE_SDK)
    done = compiled(product, TYPESCRIPT_SAMPLE)
    assert done.returncode == 0, done.stdout
    done = compiled(product, TYPESCRIPT_SAMPLE.replace("// @ts-expect-error", "//"))
    assert done.stdout.count("error TS") == 3, done.stdout


@pytest.mark.long
def test_every_declaration_compiles(tmp_path: Path) -> None:
    proof = project(tmp_path, write(PROOF, "nodejs", tmp_path / "sdk"))
    # Beside the program and under a name of its own, a declaration is no library and is checked in full.
    names = []
    for file in sorted((tmp_path / "sdk").glob("*.d.ts")):
        names.append("whole" if file.name == "index.d.ts" else file.name.removesuffix(".d.ts"))
        (proof / f"{names[-1]}.ts").write_text(file.read_text())
    program = "".join(f'import * as {name} from "./{name}";\n' for name in names)
    program += f"export {{ {', '.join(names)} }};\n"
    done = compiled(proof, program)
    assert done.returncode == 0, done.stdout
