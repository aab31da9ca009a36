"""What came of each test, kept for a run after this one: which were skipped and why, which failed, which passed only when asked again.

    build/skipped.txt            node ids: `pytest @build/skipped.txt` runs them when what they missed is there
    build/failed.txt             node ids of the run before
    build/failed-by-chance.txt   those that failed in a run of CI and passed in its second chance: faults of the product or of the test

Only with SPG99_OUTCOMES (`first`: the files begin anew; `more`: another tier, whose outcomes are added; `again`: a test that passes now
and had failed is noted as failed by chance).
Here: hooks that tests/conftest.py imports. Not here: what a failure means.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "build"
SKIPPED, FAILED, BY_CHANCE = (FOLDER / f"{name}.txt" for name in ("skipped", "failed", "failed-by-chance"))
_found: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes the worst of a test's three phases."""
    before = _found.get(report.nodeid)
    if report.failed or before is None or (report.skipped and before == "passed"):
        _found[report.nodeid] = report.outcome


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the files; with xdist only where all reports arrive."""
    which = os.environ.get("SPG99_OUTCOMES")
    if which not in ("first", "more", "again") or hasattr(session.config, "workerinput"):
        return
    write(which, _found)


def write(which: str, found: dict[str, str]) -> None:
    """Brings the files up to date with what a run found."""
    FOLDER.mkdir(exist_ok=True)
    lists = {outcome: [name for name, each in found.items() if each == outcome] for outcome in set(found.values())}
    failed_before = _lines(FAILED) if which == "again" else []
    by_chance = [name for name in lists.get("passed", []) if name in failed_before]
    _write(FAILED, [*lists.get("failed", []), *(name for name in failed_before if name not in found)])
    _write(BY_CHANCE, [*([] if which == "first" else _lines(BY_CHANCE)), *by_chance])
    skipped_before = [] if which == "first" else _lines(SKIPPED)
    _write(SKIPPED, [*(name for name in skipped_before if name not in found), *lists.get("skipped", [])])


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
