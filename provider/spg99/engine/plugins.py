"""Where the program of a provider is. Here: Pulumi's search order. Not here: starting it (providers.py)."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import yaml

from spg99.engine import nodejs
from spg99.engine.children import interpreter, python_host, watched
from spg99.engine.failure import StepFailed
from spg99.engine.project import Project
from spg99.engine.urns import DYNAMIC_PACKAGE, NODEJS_DYNAMIC_PACKAGE


def command_of(package: str, version: str, project: Project, environment: dict[str, str]) -> list[str]:
    """The command that starts a package's provider, without the engine's address. Raises StepFailed.

    Order: Pulumi.yaml's `plugins`, PATH, ~/.pulumi/plugins (the newest when no version is asked for).
    """
    if package == DYNAMIC_PACKAGE:
        return python_host(interpreter(project), "pulumi.dynamic")
    if package == NODEJS_DYNAMIC_PACKAGE:
        return nodejs.dynamic_host(project, environment)
    name = f"pulumi-resource-{package}"
    if folder := project.plugins.get(package):
        return _in_folder(folder, name, project)
    if not environment.get("PULUMI_IGNORE_AMBIENT_PLUGINS") and (
        found := shutil.which(name, path=environment.get("PATH"))
    ):
        return watched([found])
    home = Path(environment.get("PULUMI_HOME") or Path.home() / ".pulumi")
    wanted = f"resource-{package}-v{version}" if version else f"resource-{package}-v*"
    installed = sorted((home / "plugins").glob(wanted), key=_version_key)
    installed = [folder for folder in installed if folder.is_dir()]
    if installed:
        return _in_folder(installed[-1], name, project)
    raise StepFailed(
        f"There is no provider for '{package}'{' ' + version if version else ''}: neither `{name}` on PATH nor "
        f"{wanted} in {home / 'plugins'}. The embedded engine downloads no plugins; `pulumi plugin install` does."
    )


def attached_port(package: str, environment: dict[str, str]) -> str:
    """The port of a provider that runs already, as PULUMI_DEBUG_PROVIDERS names it (`name:port,name:port`); else empty."""
    pairs = (part.strip().rpartition(":") for part in environment.get("PULUMI_DEBUG_PROVIDERS", "").split(","))
    return next((port for name, _, port in pairs if name == package), "")


def _in_folder(folder: Path, name: str, project: Project) -> list[str]:
    if folder.is_file():
        return watched([str(folder)])
    if os.access(folder / name, os.X_OK):
        return watched([str(folder / name)])
    described = folder / "PulumiPlugin.yaml"
    if described.is_file():
        runtime = (yaml.safe_load(described.read_text()) or {}).get("runtime")
        options = runtime.get("options") or {} if isinstance(runtime, dict) else {}
        language = runtime.get("name") if isinstance(runtime, dict) else runtime
        if language == "python" and (folder / "__main__.py").is_file():
            python = folder / (options.get("virtualenv") or "venv") / "bin" / "python"
            return python_host(str(python) if python.is_file() else interpreter(project), str(folder))
        raise StepFailed(f"{described} says `runtime: {language}`; the embedded engine runs Python plugins only.")
    raise StepFailed(f"The plugin folder {folder} has no executable `{name}`.")


def _version_key(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", folder.name.rpartition("-v")[2]))
