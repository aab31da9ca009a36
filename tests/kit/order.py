"""In which order the tests run: by chance, and the longest files first where workers share them out.

pytest-randomly shuffles the files and the tests of each; its seed is printed at the end of every run, and
`--randomly-seed=SEED` makes the same order again. Between workers whole files are shared out (`--dist loadfile`): with the
longest first, and the short ones in the order of chance behind them, no worker waits at the end for the other's last
long file. How long a file takes was measured: `python -m tests.kit.order build/tests.xml` writes it down from a run.

Here: hooks that tests/conftest.py imports. Not here: which tests there are.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SECONDS = Path(__file__).with_name("seconds.txt")
LONG_SECONDS = 5
"""A file that takes less is not written down: its place does not matter."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Brings the long files to the front in a worker of xdist; the order by chance stays below that."""
    if hasattr(config, "workerinput"):
        known = _known()
        items.sort(key=lambda item: -known.get(item.nodeid.partition("::")[0], 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says how to have this order again."""
    seed = config.getoption("randomly_seed", None)
    if seed is not None and config.getoption("randomly_reorganize"):
        terminalreporter.write_line(f"order of the tests: --randomly-seed={seed}")


def seconds(results: Iterable[Path]) -> dict[str, int]:
    """Whole seconds that each test file took in JUnit files, the longest first, short ones left out."""
    sums: Counter[str] = Counter()
    for result in results:
        for case in ET.parse(result).getroot().iter("testcase"):
            sums[case.get("classname", "").replace(".", "/") + ".py"] += float(case.get("time", 0))  # type: ignore[assignment]
    return {name: round(total) for name, total in sums.most_common() if total >= LONG_SECONDS}


def _known() -> dict[str, int]:
    lines = (line.split() for line in SECONDS.read_text().splitlines() if not line.startswith("#"))
    return {name: int(taken) for taken, name in lines}


if __name__ == "__main__":
    measured = seconds(map(Path, sys.argv[1:]))
    SECONDS.write_text("".join(f"{taken:>4} {name}\n" for name, taken in measured.items()))
    print(f"written: {SECONDS.name}, {len(measured)} files, {sum(measured.values())} s")
