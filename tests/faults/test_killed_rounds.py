"""Every tool killed in the middle (engine, plugin, Control Plane) and run again with the same or another program: nothing is left that no
state knows, no second run fails, nothing is different afterwards. Three rounds of the embedded engine always; 200 of each tool with
`-m long`, where SPG99_ROUNDS and SPG99_SEED say otherwise:

    SPG99_SEED=7 .venv/bin/python -m pytest -s -m long "tests/faults/test_killed_rounds.py::test_two_hundred_rounds[terraform]"

A line a round, the counts so far; what was said in a faulty round goes to build/rounds/. Not here: the rounds and their judge
(rounds.py), the tools (round_tools.py), single named moments (test_up_killed.py).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import terraform_cli
from faults.round_tools import Pulumi, PulumiCli, Terraform
from faults.rounds import Judge, Program, Tool
from faults.settled import wait_settled
from kit.platform import Platform
from kit.pulumi_cli import ROOT, pulumi

pytestmark = pytest.mark.slow  # broken

ROUNDS = 200
EMBEDDED = ["spg99-dynamic", "spg99-native"]
TOOLS = [*EMBEDDED, "pulumi-dynamic", "pulumi-native", "terraform", "tofu"]
LOGS = ROOT / "build" / "rounds"


@pytest.fixture
def tool(platform: Platform, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Tool]:
    """A tool with a folder and a tenant of its own."""
    name: str = request.param
    tenant, folder = f"rounds_{name.replace('-', '_')}_{request.node.originalname[5:8]}", tmp_path / "work"
    if name in ("terraform", "tofu"):
        binary = terraform_cli.terraform() if name == "terraform" else terraform_cli.tofu()
        yield Terraform(platform, folder, tenant, binary=binary)
    else:
        engine, _, bridge = name.partition("-")
        if engine == "pulumi":
            yield PulumiCli(platform, folder, tenant, engine=pulumi(), bridge=bridge)
        else:
            yield Pulumi(platform, folder, tenant, bridge=bridge)
    platform.api("DELETE", f"/tenants/{tenant}?cascade=true&force=true")


def rounds(tool: Tool, seed: str, count: int) -> None:
    """So many rounds on one state, told one by one. Fails with what was found."""
    LOGS.mkdir(parents=True, exist_ok=True)
    judge = Judge(tool.platform, seed=seed, log=LOGS / f"{tool.name.replace(' ', '-')}-{seed}.log")
    for _ in range(count):
        found = len(judge.faults)
        judge.round(tool)
        print(judge.line(tool), flush=True)
        for fault in judge.faults[found:]:
            print("   FAULT", fault, flush=True)
    print("END", judge.line(tool), flush=True)
    assert not judge.faults, "\n".join([judge.line(tool), *judge.faults])
    wait_settled(tool.platform)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("tool", EMBEDDED, indirect=True)
def test_rounds(tool: Tool) -> None:
    rounds(tool, "3", 3)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("tool", ["terraform"], indirect=True)
def test_a_state_that_was_cut_comes_back(tool: Terraform) -> None:
    """What a kill in the middle of Terraform's own write leaves, and what our guide says then."""
    program, judge = Program(frozenset({"d0", "d1"}), 60), Judge(tool.platform, seed="cut")
    tool.write(program)
    assert tool.run().code == 0
    state = tool.folder / "terraform.tfstate"
    state.write_bytes(state.read_bytes()[:700])
    assert tool.before_the_next_run() == ""
    tool.write(program)
    judge.compare(tool, program, "a cut state")
    assert judge.faults == []


@pytest.mark.long
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("tool", TOOLS, indirect=True)
def test_two_hundred_rounds(tool: Tool) -> None:
    seed = os.environ.get("SPG99_SEED") or str(random.randrange(10**6))
    rounds(tool, seed, int(os.environ.get("SPG99_ROUNDS") or ROUNDS))
