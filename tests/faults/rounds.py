"""Rounds of: declare something with a tool, kill the engine, the plugin or the Control Plane at a random moment, declare the same or
something else, run to the end, and compare. Every tool has the same judge, the embedded engine, too.

    judge = Judge(platform, seed="7", log=Path("build/rounds/terraform.log"))
    for _ in range(4): judge.round(tool)
    assert judge.faults == [], judge.line(tool)

Here: what a round is, and what is counted. Not here: the tools as their users call them (round_tools.py), how many rounds, and with
which tools (test_killed_rounds.py).
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from kit.platform import Platform, wait_for

DATABASES = 6
SECONDS_MAX = 300
VICTIMS = ("engine", "engine", "plugin", "control-plane")
PLUGINS = re.compile(r"pulumi-resource-|pulumi\.dynamic|terraform-provider-")

Objects = dict[str, tuple[str, int]]
"""The tenant and its databases by name: uid and, of a database, its idle timeout in seconds (of the tenant 0)."""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    text: str


@dataclass(frozen=True)
class Program:
    """What is declared: databases of one tenant, and their idle timeout in seconds."""

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

    def __init__(self, platform: Platform, folder: Path, tenant: str) -> None:
        self.platform, self.folder, self.tenant = platform, folder, tenant
        self.commands = ""
        """What the commands of this round have said."""
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
    def held(self) -> dict[str, str]:
        """What the state holds: the tenant under its name and the databases under theirs, each with its uid."""

    @abstractmethod
    def left_open(self) -> str:
        """What the state itself says is not settled; empty: nothing."""

    def before_the_next_run(self) -> str:
        """Does what our documentation tells its user to do after a kill, before anything else; answers what of it failed."""
        return ""

    def after_the_next_run(self) -> str:
        """Does what our documentation tells its user to do about what the tool cannot know; answers what of it failed."""
        return ""

    @abstractmethod
    def differences(self) -> str:
        """What a run after this one would do; empty: nothing."""

    def begin(self) -> subprocess.Popen[bytes]:
        """Starts the command in a session of its own; somebody will kill it."""
        with (self.folder / "begun.log").open("wb") as log:
            return subprocess.Popen(
                self.command(), cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def run(self, *command: str) -> Ended:
        """A command to its end."""
        began = time.monotonic()
        done = subprocess.run(
            command or self.command(), cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS_MAX,
        )  # fmt: skip
        words = " ".join(command or self.command())
        seconds = time.monotonic() - began
        self.commands += f"$ {words}\n{done.stdout}{done.stderr}[ended with {done.returncode} after {seconds:.1f} s]\n"
        return Ended(done.returncode, done.stdout + done.stderr)


@dataclass
class Judge:
    """What was found, over all rounds of one tool. The seed and the number of a round say what is declared and killed in it."""

    platform: Platform
    seed: str
    log: Path | None = None
    """Where everything that was said in a faulty round goes."""
    rounds: int = 0
    killed: dict[str, int] = field(default_factory=dict)
    """by victim: rounds whose run was still going on"""
    orphans: list[str] = field(default_factory=list)
    """objects that no state holds"""
    failed: list[str] = field(default_factory=list)
    """second runs, and commands of our documentation before or after them, that failed"""
    differences: list[str] = field(default_factory=list)
    """what a settled stack still shows, and what state, program and platform say differently"""
    usual_seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        """Everything that may not be."""
        return [*self.orphans, *self.failed, *self.differences]

    def line(self, tool: Tool) -> str:
        """The counts, for a report."""
        killed = ", ".join(f"{victim} {count}" for victim, count in sorted(self.killed.items()))
        return (
            f"{tool.name}, seed {self.seed}: {self.rounds} rounds (killed in time: {killed or 'none'}): {len(self.orphans)} orphans, "
            f"{len(self.failed)} failed second runs, {len(self.differences)} differences"
        )

    def round(self, tool: Tool) -> None:
        """One round; what the last one left is where it begins."""
        before = len(self.faults)
        tool.commands = ""
        self._round(tool, random.Random(f"{self.seed}-{self.rounds}"))
        if len(self.faults) > before and self.log is not None:
            with self.log.open("a") as log:
                begun = (tool.folder / "begun.log").read_text(errors="replace")
                log.write(
                    f"==== {self.line(tool)}\n-- the run that was killed\n{begun}\n-- after it\n{tool.commands}\n"
                )
                log.write(f"-- the platform's log\n{self.platform.log()[-20_000:]}\n")

    def _round(self, tool: Tool, chance: random.Random) -> None:
        self.rounds += 1
        first, second = Program.any(chance), Program.any(chance)
        if chance.random() < 0.4:
            second = first
        if not self.usual_seconds:
            tool.write(Program.any(chance))
            began = time.monotonic()
            done = tool.run()
            assert done.code == 0, done.text
            self.usual_seconds = time.monotonic() - began
        tool.write(first)
        victim = chance.choice(VICTIMS)
        about = f"{tool.name} round {self.rounds} ({victim}; {_said(first)} then {'the same' if second == first else _said(second)})"
        left = self._killed(tool, victim, chance.uniform(0.2, 1.1) * self.usual_seconds)
        if problem := tool.before_the_next_run():
            self.failed.append(f"{about}: before it: {_end(problem)}")
        tool.write(second)
        began = time.monotonic()
        again = tool.run()
        if again.code == 0:
            self.usual_seconds = min(1.5 * self.usual_seconds, time.monotonic() - began)
        else:
            self.failed.append(f"{about}: the second run failed: {_end(again.text)}")
            tool.run()
        if problem := tool.after_the_next_run():
            self.failed.append(f"{about}: after it: {_end(problem)}")
        self.compare(tool, second, about)
        # Pulumi's host of dynamic providers outlives an engine that was killed; by now it could do no more harm.
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _killed(self, tool: Tool, victim: str, after_seconds: float) -> list[psutil.Process]:
        """A run whose victim gets kill -9 after a while; returns when it is over, with the processes that it started."""
        process = tool.begin()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after_seconds)  # a moment, not a condition
        family: list[psutil.Process] = []
        if process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                family = psutil.Process(process.pid).children(recursive=True)
            self.killed[victim] = self.killed.get(victim, 0) + 1
            self._kill(victim, process, family)
        process.wait(SECONDS_MAX)
        return family

    def _kill(self, victim: str, process: subprocess.Popen[bytes], family: list[psutil.Process]) -> None:
        if victim == "engine":
            process.kill()
        elif victim == "plugin":
            for child in family:
                with contextlib.suppress(psutil.Error):
                    if PLUGINS.search(" ".join(child.cmdline())):
                        child.kill()
        else:
            before = self.platform.child("control-plane")
            os.kill(before, signal.SIGKILL)
            wait_for("another Control Plane", lambda: self.platform.child("control-plane") not in (0, before))
            wait_for("it to answer", lambda: _answers(self.platform), seconds=60)

    def compare(self, tool: Tool, program: Program, about: str) -> None:
        """Notes all that state, program and platform say differently, and what another run would do."""
        there, held = everything(self.platform, tool.tenant), tool.held()
        for name in sorted(there.keys() - held.keys()):
            self.orphans.append(f"{about}: {name} ({there[name][0]}) exists and is in no state")
            self.platform.api("DELETE", f"/tenants/{tool.tenant}/dbs/{name}?force=true")
            wait_for(f"{name} to go", lambda name=name: name not in everything(self.platform, tool.tenant))  # type: ignore[misc]
        found = [
            f"the state holds {name} ({held[name]}), which is not there" for name in sorted(held.keys() - there.keys())
        ]
        for name in sorted(held.keys() & there.keys()):
            uid, idle = there[name]
            if uid != held[name]:
                found.append(f"{name} is {uid} on the platform and {held[name]} in the state")
            if name != tool.tenant and idle != program.idle:
                found.append(f"{name} has an idle timeout of {idle} s")
        if held.keys() != program.databases | {tool.tenant}:
            found.append(f"the state holds {sorted(held)}")
        if open_ := tool.left_open():
            found.append(f"the state has open ends: {open_}")
        if todo := tool.differences():
            found.append(f"another run would do something: {_end(todo)}")
        self.differences += [f"{about}: {each}" for each in found]


def everything(platform: Platform, tenant: str) -> Objects:
    """The tenant and its databases as the API tells. What is being deleted does not count."""
    found = platform.api("GET", f"/tenants/{tenant}")
    if found.status_code == 404:
        return {}
    items = platform.api("GET", f"/tenants/{tenant}/dbs?limit=500").json()["items"]
    there = {
        each["name"]: (each["db_id"], each["idle_timeout_seconds"]) for each in items if each["state"] != "deleting"
    }
    return {tenant: (found.json()["tenant_id"], 0)} | there


def _said(program: Program) -> str:
    return f"{'+'.join(sorted(program.databases))} idle {program.idle}"


def _end(text: str) -> str:
    return text[-1500:]


def _answers(platform: Platform) -> bool:
    try:
        return platform.api("GET", "/account").status_code == 200
    except (httpx.HTTPError, KeyError):
        return False
