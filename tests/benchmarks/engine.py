"""The embedded engine with 1, 100 and 500 databases: what each resource costs, and how much of it is the provider's."""

from __future__ import annotations

import os
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


def timed(platform: Platform, folder: Path, *arguments: str) -> tuple[float, str]:
    """Seconds and output of one engine command."""
    environment = {
        **os.environ,
        **platform.env,
        "PULUMI_BACKEND_URL": f"file://{platform.data_dir}/state",
        "PULUMI_CONFIG_PASSPHRASE": "bench",
    }
    began = time.perf_counter()
    done = subprocess.run([BIN / "spg99", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return took, done.stdout


def run(*, quick: bool = False) -> list[Table]:
    """The table of section 11: the engine."""
    counts = (1, 20) if quick else (1, 100, 500)
    table = Table(
        "Embedded engine and dynamic provider: seconds for a whole command (milliseconds per resource beyond the first)",
        ("resources", "preview", "up", "up, nothing changed", "destroy"),
    )
    base: dict[str, float] = {}
    with a_platform() as platform:
        (platform.data_dir / "state").mkdir()
        for count in counts:
            folder = platform.data_dir / f"bench{count}"
            project(folder, count)
            timed(platform, folder, "stack", "init", f"b{count}")
            timed(platform, folder, "config", "set", "count", str(count), "--stack", f"b{count}")
            stack = ("--stack", f"b{count}")
            seen = {
                "preview": timed(platform, folder, "preview", *stack)[0],
                "up": timed(platform, folder, "up", "--yes", *stack)[0],
                "again": timed(platform, folder, "up", "--yes", "--expect-no-changes", *stack)[0],
                "destroy": timed(platform, folder, "destroy", "--yes", *stack)[0],
            }
            base = base or seen
            table.add(count, *(_cell(seen[step], base[step], count) for step in ("preview", "up", "again", "destroy")))
    table.notes.append(
        "`up` shows a preview first, so its column holds both. A create and the destroy of what was never started have no part of a node: each is one transaction."
    )
    return [table]


def _cell(seconds: float, base: float, count: int) -> str:
    if count == 1:
        return f"{seconds:.2f} s"
    return f"{seconds:.2f} s ({(seconds - base) / (count - 1) * 1000:.1f} ms)"
