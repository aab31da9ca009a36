"""Real tools killed in the middle (engine, plugin, Control Plane) and run again with the same or another program: nothing is left that no
state knows, no second run fails, nothing is different afterwards. 200 rounds for each tool with `-m long`; SPG99_ROUNDS and SPG99_SEED say otherwise."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import terraform_cli
from faults.rounds import Judge, Pulumi, Terraform, Tool
from house import House
from kit.pulumi_cli import pulumi

ROUNDS = 200
TOOLS = ["pulumi-dynamic", "pulumi-native", "terraform", "tofu"]


def tool_named(name: str, house: House, folder: Path) -> Tool:
    tenant = f"rounds_{name.replace('-', '_')}"
    if name in ("terraform", "tofu"):
        binary = terraform_cli.terraform() if name == "terraform" else terraform_cli.tofu()
        return Terraform(house, folder, tenant, binary=binary)
    return Pulumi(house, folder, tenant, engine=pulumi(), bridge=name.removeprefix("pulumi-"))


def rounds(name: str, house: House, folder: Path, count: int) -> None:
    seed = os.environ.get("SPG99_SEED") or str(random.randrange(10**6))
    tool, judge = tool_named(name, house, folder / "work"), Judge(house)
    shown = 0
    for number in range(count):
        judge.round(tool, random.Random(f"{seed}-{number}"))
        print(judge.line(f"{name} (SPG99_SEED={seed})"), flush=True)
        told = judge.log
        for line in told[shown:]:
            print("   ", line, flush=True)
        shown = len(told)
    assert judge.faults == [], f"SPG99_SEED={seed}"


@pytest.mark.long
@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.timeout(7200)
def test_two_hundred_killed_runs_are_taken_up(name: str, house: House, tmp_path: Path) -> None:
    rounds(name, house, tmp_path, int(os.environ.get("SPG99_ROUNDS") or ROUNDS))
