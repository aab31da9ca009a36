"""A project, its stack and where its state is, put together. Here: opening them. Not here: runs (operations.py), commands (cli.py)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spg99.engine.backend import Backend, StackFile, backend_url
from spg99.engine.crypt import PASSPHRASE, PASSPHRASE_FILE, Crypter, find_passphrase
from spg99.engine.project import (
    Project,
    StackSettings,
    check_stack_name,
    find_project,
    full_key,
    selected_stack,
)
from spg99.engine.state import Damaged, Deployment, load_deployment
from spg99.errors import BadRequest, Unauthorized


@dataclass
class Workspace:
    """One stack of one project, opened."""

    project: Project
    backend: Backend
    stack: StackFile
    settings: StackSettings
    crypter: Crypter
    environment: dict[str, str]
    cwd: Path
    config_overrides: Mapping[str, str]
    packages: set[tuple[str, str]] = field(default_factory=set)
    """(package, version) of the providers that runs on this workspace needed"""

    def config(self) -> dict[str, Any]:
        """The stack's configuration, with what the command line adds."""
        given = {full_key(key, self.project.name): value for key, value in self.config_overrides.items()}
        return self.settings.config(self.crypter) | given

    def deployment(self) -> Deployment:
        """The state as it stands. Raises NotFound when the stack does not exist, BadRequest when it is damaged."""
        try:
            return load_deployment(self.stack.read(), self.crypter.decrypt)
        except Damaged as error:
            raise BadRequest(f"{error.message} {self.stack.after_damage()}") from error


def open_workspace(
    cwd: Path,
    stack: str | None = None,
    *,
    url: str | None = None,
    environment: Mapping[str, str] | None = None,
    passphrase_file: Path | None = None,
    config: Mapping[str, str] | None = None,
) -> Workspace:
    """Opens a stack: the one named, or the one selected. The stack need not exist yet. Raises BadRequest or NotFound."""
    cwd = cwd.resolve()
    full_environment = dict(os.environ) | dict(environment or {})
    if passphrase_file is not None:
        full_environment.pop(PASSPHRASE, None)
        full_environment[PASSPHRASE_FILE] = str(passphrase_file)
    project = find_project(cwd)
    backend = Backend(backend_url(url, full_environment, project), cwd=cwd)
    name = stack or selected_stack(project, backend.url)
    if not name:
        raise BadRequest(
            "No stack is selected. Name one with `--stack dev`, or make and select one with `spg99 stack init dev`."
        )
    name = check_stack_name(name)
    backend.open()
    file = backend.stack(project.name, name)
    settings = StackSettings(project, name)
    return Workspace(
        project,
        backend,
        file,
        settings,
        _crypter(file, settings, find_passphrase(full_environment)),
        full_environment,
        cwd,
        config or {},
    )


def _crypter(file: StackFile, settings: StackSettings, passphrase: str | None) -> Crypter:
    """The crypter of the salt that the stack's state (or else its settings file) names."""
    latest = file.read() if file.exists() else None
    provider = (latest or {}).get("secrets_providers") or {}
    if provider.get("type") not in (None, "", "passphrase"):
        raise BadRequest(
            f"The stack keeps its secrets with `{provider['type']}`; the embedded engine only knows passphrases. "
            "Use the Pulumi CLI."
        )
    in_state = (provider.get("state") or {}).get("salt")
    in_settings = settings.salt_text
    if in_state and in_settings and in_state.split(":")[1] != in_settings.split(":")[1]:
        raise BadRequest(
            f"The state and {settings.file.name} were encrypted with different salts: one of them belongs to another stack."
        )
    return Crypter(passphrase, in_settings or in_state)


def need_passphrase(workspace: Workspace) -> None:
    """Raises Unauthorized when no passphrase is set. Pulumi wants one for every stack, too."""
    if find_passphrase(workspace.environment) is None:
        raise Unauthorized(
            f"Set {PASSPHRASE} or {PASSPHRASE_FILE} (or --passphrase-file): secrets in the state are encrypted with it. "
            "An empty one is allowed for a stack that protects nothing."
        )
