"""Stacks as things: make, list, show, export, import, remove. Here: what the `stack` commands do. Not here: runs (operations.py)."""

from __future__ import annotations

import json
from typing import Any

from spg99.engine import lock
from spg99.engine.crypt import Crypter, find_passphrase
from spg99.engine.snapshot import Snapshot
from spg99.engine.state import Deployment, check_version, dump_resource, load_deployment, manifest
from spg99.engine.values import SECRET, SIG
from spg99.engine.workspace import Workspace
from spg99.errors import BadRequest, Conflict


def create(workspace: Workspace) -> None:
    """Makes an empty stack, with the salt of its secrets in its settings file. Raises Conflict when it exists."""
    workspace.stack.create()
    workspace.settings.remember_salt(workspace.crypter)


def remove(workspace: Workspace, *, force: bool) -> None:
    """Forgets a stack. Raises Conflict when it still has resources and is not forced."""
    with lock.held(workspace.stack):
        deployment = workspace.deployment()
        if deployment.resources and not force:
            raise Conflict(
                f"The stack '{workspace.stack.name}' still has {len(deployment.resources)} resources. "
                "Run `spg99 destroy` first; `--force` forgets them and leaves them running."
            )
        workspace.stack.remove()
    workspace.settings.file.unlink(missing_ok=True)


def export(workspace: Workspace, *, show_secrets: bool) -> str:
    """The state as `pulumi stack export` prints it."""
    deployment = workspace.deployment()
    if not show_secrets:
        raw = workspace.stack.read()
    else:
        raw = {"manifest": manifest()}
        if deployment.secrets_provider:
            raw["secrets_providers"] = deployment.secrets_provider
        raw["resources"] = [_open(dump_resource(r, lambda text: text)) for r in deployment.resources]
        raw["pending_operations"] = [
            {"resource": _open(dump_resource(o.resource, lambda text: text)), "type": o.type}
            for o in deployment.operations
        ]
        raw |= {"metadata": {}} | deployment.extra
    return json.dumps({"version": 3, "deployment": raw or {"manifest": manifest()}}, indent=4)


def _open(value: Any) -> Any:
    """Secrets in the form `plaintext` (their text is not encrypted here)."""
    if isinstance(value, dict):
        if value.get(SIG) == SECRET:
            return {SIG: SECRET, "plaintext": value["ciphertext"]}
        return {key: _open(item) for key, item in value.items()}
    return [_open(item) for item in value] if isinstance(value, list) else value


def import_(workspace: Workspace, text: str, *, force: bool) -> int:
    """Replaces the state by an exported one; answers how many resources it has. Raises BadRequest."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"That is no exported stack: {error}") from error
    if not isinstance(raw, dict) or "deployment" not in raw:
        raise BadRequest("That is no exported stack: it has no `deployment`.")
    check_version(raw, "The exported stack")
    with lock.held(workspace.stack):
        workspace.stack.read()
        crypter = _crypter_of(raw["deployment"], workspace)
        deployment = load_deployment(raw["deployment"], crypter.decrypt)
        _check_owner(workspace, deployment, force=force)
        workspace.stack.back_up()
        if workspace.settings.salt_text is not None:
            # the settings file's secrets and the state's must have one salt: encrypt the state's anew
            crypter, deployment.secrets_provider = workspace.crypter, None
        Snapshot(deployment, crypter, workspace.stack).save()
    return len(deployment.resources)


def _crypter_of(raw: dict[str, Any], workspace: Workspace) -> Crypter:
    """The crypter of an exported deployment: its salt may be another than this stack's."""
    provider = raw.get("secrets_providers") or {}
    if provider.get("type") not in (None, "", "passphrase"):
        raise BadRequest(f"The exported stack keeps secrets with `{provider['type']}`; export it with --show-secrets.")
    salt = (provider.get("state") or {}).get("salt")
    return Crypter(find_passphrase(workspace.environment), salt) if salt else workspace.crypter


def _check_owner(workspace: Workspace, deployment: Deployment, *, force: bool) -> None:
    prefix = f"urn:pulumi:{workspace.stack.name}::{workspace.project.name}::"
    foreign = next((r.urn for r in deployment.resources if not r.urn.startswith(prefix)), None)
    if foreign and not force:
        raise BadRequest(f"The exported stack is another one: it holds {foreign}. Use `--force` if you mean it.")
