"""What reading back says of a conditional write whose answer was lost. Not here: the writes (tests/integration/objects/test_s3_faults.py)."""

from __future__ import annotations

import pytest

from spg99.objects.settling import PAUSE_BEFORE_TRY_SECONDS_MAX, Found, Outcome, outcome, pause_seconds


@pytest.mark.parametrize(
    ("found", "tag_before", "expected"),
    [
        (Found("2", "mine"), "1", Outcome.WRITTEN),
        (Found("1", "mine"), None, Outcome.WRITTEN),
        (None, None, Outcome.NOT_YET),
        (Found("1", "theirs"), "1", Outcome.NOT_YET),
        (Found("1", None), "1", Outcome.NOT_YET),
        (Found("2", "theirs"), "1", Outcome.OVERTAKEN),
        (Found("2", None), "1", Outcome.OVERTAKEN),
        (Found("1", "theirs"), None, Outcome.OVERTAKEN),
        (None, "1", Outcome.OVERTAKEN),
        # The content that was put is what was there before: tags are the same, only the mark tells.
        (Found("1", "mine"), "1", Outcome.WRITTEN),
    ],
)
def test_outcomes(found: Found | None, tag_before: str | None, expected: Outcome) -> None:
    assert outcome(found, mark="mine", tag_before=tag_before) is expected


def test_pauses_grow_up_to_a_bound() -> None:
    pauses = [pause_seconds(tries) for tries in range(1, 12)]
    assert pauses == sorted(pauses) and pauses[0] < 1 and pauses[-1] == PAUSE_BEFORE_TRY_SECONDS_MAX
