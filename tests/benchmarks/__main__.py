"""`python -m tests.benchmarks [suite ...] [--quick]`: runs suites and writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import datetime
import importlib
import os
import platform
import sys
import time
from pathlib import Path

import psutil

TESTS = Path(__file__).resolve().parent.parent
REPORT = TESTS.parent / "docs" / "benchmarks.md"
SUITES = ("wake", "gateway", "api", "engine", "provider", "memory", "storage", "lazy", "terraform", "native")


def sections(report: str) -> dict[str, str]:
    """The tables of a report by title, in their order."""
    parts = report.split("\n## ")[1:]
    return {part.partition("\n")[0]: f"## {part.strip()}\n" for part in parts}


def write(fresh: dict[str, str], *, keeps: bool) -> None:
    """Writes the report with these tables by title; `keeps`: those of other titles that stand in it stay."""
    head = (
        "# Benchmarks\n\nWritten by `make bench`; not edited by hand. Side by side in one run on one machine, so compare ratios, not "
        f"seconds.\n\n{datetime.date.today():%Y-%m-%d}, {os.cpu_count()} cores, "
        f"{psutil.virtual_memory().total // 2**30} GiB, {platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}.\n"
    )
    kept = sections(REPORT.read_text()) if keeps and REPORT.exists() else {}
    REPORT.write_text(head + "\n" + "\n".join((kept | fresh).values()))
    print(f"written: {REPORT.relative_to(TESTS.parent)}")


def main() -> int:
    """Runs what was asked for and writes the report; with names only their tables in it are replaced."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="fewer rounds; for trying the benchmarks themselves")
    chosen = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    fresh: dict[str, str] = {}
    for name in chosen.suites or SUITES:
        began = time.perf_counter()
        print(f"-- {name}", flush=True)
        for table in importlib.import_module(f"tests.benchmarks.{name}").run(quick=chosen.quick):
            print(table.markdown(), flush=True)
            fresh[table.title] = table.markdown()
        print(f"   ({time.perf_counter() - began:.0f} s)", flush=True)
        if not chosen.quick:  # after each suite: what was measured is not lost with a later one
            write(fresh, keeps=bool(chosen.suites) or name != SUITES[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
