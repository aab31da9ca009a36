"""What each process of an idle platform weighs (PSS, from /proc)."""

from __future__ import annotations

from pathlib import Path

import psutil
from tests.benchmarks.table import Table

from kit.platform import a_platform


def pss_megabytes(pid: int) -> float:
    """Proportional set size of a process; 0.0 where /proc does not tell."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        return 0.0
    return 0.0


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
        for name in (" control-plane ", " gateway ", " agent ", " dev "):
            roots = platform.processes("spg99", name)
            roots = [p for p in roots if p.ppid() not in {q.pid for q in roots}]
            total = sum(pss_megabytes(p.pid) for p in roots) + (
                sum(pss_megabytes(c.pid) for p in roots for c in p.children()) if name == " gateway " else 0
            )
            table.add(f"spg99{name.rstrip()}", f"{total:.1f} MB", len(roots), "")
        del connections
    return [table]
