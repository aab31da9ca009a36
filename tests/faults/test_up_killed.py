"""`spg99 up` of 20 databases, ended in the middle in every way: the next `up` goes on, and every database exists once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from faults.orders import POINT
from faults.settled import wait_settled
from kit.platform import BIN, Platform, wait_for
from spg99.process_table import all_processes

pytestmark = pytest.mark.slow  # broken

DATABASES = 20
ENGINE = Path(__file__).parents[2] / "provider" / "spg99" / "engine"

PROGRAM = """
import pulumi
from spg99.dynamic import Database, Tenant

name = pulumi.Config().require("tenant")
tenant = Tenant("tenant", name=name)
for number in range({databases}):
    made = Database(f"db{{number}}", tenant=tenant.name, name=f"db{{number}}", idle_timeout_seconds={idle})
    pulumi.export(f"db{{number}}", made.db_id)
"""


class Stack:
    """A Pulumi project with one stack, driven by the embedded engine."""

    def __init__(self, platform: Platform, folder: Path, tenant: str) -> None:
        self.platform, self.folder, self.tenant = platform, folder, tenant
        self.databases = DATABASES
        folder.mkdir()
        (folder / "state").mkdir()
        (folder / "Pulumi.yaml").write_text("name: killed\nruntime: python\n")
        self.write()
        self.environment = {
            **os.environ,
            **platform.env,
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "killed",
        }
        self.run("stack", "init", "dev")
        self.run("config", "set", "tenant", tenant, "--stack", "dev")

    def write(self, *, idle: int = 300) -> None:
        """The program."""
        (self.folder / "__main__.py").write_text(PROGRAM.format(databases=self.databases, idle=idle))

    def run(self, *arguments: str) -> str:
        """One command to its end, which must be a good one."""
        done = subprocess.run(
            [BIN / "spg99", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=100,
        )
        assert done.returncode == 0, f"spg99 {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """One command that somebody will end."""
        with (self.folder / "begun.log").open("ab") as log:
            return subprocess.Popen(
                [BIN / "spg99", *arguments],
                cwd=self.folder,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def log(self) -> str:
        """What the commands that were begun have said."""
        return (self.folder / "begun.log").read_text()

    def there(self) -> dict[str, str]:
        """Databases as the API tells: name -> id."""
        answer = self.platform.api("GET", f"/tenants/{self.tenant}/dbs?limit=500")
        return {} if answer.status_code == 404 else {item["name"]: item["db_id"] for item in answer.json()["items"]}

    def in_state(self) -> dict[str, str]:
        """Databases as the stack's state tells: name -> id."""
        state: dict[str, Any] = json.loads(self.run("stack", "export", "--stack", "dev"))
        assert not state["deployment"].get("pending_operations"), state["deployment"]["pending_operations"]
        outputs = [r["outputs"] for r in state["deployment"].get("resources", []) if "dbId" in r.get("outputs", {})]
        return {output["name"]: output["dbId"] for output in outputs}


@pytest.fixture
def stack(platform: Platform, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    tenant = f"up_{abs(hash(request.node.nodeid)) % 10**8}"
    made = Stack(platform, tmp_path / "project", tenant)
    yield made
    platform.api("DELETE", f"/tenants/{tenant}?cascade=true&force=true")


def kill_engine(engine: subprocess.Popen[str]) -> None:
    """kill -9 of the engine: what it started must end by itself."""
    children = psutil.Process(engine.pid).children(recursive=True)
    engine.kill()
    engine.wait(10)
    _, left = psutil.wait_procs(children, timeout=10)
    assert not left, f"processes outlive the engine: {left}"


def kill_provider_host(engine: subprocess.Popen[str]) -> None:
    """kill -9 of every provider host: the engine says so and ends."""
    hosts = [p for p in psutil.Process(engine.pid).children(recursive=True) if " host " in " ".join(p.cmdline())]
    assert hosts, "no provider host runs"
    for host in hosts:
        host.kill()
    assert engine.wait(60) not in (0, None)


def interrupt(engine: subprocess.Popen[str]) -> None:
    """Ctrl-C once: the engine ends what it began, or says what is unfinished."""
    engine.send_signal(signal.SIGINT)
    assert engine.wait(60) not in (0, None)


ENDS: list[Callable[[subprocess.Popen[str]], None]] = [kill_engine, kill_provider_host, interrupt]


@pytest.mark.timeout(200)
def test_up_goes_on(stack: Stack) -> None:
    """Also with a program that was edited meanwhile: what is there is taken and changed, not refused, not made twice."""
    for end, there in zip(ENDS, (2, 9, 15), strict=True):
        end_at(stack, end, there)
    stack.write(idle=77)
    settle(stack)
    for name in stack.there():
        assert stack.platform.database(stack.tenant, name)["idle_timeout_seconds"] == 77


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_up_goes_on_after_many_ends(stack: Stack, end: Callable[[subprocess.Popen[str]], None]) -> None:
    for there in (0, 1, 4, 8, 12, 16, 19):
        end_at(stack, end, there)
    settle(stack)
    engine = stack.begin("destroy", "--yes", "--stack", "dev")
    wait_for("half of them to be gone", lambda: len(stack.there()) <= DATABASES // 2, seconds=60, every=0.01)
    if engine.poll() is None:
        end(engine)
    stack.run("destroy", "--yes", "--stack", "dev")
    assert stack.there() == {} == stack.in_state()
    wait_settled(stack.platform)


def end_at(stack: Stack, end: Callable[[subprocess.Popen[str]], None], there: int) -> None:
    """Begins an `up` and ends it as soon as so many databases exist."""
    # Four at once: with the default of 64 all creates are under way in the first millisecond.
    engine = stack.begin("up", "--yes", "--skip-preview", "--parallel", "4", "--stack", "dev")
    wait_for(
        f"{there} databases", lambda: len(stack.there()) >= there or engine.poll() is not None, seconds=60, every=0.005
    )
    assert engine.poll() is None, f"up ended before it could be ended: {engine.returncode}\n{stack.log()[-3000:]}"
    end(engine)


def settle(stack: Stack) -> None:
    """`up` to its end: all there, once, the state says so, and nothing is left to do."""
    stack.run("up", "--yes", "--skip-preview", "--stack", "dev")
    there = stack.there()
    assert sorted(there) == sorted(f"db{number}" for number in range(stack.databases))
    assert stack.in_state() == there
    stack.run("up", "--yes", "--skip-preview", "--stack", "dev", "--expect-no-changes")
    stack.run("refresh", "--yes", "--stack", "dev", "--expect-no-changes")
    with stack.platform.catalogue() as catalogue:
        created = catalogue.execute(
            """select count(*), count(distinct subject) from audit_logs
                where action = 'database.create' and metadata ->> 'tenant' = %s""",
            (stack.tenant,),
        ).fetchone()
    assert created == (stack.databases, stack.databases)
    wait_settled(stack.platform)


UP = ("up", "--yes", "--skip-preview", "--parallel", "4", "--stack", "dev")
DESTROY = ("destroy", "--yes", "--skip-preview", "--parallel", "4", "--stack", "dev")
# A moment in the engine's work, and at which pass of it: what was begun is noted, done at the provider, not yet written down.
CREATES = ("engine.state.before_rename:1", "engine.create.noted:1", "engine.create.made:1", "engine.create.made:6")
UPDATES = ("engine.update.noted:2", "engine.update.made:3", "engine.state.before_rename:4")
DELETES = ("engine.delete.noted:2", "engine.delete.done:3", "engine.state.before_rename:6", "engine.delete.done:1")


@pytest.mark.timeout(200)
def test_the_engine_dies_at_named_moments(stack: Stack) -> None:
    stack.databases = 5
    stack.write()
    die_all_over(stack, ["engine.create.made:4"], ["engine.update.made:2"], ["engine.delete.done:3"])


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_engine_dies_at_every_named_moment(stack: Stack) -> None:
    named = {name for file in ENGINE.rglob("*.py") for name in POINT.findall(file.read_text())}
    tested = {moment.partition(":")[0] for moment in (*CREATES, *UPDATES, *DELETES)}
    assert named == tested, "a moment of the engine has no test"
    die_all_over(stack, CREATES, UPDATES, DELETES)


def die_all_over(stack: Stack, creates: Sequence[str], updates: Sequence[str], deletes: Sequence[str]) -> None:
    """Dies at each moment of an `up`, of one that changes everything, and of a `destroy`; the next one ends what was begun."""
    for moment in creates:
        die_at(stack, moment, *UP)
    settle(stack)
    stack.write(idle=77)
    for moment in updates:
        die_at(stack, moment, *UP)
    stack.run(*UP)
    for name in stack.there():
        assert stack.platform.database(stack.tenant, name)["idle_timeout_seconds"] == 77
    for moment in deletes:
        die_at(stack, moment, *DESTROY)
    stack.run(*DESTROY)
    assert stack.there() == {} == stack.in_state()
    wait_settled(stack.platform)


def die_at(stack: Stack, moment: str, *command: str) -> None:
    """A command whose engine kills itself at a named moment; nothing that it started may be left."""
    engine = stack.begin(*command, SPG99_FAULT_POINT=moment)
    assert engine.wait(60) == -signal.SIGKILL, f"{moment} was not passed\n{stack.log()[-3000:]}"
    wait_for("the engine's children are gone", lambda: not _in_session_of(stack), seconds=10)


def _in_session_of(stack: Stack) -> list[psutil.Process]:
    """Processes that work in the stack's folder."""
    found = []
    for process in all_processes(["cwd", "status"]):
        if process.info["cwd"] == str(stack.folder) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@pytest.mark.timeout(200)
def test_the_control_plane_dies_in_the_middle_of_an_up(stack: Stack) -> None:
    """It comes back by itself, so the `up` goes on; where it does not, it says why, and the next one settles."""
    engine = stack.begin(*UP)
    kill_control_plane_at(stack, engine, 2)
    if engine.poll() is None:
        kill_control_plane_at(stack, engine, 9)
    code = engine.wait(120)
    log = stack.log()
    assert "Traceback" not in log
    if code != 0:
        assert "error:" in log.partition("Diagnostics:")[2], log[-3000:]
    settle(stack)


def kill_control_plane_at(stack: Stack, engine: subprocess.Popen[str], there: int) -> None:
    """kill -9 of the Control Plane as soon as so many databases exist and the `up` goes on; returns when there is another."""

    def enough() -> bool:
        return len(_there_or_nothing(stack)) >= there or engine.poll() is not None

    wait_for(f"{there} databases", enough, seconds=60, every=0.01)
    before = stack.platform.child("control-plane")
    assert engine.poll() is None, f"up ended before the Control Plane was killed\n{stack.log()[-3000:]}"
    os.kill(before, signal.SIGKILL)
    wait_for("another Control Plane", lambda: stack.platform.child("control-plane") not in (0, before))


def _there_or_nothing(stack: Stack) -> dict[str, str]:
    """Databases as the API tells; none while it does not answer."""
    try:
        return stack.there()
    except (httpx.HTTPError, KeyError):
        return {}
