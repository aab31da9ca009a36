"""Node.js programs and dynamic providers: how Pulumi's own SDK is started. Here: commands and their environment. Not here: the
processes (children.py). JavaScript and TypeScript alike: the SDK in the project's node_modules compiles what it loads."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from spg99.engine.children import watched
from spg99.engine.project import Project
from spg99.engine.run import Run
from spg99.errors import BadRequest

_SDK = Path("node_modules/@pulumi/pulumi")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_PREAMBLE = re.compile(r"\ARunning program '[^\n]*' failed with an unhandled exception:\n")
_FRAME = re.compile(r"\A    at (?:(?P<what>.*) \()?(?P<file>[^()]+?):(?P<line>\d+):\d+\)?\Z")
# What the SDK says for its developers about every request: the answers hold secrets in plain text.
_ANSWER = re.compile(r"(?:resp: |obj=|props=).*", re.DOTALL)


def command_and_environment(run: Run, address: str) -> tuple[list[str], dict[str, str]]:
    """The command that runs the project's program, and what its environment needs besides. Raises BadRequest."""
    project = run.project
    options = project.runtime_options
    entry = project.program.name if project.program.is_file() else "."
    command = [
        *_node(project, run.environment),
        *shlex.split(str(options.get("nodeargs") or "")),
        str(_module(project, "run")),
        f"--monitor={address}",
        f"--engine={address}",
        "--organization=organization",
        f"--project={project.name}",
        f"--root-directory={project.root}",
        f"--stack={run.stack}",
        f"--parallel={run.options.parallel}",
        *(["--dry-run"] if run.dry_run else []),
        entry,
    ]
    environment = {"PULUMI_NODEJS_TYPESCRIPT": "false" if options.get("typescript") is False else "true"}
    if config := options.get("tsconfig"):
        environment["PULUMI_NODEJS_TSCONFIG_PATH"] = str(config)
    return watched(command), environment


def dynamic_host(project: Project, environment: Mapping[str, str]) -> list[str]:
    """The command that starts the host of dynamic providers written in JavaScript. Raises BadRequest."""
    return watched([*_node(project, environment), str(_module(project, "dynamic-provider"))])


def _node(project: Project, environment: Mapping[str, str]) -> list[str]:
    found = shutil.which("node", path=environment.get("PATH"))
    if found is None:
        raise BadRequest(
            f"{project.file} says `runtime: nodejs`, and there is no `node` on PATH. Install Node.js first."
        )
    return [found]


def _module(project: Project, name: str) -> Path:
    """A program of the SDK, in the nearest node_modules as Node.js looks for it: in the program's folder or above it."""
    for folder in (project.program_folder, *project.program_folder.parents):
        if (found := folder / _SDK / "cmd" / name / "index.js").is_file():
            return found
    packages = project.program_folder / "package.json"
    what = "Run `npm install` there" if packages.is_file() else "Run `npm install @pulumi/pulumi` there"
    raise BadRequest(
        f"The program's Node.js SDK is not installed: no {_SDK} in {project.program_folder} or above it. {what}."
    )


def sentence(text: str, folder: Path) -> str:
    """What the SDK says of a program that failed, as the user needs it: the message, and the lines of the user's own files."""
    plain = _COLOR.sub("", text)
    if not _PREAMBLE.match(plain):
        return plain
    frames: list[str] = []
    message: list[str] = []
    for line in _PREAMBLE.sub("", plain).rstrip().splitlines():
        match = _FRAME.match(line)
        if match is None:
            message.append(line)
            continue
        path = Path(match["file"].removeprefix("file://"))
        own = not match["file"].startswith("node:") and "node_modules" not in path.parts
        if own and (not path.is_absolute() or path.is_relative_to(folder)):
            shown = os.path.relpath(path, folder) if path.is_absolute() else str(path)
            frames.append(f"  {shown}:{match['line']}" + (f" in {match['what']}" if match["what"] else ""))
    return "\n".join(["The program failed:", *frames, *message])


def without_answers(text: str) -> str:
    """A line for developers without what providers answered, which may be secret."""
    return _ANSWER.sub("(not shown)", text)
