"""Kills, power cuts and late words at awkward moments on a safekeeper: each of these lost an acknowledged commit, or could have."""

# ruff: noqa: F811 - fixtures of the neighbour
from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path

import pytest

from spg99.errors import Conflict
from spg99.processes import Jobs
from spg99.safekeeper import wal_files
from spg99.safekeeper.follower import _Sink
from spg99.safekeeper.kept_timeline import KeptTimeline
from spg99.safekeeper.kept_timelines import KeptTimelines
from spg99.safekeeper.wal_files import WalFiles
from spg99.wal.lsn import MIB, Segment, segment_name
from unit.safekeeper.test_kept_timeline import (  # noqa: F401
    BEGIN,
    SK,
    TL,
    ask,
    begin,
    follow,
    history,
    root,
    take,
    timeline,
)
from unit.safekeeper.test_wal_files import content, read, write


def opened(folder: Path) -> WalFiles:
    files = WalFiles(folder, MIB)
    files.open(1, BEGIN)
    return files


@pytest.mark.parametrize("length", [0, 4096, MIB])
def test_a_segment_that_was_made_short_keeps_its_marks(tmp_path: Path, length: int) -> None:
    """The disk was full (or the process killed) while a segment's file was filled with zeros; then there was room again."""
    files = opened(tmp_path)
    write(files, 1, BEGIN + MIB)
    files.flush()
    (tmp_path / segment_name(Segment(1, 8), MIB)).write_bytes(bytes(length))  # what `_create` leaves at ENOSPC
    files.close()
    files.open(1, BEGIN + MIB)
    write(files, 1, BEGIN + MIB + 1000)
    assert files.flush() == BEGIN + MIB + 1000  # this is told to the compute: its commits are acknowledged
    files.close()
    assert WalFiles(tmp_path, MIB).open(1, BEGIN) == BEGIN + MIB + 1000


def test_an_old_mark_does_not_hide_a_newer_one(tmp_path: Path) -> None:
    """A power cut tears a flush over a border: its mark is there, its WAL is not. Then a small flush before the border, and a kill."""
    files = opened(tmp_path)
    write(files, 1, BEGIN + MIB - 5000)
    before = files.flush()
    write(files, 1, BEGIN + MIB + 5000)
    files.flush()
    with (tmp_path / segment_name(Segment(1, 7), MIB)).open("r+b") as file:  # the cut: this never came to the disk
        file.seek(MIB - 5000)
        file.write(bytes(5000))
    files = WalFiles(tmp_path, MIB)
    assert files.open(1, BEGIN) == before
    write(files, 1, before + 100)
    assert files.flush() == before + 100  # acknowledged
    again = WalFiles(tmp_path, MIB)
    assert again.open(1, BEGIN) == before + 100


def test_what_is_found_is_synced_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the writes of a flush and its sync: the next process finds all of it in the page cache, and a power cut takes it."""
    files = opened(tmp_path)
    write(files, 1, BEGIN + 100)
    files.flush()
    write(files, 1, BEGIN + 200)

    class Killed(Exception):
        pass

    def killed(name: str) -> None:
        if name == "safekeeper.flush.before_sync":
            raise Killed

    monkeypatch.setattr(wal_files.faults, "point", killed)
    with pytest.raises(Killed):
        files.flush()
    monkeypatch.undo()
    synced = []
    real = os.fdatasync, os.fsync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (synced.append(fd), real[0](fd))[1])
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), real[1](fd))[1])
    found = WalFiles(tmp_path, MIB).open(1, BEGIN)
    assert found == BEGIN + 100 or synced, "it claims WAL that nobody has synced"


def test_a_sync_that_fails_once_does_not_end_it_for_ever(
    timeline: KeptTimeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    timeline.write(1, BEGIN + 1000, memoryview(b"b" * 10))
    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(OSError, match="Input"):
        timeline.flush(1)
    monkeypatch.undo()
    timeline.reopen()  # as follower.py does
    assert timeline._files.flushed_lsn == BEGIN + 1000, "it counts what could not be synced"
    assert take(timeline, 1, b"b" * 10) == BEGIN + 1010  # and goes on from what it asks for


def test_one_ahead_of_its_compute_has_not_caught_up(timeline: KeptTimeline) -> None:
    """The compute recovered to less than what was acknowledged: the gate must not open."""
    timeline.follow(follow(1, history((0, 1, BEGIN), (1, 1, BEGIN))))
    sink = _Sink(timeline, 1, Jobs())
    sink.connected(BEGIN + 500)  # what IDENTIFY_SYSTEM says; START_REPLICATION will be refused as ahead of it
    assert not timeline.seen().caught_up


def test_an_old_connection_hears_nothing_of_the_new_life(timeline: KeptTimeline) -> None:
    """The old compute was frozen while it was being connected to, and wakes: its timeline 2 is not this timeline 2."""
    before = history((0, 1, BEGIN), (1, 1, BEGIN))
    timeline.promise(ask(2))
    timeline.follow(follow(2, [*before, *history((2, 2, BEGIN + 1000))]))
    late = _Sink(timeline, 2, Jobs())  # its receiver waits for an answer to IDENTIFY_SYSTEM
    timeline.promise(ask(3))
    timeline.follow(follow(3, [*before, *history((3, 2, BEGIN + 1000))]))
    take(timeline, 3, b"c" * 500)
    with pytest.raises(Conflict):
        late.connected(BEGIN + 1000)
    for ask_late in (lambda: late.flushed_lsn, lambda: late.tli_at(BEGIN), late.flush):
        with pytest.raises(Conflict):  # the WAL of term 3, told to the compute of term 2
            ask_late()


def test_the_same_first_start_twice_does_not_go_on_with_the_wal_of_the_first(
    root: Path, timeline: KeptTimeline
) -> None:
    """All timelines of a node have the template's system identifier: it does not tell two makings of the files apart."""
    timelines = KeptTimelines(root, SK)
    try:
        anew = timelines.begin(TL, begin())
    except Conflict:
        return  # a new start needs a new term
    assert anew.keeper.flush_lsn == BEGIN, (
        "WAL of files that are no more stays, and the new files' WAL is put behind it"
    )


def test_a_cut_that_is_interrupted_leaves_no_hole(
    timeline: KeptTimeline,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(4):
        take(timeline, 1, b"a" * MIB)
    timeline.promise(ask(2))
    removed = []
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if len(path.name) == 24:
            if removed:
                raise KeyboardInterrupt  # killed
            removed.append(path)
        real(path, missing_ok)

    first = root / TL / "wal" / segment_name(Segment(1, 9), MIB)
    real_iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: iter([first, *(p for p in real_iterdir(self) if p != first)]))
    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(KeyboardInterrupt):
        timeline.follow(follow(2, history((0, 1, BEGIN), (1, 1, BEGIN), (2, 2, BEGIN + 600))))
    monkeypatch.undo()
    found = KeptTimelines(root, SK).get(TL)
    for number in range(7, (found.keeper.flush_lsn - 1) // MIB + 1):
        found.segment(1, number)  # NotFound: it votes for WAL that it does not have


def test_two_prepares_at_once_do_not_write_zeros_over_wal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`prepare` is begun in a thread every half segment: on a busy disk the second begins before the first has ended."""
    files = opened(tmp_path)
    write(files, 1, BEGIN + MIB)
    files.flush()
    first_syncs, first_goes_on = threading.Event(), threading.Event()
    second_opened, second_goes_on = threading.Event(), threading.Event()
    real_fsync, real_write_all = os.fsync, wal_files._write_all

    def fsync(fd: int) -> None:
        if threading.current_thread().name == "first":
            first_syncs.set()
            first_goes_on.wait(10)
        real_fsync(fd)

    def write_all(fd: int, data: bytes, offset: int) -> None:
        if threading.current_thread().name == "second":
            second_opened.set()
            second_goes_on.wait(10)
        real_write_all(fd, data, offset)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(wal_files, "_write_all", write_all)

    def prepare() -> None:
        with contextlib.suppress(OSError):
            files.prepare()

    first = threading.Thread(target=prepare, name="first")
    first.start()
    assert first_syncs.wait(10)
    second = threading.Thread(target=prepare, name="second")
    second.start()
    second_opened.wait(2)
    first_goes_on.set()
    first.join(10)
    write(files, 1, BEGIN + MIB + 5000)
    assert files.flush() == BEGIN + MIB + 5000  # acknowledged
    second_goes_on.set()
    second.join(10)
    assert read(files, 1, BEGIN + MIB, BEGIN + MIB + 5000) == content(1, BEGIN + MIB, BEGIN + MIB + 5000)
    assert WalFiles(tmp_path, MIB).open(1, BEGIN) == BEGIN + MIB + 5000
