"""When a server's end says something about its files."""

from __future__ import annotations

from datetime import timedelta

from spg99.node.kept_files import are_doubtful

SOON, LATE = timedelta(seconds=1), timedelta(minutes=1)


def test_a_server_that_ends_soon_by_itself_makes_its_files_doubtful() -> None:
    assert are_doubtful(1, SOON)


def test_one_that_was_killed_that_nobody_saw_or_that_has_served_does_not() -> None:
    assert not are_doubtful(-9, SOON)
    assert not are_doubtful(None, SOON)
    assert not are_doubtful(0, SOON)
    assert not are_doubtful(1, LATE)
