"""What Terraform's state is called, for who declares an object: a name that stays from run to run, on every machine that has this state.

A provider is told neither the state nor its resources' addresses, so the name comes from where the state is kept, as the data
folder tells (`terraform init` writes it there), and the workspace: `terraform:s3:states/shop@prod`. Only what says *where* is
taken: a backend's settings may hold secrets. A state in a local file is known by its folder, which another machine may not
have: whoever runs in CI with such a state names it (`state_name` in the provider's block, or SPG99_STATE_NAME).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from spg99.declarer import STATE_VARIABLE, Declarer

FAMILY = "terraform"
PLACES: dict[str, tuple[str, ...]] = {
    "azurerm": ("storage_account_name", "container_name", "key"),
    "consul": ("address", "path"),
    "cos": ("region", "bucket", "prefix", "key"),
    "gcs": ("bucket", "prefix"),
    "http": ("address",),
    "kubernetes": ("namespace", "secret_suffix"),
    "oss": ("region", "bucket", "prefix", "key"),
    "pg": ("conn_str", "schema_name"),
    "s3": ("endpoint", "bucket", "workspace_key_prefix", "key"),
}
"""The settings of each backend that say where the state is; a workspace is added to them."""


def declarer_of(named: str, terraform: str, environment: Mapping[str, str], folder: str) -> Declarer:
    """The declarer of every object of a run. `named` is the provider's own setting, `terraform` the program that runs it."""
    tool = "opentofu" if terraform.startswith("tofu") else "terraform"
    return Declarer(tool, state_name(named, environment, Path(folder)))


def state_name(named: str, environment: Mapping[str, str], folder: Path) -> str:
    """The state's name. `folder` is the root module's."""
    given = named or environment.get(STATE_VARIABLE, "")
    return f"{FAMILY}:{given or _place(environment, folder)}"


def program() -> str:
    """The name of the program that runs this provider, as far as the system tells."""
    try:
        return Path(f"/proc/{os.getppid()}/comm").read_text().strip()
    except OSError:
        return ""


def _place(environment: Mapping[str, str], folder: Path) -> str:
    if slug := environment.get("TFC_WORKSPACE_SLUG"):  # a run on HCP Terraform's own machines
        return f"cloud:{slug}"
    data = folder / (environment.get("TF_DATA_DIR") or ".terraform")
    workspace, backend = environment.get("TF_WORKSPACE", ""), dict[str, Any]()
    with contextlib.suppress(OSError):
        workspace = workspace or (data / "environment").read_text().strip()
    with contextlib.suppress(OSError, ValueError, AttributeError):
        backend = json.loads((data / "terraform.tfstate").read_text()).get("backend") or {}
    kind, config = str(backend.get("type") or "local"), backend.get("config") or {}
    return f"{_where(kind, config, folder)}@{workspace or 'default'}"


def _where(kind: str, config: Mapping[str, Any], folder: Path) -> str:
    if kind in ("remote", "cloud"):
        workspaces = config.get("workspaces") or {}
        first: Any = workspaces[0] if isinstance(workspaces, list) and workspaces else workspaces
        names = first if isinstance(first, dict) else {}
        which = names.get("name") or names.get("prefix") or ",".join(map(str, names.get("tags") or ()))
        return "cloud:" + _joined(config.get("hostname"), config.get("organization"), which)
    if kind in PLACES:
        return f"{kind}:" + _joined(*(_without_secrets(config.get(name)) for name in PLACES[kind]))
    if kind == "local":
        path = folder.joinpath(str(config.get("path") or "terraform.tfstate")).resolve()
        return f"local:{path.parent.name}-{_digest(str(path))}"
    # A backend that we do not know: which of its settings are secret is not known either, so only their names' digest and its kind.
    return f"{kind}:{folder.resolve().name}-{_digest(str(folder.resolve()))}"


def _without_secrets(value: Any) -> str:
    """A setting that may be an address: without user, password and query."""
    text = "" if value is None else str(value)
    if "://" in text:
        with contextlib.suppress(ValueError):
            url = urlsplit(text)
            return f"{url.hostname or ''}{f':{url.port}' if url.port else ''}{url.path}"
        return _digest(text.partition("@")[2])
    if "=" in text or "@" in text:  # libpq's `host=... password=...`
        words = dict(pair.split("=", 1) for pair in text.split() if "=" in pair)
        return _joined(words.get("host"), words.get("port"), words.get("dbname"))
    return text


def _joined(*parts: Any) -> str:
    return "/".join(str(part).strip("/") for part in parts if part)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]
