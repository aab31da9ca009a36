"""What each process of an idle platform weighs (PSS, from /proc)."""

from __future__ import annotations

import psutil
from tests.benchmarks.table import Table

from kit.memory import of_spg99, pss_megabytes
from kit.platform import a_platform

MEGABYTES_MAX = 150


def tree(process: psutil.Process) -> float:
    """PSS of a process and all below it."""
    return sum(pss_megabytes(p.pid) for p in (process, *process.children(recursive=True)))


def run(*, quick: bool = False) -> list[Table]:
    """The table of section 11: memory."""
    table = Table("Memory of an idle platform", ("what", "PSS", "processes", "goal"))
    count = 5 if quick else 20
    with a_platform() as platform:
        connections = []
        for number in range(count):
            platform.create_database(name=f"idle{number}", idle_timeout_seconds=0)
            with platform.connect(name=f"idle{number}") as connection:
                connection.execute("select 1")
        computes = platform.computes()
        each = sum(tree(p) for p in computes) / len(computes)
        table.add(
            f"one idle compute (mean of {len(computes)})",
            f"{each:.1f} MB",
            f"{sum(1 + len(p.children(recursive=True)) for p in computes) / len(computes):.0f}",
            f"<= 10 MB: {'met' if each <= 10 else 'missed'}",
        )
        weights = of_spg99(platform)
        for name, megabytes in weights.items():
            table.add(f"spg99 {name}", f"{megabytes:.1f} MB", "", "")
        total = sum(weights.values())
        table.add(
            "all of spg99 dev",
            f"{total:.1f} MB",
            len(weights),
            f"<= {MEGABYTES_MAX} MB: {'met' if total <= MEGABYTES_MAX else 'missed'}",
        )
        del connections
    return [table]
