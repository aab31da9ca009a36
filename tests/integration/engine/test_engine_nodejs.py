"""Node.js programs, run by the embedded engine with Pulumi's own SDK: JavaScript, TypeScript, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from node_packages import node_modules

BOX = """
class Box extends pulumi.CustomResource {
  constructor(name, args, opts) {
    super("shelf:index:Box", name, { path: undefined, password: undefined, ...args }, opts);
  }
}
"""


@pytest.fixture
def house(house: Any) -> Any:
    """A project in JavaScript."""
    packages = node_modules()
    house.folder.joinpath("__main__.py").unlink(missing_ok=True)
    house.folder.joinpath("Pulumi.yaml").write_text(
        "name: house\nruntime: {name: nodejs, options: {typescript: false}}\n"
    )
    house.folder.joinpath("package.json").write_text(json.dumps({"name": "house", "main": "index.js"}))
    house.folder.joinpath("node_modules").symlink_to(packages)
    return house


def _write(house: Any, text: str, *, head: str = 'const pulumi = require("@pulumi/pulumi");') -> None:
    house.folder.joinpath("index.js").write_text(f"{head}{BOX}{text}")


def test_a_program_in_javascript_lives_its_life(house: Any) -> None:
    _write(
        house,
        """
        const config = new pulumi.Config();
        const a = new Box("a", { text: config.require("text"), code: config.requireSecret("code") });
        new Box("b", { text: pulumi.interpolate`at ${a.path}` }, { dependsOn: [a], customTimeouts: { create: "7m" } });
        console.log(`stack ${pulumi.getStack()} of ${pulumi.getProject()}`);
        exports.path = a.path;
        exports.password = a.password;
        """,
    )
    house.call("stack", "init", "dev")
    house.call("config", "set", "text", "first", "-s", "dev")
    house.call("config", "set", "--secret", "code", "rosebud", "-s", "dev")
    shown = house.preview()
    assert shown.ok and shown.changes == {"create": 3} and house.journal("create") == []
    assert "stack dev of house" in [m.text for m in shown.messages]
    made = house.up(parallel=7)
    assert made.changes == {"create": 3} and made.outputs["path"].endswith("a-1.json")
    assert house.journal("create") == ["create a", "create b"]
    assert house.resource("b")["inputs"]["text"] == f"at {made.outputs['path']}"
    assert house.resource("b")["customTimeouts"] == {"create": 420}
    kept = house.state_file.read_text()
    assert "rosebud" not in kept and "code of a-1" not in kept
    assert house.up().changes == {"same": 3}
    assert house.up(config={"text": "second"}).changes == {"same": 2, "update": 1}
    assert house.destroy().ok and house.names() == []


def test_typescript_is_compiled_and_checked(house: Any) -> None:
    house.folder.joinpath("Pulumi.yaml").write_text("name: house\nruntime: nodejs\n")
    house.folder.joinpath("package.json").write_text(json.dumps({"name": "house", "main": "index.ts"}))
    program = house.folder / "index.ts"
    program.write_text("""import * as pulumi from "@pulumi/pulumi";
class Box extends pulumi.CustomResource {
  readonly path!: pulumi.Output<string>;
  constructor(name: string, args: { text: pulumi.Input<string> }) {
    super("shelf:index:Box", name, { path: undefined, ...args });
  }
}
export const path: pulumi.Output<string> = new Box("a", { text: "typed" }).path;
""")
    assert house.up().outputs["path"].endswith("a-1.json")
    program.write_text(program.read_text().replace('text: "typed"', "text: 5"))
    said = house.why(house.up(ok=False))
    assert "The program failed:" in said and "index.ts(8," in said and "not assignable" in said
    assert house.names() == ["a"], "a program that failed deletes nothing"


def test_a_program_that_fails_is_told_by_its_own_lines(house: Any) -> None:
    _write(house, 'new Box("a", { text: "x" });\nfunction deep() { throw new Error("my fault"); }\ndeep();')
    said = house.why(house.up(ok=False))
    assert "The program failed:" in said and "index.js:8 in deep" in said and "Error: my fault" in said
    assert "node_modules" not in said and "node:internal" not in said and "\x1b" not in said


def test_a_resource_that_fails_is_told_once_and_what_needs_it_is_not_made(house: Any) -> None:
    house.behave(create__b={"fail": "no room on the shelf"})
    _write(house, 'const b = new Box("b", { text: "x" });\nnew Box("c", { text: b.path });')
    result = house.up(ok=False)
    assert house.why(result) == "b: no room on the shelf" and house.names() == []
    house.behave()
    assert house.up().changes == {"create": 2, "same": 1}


def test_debug_lines_hold_no_answers(house: Any) -> None:
    _write(house, 'new Box("a", { text: "x" });')
    assert house.call("stack", "init", "dev")[0] == 0
    code, out, err = house.call("up", "--yes", "--skip-preview", "--debug", "-s", "dev")
    assert code == 0 and "RegisterResource RPC finished" in out
    assert "code of a-1" not in out + err


@pytest.mark.long
def test_a_dynamic_provider_in_javascript(house: Any) -> None:
    _write(
        house,
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
    assert house.up().outputs == {"size": 4}
    assert house.up().changes == {"same": 2}
    house.env["NOTE"] = "dearest"
    result = house.up()
    assert result.changes == {"same": 1, "update": 1} and result.outputs == {"size": 7}
    assert house.destroy().ok


def test_what_is_missing_is_named(house: Any, tmp_path: Path) -> None:
    _write(house, "")
    house.folder.joinpath("node_modules").unlink()
    said = house.why(house.up(ok=False))
    assert "Node.js SDK is not installed" in said and "`npm install`" in said
    house.env["PATH"] = str(tmp_path)
    assert "there is no `node` on PATH" in house.why(house.up(ok=False))
