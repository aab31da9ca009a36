"""The order of the tests: what is written down of their lengths names files that exist. Not here: pytest-randomly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from kit import order

RESULT = """\
<testsuites><testsuite>
  <testcase classname="tests.unit.test_a" name="one" time="4.2"/><testcase classname="tests.unit.test_a.TestTwo" name="two" time="4.0"/>
  <testcase classname="tests.unit.test_b" name="one" time="4.9"/>
  <testcase classname="tests.integration.test_c" name="one" time="60.4"/>
</testsuite></testsuites>
"""


def test_long_files_are_written_down_the_longest_first(tmp_path: Path) -> None:
    (tmp_path / "tests.xml").write_text(RESULT)
    first = order.seconds(tmp_path / "tests.xml")
    assert list(order.table(first, Counter({"tests/unit/test_a.py": 2, "tests/unit/test_d.py": 70})).items()) == [
        ("tests/unit/test_d.py", (0, 70)),
        ("tests/integration/test_c.py", (60, 0)),
        ("tests/unit/test_a.py", (8, 2)),
    ]


def test_every_file_that_is_written_down_is_there() -> None:
    known = order.measured()
    assert known and [name for name in known if not (order.TESTS.parent / name).is_file()] == []
