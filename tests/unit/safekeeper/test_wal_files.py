"""WAL on a safekeeper's disk: what was flushed is found again, whatever a power cut has left of the rest."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.errors import Internal
from spg99.safekeeper.wal_files import WalFiles
from spg99.wal.lsn import MIB, Segment, segment_name

BEGIN = 7 * MIB


def content(tli: int, begin: int, end: int) -> bytes:
    """The WAL of a timeline: other bytes at each place."""
    chance = random.Random(tli)
    page = chance.randbytes(1 << 16)
    whole = page * ((end >> 16) - (begin >> 16) + 1)
    skipped = begin & 0xFFFF
    return whole[skipped : skipped + end - begin]


def write(files: WalFiles, tli: int, end: int) -> None:
    begin = files.written_lsn
    files.write(tli, begin, content(tli, begin, end))


def read(files: WalFiles, tli: int, begin: int, end: int) -> bytes:
    found = b""
    for number in range(begin // MIB, -(-end // MIB)):
        found += files.read_segment(tli, number)
    return found[begin % MIB : begin % MIB + end - begin]


@pytest.fixture
def files(tmp_path: Path) -> WalFiles:
    made = WalFiles(tmp_path, MIB)
    made.open(1, BEGIN)
    return made


def test_what_was_flushed_is_found_again(files: WalFiles, tmp_path: Path) -> None:
    ends = [BEGIN + 100, BEGIN + 101, BEGIN + MIB, BEGIN + MIB + 1, BEGIN + 3 * MIB + 5]
    for end in ends:
        write(files, 1, end)
        assert files.flush() == end
        again = WalFiles(tmp_path, MIB)
        assert again.open(1, BEGIN) == end
        assert read(again, 1, BEGIN, end) == content(1, BEGIN, end)


def test_what_was_written_and_not_flushed_does_not_count(files: WalFiles, tmp_path: Path) -> None:
    write(files, 1, BEGIN + 1000)
    files.flush()
    write(files, 1, BEGIN + 5000)
    assert WalFiles(tmp_path, MIB).open(1, BEGIN) == BEGIN + 1000


@given(
    pieces=st.lists(st.integers(1, 600_000), min_size=1, max_size=8),
    torn=st.lists(st.tuples(st.integers(0, 1_200_000), st.integers(1, 9000)), max_size=3),
)
def test_a_power_cut_in_a_flush(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[int], torn: list[tuple[int, int]]
) -> None:
    """Of the last flush any part may be lost, its mark or its WAL: then it never was, or it was whole; what was before stands."""
    folder = tmp_path_factory.mktemp("wal")
    files = WalFiles(folder, MIB)
    files.open(1, BEGIN)
    for piece in pieces[:-1]:
        write(files, 1, files.written_lsn + piece)
        files.flush()
    before = files.flushed_lsn
    write(files, 1, before + pieces[-1])
    files.flush()
    after = files.flushed_lsn
    for at, length in torn:  # lost sectors, all of them behind `before`
        lsn = before + at % (after - before)
        path = folder / segment_name(Segment(1, lsn // MIB), MIB)
        with path.open("r+b") as file:
            file.seek(lsn % MIB)
            file.write(bytes(min(length, after - lsn, MIB - lsn % MIB)))
    again = WalFiles(folder, MIB)
    found = again.open(1, BEGIN)
    assert found in (before, after)
    assert read(again, 1, BEGIN, found) == content(1, BEGIN, found)
    write(again, 1, after + 10)
    again.flush()
    assert WalFiles(folder, MIB).open(1, BEGIN) == after + 10


def test_a_mark_that_is_lost_is_the_flush_before(files: WalFiles, tmp_path: Path) -> None:
    for end in (BEGIN + 100, BEGIN + 200):
        write(files, 1, end)
        files.flush()
    path = tmp_path / segment_name(Segment(1, 7), MIB)
    for slot in (0, 1):
        with path.open("r+b") as file:
            file.seek(MIB + slot * 512)
            kept = file.read(512)
            file.seek(MIB + slot * 512)
            file.write(bytes(512))
        expected = {BEGIN + 100, BEGIN + 200}
        assert WalFiles(tmp_path, MIB).open(1, BEGIN) in expected
        with path.open("r+b") as file:
            file.seek(MIB + slot * 512)
            file.write(kept)


def test_a_hole_is_refused(files: WalFiles) -> None:
    with pytest.raises(Internal, match="was to come"):
        files.write(1, BEGIN + 1, b"x")


def test_what_is_cut_is_gone(files: WalFiles, tmp_path: Path) -> None:
    write(files, 1, BEGIN + 3 * MIB)
    files.flush()
    lsn = BEGIN + MIB + 123
    files.cut(1, lsn)
    again = WalFiles(tmp_path, MIB)
    assert again.open(1, lsn) == lsn
    assert again.segments_of(1) == [7, 8]
    assert read(again, 1, BEGIN, lsn) == content(1, BEGIN, lsn)
    assert read(again, 1, lsn, BEGIN + 2 * MIB) == bytes(BEGIN + 2 * MIB - lsn)


def test_a_new_timeline_begins_with_what_the_old_one_had(files: WalFiles, tmp_path: Path) -> None:
    lsn = BEGIN + MIB + 777
    write(files, 1, lsn)
    files.flush()
    files.begin_timeline(1, 2, lsn)
    files.open(2, lsn)
    write(files, 2, lsn + 5000)
    files.flush()
    again = WalFiles(tmp_path, MIB)
    assert again.open(2, lsn) == lsn + 5000
    first = again.read_segment(2, lsn // MIB)
    assert first[: lsn % MIB] == content(1, lsn - lsn % MIB, lsn)
    assert read(again, 2, lsn, lsn + 5000) == content(2, lsn, lsn + 5000)
    assert read(again, 1, BEGIN, lsn) == content(1, BEGIN, lsn)


def test_files_are_as_postgres_names_them_and_begin_as_its_own(files: WalFiles, tmp_path: Path) -> None:
    write(files, 1, BEGIN + 10)
    files.flush()
    assert [path.name for path in tmp_path.iterdir()] == ["000000010000000000000007"]
    assert os.stat(tmp_path / "000000010000000000000007").st_size > MIB


def test_whole_segments_are_removed(files: WalFiles) -> None:
    write(files, 1, BEGIN + 3 * MIB)
    files.flush()
    assert files.remove_before(BEGIN + 2 * MIB - 1) == 1
    assert files.segments_of(1) == [8, 9]


def test_a_prepared_file_is_taken(files: WalFiles, tmp_path: Path) -> None:
    files.prepare()
    assert (tmp_path / "spare").exists()
    write(files, 1, BEGIN + 10)
    files.flush()
    assert not (tmp_path / "spare").exists()
    assert WalFiles(tmp_path, MIB).open(1, BEGIN) == BEGIN + 10
