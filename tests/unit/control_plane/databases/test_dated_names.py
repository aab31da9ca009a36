"""Names with a word and a time: of the state before a restore, of what a deletion leaves."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from spg99.control_plane.databases.dated_names import dated
from spg99.patterns import NAME_PATTERN

NOW = datetime(2026, 11, 26, 10, 0, 7, tzinfo=UTC)


@pytest.mark.parametrize("name", ["app", "a", "x" * 63, "app_before_20261126_100007"])
def test_it_is_a_name_that_a_database_may_have_and_says_when(name: str) -> None:
    before = dated(name, "before", NOW)
    assert re.fullmatch(NAME_PATTERN, before) and before.endswith("_before_20261126_100007") and before != name
    assert before.startswith(name[:30])
