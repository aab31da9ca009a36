"""A run killed at a random moment, then run again with the same program or another: round after round. Here: the rounds, and the
judge of what may be left, the same for every tool. Not here: how a tool is started (each test's own), what the house must look like
(settled.py).

The judge counts three things, and each must be none: orphans (objects that no state holds), second runs that failed, and
differences that a settled stack still shows.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import httpx
import psutil

from house import House, wait_for

DATABASES = ("db0", "db1", "db2", "db3")
IDLE_SECONDS = (100, 200, 300)
VICTIMS = ("engine", "plugin", "control plane")

Program = Mapping[str, int]
"""What is declared beside the tenant: database -> its idle timeout in seconds."""


class Tool(Protocol):
    """One tool with one state, whose programs declare the tenant and its databases."""

    house: House
    tenant: str

    def begin(self, program: Program) -> subprocess.Popen[str]:
        """A run of the program that somebody will kill, in a session of its own."""

    def finish(self, program: Program) -> str:
        """A run of the program to its end; what went wrong, or nothing."""

    def differences(self, program: Program) -> str:
        """What the tool would still change; nothing, when it is settled."""

    def held(self) -> dict[str, str]:
        """What the state holds: the tenant under its name and the databases under theirs, each with its id."""


@dataclass
class Verdict:
    """What was found over all rounds."""

    rounds: int = 0
    orphans: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    killed_in_time: int = 0
    """rounds whose victim still ran: the others were over before"""

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds ({self.killed_in_time} killed in time): {len(self.orphans)} orphans, {len(self.failed)} second "
            f"runs failed, {len(self.differences)} with differences after\n" + "\n".join(self.faults)
        )

    @property
    def faults(self) -> list[str]:
        """Everything that should not be."""
        return [*self.orphans, *self.failed, *self.differences]


def kill_rounds(tool: Tool, *, rounds: int, seed: int, victims: tuple[str, ...] = VICTIMS) -> Verdict:
    """So many rounds, one after the other on the same state. The seed names them: the same one kills the same way."""
    chance, verdict = random.Random(seed), Verdict()
    began = time.monotonic()
    problem = tool.finish({})
    assert not problem, problem
    seconds = time.monotonic() - began
    for number in range(rounds):
        first = _program(chance)
        second = first if chance.random() < 0.5 else _program(chance)
        victim = chance.choice(victims)
        about = f"seed {seed} round {number}: {victim} killed, {dict(first)} then {dict(second)}"
        run = tool.begin(first)
        verdict.killed_in_time += _kill(tool, run, victim, chance.uniform(0.2, 1.3) * seconds)
        began = time.monotonic()
        if problem := tool.finish(second):
            verdict.failed.append(f"{about}: the second run failed: {problem[-1500:]}")
            tool.finish(second)
        else:
            seconds = min(seconds * 1.5, time.monotonic() - began)
        verdict.orphans += [f"{about}: {orphan}" for orphan in orphans(tool)]
        if left := tool.differences(second):
            verdict.differences.append(f"{about}: still to do: {left[-1500:]}")
        verdict.rounds += 1
    return verdict


def orphans(tool: Tool) -> list[str]:
    """Objects that exist and that no state holds, and what a state holds that does not exist."""
    there, held = everything(tool.house, tool.tenant), tool.held()
    found = [f"{name} ({uid}) is an orphan" for name, uid in there.items() if held.get(name) != uid]
    return found + [f"{name} ({uid}) is in the state and not there" for name, uid in held.items() if name not in there]


def everything(house: House, tenant: str) -> dict[str, str]:
    """The tenant and its databases as the API tells: name -> id. What is being deleted does not count."""
    found = house.api("GET", f"/tenants/{tenant}")
    if found.status_code == 404:
        return {}
    answer = house.api("GET", f"/tenants/{tenant}/dbs?limit=500")
    items = {item["name"]: item["db_id"] for item in answer.json()["items"] if item["state"] != "deleting"}
    return {tenant: found.json()["tenant_id"]} | items


def _program(chance: random.Random) -> Program:
    names = [name for name in DATABASES if chance.random() < 0.6]
    return {name: chance.choice(IDLE_SECONDS) for name in names}


def _kill(tool: Tool, run: subprocess.Popen[str], victim: str, after_seconds: float) -> bool:
    """kill -9 of the victim after a while; returns when the run is over. Whether it was still going on."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(after_seconds)
    going_on = run.poll() is None
    family = psutil.Process(run.pid).children(recursive=True) if going_on else []
    if going_on and victim == "engine":
        run.kill()
    elif going_on and victim == "plugin":
        for process in family:
            if is_plugin(process):
                process.kill()
    elif going_on:
        before = tool.house.child("control-plane")
        os.kill(before, signal.SIGKILL)
        wait_for("another Control Plane", lambda: tool.house.child("control-plane") not in (0, before))
        wait_for("it to answer", lambda: _answers(tool.house), seconds=60)
    run.wait(180)
    _, left = psutil.wait_procs(family, timeout=20)
    assert not left, f"processes outlive the run: {left}"
    return going_on


def is_plugin(process: psutil.Process) -> bool:
    """Whether a process is a provider: Pulumi's host of dynamic ones, our native one, or Terraform's."""
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return any(part in line for part in ("pulumi.dynamic", "pulumi-resource-", "terraform-provider-"))


def _answers(house: House) -> bool:
    try:
        return house.api("GET", "/account").status_code == 200
    except (httpx.HTTPError, KeyError):
        return False
