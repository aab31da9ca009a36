"""What nobody calls is not there: each name that the Control Plane, its messages and its errors define is used somewhere."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import spg99

ROOT = Path(spg99.__file__).parent
SOURCES = {path: path.read_text() for path in ROOT.rglob("*.py")}
SQL = {path: path.read_text() for path in (ROOT / "control_plane").rglob("queries.sql")}
WORDS = Counter(word for text in SOURCES.values() for word in re.findall(r"\w+", text))
CALLED_FROM_OUTSIDE = {"capture_signals", "is_hearing"}
"""By uvicorn; by tests, which wait for it."""
LOOKED_AT = [
    path
    for path in SOURCES
    if path.relative_to(ROOT).parts[0] in ("control_plane", "protocol") or path == ROOT / "errors.py"
]


def _defined(path: Path) -> list[str]:
    """Names of functions, methods, classes and fields that no decorator hands to somebody else."""
    found = []
    for node in ast.walk(ast.parse(SOURCES[path])):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            called = [decorator for decorator in node.decorator_list if isinstance(decorator, ast.Call)]
            is_route = any(isinstance(decorator.func, ast.Attribute) for decorator in called)
            if not is_route and not node.name.startswith("__"):
                found.append(node.name)
    return found


@pytest.mark.parametrize("path", LOOKED_AT, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_is_used(path: Path) -> None:
    assert [name for name in _defined(path) if WORDS[name] == 1 and name not in CALLED_FROM_OUTSIDE] == []


@pytest.mark.parametrize("path", SQL, ids=lambda path: path.parent.name)
def test_every_query_is_run(path: Path) -> None:
    names = re.findall(r"^-- (\w+)$", SQL[path], re.M)
    assert names
    assert [name for name in names if WORDS[name] == 0] == []


@pytest.mark.parametrize("path", SQL, ids=lambda path: path.parent.name)
def test_rules_are_python_and_their_numbers_are_handed_in(path: Path) -> None:
    """A span in SQL is a rule written a second time; the catalogue's clock is another one than a decision's."""
    text = re.sub(r"--.*", "", SQL[path])
    assert re.findall(r"interval\s*'[^']*'", text) == []
    assert re.findall(r".*clock_timestamp\(\)\s*[-+<>].*|.*[-+<>]=?\s*clock_timestamp\(\).*", text) == []
