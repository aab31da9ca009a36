"""Where a page lies, and what its head says. Not here: laying out a moment (tests/scenarios/test_branches.py)."""

from __future__ import annotations

import pytest

from spg99.commands.storage_moments import PAGES_OF_A_FILE, PageHeader, place_of_page
from spg99.errors import BadRequest
from spg99.wal.lsn import PAGE_BYTES


def test_a_page_lies_in_the_file_of_its_gigabyte() -> None:
    assert place_of_page("base/5/16400", 0) == ("base/5/16400", 0)
    assert place_of_page("base/5/16400", PAGES_OF_A_FILE - 1) == ("base/5/16400", (1 << 30) - PAGE_BYTES)
    assert place_of_page("global/1262", PAGES_OF_A_FILE + 3) == ("global/1262.1", 3 * PAGE_BYTES)
    assert place_of_page("base/5/16400_vm", 1) == ("base/5/16400_vm", PAGE_BYTES)


@pytest.mark.parametrize(
    "wrong", ["", "t", "/etc/passwd", "base/5/../../../etc/passwd", "base/5/16400.1", "base/5/x", "pg_wal/1"]
)
def test_what_is_no_relation_is_refused(wrong: str) -> None:
    with pytest.raises(BadRequest, match="pg_relation_filepath"):
        place_of_page(wrong, 0)


def test_the_head_of_a_page() -> None:
    head = bytes.fromhex("01000000 78563412 cdab 0400 2c00 c01f 0020 0420 00000000".replace(" ", ""))
    assert PageHeader.of(head) == PageHeader(0x1_12345678, 0xABCD, 4, 44, 8128, 8192, 8192, 4, 0)
