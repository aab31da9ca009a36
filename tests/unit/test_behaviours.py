"""What the two checklists and the table of peers claim is shown by tests that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from behaviours import checklist, shown_by
from behaviours.report import PEER_ROWS

TESTS = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"[\w/]+\.py::\w+")
CLAIMS: dict[str, Mapping[int, tuple[str, ...] | str] | Mapping[str, tuple[str, ...]]] = {
    "TERRAFORM": shown_by.TERRAFORM,
    "PULUMI": shown_by.PULUMI,
    "PEERS": shown_by.PEERS,
}


def _functions(nodes: list[ast.stmt]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield from _functions(node.body)


@pytest.fixture(scope="module")
def existing() -> set[str]:
    """Every test there is, as a claim names it."""
    files = [path for path in TESTS.rglob("*.py") if path.name.startswith("test_") or path.name == "suite.py"]
    return {f"{path.name}::{name}" for path in files for name in _functions(ast.parse(path.read_text()).body)}


@pytest.mark.parametrize("table", CLAIMS)
def test_every_test_that_a_claim_names_exists(existing: set[str], table: str) -> None:
    for which, claim in CLAIMS[table].items():
        named = NAMED.findall(claim) if isinstance(claim, str) else claim
        assert set(named) <= existing, (table, which, sorted(set(named) - existing))
        assert claim and len(set(named)) == len(named), (table, which)


def test_no_behaviour_of_pulumis_is_forgotten() -> None:
    assert shown_by.PULUMI.keys() == checklist.PULUMI.keys()


def test_claims_are_about_what_is_on_the_lists() -> None:
    assert shown_by.TERRAFORM.keys() <= checklist.TERRAFORM.keys()
    assert shown_by.PEERS.keys() <= PEER_ROWS.keys()
