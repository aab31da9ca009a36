"""What files say of their end, against what safekeepers hold."""

from __future__ import annotations

import pytest

from spg99.node.kept_files import End

CLEAN, DIRTY = End(100, 120), End(100, None)


@pytest.mark.parametrize(
    ("end", "lsn", "expected"), [(CLEAN, 119, False), (CLEAN, 120, False), (CLEAN, 121, True), (DIRTY, 10**9, False)]
)
def test_files_that_are_known_to_lack_wal(end: End, lsn: int, expected: bool) -> None:
    assert end.is_before(lsn) is expected


@pytest.mark.parametrize(
    ("end", "kept_lsn", "expected"),
    [(CLEAN, 99, False), (CLEAN, 100, True), (CLEAN, 500, True), (CLEAN, None, False), (DIRTY, 10**9, False)],
)
def test_files_in_which_nothing_is_beyond_what_is_kept(end: End, kept_lsn: int | None, expected: bool) -> None:
    assert end.is_kept(kept_lsn) is expected
