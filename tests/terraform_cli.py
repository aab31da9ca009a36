"""Terraform and OpenTofu as tests drive them: the real binary in a folder of its own, results as JSON.

    with attached(PACKAGE) as environment:                     # the provider inside this process: 50 ms a command
        work = Workspace(tmp_path, environment=environment, settings=settings_of(server.url, API_KEY))
        work.write('resource "spg99_gadget" "it" { shelf = "top"  name = "lamp" }')
        plan = work.plan()                                     # writes nothing; plan.changes["spg99_gadget.it"].actions
        work.apply()
        assert work.plan().is_empty and work.plan(refresh=False).is_empty
        work.values("spg99_gadget.it")["gadget_id"]            # from the state
        work.import_("spg99_gadget.it", "top/lamp"); work.destroy()
        failed = work.run("apply", check=False)                # anything else: .code, .text (stdout and stderr)
        process = work.start("apply", "-auto-approve")         # for Ctrl-C and kill -9

    Workspace(tmp_path, mirror=folder)                         # real starts, from a file-system mirror (`install(...)`)
    Workspace(tmp_path, binary=tofu(), ...)                    # OpenTofu; `terraform()` and `tofu()` skip where there is none

Here: commands and what they answered. Not here: what is right (the tests').
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kit.tiers import only_when_slow
from spg99.bridges.terraform.provider import TerraformProvider
from spg99.shapes import Package
from tfplugin.serving import Attached

ROOT = Path(__file__).resolve().parents[1]
REGISTRIES = {"terraform": "registry.terraform.io", "tofu": "registry.opentofu.org"}
SECONDS_MAX = 120


def terraform() -> Path:
    """The Terraform binary; skips the test where there is none."""
    return _binary("terraform", "SPG99_TERRAFORM")


def tofu() -> Path:
    """The OpenTofu binary (`make cli-tools` builds it); skips the test where there is none. Fails one that is not marked `slow`."""
    only_when_slow("OpenTofu")
    return _binary("tofu", "SPG99_TOFU")


def _binary(name: str, variable: str) -> Path:
    found = os.environ.get(variable) or shutil.which(name) or shutil.which(name, path=str(ROOT / ".tools" / "bin"))
    if found is None:
        pytest.skip(f"{name} is not on PATH ({variable} names it)")
    return Path(found)


@contextlib.contextmanager
def attached(
    package: Package, *, name: str = "spg99", environment: Mapping[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """The provider of a Package inside this process, for Terraform and OpenTofu: the environment by which they find it.

    One provider serves all commands: two provider blocks with different settings need real starts.
    """
    provider = TerraformProvider(package, environment or {})
    found: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        for registry in REGISTRIES.values():
            served = stack.enter_context(Attached(lambda: provider, f"{registry}/{name}/{name}"))
            found |= json.loads(served.reattach)
        yield {"TF_REATTACH_PROVIDERS": json.dumps(found)}


def settings_of(url: str, api_key: str, **more: Any) -> dict[str, Any]:
    """Arguments of a provider block."""
    return {"url": url, "api_key": api_key, **more}


def readable(text: str) -> str:
    """What a command printed as one line, without the boxes around messages."""
    return re.sub(r"\s+", " ", re.sub(r"[│╷╵]", " ", text))


@dataclass
class Result:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything a user reads, boxes and line breaks of messages taken out."""
        return readable(self.out + "\n" + self.err)


@dataclass
class Change:
    """What a plan does to one object."""

    actions: list[str]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    unknown: Any
    replaces: list[list[Any]] = field(default_factory=list)
    sensitive: Any = None
    importing: Any = None

    @property
    def changed(self) -> set[str]:
        """Attributes that a user sees changing."""
        before, after = self.before or {}, self.after or {}
        unknown = self.unknown if isinstance(self.unknown, dict) else {}
        names = before.keys() | after.keys() | unknown.keys()
        return {name for name in names if before.get(name) != after.get(name) or _holds_true(unknown.get(name))}


def _holds_true(flags: Any) -> bool:
    if isinstance(flags, dict | list):
        return any(map(_holds_true, flags.values() if isinstance(flags, dict) else flags))
    return flags is True


@dataclass
class Plan:
    """A plan."""

    changes: dict[str, Change]
    raw: dict[str, Any]
    text: str
    path: Path

    @property
    def is_empty(self) -> bool:
        """Nothing to do, to outputs neither."""
        outputs = self.raw.get("output_changes") or {}
        return all(change.actions in (["no-op"], ["read"]) for change in self.changes.values()) and all(
            change["actions"] == ["no-op"] for change in outputs.values()
        )

    @property
    def drift(self) -> dict[str, Any]:
        """What changed outside, by address."""
        return {each["address"]: each["change"] for each in self.raw.get("resource_drift", ())}


class Failed(AssertionError):
    """A command that should have gone well."""


class Workspace:
    """One configuration with its state."""

    def __init__(
        self,
        folder: Path,
        *,
        binary: Path | None = None,
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        mirror: Path | None = None,
        name: str = "spg99",
        version: str | None = None,
    ) -> None:
        self.folder = folder
        self.binary = binary or terraform()
        self.name = name
        self.settings = settings
        folder.mkdir(parents=True, exist_ok=True)
        rc = folder / "cli.tfrc"
        rc.write_text(
            ""
            if mirror is None
            else f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n'
        )
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "SPG99_", "CP_URL"))}
        self.environment = {
            **kept,
            "TF_CLI_CONFIG_FILE": str(rc),
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            **(environment or {}),
        }
        constraint = f'\n      version = "{version}"' if version else ""
        (folder / "versions.tf").write_text(
            "terraform {\n  required_providers {\n"
            f'    {name} = {{\n      source = "{name}/{name}"{constraint}\n    }}\n  }}\n}}\n'
        )
        if settings is not None:
            (folder / "provider.tf").write_text(
                f'provider "{name}" {{\n'
                + "".join(f"  {key} = {hcl(value)}\n" for key, value in settings.items())
                + "}\n"
            )
        self._ready = False

    # -- the configuration

    def write(self, config: str, name: str = "main.tf") -> Workspace:
        """Writes a file of the configuration; the next command takes it."""
        (self.folder / name).write_text(config)
        return self

    # -- commands

    def init(self) -> Result:
        """Prepares the folder; the other commands do it when it was not done."""
        self._ready = True
        return self.run("init", "-input=false")

    def run(
        self, *arguments: str, check: bool = True, seconds: float = SECONDS_MAX, env: Mapping[str, str] | None = None
    ) -> Result:
        """Any command. Raises Failed with everything it said, unless `check` is off."""
        if not self._ready and arguments[0] not in ("init", "version"):
            self.init()
        done = subprocess.run(
            [self.binary, *arguments, *(["-no-color"] if arguments[0] not in ("version",) else [])],
            cwd=self.folder,
            env={**self.environment, **(env or {})},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        if check and done.returncode not in (0,):
            raise Failed(f"{' '.join(arguments)} ended with {done.returncode}:\n{result.out}\n{result.err}")
        return result

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on; in a process group of its own, so that Ctrl-C can be sent to all of it."""
        if not self._ready:
            self.init()
        return subprocess.Popen(
            [self.binary, *arguments, "-no-color"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def validate(self, *, check: bool = True) -> Result:
        """`validate`."""
        return self.run("validate", check=check)

    def plan(self, *arguments: str, refresh: bool = True, check: bool = True) -> Plan:
        """A plan; with `check` a failing one raises Failed."""
        path = self.folder / "plan.bin"
        path.unlink(missing_ok=True)
        options = ["-input=false", f"-out={path.name}", *([] if refresh else ["-refresh=false"])]
        said = self.run("plan", *options, *arguments, check=check)
        raw = json.loads(self.run("show", "-json", path.name).out)
        changes = {
            each["address"]: Change(
                each["change"]["actions"],
                each["change"]["before"],
                each["change"]["after"],
                each["change"].get("after_unknown") or {},
                each["change"].get("replace_paths") or [],
                each["change"].get("after_sensitive"),
                each["change"].get("importing"),
            )
            for each in raw.get("resource_changes", ())
        }
        return Plan(changes, raw, said.out, path)

    def apply(self, *arguments: str, check: bool = True) -> Result:
        """`apply -auto-approve`, or of a saved plan."""
        return self.run("apply", "-input=false", "-auto-approve", *arguments, check=check)

    def destroy(self, *arguments: str, check: bool = True) -> Result:
        """`destroy -auto-approve`."""
        return self.run("destroy", "-input=false", "-auto-approve", *arguments, check=check)

    def refresh(self) -> Result:
        """Takes what is there now into the state."""
        return self.run("apply", "-refresh-only", "-auto-approve", "-input=false")

    def import_(self, address: str, id_: str, *, check: bool = True) -> Result:
        """`import`: the resource block must be there."""
        return self.run("import", "-input=false", address, id_, check=check)

    def forget(self, address: str) -> Result:
        """Takes an object out of the state and leaves it alone."""
        return self.run("state", "rm", address)

    # -- what it knows

    def state(self) -> dict[str, Any]:
        """The state, as `show -json` tells it."""
        found: dict[str, Any] = json.loads(self.run("show", "-json").out)
        return found

    def resources(self) -> dict[str, dict[str, Any]]:
        """Everything in the root module's state, by address: `values`, `tainted` ..."""
        module = (self.state().get("values") or {}).get("root_module") or {}
        return {each["address"]: each for each in module.get("resources", ())}

    def values(self, address: str) -> dict[str, Any]:
        """The attributes of one object in the state."""
        found: dict[str, Any] = self.resources()[address]["values"]
        return found

    def outputs(self) -> dict[str, Any]:
        """The outputs' values."""
        return {name: each["value"] for name, each in json.loads(self.run("output", "-json").out).items()}

    def raw_state(self) -> str:
        """The state file's text, to look for secrets in it."""
        path = self.folder / "terraform.tfstate"
        return path.read_text() if path.exists() else ""


def hcl(value: Any) -> str:
    """A value as Terraform writes it (its JSON is HCL, templates aside)."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {hcl(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(hcl, value)) + "]"
    return json.dumps(value).replace("${", "$${").replace("%{", "%%{")


def block(kind: str, type_name: str, label: str, arguments: Mapping[str, Any], *, extra: str = "") -> str:
    """A block with these arguments; None is left out."""
    lines = "".join(f"  {name} = {hcl(value)}\n" for name, value in arguments.items() if value is not None)
    return f'{kind} "{type_name}" "{label}" {{\n{lines}{extra}}}\n'
