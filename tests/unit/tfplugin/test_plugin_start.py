"""What a start imports: the plugin server alone, nothing of this product, and no module that costs milliseconds."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tfplugin as plugin

FOLDER = Path(plugin.__file__).parent
PRODUCT = FOLDER.parent
SLOW = {
    "asyncio",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "inspect",
    "json",
    "logging",
    "re",
    "socket",
    "ssl",
    "threading",
    "typing",
}


STANDARD = sys.stdlib_module_names | {"_sha2", "_sha256"}  # one of them, by version


def imported_by(module: str) -> set[str]:
    """Modules that a bare interpreter has after importing one of ours."""
    program = (
        f"import sys; sys.path.insert(0, {str(PRODUCT)!r}); import {plugin.__name__}.{module}; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["server", "certificate", "serving", "values"])
def test_a_start_imports_nothing_slow(module: str) -> None:
    assert not imported_by(module) & SLOW


def test_the_handshake_waits_for_nothing_it_does_not_need() -> None:
    ours = {name.rpartition(".")[2] for name in imported_by("server") if name.startswith(plugin.__name__ + ".")}
    assert ours == {"server", "handshake"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_it_knows_neither_this_product_nor_any_library(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        for name in names:
            assert name.startswith(plugin.__name__) or name.partition(".")[0] in STANDARD, name
