"""Where the state comes from, and what the platform calls it. Here: files, backends and the tools' own commands. Not here: what a
state says (states.py)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spg99.bridges.pulumi.shared import declarers
from spg99.bridges.terraform import state_names
from spg99.commands.orphans.rules import State
from spg99.commands.orphans.states import read_state
from spg99.declarer import bounded
from spg99.errors import BadRequest, Conflict, NotFound

if TYPE_CHECKING:
    from spg99.engine.workspace import Workspace

TOOLS = {"pulumi": "pulumi", "terraform": "terraform", "opentofu": "terraform"}
"""Tool -> whose form its state has."""
PROGRAMS = {"pulumi": "pulumi", "terraform": "terraform", "opentofu": "tofu"}
TOOL_SECONDS_MAX = 120


@dataclass(frozen=True)
class Asked:
    """What the command line says about the state."""

    tool: str | None
    file: str | None
    """A path, or `-` for standard input."""
    stack: str | None
    backend: str | None
    cwd: Path
    name: str | None


@dataclass(frozen=True)
class Source:
    """A state, and how the platform calls it."""

    tool: str
    state: State
    name: str
    is_guessed: bool = False
    """The name comes from a folder alone: another state may be called the same."""
    workspace: Workspace | None = None
    """A stack in Pulumi's file backend, which the embedded engine can write."""
    options: str = ""
    """What a command has to say to mean this stack, with a space before; empty: it is the selected one."""


def source(asked: Asked) -> Source:
    """The state that is meant. Raises BadRequest or UsageError where nobody can tell, Conflict while a run works on it."""
    if asked.file is not None:
        text = sys.stdin.read() if asked.file == "-" else Path(asked.file).read_text()
        state = read_state(text, family=None if asked.tool is None else TOOLS[asked.tool])
        return _named(asked, asked.tool or state.family, state)
    tool = asked.tool or _tool_of(asked.cwd)
    if tool == "pulumi":
        return _pulumi(asked)
    return _named(asked, tool, read_state(_output(tool, ["state", "pull"], asked.cwd), family="terraform"))


def _named(asked: Asked, tool: str, state: State) -> Source:
    if asked.name is not None:
        family = f"{TOOLS[tool]}:"
        return Source(tool, state, bounded(family + asked.name.removeprefix(family)))
    if TOOLS[tool] == "terraform":
        name = state_names.state_name("", os.environ, asked.cwd.resolve())
        return Source(tool, state, bounded(name), is_guessed=name.startswith(f"{state_names.FAMILY}:local:"))
    if len(state.stacks) != 1:
        found = ", ".join("/".join(each) for each in state.stacks) or "none"
        raise click.UsageError(f"The state names no stack, or several ({found}): say which with --name PROJECT/STACK.")
    return Source(tool, state, bounded(declarers.state_name(*state.stacks[0], os.environ)))


def _pulumi(asked: Asked) -> Source:
    from spg99.engine import lock  # the engine brings Pulumi's SDK along
    from spg99.engine.backend import backend_url
    from spg99.engine.project import find_project
    from spg99.engine.workspace import open_workspace

    project = find_project(asked.cwd.resolve())
    if backend_url(asked.backend, os.environ, project).startswith("file://"):
        workspace = open_workspace(asked.cwd, asked.stack, url=asked.backend)
        if holders := lock.holders(workspace.stack):
            raise Conflict(
                f"The stack '{workspace.stack.name}' is in use by {', '.join(holders)}: what is being made there would look like an "
                "orphan. Wait for its end; `spg99 cancel` removes the lock of a run that has died."
            )
        state = read_state(json.dumps({"deployment": workspace.stack.read() or {}}), family="pulumi")
        stack = workspace.stack.name
    else:
        workspace, chosen = None, ["--stack", asked.stack] if asked.stack else []
        state = read_state(_output("pulumi", ["stack", "export", *chosen], asked.cwd), family="pulumi")
        stack = asked.stack or _output("pulumi", ["stack", "--show-name"], asked.cwd).strip()
    name = f"{asked.name or ''}".removeprefix("pulumi:")
    stack = stack.rpartition("/")[2]
    known = f"pulumi:{name}" if name else declarers.state_name(project.name, stack, os.environ)
    options = f" --stack {asked.stack}" if asked.stack else ""
    return Source("pulumi", state, bounded(known), workspace=workspace, options=options)


def _tool_of(folder: Path) -> str:
    """The tool whose project a folder is."""
    is_pulumi = any((folder / name).is_file() for name in ("Pulumi.yaml", "Pulumi.yml"))
    is_terraform = any(folder.glob("*.tf")) or any(folder.glob("*.tf.json")) or any(folder.glob("*.tofu"))
    if is_pulumi and not is_terraform:
        return "pulumi"
    if is_terraform and not is_pulumi:
        return "terraform" if shutil.which("terraform") or not shutil.which("tofu") else "opentofu"
    what = "both a Pulumi and a Terraform project" if is_pulumi else "no project of Pulumi or Terraform"
    raise click.UsageError(f"{folder.resolve()} is {what}: say which tool is meant with --for, or give --state.")


def _output(tool: str, arguments: list[str], cwd: Path) -> str:
    """What a tool prints. Raises NotFound when it is not there, BadRequest with its own words when it fails."""
    program = PROGRAMS[tool]
    shown = " ".join([program, *arguments])
    found = shutil.which(program)
    if found is None:
        raise NotFound(
            f"`{program}` is not on the PATH. Give the state in a file: --state FILE (what `{shown}` prints)."
        )
    try:
        done = subprocess.run(
            [found, *arguments], cwd=cwd, capture_output=True, text=True, timeout=TOOL_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        raise BadRequest(
            f"`{shown}` did not end within {TOOL_SECONDS_MAX} s. Give the state in a file: --state."
        ) from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[:500]
        raise BadRequest(f"`{shown}` failed, so the state is not known: {said}")
    return done.stdout
