"""The steps by which a safekeeper that is lost is replaced: from any of them on, also after a crash."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from spg99.control_plane.databases.members import (
    AGAIN_AFTER,
    CancelOrder,
    Configure,
    NoteAnnounced,
    OrderIt,
    Seen,
    next_step,
)
from spg99.control_plane.databases.view import SafekeeperView, TaskView
from spg99.protocol.safekeeper import Configuration, Members
from spg99.protocol.tasks import TaskKind

NOW = datetime(2026, 12, 1, tzinfo=UTC)
OLD = Members(safekeeper_ids=["a", "b", "c"], quorum=2)
NEW = Members(safekeeper_ids=["a", "b", "d"], quorum=2)
CHANGING = Configuration(number=2, members=OLD, next_members=NEW)


def there(name: str, *, free: int = 100, is_short: bool = False, seen_at: datetime = NOW) -> SafekeeperView:
    return SafekeeperView(name, seen_at, free, is_short)


ALL = tuple(map(there, "abcd"))


def answered(number: int, *, is_finished: bool, ago: timedelta = timedelta()) -> TaskView:
    return TaskView(
        1, TaskKind.TIMELINE_MEMBERS, None, "completed", NOW, NOW - ago,
        {"configuration_number": number, "is_finished": is_finished},
    )  # fmt: skip


def seen(
    configuration: Configuration, *, gone: str = "", is_announced: bool = True, task: TaskView | None = None,
    candidates: tuple[SafekeeperView, ...] = ALL,
) -> Seen:  # fmt: skip
    return Seen(configuration, is_announced, frozenset(gone), candidates, task)


def test_nothing_is_done_while_nobody_is_gone() -> None:
    assert next_step(seen(Configuration(number=1, members=OLD)), NOW) is None


def test_one_that_is_gone_is_replaced_by_the_one_with_the_most_room() -> None:
    candidates = (*ALL, there("e", free=500), there("f", free=900, is_short=True), there("g", free=800, seen_at=NOW - timedelta(minutes=5)))  # fmt: skip
    step = next_step(seen(Configuration(number=1, members=OLD), gone="c", candidates=candidates), NOW)
    assert step == Configure(
        Configuration(number=2, members=OLD, next_members=Members(safekeeper_ids=["a", "b", "e"], quorum=2))
    )


def test_of_two_that_are_gone_nobody_is_replaced() -> None:
    """The one that is left does not know what the others acknowledged without it."""
    assert next_step(seen(Configuration(number=1, members=OLD), gone="bc"), NOW) is None
    alone = Configuration(number=1, members=Members(safekeeper_ids=["a"], quorum=1))
    assert next_step(seen(alone, gone="a"), NOW) is None


def test_without_another_it_waits() -> None:
    assert next_step(seen(Configuration(number=1, members=OLD), gone="c", candidates=ALL[:3]), NOW) is None


def test_a_change_is_ordered_until_it_can_be_finished() -> None:
    assert next_step(seen(CHANGING), NOW) == OrderIt()
    open_task = TaskView(1, TaskKind.TIMELINE_MEMBERS, None, "dispatched", NOW + timedelta(minutes=1))
    assert next_step(seen(CHANGING, task=open_task), NOW) is None
    waits = answered(2, is_finished=False)
    assert next_step(seen(CHANGING, task=waits), NOW) is None
    assert next_step(seen(CHANGING, task=waits), NOW + AGAIN_AFTER) == OrderIt()
    assert next_step(seen(CHANGING, task=answered(2, is_finished=True)), NOW) == Configure(
        Configuration(number=3, members=NEW)
    )


def test_an_answer_about_another_configuration_finishes_nothing() -> None:
    late = answered(1, is_finished=True, ago=AGAIN_AFTER)
    assert next_step(seen(CHANGING, task=late), NOW) == OrderIt()


def test_one_that_is_gone_before_it_has_joined_is_given_up() -> None:
    assert next_step(seen(CHANGING, gone="cd"), NOW) == Configure(Configuration(number=3, members=OLD))


@pytest.mark.parametrize("gone", ["", "a"])
def test_the_next_change_waits_until_the_last_is_announced(gone: str) -> None:
    finished = Configuration(number=3, members=NEW)
    assert next_step(seen(finished, is_announced=False, gone=gone), NOW) == OrderIt()
    assert (
        next_step(seen(finished, is_announced=False, gone=gone, task=answered(3, is_finished=True)), NOW)
        == NoteAnnounced()
    )


def test_an_order_that_no_agent_takes_is_taken_back() -> None:
    overdue = TaskView(7, TaskKind.TIMELINE_MEMBERS, None, "queued", NOW)
    assert next_step(seen(CHANGING, task=overdue), NOW) == CancelOrder(7)
