"""A fact is written once: no two files give one name the same value. Here: constants. Not here: what they mean."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import spg99

PACKAGE = Path(spg99.__file__).parent
GENERATED = {PACKAGE / "dynamic.py", PACKAGE / "prepared.py"}
TWO_FACTS_OF_ONE_VALUE = {
    "ADDRESSES_MAX": "of two counts by address",
    "GENERATED": "the first line of generated pages, of rooms that know nothing of each other",
    "KEY_BYTES": "of AES-256 and of SHA-256",
    "MB": "arithmetic",
    "MEASURE_SECONDS": "of limits and of sizes",
    "MISSING": "two marks",
    "OUTPUT": "Pulumi's, in the engine and in the bridge, which never import each other",
    "PAGE": "rows of three queries",
    "READ_BYTES": "of two readers",
    "REFERENCE": "Pulumi's, as OUTPUT",
    "REMEMBERED_MAX": "of two caches",
    "REMEMBERED_SECONDS": "of two caches",
    "SECRET": "Pulumi's, as OUTPUT",
    "TRIES_MAX": "of two searches for a port",
    "TYPE_CHECKING": "where importing typing would take too long",
}


def test_no_two_files_give_one_name_the_same_value() -> None:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body if path not in GENERATED else []:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = getattr(node, "value", None)
            if not isinstance(target, ast.Name) or not target.id.isupper() or value is None:
                continue
            if isinstance(value, ast.Name | ast.Attribute) or "TypeVar(" in ast.unparse(value):
                continue
            found[target.id.lstrip("_"), ast.unparse(value)].append(str(path.relative_to(PACKAGE)))
    twice = {name: files for (name, _), files in found.items() if len(files) > 1}
    assert twice.keys() == TWO_FACTS_OF_ONE_VALUE.keys(), twice
