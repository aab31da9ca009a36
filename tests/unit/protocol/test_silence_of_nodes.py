"""When a node counts as away: one number, one function."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import spg99
from spg99.control_plane.databases.decide import NO_NODE
from spg99.protocol.node import NODE_SILENT_AFTER, is_silent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOURCES = [
    path
    for path in Path(spg99.__file__).parent.rglob("*.py")
    if path.parts[-2:] != ("protocol", "node.py") and "last_seen_at" in path.read_text()
]


@pytest.mark.parametrize(("seconds", "silent"), [(0, False), (30, False), (30.1, True), (-5, False)])
def test_a_node_is_silent_after_half_a_minute(seconds: float, silent: bool) -> None:
    assert is_silent(NOW - timedelta(seconds=seconds), NOW) is silent


def test_one_that_was_never_heard_of_is_silent() -> None:
    assert is_silent(None, NOW)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nobody_else_compares(path: Path) -> None:
    assert not re.findall(r".*last_seen_at\)?\s*[<>].*|.*[<>]=?\s*[\w.]*last_seen_at.*", path.read_text())


def test_the_sentence_is_made_from_the_number() -> None:
    assert f"last {NODE_SILENT_AFTER.seconds} seconds" in NO_NODE
