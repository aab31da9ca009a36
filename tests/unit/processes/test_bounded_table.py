"""Tables that forget: bounded, oldest first, one at a time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import spg99
from spg99.processes import BoundedTable

ROOT = Path(spg99.__file__).parent


def test_the_oldest_goes_first_and_alone() -> None:
    table: BoundedTable[str, int] = BoundedTable(3)
    for number, key in enumerate("abc"):
        table[key] = number
    table["a"] = 9  # written again: the youngest now
    table["d"] = 3
    assert dict(table) == {"c": 2, "a": 9, "d": 3}


@pytest.mark.parametrize("path", (ROOT / "control_plane").rglob("*.py"), ids=lambda path: path.name)
def test_what_the_control_plane_remembers_is_bounded(path: Path) -> None:
    """A cache (a table that is kept and read again) by its names; what is held while somebody waits is no cache."""
    caches = r"_(known|nodes|gateways|checksums|buckets|failures|guesses|were_right|cache\w*)"
    assert re.findall(rf"^\s*(?:self\.)?{caches}\s*:\s*(?:dict|OrderedDict|set)\b", path.read_text(), re.M) == []
    assert not re.findall(rf"{caches}\.clear\(\)(?!.*#)", path.read_text()) or path.name == "known_keys.py"
