"""One timeline on a safekeeper: what was answered is true after a kill at any moment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spg99.errors import Conflict, Internal, NotFound
from spg99.ids import new_id
from spg99.protocol import safekeeper as said
from spg99.safekeeper import kept_timeline
from spg99.safekeeper.kept_timeline import KeptTimeline
from spg99.safekeeper.kept_timelines import REPLACED_SECONDS, KeptTimelines
from spg99.wal.lsn import MIB

SK = "sk_test"
TL = "tl_test"
BEGIN = 7 * MIB
ONE = said.Configuration(number=1, members=said.Members(safekeeper_ids=[SK], quorum=1))


class Killed(Exception):
    """The process has ended here."""


def begin(term: int = 1, compute_id: str = "cmp_1", **more: Any) -> said.TimelineBegin:
    facts = {"system_identifier": 7, "segment_bytes": MIB, "tli": 1, "begin_lsn": BEGIN} | more
    return said.TimelineBegin(term=term, compute_id=compute_id, configuration=ONE, **facts)


def history(*entries: tuple[int, int, int]) -> list[said.TermBegin]:
    return [said.TermBegin(term=term, tli=tli, begin_lsn=lsn) for term, tli, lsn in entries]


def follow(term: int, terms: list[said.TermBegin], compute_id: str | None = None) -> said.Follow:
    return said.Follow(
        term=term, compute_id=compute_id or f"cmp_{term}", configuration=ONE, history=terms, backend_addr="/nowhere",
        backend_port=5432,
    )  # fmt: skip


def ask(term: int, compute_id: str | None = None) -> said.PromiseAsk:
    return said.PromiseAsk(term=term, compute_id=compute_id or f"cmp_{term}", configuration=ONE)


def take(timeline: KeptTimeline, term: int, data: bytes) -> int:
    timeline.write(term, timeline.keeper.flush_lsn, memoryview(data))
    return timeline.flush(term)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "timelines"


@pytest.fixture
def timeline(root: Path) -> KeptTimeline:
    """Of one life, on the first timeline, 1000 bytes long."""
    made = KeptTimelines(root, SK).begin(TL, begin())
    made.follow(follow(1, history((0, 1, BEGIN), (1, 1, BEGIN))))
    take(made, 1, b"a" * 1000)
    return made


def again(root: Path) -> KeptTimeline:
    return KeptTimelines(root, SK).get(TL)


def test_it_is_found_again(timeline: KeptTimeline, root: Path) -> None:
    found = again(root)
    assert found.keeper == timeline.keeper
    assert found.following == timeline.following
    assert found.segment(1, 7)[:1001] == b"a" * 1000 + b"\0"


def test_a_promise_lasts_and_ends_the_writer_before(timeline: KeptTimeline, root: Path) -> None:
    vote = timeline.promise(ask(2))
    assert (vote.flush_lsn, [entry.term for entry in vote.history]) == (BEGIN + 1000, [0, 1])
    for one in (timeline, again(root)):
        with pytest.raises(Conflict, match="not taken from the compute of term 1"):
            take(one, 1, b"late")
        with pytest.raises(Conflict, match="a higher term was promised"):
            one.promise(ask(1))
        with pytest.raises(Conflict, match="a higher term was promised"):
            one.follow(follow(1, history((0, 1, BEGIN), (1, 1, BEGIN))))
        with pytest.raises(Conflict, match="promised to another compute"):
            one.promise(ask(2, "cmp_other"))
        assert one.promise(ask(2)) == vote


def test_what_is_written_and_not_flushed_before_a_promise_is_never_told(timeline: KeptTimeline) -> None:
    timeline.write(1, BEGIN + 1000, memoryview(b"b" * 10))
    vote = timeline.promise(ask(2))
    with pytest.raises(Conflict):
        timeline.flush(1)
    assert vote.flush_lsn == timeline.keeper.flush_lsn == BEGIN + 1000


def test_a_new_life_cuts_what_it_does_not_have(timeline: KeptTimeline, root: Path) -> None:
    timeline.promise(ask(2))
    timeline.follow(follow(2, history((0, 1, BEGIN), (1, 1, BEGIN), (2, 2, BEGIN + 600))))
    assert timeline.keeper.flush_lsn == BEGIN + 600
    take(timeline, 2, b"b" * 50)
    for one in (timeline, again(root)):
        assert one.keeper.flush_lsn == BEGIN + 650
        assert one.segment(2, 7)[:651] == b"a" * 600 + b"b" * 50 + b"\0"
        assert one.segment(1, 7)[:601] == b"a" * 600 + b"\0"


def test_the_same_number_of_a_timeline_is_not_the_same_life(timeline: KeptTimeline) -> None:
    """Term 2 began a timeline 2 and was lost; term 3 begins another timeline 2 at the same place."""
    before = history((0, 1, BEGIN), (1, 1, BEGIN))
    timeline.promise(ask(2))
    timeline.follow(follow(2, [*before, *history((2, 2, BEGIN + 1000))]))
    take(timeline, 2, b"b" * 70)
    timeline.promise(ask(3))
    timeline.follow(follow(3, [*before, *history((3, 2, BEGIN + 1000))]))
    assert timeline.keeper.flush_lsn == BEGIN + 1000
    take(timeline, 3, b"c" * 20)
    assert timeline.segment(2, 7)[:1021] == b"a" * 1000 + b"c" * 20 + b"\0"


def test_one_that_is_behind_crosses_into_a_new_timeline(timeline: KeptTimeline, root: Path) -> None:
    """It has WAL up to 1000; the new life begins at 3000, on a new timeline: what is between comes on the old one."""
    timeline.promise(ask(2))
    timeline.follow(follow(2, history((0, 1, BEGIN), (1, 1, BEGIN), (2, 2, BEGIN + 3000))))
    assert (timeline.keeper.flush_lsn, timeline.tli_at(BEGIN + 1000)) == (BEGIN + 1000, 1)
    take(timeline, 2, b"a" * 2000)
    assert timeline.tli_at(BEGIN + 3000) == 2
    take(timeline, 2, b"b" * 5)
    for one in (timeline, again(root)):
        assert one.segment(2, 7)[:3006] == b"a" * 3000 + b"b" * 5 + b"\0"
        assert one.keeper.flush_lsn == BEGIN + 3005


@pytest.mark.parametrize(
    "point",
    [
        "safekeeper.promise.before_write",
        "safekeeper.promise.before_answer",
        "safekeeper.follow.before_cut",
        "safekeeper.follow.before_write",
    ],
)
def test_killed_at(timeline: KeptTimeline, root: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """After it nothing is claimed that is not there, no promise that was answered is gone, and the same can be asked again."""

    def killed(name: str) -> None:
        if name == point:
            raise Killed

    terms = history((0, 1, BEGIN), (1, 1, BEGIN), (2, 2, BEGIN + 600))
    monkeypatch.setattr(kept_timeline.faults, "point", killed)

    def one_start() -> None:
        timeline.promise(ask(2))
        timeline.follow(follow(2, terms))

    with pytest.raises(Killed):
        one_start()
    monkeypatch.undo()
    found = again(root)
    assert found.keeper.flush_lsn in (BEGIN + 600, BEGIN + 1000)
    assert found.segment(1, 7)[: found.keeper.flush_lsn - BEGIN] == b"a" * (found.keeper.flush_lsn - BEGIN)
    assert found.promise(ask(2)).term == 2
    found.follow(follow(2, terms))
    take(found, 2, b"b" * 9)
    assert again(root).segment(2, 7)[:610] == b"a" * 600 + b"b" * 9 + b"\0"


def test_a_flush_that_fails_is_taken_again(timeline: KeptTimeline, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mark may be on the disk: who goes on must not think that it counts, and a new life must not find it."""

    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    timeline.write(1, BEGIN + 1000, memoryview(b"a" * 500))
    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", refuse)
        with pytest.raises(OSError, match="Input"):
            timeline.flush(1)
    timeline.reopen()
    assert timeline.keeper.flush_lsn == BEGIN + 1000
    assert take(timeline, 1, b"a" * 400) == BEGIN + 1400
    assert again(root).keeper.flush_lsn == BEGIN + 1400
    timeline.write(1, BEGIN + 1400, memoryview(b"x" * 500))
    with monkeypatch.context() as patch:
        patch.setattr("os.fdatasync", refuse)
        with pytest.raises(OSError, match="Input"):
            timeline.flush(1)
    timeline.promise(ask(2))
    timeline.follow(follow(2, history((0, 1, BEGIN), (1, 1, BEGIN), (2, 1, BEGIN + 1400))))
    found = again(root)
    assert found.keeper.flush_lsn == BEGIN + 1400
    assert found.segment(1, 7)[:1401] == b"a" * 1400 + b"\0"


def test_a_flush_that_a_promise_overtook_is_not_of_the_new_life(timeline: KeptTimeline, root: Path) -> None:
    timeline.write(1, BEGIN + 1000, memoryview(b"x" * 500))
    timeline.promise(ask(2))
    with pytest.raises(Conflict):
        timeline.flush(1)  # its sync was done
    timeline.follow(follow(2, history((0, 1, BEGIN), (1, 1, BEGIN), (2, 1, BEGIN + 1000))))
    assert again(root).keeper.flush_lsn == BEGIN + 1000
    assert take(timeline, 2, b"b" * 10) == BEGIN + 1010
    assert again(root).segment(1, 7)[:1011] == b"a" * 1000 + b"b" * 10 + b"\0"


def test_a_first_start_that_is_tried_again_begins_anew(timeline: KeptTimeline, root: Path) -> None:
    timelines = KeptTimelines(root, SK)
    anew = timelines.begin(TL, begin(2, "cmp_2", system_identifier=8))
    assert (anew.keeper.flush_lsn, anew.system_identifier, anew.keeper.promised_term) == (BEGIN, 8, 2)
    with pytest.raises(Conflict):
        timelines.begin(TL, begin(1, "cmp_1"))
    with pytest.raises(Conflict):
        timelines.begin(TL, begin(2, "cmp_other"))
    assert timelines.begin(TL, begin(2, "cmp_2", system_identifier=8)) is anew


def test_a_first_start_puts_no_wal_aside_that_the_catalogue_does_not_know_of(
    timeline: KeptTimeline, root: Path
) -> None:
    """The catalogue was restored from a copy of before the first start: what was acknowledged since is here."""
    timelines = KeptTimelines(root, SK)
    for attempts in ([], ["cmp_other"]):
        with pytest.raises(Conflict, match=r"knows nothing \(cmp_1, term 1\).*spg99 storage recover"):
            timelines.begin(TL, begin(2, "cmp_2", system_identifier=8, attempts=attempts))
    assert again(root).keeper.flush_lsn == BEGIN + 1000 and again(root).keeper.promised_to == "cmp_1"
    anew = timelines.begin(TL, begin(2, "cmp_2", system_identifier=8, attempts=["cmp_1"]))
    assert anew.system_identifier == 8
    # Nothing was written yet: the next attempt has nothing to ask about.
    assert timelines.begin(TL, begin(3, "cmp_3", attempts=[])).keeper.promised_term == 3


def test_one_that_lost_its_disk_has_no_vote(root: Path) -> None:
    with pytest.raises(NotFound):
        KeptTimelines(root, SK).get(TL)


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda _: b"", lambda _: b"{}"])
def test_one_that_is_damaged_has_no_vote(timeline: KeptTimeline, root: Path, damage: Callable[[bytes], bytes]) -> None:
    path = root / TL / "keeper.json"
    path.write_bytes(damage(path.read_bytes()))
    timelines = KeptTimelines(root, SK)
    with pytest.raises(Internal, match="damaged"):
        timelines.get(TL)
    assert path.exists()  # somebody may be able to mend it


def test_what_is_removed_is_gone(timeline: KeptTimeline, root: Path) -> None:
    timelines = KeptTimelines(root, SK)
    timelines.remove(TL)
    timelines.remove(TL)
    assert list(root.iterdir()) == []


def test_a_path_is_no_id(root: Path) -> None:
    timelines = KeptTimelines(root, SK)
    for text in ("../../etc", "tl_1/..", "", f"{new_id('tl')}\n"):
        with pytest.raises(NotFound):
            timelines.begin(text, begin())
        timelines.remove(text)


def test_trimmed_is_only_what_an_image_of_this_life_holds(timeline: KeptTimeline) -> None:
    take(timeline, 1, b"a" * (3 * MIB))
    terms = history((0, 1, BEGIN), (1, 1, BEGIN))
    timeline.trim(said.Trim(below_lsn=BEGIN + 2 * MIB + 5, history=history((0, 2, BEGIN))))
    assert timeline.keeper.first_lsn == BEGIN
    timeline.trim(said.Trim(below_lsn=BEGIN + 2 * MIB + 5, history=terms))
    assert timeline.keeper.first_lsn == BEGIN + 2 * MIB
    with pytest.raises(NotFound):
        timeline.segment(1, 8)
    assert timeline.segment(1, 9)[:1] == b"a"


def test_a_new_member_that_is_here_already_stays_as_it_is(timeline: KeptTimeline, root: Path) -> None:
    """The order may come again, when it has taken WAL and given promises."""
    donor, kept = timeline.state(), KeptTimelines(root.parent / "other", "sk_other")
    members = said.Members(safekeeper_ids=[SK, "sk_other"], quorum=2)
    two = said.Configuration(number=2, members=ONE.members, next_members=members)
    seeded = kept.seed(TL, two, donor)
    assert (seeded.keeper.first_lsn, seeded.keeper.flush_lsn) == (BEGIN, BEGIN) and seeded.keeper.promised_term == 1
    seeded.promise(said.PromiseAsk(term=5, compute_id="cmp_5", configuration=two))
    assert kept.seed(TL, two, donor) is seeded
    assert KeptTimelines(root.parent / "other", "sk_other").get(TL).keeper.promised_term == 5


def test_what_was_put_aside_is_there_for_a_week_from_then_on_and_goes_with_its_timeline(tmp_path: Path) -> None:
    timeline_id = new_id("tl")
    kept = KeptTimelines(tmp_path, SK)
    kept.begin(timeline_id, begin())
    os.utime(tmp_path / timeline_id, (0, 0))  # nothing was written for long
    kept.begin(timeline_id, begin(2, "cmp_2"))
    kept.drop_replaced(time.time() + REPLACED_SECONDS - 60)
    assert len(list(KeptTimelines(tmp_path, SK)._root.glob(".replaced-*"))) == 1
    kept.drop_replaced(time.time() + REPLACED_SECONDS + 1)
    assert [path.name for path in tmp_path.iterdir()] == [timeline_id]
    kept.begin(timeline_id, begin(3, "cmp_3"))
    kept.remove(new_id("tl"))
    assert len(list(tmp_path.glob(".replaced-*"))) == 1
    kept.remove(timeline_id)
    assert list(tmp_path.iterdir()) == []
