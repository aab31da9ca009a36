"""Generated SDKs in a folder, and programs run with them under Pulumi's mocks in a process of their own (mocks are for a whole process)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from spg99.emit import pulumi_schema, sdk_nodejs, sdk_python
from spg99.shapes import Package

ROOT = Path(__file__).resolve().parents[3]
EMITTERS = {"python": sdk_python, "nodejs": sdk_nodejs}

PYTHON_HEAD = """
import json, os, pulumi
seen, shown = [], {}
answers = json.loads(os.environ["ANSWERS"])
class Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args):
        seen.append({"type": args.typ, "name": args.name, "inputs": args.inputs, "id": args.resource_id, "provider": args.provider})
        return [args.name + "-id", {**args.inputs, **answers.get(args.typ, {})}]
    def call(self, args):
        seen.append({"call": args.token, "args": args.args})
        return answers[args.token]
pulumi.runtime.set_mocks(Mocks(), preview=False)
def show(name, value):
    pulumi.Output.from_input(value).apply(lambda known: shown.update({name: known}))
@pulumi.runtime.test
def program():
"""

NODE_HEAD = """
const pulumi = require("@pulumi/pulumi");
const seen = [], shown = {};
const answers = JSON.parse(process.env.ANSWERS);
pulumi.runtime.setMocks({
    newResource: (args) => {
        seen.push({ type: args.type, name: args.name, inputs: args.inputs, id: args.id || "", provider: args.provider });
        return { id: args.name + "-id", state: { ...args.inputs, ...(answers[args.type] || {}) } };
    },
    call: (args) => {
        seen.push({ call: args.token, args: args.inputs });
        return answers[args.token];
    },
}, "project", "stack", false);
const show = (name, value) => pulumi.output(value).apply((known) => { shown[name] = known; });
process.on("exit", () => console.log(JSON.stringify({ seen, shown })));
"""


def write(package: Package, language: str, folder: Path) -> Path:
    """The SDK of a package in a folder of its own."""
    for name, content in EMITTERS[language].files(pulumi_schema.schema(package)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def run_python(sdk: Path, program: str, answers: dict[str, Any] | None = None, **environment: str) -> dict[str, Any]:
    """What a program registered, called and showed."""
    text = PYTHON_HEAD + textwrap.indent(textwrap.dedent(program), "    ")
    text += '\nprogram()\nprint(json.dumps({"seen": seen, "shown": shown}))\n'
    return _run([sys.executable, "-c", text], answers, {"PYTHONPATH": str(sdk), **environment})


def run_node(folder: Path, program: str, answers: dict[str, Any] | None = None, **environment: str) -> dict[str, Any]:
    """The same with Node.js; `folder` holds `node_modules`."""
    (folder / "program.js").write_text(NODE_HEAD + textwrap.dedent(program))
    return _run(["node", "program.js"], answers, environment, folder)


def _run(
    command: list[str], answers: dict[str, Any] | None, environment: dict[str, str], folder: Path | None = None
) -> dict[str, Any]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "CP_", "PULUMI_"))}
    done = subprocess.run(
        command,
        env=clean | {"ANSWERS": json.dumps(answers or {}), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def registered(found: dict[str, Any], name: str) -> dict[str, Any]:
    """The one resource of this name that a program registered."""
    (one,) = [item for item in found["seen"] if item.get("name") == name]
    resource: dict[str, Any] = one
    return resource


SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}


def secret(value: Any) -> dict[str, Any]:
    """A secret as it travels."""
    return {**SECRET, "value": value}
