"""What of WAL goes into the store, and what safekeepers may let go of: only what a quorum holds, only what is in the store and the newest image's start does
not need."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from spg99.archive import Archive, Live
from spg99.client.safekeeper import SafekeeperClient
from spg99.errors import Conflict
from spg99.images import TenantKey
from spg99.objects import FolderStore
from spg99.pageserver.archiving import Archived, archive_turn, trim_lsn
from spg99.protocol import safekeeper as said
from spg99.protocol.safekeeper import history_said
from spg99.protocol.tasks import Kept
from spg99.wal.fence import TermBegin, TermHistory

SIZE = 1 << 20
BEGIN = TermBegin(0, 1, SIZE)
ONE: TermHistory = (BEGIN, TermBegin(1, 1, SIZE))
TWO: TermHistory = (*ONE, TermBegin(2, 2, 2 * SIZE))


class _Safekeeper:
    """Answers as it is."""

    def __init__(self, name: str, history: TermHistory, flush_lsn: int) -> None:
        self.name, self.history, self.flush_lsn = name, history, flush_lsn

    async def seen(self, timeline_id: str) -> said.KeeperSeen:
        return said.KeeperSeen(
            safekeeper_id=self.name, timeline_id=timeline_id, promised_term=9, history=history_said(self.history), flush_lsn=self.flush_lsn,
            first_lsn=SIZE, system_identifier=1, segment_bytes=SIZE,
        )  # fmt: skip

    async def segment(self, timeline_id: str, name: str) -> bytes:
        return bytes(SIZE)


class _Room:
    """Three safekeepers of which two make a quorum, a store, and what is remembered of it."""

    def __init__(self, folder: Path) -> None:
        configuration = said.Configuration(number=1, members=said.Members(safekeeper_ids=["a", "b", "c"], quorum=2))
        self.kept = Kept(configuration=configuration, addresses={}, tenant_id="ten_1")
        self.archive = Archive(FolderStore(folder), TenantKey("ten_1", b"k" * 32), "tl_1")
        self.state = Archived()

    async def turn(self, *safekeepers: _Safekeeper) -> list[int]:
        """Ends of what is in the store after it."""
        live = Live("tl_1", self.kept, {one.name: cast(SafekeeperClient, one) for one in safekeepers})
        await live.ask()
        await archive_turn(self.state, live, self.archive, 0.0)
        return [piece.end_lsn for piece in await self.archive.pieces()]


async def test_what_only_one_of_them_has_is_not_archived(tmp_path: Path) -> None:
    """The next life may be without it."""
    room, ahead = _Room(tmp_path), _Safekeeper("a", ONE, 5 * SIZE)
    assert await room.turn(ahead, _Safekeeper("b", ONE, 3 * SIZE + 7)) == [2 * SIZE, 3 * SIZE, 3 * SIZE + 7]
    assert room.state.stored_lsn == 3 * SIZE + 7 and room.state.waiting_bytes == 2 * SIZE - 7
    assert (await room.turn(ahead, _Safekeeper("c", ONE, 5 * SIZE)))[-1] == room.state.stored_lsn == 5 * SIZE


async def test_while_it_is_not_known_which_life_counts_nothing_is_archived(tmp_path: Path) -> None:
    """Only one has the newest: it may come to nothing. What is known of the one before it stays."""
    room, before = _Room(tmp_path), _Safekeeper("b", ONE, 2 * SIZE)
    await room.turn(_Safekeeper("a", ONE, 2 * SIZE), before)
    assert await room.turn(_Safekeeper("a", TWO, 4 * SIZE), before) == [2 * SIZE]
    assert room.state.history == ONE and room.state.stored_lsn == 2 * SIZE
    assert await room.archive.lives() == [ONE[-1]]
    assert await room.turn(_Safekeeper("a", TWO, 4 * SIZE), _Safekeeper("b", TWO, 3 * SIZE)) == [2 * SIZE, 3 * SIZE]
    assert room.state.history == TWO and await room.archive.lives() == [ONE[-1], TWO[-1]]


async def test_nobody_alone_says_what_is_archived(tmp_path: Path) -> None:
    room = _Room(tmp_path)
    assert await room.turn(_Safekeeper("a", ONE, 5 * SIZE)) == []
    assert room.state.history == () and room.state.waiting_bytes


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


async def test_a_term_that_was_handed_out_twice_archives_nothing(tmp_path: Path) -> None:
    """No piece of the one could be told from the other's."""
    room = _Room(tmp_path)
    await room.turn(*(_Safekeeper(name, TWO, 2 * SIZE + 5) for name in "ab"))
    before = await room.archive.pieces()
    room.state = Archived()
    twice = (BEGIN, TermBegin(2, 2, 2 * SIZE))
    with pytest.raises(Conflict, match="another life"):
        await room.turn(*(_Safekeeper(name, twice, 3 * SIZE) for name in "ab"))
    assert await room.archive.pieces() == before
