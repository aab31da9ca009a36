"""The embedded engine with 1, 100 and 500 databases: what each resource costs, and how much of it is the provider's."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from pathlib import Path

from tests.benchmarks.table import Table

from kit.platform import BIN, Platform, a_platform

PROGRAM = """
import pulumi
from spg99.dynamic import Database, Tenant
count = pulumi.Config().require_int("count")
tenant = Tenant("bench", name="bench")
for number in range(count - 1):
    Database(f"d{number}", tenant=tenant.name, name=f"d{number}")
"""


def project(folder: Path, count: int) -> None:
    """A Pulumi project with `count` resources."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Pulumi.yaml").write_text("name: bench\nruntime: python\n")
    (folder / "__main__.py").write_text(PROGRAM)


def timed(platform: Platform, folder: Path, *arguments: str) -> tuple[float, float]:
    """Seconds of one engine command, and of CPU: its own, its program's and its provider's."""
    environment = {
        **os.environ,
        **platform.env,
        "PULUMI_BACKEND_URL": f"file://{platform.data_dir}/state",
        "PULUMI_CONFIG_PASSPHRASE": "bench",
    }
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([BIN / "spg99", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    took, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return took, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def run(*, quick: bool = False) -> list[Table]:
    """The table of section 11: the engine."""
    counts = (1, 20) if quick else (1, 100, 500)
    table = Table(
        "Embedded engine and dynamic provider: seconds for a whole command (milliseconds per resource beyond the first)",
        ("resources", "preview", "up", "up, nothing changed", "destroy"),
    )
    cpu = Table(
        "Embedded engine and dynamic provider: CPU of engine, program and provider (milliseconds per resource beyond the first)",
        ("resources", "preview", "up", "up, nothing changed", "destroy"),
    )
    base: dict[str, tuple[float, float]] = {}
    with a_platform() as platform:
        (platform.data_dir / "state").mkdir()
        for count in counts:
            folder = platform.data_dir / f"bench{count}"
            project(folder, count)
            timed(platform, folder, "stack", "init", f"b{count}")
            timed(platform, folder, "config", "set", "count", str(count), "--stack", f"b{count}")
            stack = ("--stack", f"b{count}")
            seen = {
                "preview": timed(platform, folder, "preview", *stack),
                "up": timed(platform, folder, "up", "--yes", *stack),
                "again": timed(platform, folder, "up", "--yes", "--expect-no-changes", *stack),
                "destroy": timed(platform, folder, "destroy", "--yes", *stack),
            }
            base = base or seen
            for each, which in ((table, 0), (cpu, 1)):
                each.add(count, *(_cell(seen[step][which], base[step][which], count) for step in seen))
    table.notes.append(
        "`up` shows a preview first, so its column holds both. A create and the destroy of what was never started have no part of a node: each is one transaction."
    )
    cpu.notes.append(
        "The Control Plane's share is not in it. Who shares the machine changes this table less than the one of seconds."
    )
    return [table, cpu]


def _cell(seconds: float, base: float, count: int) -> str:
    if count == 1:
        return f"{seconds:.2f} s"
    return f"{seconds:.2f} s ({(seconds - base) / (count - 1) * 1000:.1f} ms)"
