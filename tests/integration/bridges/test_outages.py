"""The Control Plane goes away in the middle of a run, for longer than a few attempts take: every bridge waits and goes on.

The short tests drive the provider processes. The long one (`make faults`) runs a program of a hundred resources through three
outages of 20 s in each bridge. Not here: one request on bad days (tests/unit/client).
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from integration.bridges.engine_calls import PLUGIN, Bridge, Entry, Run
from integration.bridges.plane_stub import API_KEY, Plane
from kit.pulumi_cli import BUILT, pulumi, pulumi_environment
from spg99.client.patience import FIRST_CONTACT_SECONDS
from spg99.resources import Database, Tenant

pytestmark = pytest.mark.slow  # broken

AWAY_SECONDS = 8.0
"""Longer than all attempts of a first contact, and than half of those that a client makes without patience."""
DATABASES = 8


@contextlib.contextmanager
def away(plane: Plane, seconds: float) -> Iterator[None]:
    """The Control Plane is not there for so long, and nothing waits for its return but the bridges."""
    plane.go_away()
    back = threading.Timer(seconds, plane.come_back)
    back.start()
    try:
        yield
    finally:
        back.join()


def at_once(work: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(DATABASES) as pool:
        futures: list[Future[Any]] = [pool.submit(work, n) for n in range(DATABASES)]
    return [future.result() for future in futures]


def test_creates_changes_and_deletes_wait_for_a_control_plane_that_they_have_spoken_with(
    bridge: Bridge, plane: Plane
) -> None:
    with bridge.start() as process:
        run = Run(bridge, process.stub)
        run.up(Tenant, "acme", {"name": "acme"})

        def create(n: int) -> Entry:
            return run.up(Database, f"app-{n}", {"tenant": "acme", "name": f"app_{n}"})

        with away(plane, AWAY_SECONDS):
            made = at_once(create)
        assert plane.posts == 1 + DATABASES, "each was made once"
        with away(plane, AWAY_SECONDS):
            at_once(lambda n: run.delete(Database, f"app-{n}", made[n]))
        assert [name for noun, name in plane.objects if noun == "database"] == []
        lines = process.engine.lines if hasattr(process, "engine") else process.lines
        assert any("trying again" in line.message and line.urn for line in lines), "somebody who waits is told why"


def test_a_first_contact_that_fails_says_so_soon_however_many_wait(bridge: Bridge, plane: Plane) -> None:
    """The time is one for the whole process: a hundred resources and a wrong URL are no quarter of an hour."""
    plane.go_away()
    with bridge.start() as process:
        run = Run(bridge, process.stub)
        began = time.monotonic()
        for n in range(3):
            with pytest.raises(Exception, match="cannot be reached"):
                run.up(Tenant, f"acme-{n}", {"name": f"acme_{n}"})
        assert time.monotonic() - began < 2 * FIRST_CONTACT_SECONDS
    plane.come_back()


def test_a_first_contact_waits_for_a_restart(bridge: Bridge, plane: Plane) -> None:
    """Terraform's apply is another process than its plan: it has not spoken with the Control Plane yet."""
    with bridge.start() as process:
        run = Run(bridge, process.stub)
        with away(plane, FIRST_CONTACT_SECONDS / 2):
            run.up(Tenant, "acme", {"name": "acme"})
        assert plane.posts == 1


def test_the_time_limit_of_the_resource_ends_it_with_the_reason(bridge: Bridge, plane: Plane) -> None:
    import grpc
    from pulumi.runtime.proto import provider_pb2 as pb

    from integration.bridges.host_driver import struct

    with bridge.start() as process:
        run = Run(bridge, process.stub)
        run.up(Tenant, "acme", {"name": "acme"})
        inputs = run.check(Database, "app", {"tenant": "acme", "name": "app"}, None)
        plane.go_away()
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as error:
            process.stub.Create(
                pb.CreateRequest(
                    urn=bridge.urn(Database, "app"),
                    type=bridge.type_of(Database),
                    properties=struct(inputs),
                    timeout=5.0,
                ),
                timeout=60,
            )
        assert "cannot be reached" in (error.value.details() or "") and time.monotonic() - began < 5.0 + AWAY_SECONDS
    plane.come_back()


# ---- the long one ------------------------------------------------------------------------------------------------------

RESOURCES = 100
OUTAGES, OUTAGE_SECONDS = 3, 20.0

PYTHON = """
import pulumi
from spg99.dynamic import Database, Tenant
acme = Tenant("acme", name="acme")
for n in range({count}):
    Database(f"app-{{n}}", tenant=acme.name, name=f"app_{{n}}")
"""
HCL = """
resource "spg99_tenant" "acme" {{
  name = "acme"
}}
resource "spg99_database" "app" {{
  count  = {count}
  tenant = spg99_tenant.acme.name
  name   = "app_${{count.index}}"
}}
"""


@contextlib.contextmanager
def outages(plane: Plane, begins: Callable[[], bool]) -> Iterator[list[float]]:
    """Three outages, the first once the run has spoken with the Control Plane (`begins`)."""
    ended: list[float] = []
    stop = threading.Event()

    def work() -> None:
        while not begins() and not stop.wait(0.02):
            pass
        for _ in range(OUTAGES):
            plane.go_away()
            time.sleep(OUTAGE_SECONDS)
            plane.come_back()
            ended.append(time.monotonic())
            if stop.wait(1.0):
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join()


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["dynamic", "native", "pulumi-dynamic", "pulumi-native", "terraform", "opentofu"])
def test_a_hundred_resources_through_three_outages(kind: str, plane: Plane, tmp_path: Path) -> None:
    # Between two outages there is one second: no create comes through in it, and deletions take longer than an outage, so that a run
    # cannot end before it has met all three.
    plane.answer_seconds, plane.delete_seconds = 4.0, OUTAGE_SECONDS + 5
    steps = PROGRAMS[kind](tmp_path, plane)

    def spoken(pattern: str, method: str) -> Callable[[], bool]:
        so_far = plane.count(method, pattern)
        return lambda: plane.count(method, pattern) > so_far + 1

    with outages(plane, spoken("/dbs", "POST")) as ended:
        steps["up"]()
        met_by_up = len(ended)
    assert sum(noun == "database" for noun, _ in plane.objects) == RESOURCES - 1
    assert plane.posts == RESOURCES, "each was made once"
    assert met_by_up >= OUTAGES, "the run was long enough to meet all of them"
    with outages(plane, spoken("/dbs/", "DELETE")) as ended:
        steps["destroy"]()
        met_by_destroy = len(ended)
    assert plane.objects == {}
    assert met_by_destroy >= OUTAGES


def _pulumi(
    folder: Path, plane: Plane, program: str, runtime: str = "python", *, real: bool
) -> dict[str, Callable[[], None]]:
    import os
    import subprocess

    command = [str(pulumi())] if real else [sys.executable, "-m", "spg99"]

    (folder / "Pulumi.yaml").write_text(f"name: proj\nruntime: {runtime}\n" + (program if runtime == "yaml" else ""))
    if runtime == "python":
        (folder / "__main__.py").write_text(program)
    plugin = folder / "bin" / "pulumi-resource-spg99"
    plugin.parent.mkdir()
    plugin.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{PLUGIN[2]}" "$@"\n')
    plugin.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "PULUMI_"))},
        "SPG99_CP_URL": plane.url,
        "SPG99_API_KEY": API_KEY,
        **pulumi_environment(folder, passphrase="x"),
        "PATH": f"{plugin.parent}:{os.environ['PATH']}",
    }
    (folder / "state").mkdir()

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    run("stack", "init", "dev")
    return {"up": lambda: run("up", "--yes"), "destroy": lambda: run("destroy", "--yes")}


def _dynamic(folder: Path, plane: Plane, *, real: bool = False) -> dict[str, Callable[[], None]]:
    return _pulumi(folder, plane, PYTHON.format(count=RESOURCES - 1), real=real)


def _native(folder: Path, plane: Plane, *, real: bool = False) -> dict[str, Callable[[], None]]:
    databases = "".join(
        f'  app-{n}:\n    type: spg99:Database\n    properties: {{tenant: "${{acme.name}}", name: app_{n}}}\n'
        for n in range(RESOURCES - 1)
    )
    return _pulumi(
        folder,
        plane,
        "resources:\n  acme:\n    type: spg99:Tenant\n    properties: {name: acme}\n" + databases,
        runtime="yaml",
        real=real,
    )


def _terraform(folder: Path, plane: Plane, tool: str = "terraform") -> dict[str, Callable[[], None]]:
    import os
    import shutil
    import subprocess

    from spg99 import __version__
    from spg99.bridges.terraform import installation

    terraform = shutil.which(tool, path=f"{BUILT}{os.pathsep}{os.environ['PATH']}")
    if terraform is None:
        pytest.skip(f"{tool} is not installed")
    installation.install(folder / "mirror", __version__, names=("terraform", "tofu"))
    (folder / "cli.tfrc").write_text(installation.cli_configuration(folder / "mirror"))
    (folder / "main.tf").write_text(installation.required_providers(__version__) + HCL.format(count=RESOURCES - 1))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "TF_"))},
        "SPG99_CP_URL": plane.url,
        "SPG99_API_KEY": API_KEY,
        "TF_CLI_CONFIG_FILE": str(folder / "cli.tfrc"),
        "CHECKPOINT_DISABLE": "1",
    }

    def run(*arguments: str) -> None:
        command = [terraform, *arguments, "-no-color"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    run("init")
    parallel = "-parallelism=50"
    return {
        "up": lambda: run("apply", "-auto-approve", parallel),
        "destroy": lambda: run("destroy", "-auto-approve", parallel),
    }


PROGRAMS: dict[str, Callable[[Path, Plane], dict[str, Callable[[], None]]]] = {
    "dynamic": _dynamic,
    "native": _native,
    "pulumi-dynamic": partial(_dynamic, real=True),
    "pulumi-native": partial(_native, real=True),
    "terraform": _terraform,
    "opentofu": partial(_terraform, tool="tofu"),
}
