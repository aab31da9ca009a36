"""What the native plugin imports on its way is in its archive, wherever the import stands. Not here: the archive itself (tests/integration/native)."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import spg99
from spg99.emit import pulumi_plugin

START = "spg99.bridges.native.process"
ROOT = Path(spg99.__file__).parent


def test_what_the_plugin_imports_is_in_its_archive() -> None:
    ours = dict(pulumi_plugin._our_package())
    brought = {name.split("/")[0].removesuffix(".py") for name, _ in pulumi_plugin._installed()}
    seen: set[str] = set()
    missing: set[str] = set()
    left = [START]
    while left:
        module = left.pop()
        if module in seen:
            continue
        seen.add(module)
        path = path_of(module)
        assert path is not None, module
        if f"spg99/{path.relative_to(ROOT).as_posix()}" not in ours:
            missing.add(f"{module} (left out by ELSEWHERE)")
            continue
        for imported in imports_of(ast.parse(path.read_text())):
            top = imported.partition(".")[0]
            if top == "spg99":
                left += [each for each in (imported, imported.rpartition(".")[0]) if each and path_of(each)]
            elif top not in sys.stdlib_module_names and top not in brought:
                missing.add(f"{imported}, imported by {module}")
    assert len(seen) > 30, "the walk found the bridge"
    assert not missing, missing


def path_of(module: str) -> Path | None:
    base = ROOT.parent.joinpath(*module.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Of a module and of its functions; not what only a type checker reads, nor what a package loads for those who ask for it by name."""
    if isinstance(tree, ast.FunctionDef) and tree.name == "__getattr__":
        return
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom) and not tree.level and tree.module:
        yield tree.module
        yield from (f"{tree.module}.{alias.name}" for alias in tree.names if tree.module.startswith("spg99"))
    for child in ast.iter_child_nodes(tree):
        yield from imports_of(child)
