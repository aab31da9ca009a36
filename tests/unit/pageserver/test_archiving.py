"""What safekeepers may let go of: only WAL that is in the store and that the newest image's start does not need."""

from __future__ import annotations

import pytest

from spg99.pageserver.archiving import Archived, trim_lsn

SIZE = 1 << 20


@pytest.mark.parametrize(
    ("stored", "image", "below"),
    [
        (10 * SIZE, 4 * SIZE + 5, 4 * SIZE),  # the newest image begins there
        (
            4 * SIZE + 5,
            10 * SIZE,
            4 * SIZE,
        ),  # an image is newer than what is archived: the window needs what is before it
        (SIZE - 1, 10 * SIZE, 0),
    ],
)
def test_what_is_not_in_the_store_or_is_still_needed_stays(stored: int, image: int, below: int) -> None:
    assert trim_lsn(Archived(stored_lsn=stored), image, SIZE) == below
