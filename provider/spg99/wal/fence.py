"""One writer at a time: which compute may write a timeline's WAL, and where it begins. Rules only; not here: asking, streaming, files,
who the members are (quorum.py, membership.py), and how one who is behind is filled up (catch_up.py).

The WAL of a timeline on one safekeeper is a log like Raft's, indexed by LSN. A *term history* says who wrote it: from `begin_lsn` on, up to the
next entry's, the compute of that term did. A term has one writer (a majority promised it to one compute), so two logs that have an
entry in common hold the same bytes up to where either leaves that entry.

    promise   a start takes a new term and collects promises; from then on nobody who promised takes WAL of a lower term
    choose    the most advanced log of those who promised holds all that was ever acknowledged
    begin     the new life: that log up to its last whole record, then the new term on a new PostgreSQL timeline
    go_on     or the folder of the last compute itself, on the same timeline, where `goes_on` allows it
    accept    a safekeeper cuts what it has beyond the new life, then takes WAL of this term alone: `append`

The order on a safekeeper's disk: what these functions return is flushed there before anybody hears of it.
Proof: tests/unit/wal/test_fence_proof.py; in words: docs/storage.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from spg99.wal.lsn import TLI_MAX, format_lsn
from spg99.wal.quorum import Configuration, Members, acknowledged_lsn, have_promised


@dataclass(frozen=True)
class TermBegin:
    """From here on the compute of this term wrote, on this PostgreSQL timeline."""

    term: int
    tli: int
    begin_lsn: int


TermHistory = tuple[TermBegin, ...]
"""Ascending in term, not descending in begin_lsn and tli. The first entry is the timeline's root: the image that it was made from."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """WAL that somebody has: a safekeeper, a store, a folder."""

    history: TermHistory
    """As it was last handed over: it may name terms that begin behind `flush_lsn`."""
    first_lsn: int
    """The oldest byte that is still there. What was before is in the object store."""
    flush_lsn: int
    """The end of what is durable."""

    @property
    def held(self) -> TermHistory:
        """The history of what is there: `history` up to `flush_lsn`. A term that begins right at the end counts: all before it is there."""
        return cut(self.history, self.flush_lsn)

    @property
    def last_term(self) -> int:
        """The term by which logs are compared first."""
        return self.held[-1].term


@dataclass(frozen=True, kw_only=True)
class Keeper(Log):
    """All that a safekeeper keeps of one timeline, and all of it is durable."""

    id: str
    """Of this disk: one that lost it comes back as another, and never under this id."""
    configuration: Configuration
    """The newest that it has seen."""
    promised_term: int = 0
    promised_to: str = ""
    """The compute: one start, not one machine. A start that is tried again is another compute with a higher term."""


@dataclass(frozen=True, kw_only=True)
class Vote(Log):
    """A safekeeper has promised, and this is its log."""

    keeper_id: str
    term: int
    compute_id: str
    configuration_number: int


class Why(StrEnum):
    """Why a safekeeper refuses."""

    HIGHER_TERM = "a higher term was promised"
    OTHER_COMPUTE = "this term was promised to another compute"
    OLD_CONFIGURATION = "the members of this timeline have changed"
    NOT_A_MEMBER = "this safekeeper is no member of this timeline"
    FOREIGN_HISTORY = "this history is of another timeline"
    NOT_ACCEPTED = "this term has not begun here"
    GAP = "this WAL does not follow on what is there"


@dataclass(frozen=True)
class Refused:
    """Nothing was changed. The term and the configuration that stand are for the next try."""

    why: Why
    promised_term: int
    configuration: Configuration


@dataclass(frozen=True, kw_only=True)
class Choice(Log):
    """Where a new life begins: `history` is what the donor holds, no entry is beyond `flush_lsn`. WAL before `first_lsn` is in the store."""

    donor_id: str
    term: int
    """Of the start that chose."""
    next_tli: int
    """Above every timeline that anybody asked knows of. One that nobody asked may have the same: that harms nothing, histories are compared whole."""


@dataclass(frozen=True)
class NotEnough:
    """Too few have promised: `asked` have, of these sets."""

    promised_ids: frozenset[str]
    sets: tuple[Members, ...]


@dataclass(frozen=True)
class Flushed:
    """What a safekeeper reports to the compute whose WAL it takes."""

    keeper_id: str
    term: int
    configuration_number: int
    flush_lsn: int


def cut(history: TermHistory, lsn: int) -> TermHistory:
    """The entries that begin at `lsn` or before."""
    return tuple(entry for entry in history if entry.begin_lsn <= lsn)


def common_lsn(log: Log, history: TermHistory, end_lsn: int | None = None) -> int | None:
    """Up to where `log` is the same WAL as that of `history` (which ends at `end_lsn`; None: not before `log` does). None: nothing is.

    Whole entries are compared, from the first on: the last that both have, up to where either of them leaves it.
    """
    held = log.held
    shared = 0
    while shared < min(len(held), len(history)) and held[shared] == history[shared]:
        shared += 1
    if shared == 0:
        return None
    end = log.flush_lsn if end_lsn is None else end_lsn
    mine = held[shared].begin_lsn if shared < len(held) else log.flush_lsn
    theirs = history[shared].begin_lsn if shared < len(history) else end
    return min(mine, theirs, end, log.flush_lsn)


def created(keeper_id: str, configuration: Configuration, *, tli: int, lsn: int) -> Keeper:
    """What a safekeeper begins with when the timeline is made: nothing but the root, the image's timeline and LSN.

    Only then. One that does not know a timeline later on has lost it, and this would let it vote that there never was anything.
    """
    root = (TermBegin(0, tli, lsn),)
    return Keeper(id=keeper_id, configuration=configuration, history=root, first_lsn=lsn, flush_lsn=lsn)


def is_anothers(history: TermHistory, promised_to: str, attempts: Collection[str]) -> bool:
    """Whether WAL that is here when a timeline is about to begin was written by a compute of none of these attempts. They are all that the catalogue knows of, and
    none of them has let a client in: what they wrote is nobody's. What another one wrote may have been acknowledged, and the catalogue is one of before."""
    return len(history) > 1 and promised_to not in attempts


def adopt(keeper: Keeper, configuration: Configuration) -> Keeper:
    """The newer configuration counts. Before this is answered, no connection under the older one reports a flush LSN any more."""
    if configuration.number <= keeper.configuration.number:
        return keeper
    return replace(keeper, configuration=configuration)


def promise(keeper: Keeper, term: int, compute_id: str, configuration: Configuration) -> tuple[Keeper, Vote] | Refused:
    """Takes no WAL of a lower term from now on. The same compute may ask again (its answer was lost); another with this term may not."""
    admitted = _admitted(keeper, term, compute_id, configuration)
    if isinstance(admitted, Refused):
        return admitted
    vote = Vote(
        keeper_id=admitted.id,
        term=term,
        compute_id=compute_id,
        configuration_number=configuration.number,
        history=admitted.held,
        first_lsn=admitted.first_lsn,
        flush_lsn=admitted.flush_lsn,
    )
    return admitted, vote


def choose(votes: Iterable[Vote], configuration: Configuration) -> Choice | NotEnough:
    """The most advanced of those who promised: the highest last term, then the highest flush LSN (then the most WAL, then the id).

    Why that one. What was acknowledged under a term t was flushed, behind t's beginning, by a quorum that took t; one of the votes is from one of
    these, so the highest last term is at least t. If it is t, then the log is of the same writer and not shorter. If it is higher, then that term's own
    choice had all of it (induction), and its writer began with that. A long log of an old term is no argument: nobody acknowledged its end.

    `votes` are of one start (one term, one compute): ValueError otherwise, and also if one of them has WAL of this very term, for a term begins once.
    """
    by_keeper = {vote.keeper_id: vote for vote in votes if vote.configuration_number == configuration.number}
    if not have_promised(configuration, by_keeper.keys()):
        return NotEnough(frozenset(by_keeper) & configuration.ids, configuration.sets)
    found = [vote for vote in by_keeper.values() if vote.keeper_id in configuration.ids]
    if len({(vote.term, vote.compute_id) for vote in found}) != 1:
        raise ValueError(f"votes of more than one start: {sorted((vote.term, vote.compute_id) for vote in found)}")
    best = max(found, key=lambda vote: (vote.last_term, vote.flush_lsn, -vote.first_lsn, vote.keeper_id))
    if best.last_term >= best.term:
        raise ValueError(f"term {best.term} has begun already: {best.keeper_id} has WAL of it")
    return Choice(
        donor_id=best.keeper_id,
        term=best.term,
        history=best.held,
        first_lsn=best.first_lsn,
        flush_lsn=best.flush_lsn,
        next_tli=max(entry.tli for vote in found for entry in vote.history) + 1,
    )


def goes_on(folder_term: int, choice: Choice) -> bool:
    """Whether the folder of an ended compute may simply go on, on its PostgreSQL timeline, though the quorum was not asked for its WAL.

    `folder_term` is the term of the compute that wrote it last, noted before that compute could write. The claim: if it is not below the
    choice's last term, then the folder holds all that was acknowledged.

    - It is the same term. The donor's log ends with WAL of that one writer, which sends only what its folder has: the folder begins with
      the donor's log, and the donor has all that was acknowledged.
    - It is higher. That compute was started, so a quorum's worth had promised its term, and what it began with (a choice's log, or a folder that went on:
      induction) had all that was acknowledged until then; nothing of a lower term was acknowledged since. Nor was anything of its own or of a higher term,
      or one of those who now voted would have it and the choice's last term were as high.

    Lower: a later compute's WAL may have been acknowledged, and the folder has none of it. It is thrown away.
    What this cannot know is whether the folder is still what that compute left. After a crash of the machine with `fsync=off` it is not: the boot id says so,
    and such a folder is no folder.
    """
    return folder_term >= choice.last_term


def kept_lsn(logs: Mapping[str, Log], last_term: int, configuration: Configuration) -> int | None:
    """Up to where a quorum is known, by these logs of safekeepers (by id), to hold the WAL of the newest term: no later life is without what is before it.
    None: too few are."""
    flush_lsns = {name: log.flush_lsn for name, log in logs.items() if log.last_term == last_term}
    return acknowledged_lsn(configuration, flush_lsns)


def go_on(folder_history: TermHistory, choice: Choice) -> TermHistory:
    """The new life's history where the folder goes on; ValueError where it may not (`goes_on`), or is not what its term says.

    The new term begins where the last common WAL ends, or where the folder's own term began if nobody has any of that: all acknowledged WAL is before it,
    and the folder has WAL up to it at least, which whoever starts it checks (a server that recovered to less has lost some).
    So the end of its recovery, which PostgreSQL does not show on the same timeline, need not be known; the last compute's WAL behind it counts as the new one's.
    """
    last = folder_history[-1]
    if not goes_on(last.term, choice):
        raise ValueError(f"the folder is of term {last.term}, the quorum has WAL of term {choice.last_term}")
    if last.term >= choice.term:
        raise ValueError(f"the folder is of term {last.term}, the start is of term {choice.term}")
    begin_lsn = last.begin_lsn
    if last.term == choice.last_term:
        if folder_history != choice.history:
            raise ValueError(f"two histories of term {last.term}: {folder_history} and {choice.history}")
        begin_lsn = choice.flush_lsn
    return (*folder_history, TermBegin(choice.term, last.tli, begin_lsn))


def begin(choice: Choice, *, tli: int, begin_lsn: int) -> TermHistory:
    """The new life's history after a rebuild: image, WAL of the choice, and recovery to its end on the new PostgreSQL timeline `tli`.

    `begin_lsn` is where that timeline begins (its history file says so): the end of the last whole record of the choice's WAL. A torn record behind it was never
    acknowledged, since a commit is acknowledged with its last byte. ValueError for WAL beyond the choice, and for a timeline that is not a new one.
    """
    root = choice.history[0]
    if not root.begin_lsn <= begin_lsn <= choice.flush_lsn:
        raise ValueError(
            f"a life that begins at {format_lsn(begin_lsn)}: the WAL is from {format_lsn(root.begin_lsn)} to {format_lsn(choice.flush_lsn)}"
        )
    if not choice.history[-1].tli < tli <= TLI_MAX:
        raise ValueError(f"timeline {tli} is not above {choice.history[-1].tli}")
    return (*cut(choice.history, begin_lsn), TermBegin(choice.term, tli, begin_lsn))


def accept(
    keeper: Keeper, compute_id: str, configuration: Configuration, history: TermHistory
) -> tuple[Keeper, int] | Refused:
    """The compute of the history's last term begins to stream: what is here beyond the new life is cut. Answers the LSN behind which all bytes
    (and timelines) are deleted, and from which WAL is wanted.

    As in Raft the cut is behind the highest common point, and never below: WAL that the new life has too may be what makes a commit durable.
    It is deleted before any of the new WAL is written. A connection that is made again cuts nothing.
    """
    admitted = _admitted(keeper, history[-1].term, compute_id, configuration)
    if isinstance(admitted, Refused):
        return admitted
    lsn = common_lsn(admitted, history)
    if lsn is None:
        return _refused(keeper, Why.FOREIGN_HISTORY)
    return replace(admitted, history=history, flush_lsn=lsn, first_lsn=min(admitted.first_lsn, lsn)), lsn


def append(keeper: Keeper, term: int, begin_lsn: int, end_lsn: int) -> Keeper | Refused:
    """WAL of this life from `begin_lsn` to `end_lsn` is flushed. Of a term that was not accepted, or has been outdone since, nothing is taken.

    What is there already may come again; a hole may not be left.
    """
    if keeper.promised_term > term:
        return _refused(keeper, Why.HIGHER_TERM)
    if keeper.history[-1].term != term:
        return _refused(keeper, Why.NOT_ACCEPTED)
    if begin_lsn > keeper.flush_lsn:
        return _refused(keeper, Why.GAP)
    return replace(keeper, flush_lsn=max(keeper.flush_lsn, end_lsn))


def flushed(keeper: Keeper) -> Flushed:
    """What the keeper's compute may count: its term, if it was accepted and not outdone."""
    return Flushed(
        keeper_id=keeper.id,
        term=keeper.promised_term if keeper.history[-1].term == keeper.promised_term else 0,
        configuration_number=keeper.configuration.number,
        flush_lsn=keeper.flush_lsn,
    )


def acknowledged(configuration: Configuration, history: TermHistory, reports: Iterable[Flushed]) -> int | None:
    """Up to where WAL of this life is acknowledged; None: nothing is. Clients are let in once the end of recovery is.

    Only who reports under this term and this configuration counts, and only from the term's beginning on (Raft's rule: WAL of earlier terms is acknowledged
    with the first of the own one, or a later choice might prefer another log of them).
    """
    last = history[-1]
    flush_lsns = {
        report.keeper_id: report.flush_lsn
        for report in reports
        if report.term == last.term and report.configuration_number == configuration.number
    }
    lsn = acknowledged_lsn(configuration, flush_lsns)
    return lsn if lsn is not None and lsn >= last.begin_lsn else None


def _admitted(keeper: Keeper, term: int, compute_id: str, configuration: Configuration) -> Keeper | Refused:
    """The keeper with this configuration and this promise, or why not: what a promise and a new stream have in common."""
    if configuration.number < keeper.configuration.number:
        return _refused(keeper, Why.OLD_CONFIGURATION)
    if keeper.id not in configuration.ids:
        return _refused(keeper, Why.NOT_A_MEMBER)
    if term < keeper.promised_term:
        return _refused(keeper, Why.HIGHER_TERM)
    if term == keeper.promised_term and compute_id != keeper.promised_to:
        return _refused(keeper, Why.OTHER_COMPUTE)
    return replace(adopt(keeper, configuration), promised_term=term, promised_to=compute_id)


def _refused(keeper: Keeper, why: Why) -> Refused:
    return Refused(why, keeper.promised_term, keeper.configuration)
