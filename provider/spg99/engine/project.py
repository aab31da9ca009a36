"""A Pulumi project on disk: Pulumi.yaml, Pulumi.<stack>.yaml, configuration. Here: files and their meaning. Not here: running it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spg99.atomic_write import make_folders, write_file
from spg99.engine.crypt import Crypter
from spg99.engine.urns import DYNAMIC_PACKAGES
from spg99.engine.values import reveal, secret
from spg99.errors import BadRequest, NotFound, Unavailable

_NAMES = ("Pulumi.yaml", "Pulumi.yml", "Pulumi.json")
_STACK_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_PROJECT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_LANGUAGES = ("python", "nodejs", "yaml")


@dataclass(frozen=True)
class Project:
    """What Pulumi.yaml says."""

    root: Path
    file: Path
    name: str
    language: str
    """python, nodejs or yaml"""
    runtime_options: dict[str, Any]
    program: Path
    backend_url: str | None
    defaults: dict[str, Any]
    """configuration of the project that holds for every stack, by full key"""
    plugins: dict[str, Path]
    """provider packages that the project takes from a folder of its own"""
    config_dir: Path

    @property
    def program_folder(self) -> Path:
        """Where the program runs."""
        return self.program if self.program.is_dir() else self.program.parent


def find_project(cwd: Path) -> Project:
    """The project of a folder: the nearest Pulumi.yaml there or above. Raises NotFound or BadRequest."""
    cwd = cwd.resolve()
    if not cwd.is_dir():
        raise NotFound(f"The folder {cwd} does not exist.")
    for folder in (cwd, *cwd.parents):
        for name in _NAMES:
            if (folder / name).is_file():
                return _read_project(folder / name)
    raise NotFound(f"No Pulumi.yaml in {cwd} or above it: this is not a Pulumi project.")


def _read_project(file: Path) -> Project:
    raw = _read_yaml(file)
    name = raw.get("name")
    if not isinstance(name, str) or not _PROJECT_NAME.fullmatch(name):
        raise BadRequest(f"{file} needs a `name` of letters, digits, `-`, `_` and `.`.")
    runtime = raw.get("runtime")
    options = runtime.get("options") or {} if isinstance(runtime, dict) else {}
    language = runtime.get("name") if isinstance(runtime, dict) else runtime
    if language not in _LANGUAGES:
        raise BadRequest(
            f"{file} says `runtime: {language}`; the embedded engine runs Python, Node.js and YAML programs only. "
            "Use the Pulumi CLI for it."
        )
    program = (file.parent / (raw.get("main") or ".")).resolve()
    if not program.exists():
        raise BadRequest(f"{file} says `main: {raw['main']}`, which does not exist.")
    defaults: dict[str, Any] = {}
    for key, entry in (raw.get("config") or {}).items():
        value = entry.get("value", entry.get("default")) if isinstance(entry, dict) else entry
        if isinstance(entry, dict) and entry.get("secret"):
            value = None  # a default cannot be secret; Pulumi says the same
        if value is not None:
            defaults[full_key(key, name)] = _as_text(value)
    return Project(
        root=file.parent,
        file=file,
        name=name,
        language=language,
        runtime_options=options,
        program=program,
        backend_url=(raw.get("backend") or {}).get("url"),
        defaults=defaults,
        plugins={
            p["name"]: (file.parent / p["path"]).resolve() for p in (raw.get("plugins") or {}).get("providers") or []
        },
        config_dir=(file.parent / (raw.get("stackConfigDir") or ".")).resolve(),
    )


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(file.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise BadRequest(f"{file} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise BadRequest(f"{file} must hold a mapping.")
    return raw


def check_stack_name(name: str) -> str:
    """The stack's own name from `name`, `organization/name` or `organization/project/name`. Raises BadRequest."""
    organization, _, short = name.rpartition("/")
    if organization and organization.split("/")[0] != "organization":
        raise BadRequest(f"'{name}': in a file backend the organization is always called `organization`.")
    if not _STACK_NAME.fullmatch(short):
        raise BadRequest(f"'{name}' is no stack name: letters, digits, `-`, `_` and `.`, at most 100.")
    return short


def full_key(key: str, project: str) -> str:
    """A configuration key with its namespace; a bare one belongs to the project."""
    parts = key.split(":")
    if len(parts) == 3 and parts[1] == "config":  # the spelling of long ago
        return f"{parts[0]}:{parts[2]}"
    return key if len(parts) > 1 else f"{project}:{key}"


class StackSettings:
    """Pulumi.<stack>.yaml: configuration and the salt of the stack's secrets."""

    def __init__(self, project: Project, stack: str) -> None:
        self.project = project
        self.file = project.config_dir / f"Pulumi.{stack}.yaml"
        self.raw = _read_yaml(self.file) if self.file.is_file() else {}
        if self.raw.get("environment"):
            raise BadRequest(
                f"{self.file} uses `environment` (Pulumi ESC), which the embedded engine does not do. Use the Pulumi CLI."
            )
        if (provider := self.raw.get("secretsprovider")) not in (None, "passphrase", "default"):
            raise BadRequest(
                f"{self.file} keeps secrets with `{provider}`; the embedded engine only knows passphrases. Use the Pulumi CLI."
            )

    @property
    def salt_text(self) -> str | None:
        """The salt under which this file's secrets are encrypted, if it has one."""
        return self.raw.get("encryptionsalt")

    def config(self, crypter: Crypter) -> dict[str, Any]:
        """All configuration, by full key: text, or a secret that holds text."""
        found: dict[str, Any] = dict(self.project.defaults)
        for key, entry in (self.raw.get("config") or {}).items():
            opened, is_secret = _open(entry, crypter)
            text = _as_text(opened)
            found[full_key(str(key), self.project.name)] = secret(text) if is_secret else text
        return found

    def set(self, key: str, value: str, *, crypter: Crypter | None = None) -> None:
        """Sets a value; with a crypter it is written encrypted."""
        config = self.raw.setdefault("config", {}) or {}
        self.raw["config"] = config
        config[full_key(key, self.project.name)] = {"secure": crypter.encrypt(value)} if crypter else value
        if crypter:
            self.remember_salt(crypter)
        self.save()

    def remove(self, key: str) -> None:
        """Removes a value. Raises NotFound."""
        if (self.raw.get("config") or {}).pop(full_key(key, self.project.name), None) is None:
            raise NotFound(f"The configuration has no value '{key}'.")
        self.save()

    def remember_salt(self, crypter: Crypter) -> None:
        """Notes the salt in the file, as Pulumi expects it, unless it is there."""
        if self.salt_text is None:
            self.raw = {"encryptionsalt": crypter.salt_text(), **self.raw}
            self.save()

    def save(self) -> None:
        """Writes the file, atomically and durably: the salt in it decrypts every secret of the stack. Raises Unavailable."""
        try:
            write_file(self.file, yaml.safe_dump(self.raw, sort_keys=False, allow_unicode=True))
        except OSError as error:
            raise Unavailable(f"{self.file} cannot be written: {error.strerror}.") from error


def _open(entry: Any, crypter: Crypter) -> tuple[Any, bool]:
    """The value of an entry with its secure parts decrypted, and whether it had any."""
    if isinstance(entry, dict):
        if set(entry) == {"secure"}:
            return crypter.decrypt(entry["secure"]), True
        pairs = {key: _open(value, crypter) for key, value in entry.items()}
        return {key: value for key, (value, _) in pairs.items()}, any(s for _, s in pairs.values())
    if isinstance(entry, list):
        items = [_open(value, crypter) for value in entry]
        return [value for value, _ in items], any(s for _, s in items)
    return entry, False


def _as_text(value: Any) -> str:
    """A configuration value as programs see it: text, or JSON text of an object."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def package_config(config: dict[str, Any], package: str) -> dict[str, Any]:
    """The configuration of a package's default provider. Dynamic providers get all of it, with namespaces."""
    if package in DYNAMIC_PACKAGES:
        return dict(config)
    prefix = package + ":"
    return {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}


def config_environment(config: dict[str, Any]) -> dict[str, str]:
    """How the configuration reaches the program."""
    return {
        "PULUMI_CONFIG": json.dumps({key: reveal(value) for key, value in config.items()}),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps([key for key, value in config.items() if isinstance(value, dict)]),
    }


def _selection_file(project: Project) -> Path:
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    digest = hashlib.sha1(str(project.file).encode(), usedforsecurity=False).hexdigest()
    return home / "workspaces" / f"{project.name}-{digest}-workspace.json"


def selected_stack(project: Project, backend_url: str) -> str | None:
    """The stack chosen by `stack select`, Pulumi's or ours: both use one file. Each backend has a choice of its own."""
    if name := os.environ.get("PULUMI_STACK"):
        return name
    raw = _selection(project)
    stacks = raw.get("stacks")
    chosen = stacks.get(backend_url) if isinstance(stacks, dict) else None
    return (
        str(chosen or raw.get("stack") or "") or None
    )  # `stack` is what older versions of both wrote, for all backends


def select_stack(project: Project, stack: str | None, backend_url: str) -> None:
    """Remembers the chosen stack; None forgets it."""
    raw = _selection(project)
    stacks = dict(raw["stacks"]) if isinstance(raw.get("stacks"), dict) else {}
    if stack is None:
        stacks.pop(backend_url, None)
        raw.pop("stack", None)
    else:
        stacks[backend_url] = f"organization/{project.name}/{check_stack_name(stack)}"
    raw["stacks"] = stacks
    file = _selection_file(project)
    make_folders(file.parent)
    write_file(file, json.dumps(raw, indent=4))


def _selection(project: Project) -> dict[str, Any]:
    """What the file holds; whatever else is in it is kept."""
    try:
        raw = json.loads(_selection_file(project).read_text())
    except (OSError, ValueError):
        return {}
    return raw if isinstance(raw, dict) else {}
