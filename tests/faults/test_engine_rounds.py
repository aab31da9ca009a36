"""Kill rounds of the embedded engine, with the dynamic provider and with the native plugin. Not here: the rounds and their judge
(kill_rounds.py), single named moments (test_up_killed.py)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.kill_rounds import Program, kill_rounds
from faults.settled import wait_settled
from house import BIN, House

DYNAMIC = """
from spg99.dynamic import Database, Tenant

tenant = Tenant("tenant", name={tenant!r})
for name, idle in {program!r}.items():
    Database(name, tenant=tenant.name, name=name, idle_timeout_seconds=idle)
"""


class EngineTool:
    """A stack of the embedded engine. `native`: a YAML program on the native plugin; else a Python one on the dynamic provider."""

    def __init__(self, house: House, folder: Path, tenant: str, *, native: bool) -> None:
        self.house, self.folder, self.tenant, self.native = house, folder, tenant, native
        folder.mkdir()
        (folder / "state").mkdir()
        self.environment = {
            **os.environ,
            **house.env,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "killed",
            "PULUMI_HOME": str(folder / "pulumi-home"),
        }
        self._write({})
        self._run("stack", "init", "dev", check=True)

    def _write(self, program: Program) -> None:
        if not self.native:
            (self.folder / "Pulumi.yaml").write_text("name: rounds\nruntime: python\n")
            (self.folder / "__main__.py").write_text(DYNAMIC.format(tenant=self.tenant, program=dict(program)))
            return
        resources: dict[str, Any] = {"tenant": {"type": "spg99:Tenant", "properties": {"name": self.tenant}}}
        for name, idle in program.items():
            properties = {"tenant": "${tenant.name}", "name": name, "idleTimeoutSeconds": idle}
            resources[name] = {"type": "spg99:Database", "properties": properties}
        text = json.dumps({"name": "rounds", "runtime": "yaml", "resources": resources})
        (self.folder / "Pulumi.yaml").write_text(text)

    def _run(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "spg99", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=180,
            check=check,
        )

    def begin(self, program: Program) -> subprocess.Popen[str]:
        self._write(program)
        with (self.folder / "begun.log").open("ab") as log:
            return subprocess.Popen(
                [BIN / "spg99", "up", "--yes", "--skip-preview", "--stack", "dev", "--parallel", "2"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def finish(self, program: Program) -> str:
        self._write(program)
        return self._problem("up", "--yes", "--skip-preview", "--stack", "dev")

    def differences(self, program: Program) -> str:
        problem = self._problem(
            "up", "--yes", "--skip-preview", "--stack", "dev", "--expect-no-changes", warnings=False
        )
        return problem or self._problem("refresh", "--yes", "--skip-preview", "--stack", "dev", "--expect-no-changes")

    def _problem(self, *arguments: str, warnings: bool = True) -> str:
        done = self._run(*arguments)
        if done.returncode == 0 and (warnings or "warning:" not in done.stdout):
            return ""
        return f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"

    def held(self) -> dict[str, str]:
        state = json.loads(self._run("stack", "export", "--stack", "dev", check=True).stdout)["deployment"]
        assert not state.get("pending_operations"), state["pending_operations"]
        found = {}
        for resource in state.get("resources", []):
            outputs = resource.get("outputs", {})
            if uid := outputs.get("dbId") or (
                outputs.get("tenantId") and not outputs.get("dbId") and outputs["tenantId"]
            ):
                assert not resource.get("delete"), resource
                found[outputs["name"]] = uid
        return found


@pytest.fixture(params=[False, True], ids=["dynamic", "native"])
def tool(house: House, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EngineTool]:
    tenant = f"rounds_{abs(hash(request.node.nodeid)) % 10**8}"
    yield EngineTool(house, tmp_path / "project", tenant, native=request.param)
    house.api("DELETE", f"/tenants/{tenant}?cascade=true&force=true")


@pytest.mark.timeout(400)
def test_rounds(tool: EngineTool) -> None:
    verdict = kill_rounds(tool, rounds=3, seed=3 if tool.native else 4)
    assert not verdict.faults, str(verdict)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_two_hundred_rounds(tool: EngineTool) -> None:
    verdict = kill_rounds(tool, rounds=int(os.environ.get("SPG99_KILL_ROUNDS", "100")), seed=99)
    print(verdict)
    assert not verdict.faults, str(verdict)
    wait_settled(tool.house)
