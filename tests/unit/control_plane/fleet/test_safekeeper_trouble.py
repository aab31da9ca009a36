"""What a list says is wrong with a safekeeper. Not here: what it sees itself (tests/unit/safekeeper)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from spg99.control_plane.fleet.safekeepers import SafekeeperRow


def row(**observed: Any) -> SafekeeperRow:
    return SafekeeperRow("sk_1", "sk-1", "active", "", observed, None, "here", datetime(2026, 12, 1, tzinfo=UTC))


def test_a_compute_that_does_not_answer_is_no_trouble_of_the_safekeeper() -> None:
    assert row().trouble is None
    assert row(troubles={"away": 9}).trouble is None  # asleep since a loss of power
    assert row(troubles={"away": 9, "disk": 2}, damaged=1).trouble == (
        "2 timelines take no WAL (disk); 1 timelines cannot be read"
    )
