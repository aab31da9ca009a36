"""A stack for each test and engine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.stacks import Stack, engines
from kit.platform import Platform

pytest.register_assert_rewrite("conformance.suite")
_numbers = itertools.count(1)


@pytest.fixture(params=engines())
def stack(request: pytest.FixtureRequest, platform: Platform, tmp_path: Path) -> Iterator[Stack]:
    """An empty stack; what a test leaves is destroyed."""
    made = Stack(request.param, platform, tmp_path / "stack")
    yield made
    made.clear()


@pytest.fixture
def tenant() -> str:
    """A tenant name that no other test uses."""
    return f"t{next(_numbers)}"
