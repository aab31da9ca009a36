"""An import inside a function has a reason, said where it stands or here: start time that was measured, or a machine that lacks the module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROVIDER = Path(__file__).resolve().parents[2] / "provider"
SOURCES = sorted([*(PROVIDER / "spg99").rglob("*.py"), *(PROVIDER / "tfplugin").rglob("*.py")])

REASONS = {
    "spg99/__main__.py": "Ctrl-C while the commands load (270 modules) already ends in order.",
    "spg99/atomic_write.py": "ctypes, for one call on Linux alone.",
    "spg99/bridges/dynamic.py": "Users' states name this module; the provider behind it brings the SDK (436 modules).",
    "spg99/bridges/pulumi/dynamic/": "A program that only declares connects to nothing: client and event loop are 116 modules.",
    "spg99/bridges/pulumi/native/": "A plugin starts in every run: grpc, service and client come after the port is told (134 and 97 modules).",
    "spg99/bridges/terraform/": "A provider starts several times in a plan, and a plan of new objects needs none of these (client: 187 modules).",
    "spg99/bridges/shared/waiting.py": "Most processes wait for nobody: asyncio is 40 ms of a start, `random` and `logging` 5 each.",
    "spg99/client/": "A process that asks one thing needs no event loop (40 ms), no httpx (60), no TLS on this machine (10), no classes (188 modules).",
    "spg99/commands/": "A command loads what it runs, not what its neighbours run: servers are 150 to 520 modules, the client 55.",
    "spg99/engine/child.py": "Starts once a program and once a provider; each of its uses needs another part.",
    "spg99/saslprep.py": "The tables of stringprep, for the few passwords that are not ASCII.",
    "tfplugin/": "The handshake line comes first; Terraform reads it while the rest is loaded.",
}
"""A file, or a folder with a slash at its end, whose imports inside functions all have this reason. Modules were counted, and their
time taken, with `python -X importtime` on the module that stands in the file."""


def inside_functions(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import that runs when a function is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (inner for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom))


def without_reason(name: str, text: str) -> set[int]:
    """Lines of imports in functions for which no reason is given: in the table, at the line's end, or in a comment above."""
    if any(name == place or (place.endswith("/") and name.startswith(place)) for place in REASONS):
        return set()
    lines = text.splitlines()
    found = set()
    for node in inside_functions(ast.parse(text)):
        number = node.lineno
        while lines[number - 2].strip().startswith(("import ", "from ")):
            number -= 1  # a block of imports has one comment
        if not any("#" in line for line in (lines[node.lineno - 1], lines[number - 1])) and not lines[
            number - 2
        ].strip().startswith("#"):
            found.add(node.lineno)
    return found


def test_an_import_in_a_function_has_a_reason() -> None:
    found = {path: without_reason(str(path.relative_to(PROVIDER)), path.read_text()) for path in SOURCES}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize("place", REASONS)
def test_a_reason_is_still_one(place: str) -> None:
    paths = sorted((PROVIDER / place).rglob("*.py")) if place.endswith("/") else [PROVIDER / place]
    assert any(list(inside_functions(ast.parse(path.read_text()))) for path in paths), "nothing there needs it any more"


def test_one_without_would_be_seen() -> None:
    assert without_reason("spg99/x.py", "def f():\n    import json\n    return json\n") == {2}
    assert without_reason("spg99/x.py", "def f():\n    import json  # not on Windows\n") == set()
    assert (
        without_reason("spg99/x.py", "def f():\n    # Late: not on Windows.\n    import json\n    import os\n") == set()
    )
