"""The native plugin: start to port, Check and Diff, many creates at once, Cancel, a stack of 500; and what importing the SDKs takes.

Everything runs against the small Control Plane of tests/proof, which is quick.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2 as pb
from tests.benchmarks.table import Table, mid, ms, percentile

from integration.native.plugin_driver import GADGET, Plugin, running, struct, urn, values, write_proof_plugin
from integration.native.test_native_programs import Project
from kit.platform import BIN
from spg99.emit import pulumi_plugin
from spg99.engine.operations import run_destroy, run_preview, run_refresh, run_up

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
DATABASE = "spg99:index:Database"
# In a process of its own: in ours it would share the interpreter with who measures.
SERVER = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from proof.gadget import MOUNTED, PACKAGE
from proof.server import running
with running(PACKAGE, also=MOUNTED) as server:
    server.on("POST", "/gadgets$", seconds=float(sys.argv[1]), times=10**6)
    server.settle_seconds = float(sys.argv[2])
    print(server.url, flush=True)
    for _ in sys.stdin:
        print(server.count("POST", "/gadgets$"), server.count("GET", "/gadgets/"), flush=True)
"""
GOALS_MS = {
    "start to port line": 150,
    "Check of a database": 1,
    "Diff of a database": 1,
    "Cancel with 64 creates in flight, until all have answered": 50,
}
GOAL_128_CREATES_SECONDS = 0.75
CREATE_SECONDS = 0.5
IN_FLIGHT = 64


@dataclass
class Far:
    """A Control Plane in a process of its own."""

    url: str
    process: subprocess.Popen[str]

    def requests(self) -> tuple[int, int]:
        """How many requests to create an object it has got, and how many to read one."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        creates, reads = map(int, self.process.stdout.readline().split())
        return creates, reads


@contextmanager
def server(*, answer_seconds: float = 0, settle_seconds: float = 0) -> Iterator[Far]:
    """A Control Plane that takes so long to answer a create, and so long until its object is ready."""
    command = [sys.executable, "-c", SERVER, str(answer_seconds), str(settle_seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Far(process.stdout.readline().strip(), process)
        finally:
            process.kill()


def start_seconds(command: list[str]) -> float:
    """From the start of the process to the line with its port."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        took = time.perf_counter() - began
        process.kill()
    return took


def each(call: Callable[[], Any], times: int) -> list[float]:
    """Seconds of each of so many calls."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


def begun(plugin: Plugin, shelf: str, count: int) -> list[Any]:
    """So many creates at once, under way."""
    inputs = [struct(plugin.inputs("g", {"shelf": shelf, "name": f"g{n}"})) for n in range(count)]
    return [
        plugin.stub.Create.future(pb.CreateRequest(urn=urn(f"{shelf}-{n}", GADGET), properties=inputs[n]))
        for n in range(count)
    ]


def creates(plugin: Plugin, count: int) -> float:
    """Seconds for so many creates at once."""
    plugin.inputs("g", {"shelf": "warm", "name": "g"})
    began = time.perf_counter()
    for answer in begun(plugin, f"s{count}", count):
        answer.result()
    return time.perf_counter() - began


def cancelled(plugin: Plugin, far: Far) -> float:
    """Seconds from Cancel until each of the creates under way has been answered."""
    asked = begun(plugin, "c", IN_FLIGHT)
    deadline = time.monotonic() + 20
    while min(far.requests()) < IN_FLIGHT:
        assert time.monotonic() < deadline, f"only {far.requests()} of {IN_FLIGHT} creates came through"
        time.sleep(0.01)
    assert not any(answer.done() for answer in asked)
    began = time.perf_counter()
    plugin.stub.Cancel(empty_pb2.Empty())
    failures = [answer.exception(timeout=20) for answer in asked]
    took = time.perf_counter() - began
    assert all(failure is not None for failure in failures), "a create ended well that was cancelled"
    return took


def run(*, quick: bool = False) -> list[Table]:
    """The tables of the native plugin."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [
            *(_calls(folder, quick=quick)),
            _stack(folder, 20 if quick else 500),
            _imports(folder, 3 if quick else 15),
        ]


def _calls(folder: Path, *, quick: bool) -> list[Table]:
    """One process, asked as Pulumi's engine asks it."""
    calls = Table("Native plugin: start and calls, one at a time", ("what", "p50", "p99"))
    many = Table(f"Native plugin: creates of {CREATE_SECONDS} s at once", ("creates", "seconds"))

    def add(what: str, taken: list[float]) -> None:
        goal = GOALS_MS.get(what)
        half = percentile(taken, 0.5)
        met = "" if goal is None else f" (goal < {goal} ms: {'met' if half * 1000 < goal else 'missed'})"
        calls.add(what, ms(half) + met, ms(percentile(taken, 0.99)))

    installed = pulumi_plugin.install(folder / "plugins") / pulumi_plugin.EXECUTABLE
    start_seconds([str(installed), "127.0.0.1:1"])  # compiles what was just installed
    add("start to port line", [start_seconds([str(installed), "127.0.0.1:1"]) for _ in range(5 if quick else 30)])
    with running([str(BIN / pulumi_plugin.EXECUTABLE)], cwd=folder, url="http://127.0.0.1:1/v2") as plugin:
        check = pb.CheckRequest(urn=urn("app", DATABASE), news=struct({"tenant": "acme", "name": "app"}))
        inputs = plugin.stub.Check(check).inputs
        create = pb.CreateRequest(urn=urn("app", DATABASE), properties=inputs, preview=True)
        old = values(plugin.stub.Create(create).properties) | {"dbId": "db_1"}
        wanted = struct({**values(inputs), "size": "L3"})
        diff = pb.DiffRequest(urn=urn("app", DATABASE), id="acme/app", olds=struct(old), old_inputs=inputs, news=wanted)
        assert plugin.stub.Diff(diff).changes == pb.DiffResponse.DIFF_SOME
        for what, call in (
            ("an empty call", lambda: plugin.stub.GetPluginInfo(empty_pb2.Empty())),
            ("Check of a database", lambda: plugin.stub.Check(check)),
            ("Diff of a database", lambda: plugin.stub.Diff(diff)),
            ("Create of a database, preview", lambda: plugin.stub.Create(create)),
        ):
            add(what, each(call, 50 if quick else 1000))
    proof = [sys.executable, str(write_proof_plugin(folder / "proof"))]
    with server(answer_seconds=CREATE_SECONDS) as far, running(proof, cwd=folder, url=far.url) as plugin:
        for count in (1, 64, 128):
            took = creates(plugin, count)
            goal = GOAL_128_CREATES_SECONDS
            met = f" (goal < {goal} s: {'met' if took < goal else 'missed'})" if count == 128 else ""
            many.add(count, f"{took:.2f}{met}")
    cancels = []
    for _ in range(1 if quick else 5):
        with server(settle_seconds=60) as far, running(proof, cwd=folder, url=far.url) as plugin:
            cancels.append(cancelled(plugin, far))
    add("Cancel with 64 creates in flight, until all have answered", cancels)
    calls.notes.append(
        "The creates that Cancel ends are there and wait to be ready. One whose request has no answer yet gets up to 2.5 s for"
        " it, so that what was made is not lost."
    )
    many.notes.append(
        "Each create is one request that the server answers after that time, and one look at what it made."
    )
    return [calls, many]


def _stack(folder: Path, count: int) -> Table:
    table = Table(
        f"Embedded engine and native plugin: a whole command over {count} resources",
        ("command", "seconds", "per resource"),
    )
    (folder / "Pulumi.yaml").write_text("name: proj\nruntime: python\n")
    write_proof_plugin(folder / "home/plugins" / pulumi_plugin.version_folder())
    program = f'for n in range({count}): Gadget(f"g{{n}}", shelf="top", name=f"g{{n}}")\n'
    with server() as far:
        project = Project(folder, far.url)
        for what, operation in (
            ("preview", run_preview),
            ("up", run_up),
            ("up, nothing changed", run_up),
            ("refresh", run_refresh),
            ("destroy", run_destroy),
        ):
            began = time.perf_counter()
            project.run(operation, program)
            took = time.perf_counter() - began
            table.add(what, f"{took:.2f}", ms(took / count))
        made, _ = far.requests()
        assert made == count, f"{made} requests for {count} creates"
    return table


def _imports(folder: Path, rounds: int) -> Table:
    """Our SDKs' share of the start of a program, in turn with the SDK of Pulumi that they need."""
    table = Table("SDKs: a process that imports and ends", ("what", "median", "more than Pulumi's own SDK"))
    sdk = folder / "sdk"
    shutil.copytree(ROOT / "sdk", sdk)  # what Python compiles is not left in the repository
    python = {"PYTHONPATH": str(sdk / "python")}
    modules = Path(os.environ.get("SPG99_NODE_MODULES") or ROOT / ".tools/node/node_modules")
    families: list[list[tuple[str, list[str], dict[str, str]]]] = [
        [
            ("Python: import pulumi", [sys.executable, "-c", "import pulumi"], python),
            ("Python: import pulumi_spg99", [sys.executable, "-c", "import pulumi_spg99"], python),
            ("Python: import spg99.dynamic", [sys.executable, "-c", "import spg99.dynamic"], python),
        ]
    ]
    node = shutil.which("node")
    if node is not None and (modules / "@pulumi/pulumi").is_dir():
        ours = f"require({str(sdk / 'nodejs')!r})"
        families.append(
            [
                (f"Node.js: {shown}", [node, "-e", code], {"NODE_PATH": str(modules)})
                for shown, code in (
                    ("require('@pulumi/pulumi')", "require('@pulumi/pulumi')"),
                    ("require('@spg99/pulumi')", ours),
                )
            ]
        )
    else:
        table.notes.append(
            "Left out: Node.js (node is not on PATH, or @pulumi/pulumi is not in .tools/node: `make cli-tools`)."
        )
    for family in families:
        taken: dict[str, list[float]] = {}
        for turn in range(rounds + 1):
            for what, command, more in family:
                began = time.perf_counter()
                subprocess.run(command, env={**os.environ, **more}, check=True, cwd=folder)
                if turn:  # the first one compiles
                    taken.setdefault(what, []).append(time.perf_counter() - began)
        least = mid(taken[family[0][0]])
        for what, _, _ in family:
            table.add(what, ms(mid(taken[what])), "" if what == family[0][0] else ms(mid(taken[what]) - least))
    return table
