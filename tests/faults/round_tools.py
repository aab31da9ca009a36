"""The tools of the rounds as their users call them: the embedded engine, Pulumi's CLI, Terraform and OpenTofu.

Here: one class a tool, with the commands that our documentation names after a kill. Not here: what is right (rounds.py).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from faults.rounds import Program, Tool, everything
from kit.platform import BIN, Platform
from kit.pulumi_cli import pulumi_environment


class Pulumi(Tool):
    """A Pulumi program under the embedded engine: a Python one on the dynamic provider, or a YAML one on the native plugin."""

    engine: Path = BIN / "spg99"

    def __init__(self, platform: Platform, folder: Path, tenant: str, *, bridge: str) -> None:
        super().__init__(platform, folder, tenant)
        self.bridge, self.name = bridge, f"{self.engine.name} {bridge}"
        (folder / "state").mkdir()
        self.write(Program(frozenset(), 60))
        done = self.run(str(self.engine), "stack", "init", "dev")
        assert done.code == 0, done.text

    def environment(self) -> dict[str, str]:
        return {
            **os.environ, **self.platform.env, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            **pulumi_environment(self.folder, passphrase="rounds"),
        }  # fmt: skip

    def write(self, program: Program) -> None:
        if self.bridge == "native":
            resources: dict[str, Any] = {"tenant": {"type": "spg99:Tenant", "properties": {"name": self.tenant}}}
            for name in sorted(program.databases):
                properties = {"tenant": "${tenant.name}", "name": name, "idleTimeoutSeconds": program.idle}
                resources[name] = {"type": "spg99:Database", "properties": properties}
            text = json.dumps({"name": "rounds", "runtime": "yaml", "resources": resources})
            (self.folder / "Pulumi.yaml").write_text(text)
            return
        (self.folder / "Pulumi.yaml").write_text("name: rounds\nruntime: python\n")
        lines = [
            "from spg99.dynamic import Database, Tenant",
            f"tenant = Tenant('tenant', name={self.tenant!r})",
            *(
                f"Database({name!r}, tenant=tenant.name, name={name!r}, idle_timeout_seconds={program.idle})"
                for name in sorted(program.databases)
            ),
        ]
        (self.folder / "__main__.py").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [str(self.engine), "up", "--yes", "--skip-preview", "--stack", "dev"]

    def deployment(self) -> dict[str, Any]:
        """The stack's state, as it lies in its file."""
        path = self.folder / "state/.pulumi/stacks/rounds/dev.json"
        return dict(json.loads(path.read_text())["checkpoint"].get("latest") or {})

    def held(self) -> dict[str, str]:
        found = {}
        for each in self.deployment().get("resources") or []:
            outputs = each.get("outputs") or {}
            if uid := outputs.get("dbId") or outputs.get("tenantId"):
                found[outputs["name"]] = uid
        return found

    def left_open(self) -> str:
        state = self.deployment()
        pending = [f"{each['type']} {each['resource']['urn']}" for each in state.get("pending_operations") or []]
        going = [f"{each['urn']} is to be deleted" for each in state.get("resources") or [] if each.get("delete")]
        return ", ".join(pending + going)

    def differences(self) -> str:
        done = self.run(str(self.engine), "preview", "--expect-no-changes", "--stack", "dev")
        is_quiet = "warning:" not in done.text or self.engine.name == "pulumi"  # that one warns of plugins on PATH
        return "" if done.code == 0 and is_quiet else done.text


class PulumiCli(Pulumi):
    """The same programs under Pulumi's own CLI. After a kill its user removes the lock, asks `spg99 orphans`, and types what that says."""

    def __init__(self, platform: Platform, folder: Path, tenant: str, *, engine: Path, bridge: str) -> None:
        self.engine = engine  # type: ignore[misc]
        super().__init__(platform, folder, tenant, bridge=bridge)
        if bridge == "native":
            self.run(str(BIN / "spg99"), "plugin", "install", "--dir", str(folder / "home" / "plugins"))

    def before_the_next_run(self) -> str:
        if any(path.is_file() for path in (self.folder / "state/.pulumi/locks").rglob("*.json")):
            self.run(str(self.engine), "cancel", "--yes", "--stack", "dev")
        found = self.run(str(BIN / "spg99"), "orphans", "--stack", "dev")
        if found.code not in (0, ORPHANS_FOUND):
            return found.text
        for line in re.findall(r"^  ((?:spg99|pulumi) .*)$", found.text, re.MULTILINE):
            program, *arguments = shlex.split(line)
            unasked = ["--yes"] if program == "spg99" else ["--yes", "--skip-preview"]
            done = self.run(str(self.engine if program == "pulumi" else BIN / program), *arguments, *unasked)
            if done.code != 0:
                return f"{line}: {done.text}"
        return ""

    def after_the_next_run(self) -> str:
        """What a plugin had made when it was killed, and the next program does not declare, is known to the platform alone."""
        return without_orphans(self, "--stack", "dev")


ORPHANS_FOUND = 3
PROVIDER = 'terraform {\n  required_providers {\n    spg99 = { source = "spg99/spg99" }\n  }\n}\nprovider "spg99" {}\n'


class Terraform(Tool):
    """Terraform or OpenTofu, with the installed provider."""

    def __init__(self, platform: Platform, folder: Path, tenant: str, *, binary: Path) -> None:
        super().__init__(platform, folder, tenant)
        self.binary, self.name = binary, binary.name
        install = [str(BIN / "spg99"), "terraform", "install", "--dir", str(folder / "mirror")]
        lines = subprocess.run(install, check=True, capture_output=True, text=True).stdout
        (folder / "terraformrc").write_text(lines)
        self.write(Program(frozenset(), 60))
        done = self.run(str(binary), "init", "-input=false", "-no-color")
        assert done.code == 0, done.text

    def environment(self) -> dict[str, str]:
        return {
            **os.environ, **self.platform.env, "TF_CLI_CONFIG_FILE": str(self.folder / "terraformrc"),
            "PATH": f"{self.binary.parent}{os.pathsep}{os.environ['PATH']}",
            "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "SPG99_STATE_NAME": self.tenant,
        }  # fmt: skip

    def write(self, program: Program) -> None:
        databases = "".join(
            f'resource "spg99_database" "{name}" {{\n  tenant = spg99_tenant.tenant.name\n  name = "{name}"\n'
            f"  idle_timeout_seconds = {program.idle}\n}}\n"
            for name in sorted(program.databases)
        )
        tenant = f'resource "spg99_tenant" "tenant" {{\n  name = "{self.tenant}"\n}}\n'
        (self.folder / "main.tf").write_text(PROVIDER + tenant + databases)

    def command(self) -> list[str]:
        return [str(self.binary), "apply", "-auto-approve", "-input=false", "-no-color", "-lock-timeout=5s"]

    def _state(self) -> list[dict[str, Any]]:
        path = self.folder / "terraform.tfstate"
        return list(json.loads(path.read_text())["resources"]) if path.exists() else []

    def held(self) -> dict[str, str]:
        found = {}
        for each in self._state():
            for instance in each["instances"]:
                values = instance["attributes"]
                found[values["name"]] = values["db_id" if each["type"] == "spg99_database" else "tenant_id"]
        return found

    def left_open(self) -> str:
        return ", ".join(
            f"{each['type']}.{each['name']} is {instance['status']}"
            for each in self._state()
            for instance in each["instances"]
            if instance.get("status")
        )

    def before_the_next_run(self) -> str:
        path = self.folder / "terraform.tfstate"
        try:
            json.loads(path.read_text()) if path.exists() else None
        except ValueError:
            return self._take_in_everything(path)
        return ""

    def _take_in_everything(self, state: Path) -> str:
        """A state that was cut in its own write comes back object by object (docs/guides/import.md)."""
        state.unlink()
        objects = everything(self.platform, self.tenant)
        names = [f"tenants:{self.tenant}", *(f"dbs:{self.tenant}/{name}" for name in objects if name != self.tenant)]
        if not objects:
            return ""
        (self.folder / "main.tf").write_text(PROVIDER)
        taken_in = self.folder / "import.tf"
        written = self.run(str(BIN / "spg99"), "import-file", *names, "--output", str(taken_in))
        if written.code != 0:
            return written.text
        done = self.run()
        if done.code != 0 or (left := self.differences()):
            return f"what import-file wrote: {done.text if done.code else left}"
        for name in objects:
            of = "tenant" if name == self.tenant else "database"
            label = "tenant" if name == self.tenant else name
            there = self.tenant if name == self.tenant else f"{self.tenant}_{name}"
            self.run(str(self.binary), "state", "mv", f"spg99_{of}.{there}", f"spg99_{of}.{label}")
        taken_in.unlink()
        return ""

    def after_the_next_run(self) -> str:
        """What was made while nobody heard the answer, and is not declared any more, is known to the platform alone."""
        return without_orphans(self, "--for", "opentofu" if self.binary.name == "tofu" else "terraform")

    def differences(self) -> str:
        done = self.run(str(self.binary), "plan", "-detailed-exitcode", "-input=false", "-no-color")
        return "" if done.code == 0 else done.text


def without_orphans(tool: Tool, *of: str) -> str:
    """What `spg99 orphans` finds after a run is deleted, as it tells its user; answers what of that failed."""
    command = [str(BIN / "spg99"), "orphans", *of]
    found = tool.run(*command)
    if found.code == ORPHANS_FOUND:
        if "--delete" not in found.text:
            return f"nothing says what to do: {found.text}"
        found = tool.run(*command, "--delete", "--yes")
    return "" if found.code == 0 else found.text
