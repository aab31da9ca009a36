"""In which order the tests run: by chance, and the longest files first where workers share them out.

pytest-randomly shuffles the files and the tests of each; its seed is printed at the end of every run, and
`--randomly-seed=SEED` makes the same order again. Between workers whole files are shared out (`--dist loadfile`): with the
longest first, and the short ones in the order of chance behind them, no worker waits at the end for the other's last
long file. How long a file takes was measured: `python -m tests.kit.order build/tests.xml build/tests-slow.xml` writes down what it took
of `make test`, and of `make test-slow`, from a run of each.

Here: hooks that tests/conftest.py imports. Not here: which tests there are.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SECONDS = Path(__file__).with_name("seconds.txt")
BEFORE_THE_TIERS = "# whole files"
"""Begins the file as it was before a run of each tier was measured."""
LONG_SECONDS = 5
"""A file that takes less is not written down: its place does not matter."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Brings the long files to the front in a worker of xdist; the order by chance stays below that."""
    if hasattr(config, "workerinput"):
        column = int(all(item.get_closest_marker("slow") for item in items))
        known = {name: taken[column] for name, taken in measured().items()}
        items.sort(key=lambda item: -known.get(item.nodeid.partition("::")[0], 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says how to have this order again."""
    seed = config.getoption("randomly_seed", None)
    if seed is not None and config.getoption("randomly_reorganize"):
        terminalreporter.write_line(f"order of the tests: --randomly-seed={seed}")


def seconds(result: Path) -> Counter[str]:
    """Seconds that each test file took in a JUnit file."""
    sums: Counter[str] = Counter()
    for case in ET.parse(result).getroot().iter("testcase"):
        sums[_file_of(case.get("classname", ""))] += float(case.get("time", 0))  # type: ignore[assignment]
    return sums


def _file_of(classname: str) -> str:
    """The file of a test, whose class may stand behind it."""
    parts = classname.split(".")
    while len(parts) > 1 and parts[-1][:1].isupper():
        parts.pop()
    return "/".join(parts) + ".py"


def table(first: Counter[str], slow: Counter[str]) -> dict[str, tuple[int, int]]:
    """Whole seconds of each file in `make test` and in `make test-slow`, the longest first, short ones left out."""
    return {
        name: (round(first[name]), round(slow[name]))
        for name, total in (first + slow).most_common()
        if total >= LONG_SECONDS
    }


def measured() -> dict[str, tuple[int, int]]:
    """What is written down."""
    lines = (line.split() for line in SECONDS.read_text().splitlines() if not line.startswith("#"))
    return {name: (int(first), int(slow)) for first, slow, name in lines}


if __name__ == "__main__":
    of_first, of_slow = map(seconds, map(Path, sys.argv[1:3]))
    files = table(of_first, of_slow)
    rest = sum(of_first.values()) - sum(first for first, _ in files.values())
    SECONDS.write_text(
        "# seconds in `make test`, in `make test-slow`, file (python -m tests.kit.order build/tests.xml build/tests-slow.xml)\n"
        + "".join(f"{first:>4} {slow:>4} {name}\n" for name, (first, slow) in files.items())
        + f"# {round(rest)} s of `make test` are in files that take less than {LONG_SECONDS} s\n"
    )
    print(
        f"written: {SECONDS.name}, {len(files)} files, {sum(of_first.values()):.0f} s and {sum(of_slow.values()):.0f} s"
    )
