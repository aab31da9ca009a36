"""What a platform weighs: PSS from /proc, which counts a page that several processes share once in all. Here: measuring. Not here: goals."""

from __future__ import annotations

from pathlib import Path

import psutil

from kit.platform import Platform


def pss_megabytes(pid: int) -> float:
    """Proportional set size of a process; 0.0 where /proc does not tell."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        return 0.0
    return 0.0


def of_spg99(platform: Platform) -> dict[str, float]:
    """PSS of each process of `spg99 dev` that is not PostgreSQL, in megabytes, by name; the workers of the Gateway as one."""
    assert platform.process is not None
    names = {platform.process.pid: "dev", **{int(of["pid"]): name for name, of in platform.dev()["processes"].items()}}
    found: dict[str, float] = {}
    for process in [
        psutil.Process(platform.process.pid),
        *psutil.Process(platform.process.pid).children(recursive=True),
    ]:
        if process.name() != "postgres":
            name = names.get(process.pid) or f"{names[process.ppid()]}'s workers"
            found[name] = found.get(name, 0.0) + pss_megabytes(process.pid)
    return found
