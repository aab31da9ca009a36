"""Node.js programs, run by the embedded engine with Pulumi's own SDK: JavaScript, TypeScript, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from node_packages import node_modules

pytestmark = pytest.mark.slow  # again

BOX = """
class Box extends pulumi.CustomResource {
  constructor(name, args, opts) {
    super("shelf:index:Box", name, { path: undefined, password: undefined, ...args }, opts);
  }
}
"""


@pytest.fixture
def project(project: Any) -> Any:
    """A project in JavaScript."""
    packages = node_modules()
    project.folder.joinpath("__main__.py").unlink(missing_ok=True)
    project.folder.joinpath("Pulumi.yaml").write_text(
        "name: project\nruntime: {name: nodejs, options: {typescript: false}}\n"
    )
    project.folder.joinpath("package.json").write_text(json.dumps({"name": "project", "main": "index.js"}))
    project.folder.joinpath("node_modules").symlink_to(packages)
    return project


def _write(project: Any, text: str, *, head: str = 'const pulumi = require("@pulumi/pulumi");') -> None:
    project.folder.joinpath("index.js").write_text(f"{head}{BOX}{text}")


def test_a_program_in_javascript_lives_its_life(project: Any) -> None:
    _write(
        project,
        """
        const config = new pulumi.Config();
        const a = new Box("a", { text: config.require("text"), code: config.requireSecret("code") });
        new Box("b", { text: pulumi.interpolate`at ${a.path}` }, { dependsOn: [a], customTimeouts: { create: "7m" } });
        console.log(`stack ${pulumi.getStack()} of ${pulumi.getProject()}`);
        exports.path = a.path;
        exports.password = a.password;
        """,
    )
    project.call("stack", "init", "dev")
    project.call("config", "set", "text", "first", "-s", "dev")
    project.call("config", "set", "--secret", "code", "rosebud", "-s", "dev")
    shown = project.preview()
    assert shown.ok and shown.changes == {"create": 3} and project.journal("create") == []
    assert "stack dev of project" in [m.text for m in shown.messages]
    made = project.up(parallel=7)
    assert made.changes == {"create": 3} and made.outputs["path"].endswith("a-1.json")
    assert project.journal("create") == ["create a", "create b"]
    assert project.resource("b")["inputs"]["text"] == f"at {made.outputs['path']}"
    assert project.resource("b")["customTimeouts"] == {"create": 420}
    kept = project.state_file.read_text()
    assert "rosebud" not in kept and "code of a-1" not in kept
    assert project.up().changes == {"same": 3}
    assert project.up(config={"text": "second"}).changes == {"same": 2, "update": 1}
    assert project.destroy().ok and project.names() == []


def test_typescript_is_compiled_and_checked(project: Any) -> None:
    project.folder.joinpath("Pulumi.yaml").write_text("name: project\nruntime: nodejs\n")
    project.folder.joinpath("package.json").write_text(json.dumps({"name": "project", "main": "index.ts"}))
    program = project.folder / "index.ts"
    program.write_text("""import * as pulumi from "@pulumi/pulumi";
class Box extends pulumi.CustomResource {
  readonly path!: pulumi.Output<string>;
  constructor(name: string, args: { text: pulumi.Input<string> }) {
    super("shelf:index:Box", name, { path: undefined, ...args });
  }
}
export const path: pulumi.Output<string> = new Box("a", { text: "typed" }).path;
""")
    assert project.up().outputs["path"].endswith("a-1.json")
    program.write_text(program.read_text().replace('text: "typed"', "text: 5"))
    said = project.why(project.up(ok=False))
    assert "The program failed:" in said and "index.ts(8," in said and "not assignable" in said
    assert project.names() == ["a"], "a program that failed deletes nothing"


def test_a_program_that_fails_is_told_by_its_own_lines(project: Any) -> None:
    _write(project, 'new Box("a", { text: "x" });\nfunction deep() { throw new Error("my fault"); }\ndeep();')
    said = project.why(project.up(ok=False))
    assert "The program failed:" in said and "index.js:8 in deep" in said and "Error: my fault" in said
    assert "node_modules" not in said and "node:internal" not in said and "\x1b" not in said


def test_a_resource_that_fails_is_told_once_and_what_needs_it_is_not_made(project: Any) -> None:
    project.behave(create__b={"fail": "no room on the shelf"})
    _write(project, 'const b = new Box("b", { text: "x" });\nnew Box("c", { text: b.path });')
    result = project.up(ok=False)
    assert project.why(result) == "b: no room on the shelf" and project.names() == []
    project.behave()
    assert project.up().changes == {"create": 2, "same": 1}


def test_debug_lines_hold_no_answers(project: Any) -> None:
    _write(project, 'new Box("a", { text: "x" });')
    assert project.call("stack", "init", "dev")[0] == 0
    code, out, err = project.call("up", "--yes", "--skip-preview", "--debug", "-s", "dev")
    assert code == 0 and "RegisterResource RPC finished" in out
    assert "code of a-1" not in out + err


@pytest.mark.long
def test_a_dynamic_provider_in_javascript(project: Any) -> None:
    _write(
        project,
        """
        const provider = {
          async create(inputs) { return { id: "n-1", outs: { text: inputs.text, size: inputs.text.length } }; },
          async update(id, olds, news) { return { outs: { text: news.text, size: news.text.length } }; },
        };
        class Note extends pulumi.dynamic.Resource {
          constructor(name, props) { super(provider, name, { size: undefined, ...props }); }
        }
        exports.size = new Note("note", { text: process.env.NOTE || "dear" }).size;
        """,
    )
    assert project.up().outputs == {"size": 4}
    assert project.up().changes == {"same": 2}
    project.env["NOTE"] = "dearest"
    result = project.up()
    assert result.changes == {"same": 1, "update": 1} and result.outputs == {"size": 7}
    assert project.destroy().ok


def test_what_is_missing_is_named(project: Any, tmp_path: Path) -> None:
    _write(project, "")
    project.folder.joinpath("node_modules").unlink()
    said = project.why(project.up(ok=False))
    assert "Node.js SDK is not installed" in said and "`npm install`" in said
    project.env["PATH"] = str(tmp_path)
    assert "there is no `node` on PATH" in project.why(project.up(ok=False))
