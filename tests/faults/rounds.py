"""Rounds of: declare something with a real tool, kill the engine, the plugin or the Control Plane at a random moment, declare the same or
something else, run to the end, and compare.

    judge = Judge(house)
    for number in range(4): judge.round(tool, random.Random(f"{seed}-{number}"))
    assert judge.faults == []

Here: the tools as their users call them, and what is counted. Not here: how many rounds, and what a tool cannot know
(test_killed_rounds.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from house import BIN, House, wait_for

DATABASES = 6
SECONDS_MAX = 300


@dataclass
class Ended:
    """How a command ended."""

    code: int
    text: str


@dataclass(frozen=True)
class Program:
    """What is declared: databases of one tenant, and their idle timeout."""

    databases: frozenset[str]
    idle: int

    @classmethod
    def any(cls, chance: random.Random) -> Program:
        """Some of six databases."""
        names = [f"d{number}" for number in range(DATABASES)]
        return cls(frozenset(chance.sample(names, chance.randint(1, DATABASES))), chance.choice((60, 120)))


class Tool(ABC):
    """One tool with one stack or folder, and one tenant that nobody else touches."""

    name: str

    def __init__(self, house: House, folder: Path, tenant: str) -> None:
        self.house, self.folder, self.tenant = house, folder, tenant
        self.usual_seconds = 0.0
        folder.mkdir(parents=True)

    @abstractmethod
    def write(self, program: Program) -> None:
        """Makes this the program."""

    @abstractmethod
    def command(self) -> list[str]:
        """Makes it so."""

    @abstractmethod
    def environment(self) -> dict[str, str]: ...

    @abstractmethod
    def in_state(self) -> set[str]:
        """Names of the databases that the state holds."""

    @abstractmethod
    def recover(self) -> list[str]:
        """What its user does after a kill, before anything else; the commands, for a report."""

    @abstractmethod
    def differences(self) -> str:
        """What a run after this one would do; empty: nothing."""

    def begin(self) -> subprocess.Popen[bytes]:
        """Starts the command in a session of its own."""
        with (self.folder / "begun.log").open("ab") as log:
            return subprocess.Popen(
                self.command(), cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def run(self, *command: str) -> Ended:
        """A command to its end."""
        done = subprocess.run(
            command or self.command(), cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS_MAX,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout + done.stderr)


class Pulumi(Tool):
    """A Pulumi program; `engine` is the embedded one or the real CLI."""

    def __init__(self, house: House, folder: Path, tenant: str, *, engine: Path, bridge: str) -> None:
        super().__init__(house, folder, tenant)
        self.engine, self.bridge = engine, bridge
        self.name = f"{engine.name} {bridge}"
        (folder / "state").mkdir()
        if bridge == "native":
            self.run(str(BIN / "spg99"), "plugin", "install", "--dir", str(folder / "home" / "plugins"))
        self.write(Program(frozenset(), 60))
        done = self.run(str(engine), "stack", "init", "dev")
        assert done.code == 0, done.text

    def environment(self) -> dict[str, str]:
        from kit.pulumi_cli import pulumi_environment

        return {
            **os.environ, **self.house.env, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
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
        path = self.folder / "state/.pulumi/stacks/rounds/dev.json"
        return dict(json.loads(path.read_text())["checkpoint"].get("latest") or {})

    def in_state(self) -> set[str]:
        found = self.deployment().get("resources") or []
        return {each["urn"].rsplit("::", 1)[1] for each in found if each["type"].endswith(":Database")}

    def recover(self) -> list[str]:
        if self.engine.name != "pulumi":
            return []
        done = []
        locks = self.folder / "state/.pulumi/locks"
        if any(path.is_file() for path in locks.rglob("*.json")):
            done.append("pulumi cancel --yes")
            self.run(str(self.engine), "cancel", "--yes", "--stack", "dev")
        pending = [each for each in self.deployment().get("pending_operations") or [] if each["type"] == "creating"]
        there = self.there()
        found = []
        for each in pending:
            urn, inputs = each["resource"]["urn"], each["resource"].get("inputs") or {}
            if ":Database::" in urn and inputs.get("name") in there:
                found += [
                    "--import-pending-creates",
                    urn,
                    "--import-pending-creates",
                    f"{self.tenant}/{inputs['name']}",
                ]
            elif ":Tenant::" in urn and self.house.api("GET", f"/tenants/{self.tenant}").status_code == 200:
                found += ["--import-pending-creates", urn, "--import-pending-creates", self.tenant]
        if pending:
            command = ["refresh", "--yes", "--skip-preview", *found, "--stack", "dev"]
            if len(found) < len(pending) * 4:
                command.insert(1, "--clear-pending-creates")
            done.append("pulumi " + " ".join(command))
            ended = self.run(str(self.engine), *command)
            if ended.code != 0:
                done.append(f"FAILED {ended.code}: {ended.text[-1500:]}")
        return done

    def there(self) -> set[str]:
        return databases_of(self.house, self.tenant)

    def differences(self) -> str:
        done = self.run(str(self.engine), "preview", "--expect-no-changes", "--stack", "dev")
        left = self.deployment().get("pending_operations")
        return ("" if done.code == 0 else done.text[-800:]) + (f"pending: {len(left)}" if left else "")


class Terraform(Tool):
    """Terraform or OpenTofu, with the installed provider."""

    def __init__(self, house: House, folder: Path, tenant: str, *, binary: Path) -> None:
        super().__init__(house, folder, tenant)
        self.binary, self.name = binary, binary.name
        install = [str(BIN / "spg99"), "terraform", "install", "--dir", str(folder / "mirror")]
        lines = subprocess.run(install, check=True, capture_output=True, text=True).stdout
        (folder / "terraformrc").write_text(lines)
        self.write(Program(frozenset(), 60))
        done = self.run(str(binary), "init", "-input=false", "-no-color")
        assert done.code == 0, done.text

    def environment(self) -> dict[str, str]:
        return {
            **os.environ, **self.house.env, "TF_CLI_CONFIG_FILE": str(self.folder / "terraformrc"),
            "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1",
        }  # fmt: skip

    def write(self, program: Program) -> None:
        databases = "".join(
            f'resource "spg99_database" "{name}" {{\n  tenant = spg99_tenant.tenant.name\n  name = "{name}"\n'
            f"  idle_timeout_seconds = {program.idle}\n}}\n"
            for name in sorted(program.databases)
        )
        (self.folder / "main.tf").write_text(
            'terraform {\n  required_providers {\n    spg99 = { source = "spg99/spg99" }\n  }\n}\nprovider "spg99" {}\n'
            f'resource "spg99_tenant" "tenant" {{\n  name = "{self.tenant}"\n}}\n{databases}'
        )

    def command(self) -> list[str]:
        return [str(self.binary), "apply", "-auto-approve", "-input=false", "-no-color", "-lock-timeout=5s"]

    def _state(self) -> list[dict[str, Any]]:
        path = self.folder / "terraform.tfstate"
        text = path.read_text() if path.exists() else ""
        return list(json.loads(text)["resources"]) if text else []

    def in_state(self) -> set[str]:
        return {each["name"] for each in self._state() if each["type"] == "spg99_database" and each["instances"]}

    def recover(self) -> list[str]:
        """A state that was cut in the middle of its writing has a backup, or comes back object by object."""
        path = self.folder / "terraform.tfstate"
        try:
            json.loads(path.read_text()) if path.exists() else None
        except ValueError:
            return ["STATE LOST: not JSON after the kill"]
        return []

    def differences(self) -> str:
        done = self.run(str(self.binary), "plan", "-detailed-exitcode", "-input=false", "-no-color")
        return "" if done.code == 0 else done.text[-800:]


def databases_of(house: House, tenant: str) -> set[str]:
    """Names of a tenant's databases, as the API tells once it is there (again)."""

    def asked() -> httpx.Response | None:
        with contextlib.suppress(httpx.TransportError, KeyError):
            return house.api("GET", f"/tenants/{tenant}/dbs?limit=500")
        return None

    answer = wait_for("the Control Plane to answer", asked)
    assert answer is not None
    return set() if answer.status_code == 404 else {each["name"] for each in answer.json()["items"]}


@dataclass
class Judge:
    """What was found, over all rounds."""

    house: House
    rounds: int = 0
    killed: dict[str, int] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)
    failed_second_runs: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    recoveries: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    """Everything that was found and done, in its order."""

    @property
    def faults(self) -> list[str]:
        """Everything that may not be."""
        return [*self.orphans, *self.failed_second_runs, *self.differences]

    def line(self, tool: str) -> str:
        """A line for a report."""
        return (
            f"{tool}: {self.rounds} rounds, killed {self.killed}; orphans {len(self.orphans)}, failed second runs "
            f"{len(self.failed_second_runs)}, differences after {len(self.differences)}, recoveries {len(self.recoveries)}"
        )

    def round(self, tool: Tool, chance: random.Random) -> None:
        """One round; what the last one left is where it begins."""
        lists = (self.recoveries, self.failed_second_runs, self.orphans, self.differences)
        before = [len(each) for each in lists]
        self._round(tool, chance)
        self.log += [line for each, seen in zip(lists, before, strict=True) for line in each[seen:]]

    def _round(self, tool: Tool, chance: random.Random) -> None:
        self.rounds += 1
        first, second = Program.any(chance), Program.any(chance)
        if chance.random() < 0.4:
            second = first
        if not tool.usual_seconds:
            tool.write(Program.any(chance))
            began = time.monotonic()
            done = tool.run()
            assert done.code == 0, done.text
            tool.usual_seconds = time.monotonic() - began
        tool.write(first)
        victim = chance.choice(("engine", "engine", "plugin", "control-plane"))
        process = tool.begin()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.2, 1.0) * tool.usual_seconds)  # a moment, not a condition
        if process.poll() is None:
            self.killed[victim] = self.killed.get(victim, 0) + 1
            self._kill(victim, process)
        process.wait(SECONDS_MAX)
        databases_of(self.house, tool.tenant)  # the Control Plane is back
        label = f"{tool.name} round {self.rounds} ({victim})"
        self.recoveries += [f"{label}: {command}" for command in tool.recover()]
        tool.write(second)
        again = tool.run()
        if again.code != 0:
            self.failed_second_runs.append(f"{label}: {again.text[-1500:]}")
            tool.run()
        there, known = databases_of(self.house, tool.tenant), tool.in_state()
        for name in sorted(there - known):
            self.orphans.append(f"{label}: {name} exists and is in no state")
            self.house.api("DELETE", f"/tenants/{tool.tenant}/dbs/{name}?force=true")
            wait_for(f"{name} to go", lambda: name not in databases_of(self.house, tool.tenant))  # noqa: B023
        if left := tool.differences():
            self.differences.append(f"{label}: {left}")
        if known != second.databases:
            self.differences.append(f"{label}: the state holds {sorted(known)}, the program {sorted(second.databases)}")

    def _kill(self, victim: str, process: subprocess.Popen[bytes]) -> None:
        try:
            children = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return
        if victim == "control-plane":
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.house.child("control-plane"), signal.SIGKILL)
            return
        if victim == "plugin":
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    if re.search(
                        r"pulumi-resource|pulumi\.dynamic|terraform-provider| host ", " ".join(child.cmdline())
                    ):
                        child.kill()
            return
        process.kill()
        process.wait(10)
        # What a killed engine leaves behind goes on by itself or ends: a user sees neither, and starts the next run at once.
        _, left = psutil.wait_procs(children, timeout=3)
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
