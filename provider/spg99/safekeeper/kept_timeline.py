"""One timeline on one safekeeper: its promise, its history, its WAL, on disk and in step. Here: the rules of wal/fence.py carried out,
each change flushed before it is answered. Not here: sockets, when to connect (follower.py), bytes in files (wal_files.py).

    <data>/safekeeper/<name>/timelines/<timeline_id>/  keeper.json  wal/

`keeper.json` is written with each promise and each new life; how far WAL is flushed since stands in the segments themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from spg99 import faults
from spg99.atomic_write import make_folders, write_file
from spg99.errors import Conflict, Internal, NotFound
from spg99.protocol import safekeeper as said
from spg99.protocol.safekeeper import configuration_of, configuration_said, history_of, history_said, vote_said
from spg99.safekeeper.wal_files import WalFiles
from spg99.wal import catch_up, fence, membership
from spg99.wal.fence import Keeper, Log, Refused, TermHistory
from spg99.wal.lsn import format_lsn, segment_begin


class _File(BaseModel):
    """A keeper on disk, and what it is of."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = 1
    system_identifier: int
    segment_bytes: int
    safekeeper_id: str
    configuration: said.Configuration
    promised_term: int
    promised_to: str
    history: list[said.TermBegin]
    first_lsn: int
    flush_lsn: int
    following: said.Follow | None = None

    @classmethod
    def of(cls, keeper: Keeper, following: said.Follow | None, *, system_identifier: int, segment_bytes: int) -> _File:
        return cls(
            system_identifier=system_identifier,
            segment_bytes=segment_bytes,
            safekeeper_id=keeper.id,
            configuration=configuration_said(keeper.configuration),
            promised_term=keeper.promised_term,
            promised_to=keeper.promised_to,
            history=history_said(keeper.history),
            first_lsn=keeper.first_lsn,
            flush_lsn=keeper.flush_lsn,
            following=following,
        )

    def keeper(self) -> Keeper:
        return Keeper(
            id=self.safekeeper_id,
            configuration=configuration_of(self.configuration),
            promised_term=self.promised_term,
            promised_to=self.promised_to,
            history=history_of(self.history),
            first_lsn=self.first_lsn,
            flush_lsn=self.flush_lsn,
        )


class KeptTimeline:
    """Its methods block for a sync or two and are called by one thread."""

    def __init__(self, folder: Path, file: _File) -> None:
        self._folder = folder
        self.timeline_id = folder.name
        self.system_identifier = file.system_identifier
        self.segment_bytes = file.segment_bytes
        self.following = file.following
        """The compute whose WAL it takes, also over a restart."""
        self.caught_up_lsn: int | None = None
        """What that compute had flushed when it answered first; None before it has."""
        self.problem: str | None = None
        self.trouble: said.Trouble | None = None
        self.keeper = file.keeper()
        self._files = WalFiles(folder / "wal", file.segment_bytes)
        self._tli = self.tli_at(file.flush_lsn)
        self.keeper = replace(self.keeper, flush_lsn=self._files.open(self._tli, file.flush_lsn))

    @classmethod
    def load(cls, folder: Path) -> KeptTimeline:
        """What is on disk. Raises Internal when it is damaged: then it does not vote."""
        try:
            return cls(folder, _File.model_validate_json((folder / "keeper.json").read_bytes()))
        except (OSError, ValidationError) as error:
            raise Internal(f"What is kept of timeline {folder.name} in {folder} is damaged: {error}") from error

    @classmethod
    def create(cls, folder: Path, safekeeper_id: str, begin: said.TimelineBegin) -> KeptTimeline:
        """A timeline that begins; promised to the compute of its first start."""
        if begin.begin_lsn != segment_begin(begin.begin_lsn // begin.segment_bytes, begin.segment_bytes):
            raise Conflict(f"A timeline begins with a segment, not at {format_lsn(begin.begin_lsn)}.")
        make_folders(folder / "wal", mode=0o700)
        keeper = fence.created(safekeeper_id, configuration_of(begin.configuration), tli=begin.tli, lsn=begin.begin_lsn)
        keeper = replace(keeper, promised_term=begin.term, promised_to=begin.compute_id)
        file = _File.of(keeper, None, system_identifier=begin.system_identifier, segment_bytes=begin.segment_bytes)
        write_file(folder / "keeper.json", file.model_dump_json(), mode=0o600)
        return cls(folder, file)

    @classmethod
    def seed(cls, folder: Path, safekeeper_id: str, configuration: said.Configuration, donor: said.KeeperState) -> None:
        """The beginning of a new member: all that a peer knows and as yet none of its WAL, as one that was away from its first byte on."""
        make_folders(folder / "wal", mode=0o700)
        keeper = membership.seeded(said.keeper_of(donor), safekeeper_id)
        keeper = replace(fence.adopt(keeper, configuration_of(configuration)), flush_lsn=donor.first_lsn)
        file = _File.of(keeper, None, system_identifier=donor.system_identifier, segment_bytes=donor.segment_bytes)
        write_file(folder / "keeper.json", file.model_dump_json(), mode=0o600)

    @property
    def has_begun(self) -> bool:
        """Whether a compute has followed on the image: its WAL may be here."""
        return len(self.keeper.history) > 1

    def tli_at(self, lsn: int) -> int:
        """The PostgreSQL timeline of WAL at this place."""
        return fence.cut(self.keeper.history, lsn)[-1].tli

    def configure(self, configuration: said.Configuration) -> said.KeeperState:
        """Knows of these members from now on, durably. A compute that counts under older ones is told nothing more: whoever changes them has it follow again."""
        keeper = fence.adopt(self.keeper, configuration_of(configuration))
        if keeper is not self.keeper:
            follow = self.following
            is_older = follow is not None and follow.configuration.number < configuration.number
            self._save(keeper, None if is_older else follow)
        return self.state()

    def state(self) -> said.KeeperState:
        """All that is known of it here."""
        keeper = self.keeper
        return said.KeeperState(
            safekeeper_id=keeper.id,
            system_identifier=self.system_identifier,
            segment_bytes=self.segment_bytes,
            configuration=configuration_said(keeper.configuration),
            promised_term=keeper.promised_term,
            promised_to=keeper.promised_to,
            history=history_said(keeper.history),
            first_lsn=keeper.first_lsn,
            flush_lsn=keeper.flush_lsn,
        )

    def promise(self, ask: said.PromiseAsk) -> said.Vote:
        """Promises, durably. Raises Conflict when that is not possible any more."""
        answer = fence.promise(self.keeper, ask.term, ask.compute_id, configuration_of(ask.configuration))
        if isinstance(answer, Refused):
            raise _conflict(self.timeline_id, answer)
        keeper, vote = answer
        following = self.following if self.following is not None and self.following.term == ask.term else None
        faults.point("safekeeper.promise.before_write")
        self._save(keeper, following)
        faults.point("safekeeper.promise.before_answer")
        return vote_said(vote, system_identifier=self.system_identifier, segment_bytes=self.segment_bytes)

    def follow(self, ask: said.Follow) -> None:
        """Makes room for the WAL of this compute: what is here beyond its life is cut. Raises Conflict when it may not write."""
        answer = fence.accept(self.keeper, ask.compute_id, configuration_of(ask.configuration), history_of(ask.history))
        if isinstance(answer, Refused):
            raise _conflict(self.timeline_id, answer)
        keeper, lsn = answer
        is_same_life = keeper.history == self.keeper.history and self.following is not None
        is_whole = self._files.ends_at(lsn) and lsn == self.keeper.flush_lsn
        if is_same_life or (is_whole and fence.cut(keeper.history, lsn)[-1].tli == self._tli):
            # The usual wake: all that is here is in the new life too, which goes on behind it.
            self._save(keeper, ask)
            if not is_same_life:
                self._files.go_back()
                self.caught_up_lsn = None
                self.is_well()
            return
        self._files.close()
        # Under the old history first: what is cut here is in no life that counts, and nobody may think that it is still there.
        self._save(replace(self.keeper, flush_lsn=lsn), None)
        faults.point("safekeeper.follow.before_cut")
        before = [entry.tli for entry in keeper.history if entry.begin_lsn < lsn]
        self._files.cut(before[-1] if before else keeper.history[0].tli, lsn)
        self.keeper = keeper
        self._tli = self.tli_at(lsn)
        if before and before[-1] != self._tli:
            self._files.begin_timeline(before[-1], self._tli, lsn)
        faults.point("safekeeper.follow.before_write")
        self._save(replace(keeper, flush_lsn=lsn), ask)
        self._files.open(self._tli, lsn)
        self.caught_up_lsn = None
        self.is_well()

    def rest(self, term: int) -> None:
        """The compute of this term has ended."""
        if self.following is not None and self.following.term <= term:
            self._save(self.keeper, None)
            self._files.go_back()
            self.is_well()

    def require_turn(self, term: int) -> None:
        """Raises Conflict when the turn of this term's compute is over: it is told nothing of a life that is not its own."""
        if self.keeper.promised_term != term or self.following is None or self.following.term != term:
            raise Conflict(f"WAL of timeline {self.timeline_id} is not taken from the compute of term {term} any more.")

    def write(self, term: int, lsn: int, data: memoryview) -> None:
        """Takes WAL of a compute. Raises Conflict when its turn is over."""
        self.require_turn(term)
        if (tli := self.tli_at(lsn)) != self._tli:
            self.flush(term)
            self._files.begin_timeline(self._tli, tli, lsn)
            self._tli = tli
            self._save(self.keeper, self.following)
            self._files.open(tli, lsn)
        self._files.write(tli, lsn, data)

    def flush(self, term: int) -> int:
        """Makes what was written last; answers up to where. Raises Conflict as `write` does: how far a later life has come is above all that an earlier
        one's clients wait for."""
        self.require_turn(term)
        begin = self.keeper.flush_lsn
        end = self._files.flush()
        if end != begin:
            after = fence.append(self.keeper, term, begin, end)
            if isinstance(after, Refused):
                raise _conflict(self.timeline_id, after)
            self.keeper = after
        return end

    def reopen(self) -> None:
        """After an error, or the end of a connection: goes on from what is flushed."""
        self._files.go_back()

    def prepare(self) -> None:
        """Makes the next segment's file, in a thread."""
        self._files.prepare()

    def segment(self, tli: int, number: int) -> bytes:
        """A segment, zeros behind what is flushed. Raises NotFound."""
        begin = segment_begin(number, self.segment_bytes)
        length = min(max(self.keeper.flush_lsn - begin, 0), self.segment_bytes)
        try:
            content = self._files.read_segment(tli, number)
        except FileNotFoundError:
            raise NotFound(f"This segment of timeline {self.timeline_id} is not here.") from None
        return content[:length] + bytes(self.segment_bytes - length) if tli == self._tli else content

    def may_serve(self, ask: said.WalAsk) -> None:
        """Raises Conflict when this WAL, of that life, is not all here: asked before it is read, and again before it is answered."""
        if not catch_up.serves(self.keeper, history_of(ask.history), ask.begin_lsn, ask.end_lsn):
            raise Conflict(f"Timeline {self.timeline_id}: not all of this WAL is here, or it is of another life.")

    def read(self, begin_lsn: int, end_lsn: int, history: TermHistory) -> bytes:
        """WAL of that life, in a thread. Raises Conflict when a file of it has just been removed."""
        pieces = []
        for at, end, tli in parts(history, begin_lsn, end_lsn):
            try:
                pieces.append(self._files.read(tli, at, end - at))
            except FileNotFoundError as error:
                raise Conflict(f"Timeline {self.timeline_id}: {error}.") from None
        return b"".join(pieces)

    def skip(self, term: int, source: Log) -> bool:
        """Begins where a peer's WAL begins, if all that is here is before that. Raises Conflict when the turn of this term's compute is over."""
        self.require_turn(term)
        keeper = catch_up.skip(self.keeper, source)
        if keeper is self.keeper:
            return False
        self._files.close()
        # What is left of the files, should we be killed here, is below the beginning, and nobody reads it.
        self._save(keeper, self.following)
        faults.point("safekeeper.skip.before_remove")
        self._tli = self.tli_at(keeper.flush_lsn)
        self._files.remove_before(keeper.first_lsn)
        self._files.open(self._tli, keeper.flush_lsn)
        return True

    def trim(self, ask: said.Trim) -> None:
        """Lets go of WAL that is not needed any more: whole segments of it."""
        stored = Log(history=history_of(ask.history), first_lsn=self.keeper.first_lsn, flush_lsn=ask.below_lsn)
        keeper = catch_up.trim(self.keeper, stored)
        first_lsn = segment_begin(keeper.first_lsn // self.segment_bytes, self.segment_bytes)
        if first_lsn > self.keeper.first_lsn:
            self._save(replace(keeper, first_lsn=first_lsn), self.following)
            self._files.remove_before(first_lsn)

    def is_well(self) -> None:
        """It takes what it should."""
        self.problem = self.trouble = None

    def lacks(self, trouble: said.Trouble, problem: str) -> None:
        """It does not take what it should, and why."""
        self.problem, self.trouble = problem, trouble

    def close(self) -> None:
        """Lets go of its files."""
        self._files.close()

    def seen(self) -> said.KeeperSeen:
        """How it stands."""
        keeper = self.keeper
        reached = self.caught_up_lsn is not None and keeper.flush_lsn >= self.caught_up_lsn
        return said.KeeperSeen(
            safekeeper_id=keeper.id,
            timeline_id=self.timeline_id,
            promised_term=keeper.promised_term,
            promised_to=keeper.promised_to,
            history=history_said(keeper.history),
            flush_lsn=keeper.flush_lsn,
            first_lsn=keeper.first_lsn,
            following_term=self.following.term if self.following is not None else None,
            caught_up=self.following is not None and reached,
            problem=self.problem,
            trouble=self.trouble if self.following is not None else None,
            is_cut_off=self.following is not None and self.trouble is said.Trouble.CUT_OFF,
            system_identifier=self.system_identifier,
            segment_bytes=self.segment_bytes,
        )

    def _save(self, keeper: Keeper, following: said.Follow | None) -> None:
        file = _File.of(keeper, following, system_identifier=self.system_identifier, segment_bytes=self.segment_bytes)
        write_file(self._folder / "keeper.json", file.model_dump_json(), mode=0o600)
        self.keeper, self.following = keeper, following


def parts(history: TermHistory, begin_lsn: int, end_lsn: int) -> Iterator[tuple[int, int, int]]:
    """A range of WAL cut where PostgreSQL's timeline changes: begin, end, timeline."""
    borders = [two.begin_lsn for one, two in itertools.pairwise(history) if one.tli != two.tli]
    edges = [begin_lsn, *(lsn for lsn in borders if begin_lsn < lsn < end_lsn), end_lsn]
    for begin, end in itertools.pairwise(edges):
        yield begin, end, fence.cut(history, begin)[-1].tli


def _conflict(timeline_id: str, refused: Refused) -> Conflict:
    return Conflict(
        f"Timeline {timeline_id}: {refused.why} (term {refused.promised_term}).",
        details={"why": refused.why.name.lower(), "promised_term": refused.promised_term},
    )
