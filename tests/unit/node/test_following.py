"""Whom an agent asks again to take the WAL of its compute."""

from __future__ import annotations

from spg99.node.following import Standing, standing
from spg99.protocol.safekeeper import KeeperSeen


def seen(promised_term: int, following_term: int | None, *, is_cut_off: bool = False) -> KeeperSeen:
    return KeeperSeen(
        safekeeper_id="sk_1", timeline_id="tl_1", promised_term=promised_term, history=[], flush_lsn=0, first_lsn=0,
        following_term=following_term, is_cut_off=is_cut_off,
    )  # fmt: skip


def test_who_follows_is_left_alone() -> None:
    assert standing(seen(3, 3), 3) is Standing.FOLLOWS


def test_who_was_away_when_the_compute_began_is_asked() -> None:
    assert standing(seen(2, 2), 3) is Standing.IS_TO_FOLLOW  # it did not hear of this term at all
    assert standing(seen(3, None), 3) is Standing.IS_TO_FOLLOW  # it has promised, and was not told more
    assert standing(seen(2, 2, is_cut_off=True), 3) is Standing.IS_TO_FOLLOW  # what it lacks is of a life that is over


def test_who_has_promised_a_later_compute_is_not() -> None:
    assert standing(seen(4, None), 3) is Standing.OUTDONE
    assert standing(seen(4, 4), 3) is Standing.OUTDONE


def test_who_will_never_have_the_wal() -> None:
    assert standing(seen(3, 3, is_cut_off=True), 3) is Standing.CUT_OFF
