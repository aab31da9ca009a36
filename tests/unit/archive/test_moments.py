"""Which place of a timeline may be laid out while too few safekeepers answer: one alone may hold the end of a life that the others have cut."""

from __future__ import annotations

from typing import Any, cast

import pytest

from spg99.archive.moments import _Past, _require_within
from spg99.errors import BadRequest, CannotWake
from spg99.images.manifest import ImageRef


class _Timeline:
    timeline_id = "tl_1"


def past(*, is_certain: bool) -> _Past:
    """An image at 100, the store up to 150, and one safekeeper with WAL up to 200."""
    image = ImageRef(1, 100, "img_1", "key")
    return _Past(cast(Any, None), [], [image], cast(Any, _Timeline()), 200, 150, is_certain)


def test_what_only_one_of_them_has_is_not_taken_for_what_was_acknowledged() -> None:
    with pytest.raises(CannotWake):
        _require_within(180, past(is_certain=False))
    _require_within(150, past(is_certain=False))  # the store has it
    _require_within(180, past(is_certain=True))


def test_outside_of_the_window() -> None:
    for certain in (False, True):
        with pytest.raises(BadRequest):
            _require_within(99, past(is_certain=certain))
    with pytest.raises(BadRequest):
        _require_within(201, past(is_certain=True))
    with pytest.raises(CannotWake):
        _require_within(201, past(is_certain=False))
