"""A world of safekeepers, computes and messages, in which the rules of `spg99.wal` are followed step by step, with real bytes.

Here: what happens, and what may never happen (`Lost`). Not here: which step comes next (test_fence_proof.py). The rules are handed in,
so that a broken one can be tried (test_fence_mutations.py).

WAL is a list of units, an LSN is an index into it; a record is one to three units, so that a record can be torn. What a safekeeper has trimmed
stays here for comparing; `first_lsn` says whether it may be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from spg99.wal import catch_up, fence, membership
from spg99.wal.fence import (
    Choice,
    Flushed,
    Keeper,
    Log,
    NotEnough,
    Refused,
    TermBegin,
    TermHistory,
    Vote,
)
from spg99.wal.membership import NotYet
from spg99.wal.quorum import Configuration, Members


class Lost(AssertionError):
    """What was acknowledged is not in a later life, or two hold other bytes at one place of one history."""


@dataclass(frozen=True)
class Unit:
    """A byte of this world: which record it is of, and which part."""

    compute_id: str
    record: int
    part: int
    parts: int


Wal = tuple[Unit, ...]


def allowed_to_go_on(folder_history: TermHistory, choice: Choice) -> TermHistory | None:
    """The rule for a folder: both functions as who starts a compute uses them."""
    return fence.go_on(folder_history, choice) if fence.goes_on(folder_history[-1].term, choice) else None


@dataclass(frozen=True)
class Rules:
    """What is proved, and can be broken one by one."""

    promise: Callable[[Keeper, int, str, Configuration], tuple[Keeper, Vote] | Refused] = fence.promise
    choose: Callable[[Iterable[Vote], Configuration], Choice | NotEnough] = fence.choose
    go_on: Callable[[TermHistory, Choice], TermHistory | None] = allowed_to_go_on
    accept: Callable[[Keeper, str, Configuration, TermHistory], tuple[Keeper, int] | Refused] = fence.accept
    append: Callable[[Keeper, int, int, int], Keeper | Refused] = fence.append
    flushed: Callable[[Keeper], Flushed] = fence.flushed
    acknowledged: Callable[[Configuration, TermHistory, Iterable[Flushed]], int | None] = fence.acknowledged
    serves: Callable[[Log, TermHistory, int, int], bool] = catch_up.serves
    trim: Callable[[Keeper, Log], Keeper] = catch_up.trim
    skip: Callable[[Keeper, Log], Keeper] = catch_up.skip
    begin_change: Callable[[Configuration, Members], Configuration] = membership.begin_change
    finish_change: Callable[[Configuration, Iterable[Keeper]], Configuration | NotYet] = membership.finish_change
    restarted: Callable[[Keeper], Keeper] = lambda keeper: keeper
    """What a safekeeper remembers after a restart."""
    unknown: Callable[[str, Configuration], Keeper | None] = lambda keeper_id, configuration: None
    """What a safekeeper that has nothing of the timeline answers from."""


@dataclass
class Disk:
    """A safekeeper's: its state and its WAL, whole from LSN 0."""

    keeper: Keeper
    wal: list[Unit] = field(default_factory=list)


@dataclass
class Folder:
    """What an ended compute left on its node."""

    history: TermHistory
    wal: list[Unit]


@dataclass
class Compute:
    """One start, and what it became."""

    id: str
    term: int
    configuration: Configuration
    folder: Folder | None
    votes: dict[str, tuple[Vote, Wal]] = field(default_factory=dict)
    history: TermHistory = ()
    wal: list[Unit] = field(default_factory=list)
    sent_lsn: int = 0
    oldest_lsn: int = 0
    """What it has recycled is before."""
    let_in_lsn: int = 0
    """The end of its end-of-recovery record."""
    reports: dict[str, Flushed] = field(default_factory=dict)
    acknowledged_lsn: int = 0
    ended: bool = False

    @property
    def runs(self) -> bool:
        return bool(self.history) and not self.ended


@dataclass(frozen=True)
class Life:
    """WAL that a start of this term found (a choice), or began with."""

    term: int
    wal: Wal


class World:
    """One timeline, from its creation on."""

    def __init__(self, rules: Rules, *, keepers: int, quorum: int) -> None:
        self.rules = rules
        self.names = (f"k{number}" for number in range(10_000))
        ids = [next(self.names) for _ in range(keepers)]
        self.configuration = Configuration(1, Members(frozenset(ids), quorum))
        self.disks: dict[str, Disk | None] = {
            one: Disk(fence.created(one, self.configuration, tli=1, lsn=0)) for one in ids
        }
        self.term = 0
        self.starts = 0
        self.computes: list[Compute] = []
        self.folders: list[Folder] = []
        self.stored: list[Log] = []
        self.store: dict[tuple[TermBegin, int], Unit] = {}
        self.written: dict[tuple[TermBegin, int], Unit] = {}
        self.messages: list[Callable[[], None]] = []
        self.answers: dict[str, Keeper] = {}
        self.lives: list[Life] = []
        self.acked: list[Life] = []

    # what may never happen

    def begins(self, term: int, wal: Sequence[Unit]) -> None:
        """A start of this term has found this WAL: all that any lower term acknowledged is in it."""
        for acked in self.acked:
            if acked.term < term and tuple(wal[: len(acked.wal)]) != acked.wal:
                raise Lost(f"term {term} begins without what term {acked.term} acknowledged")
        self.lives.append(Life(term, tuple(wal)))

    def acknowledges(self, compute: Compute, lsn: int) -> None:
        """A client hears that all up to here is durable: each higher term that has begun found it."""
        wal = tuple(compute.wal[:lsn])
        for life in self.lives:
            if life.term > compute.term and life.wal[:lsn] != wal:
                raise Lost(f"term {compute.term} acknowledges what term {life.term} did not find")
        self.acked.append(Life(compute.term, wal))

    def writes(self, history: TermHistory, begin_lsn: int, units: Sequence[Unit]) -> None:
        """At one place of one history there is one content."""
        owner = 0
        for lsn, unit in enumerate(units, begin_lsn):
            while owner + 1 < len(history) and history[owner + 1].begin_lsn <= lsn:
                owner += 1
            if self.written.setdefault((history[owner], lsn), unit) != unit:
                raise Lost(f"two contents at {lsn} of {history[owner]}")

    # safekeepers

    def disk(self, keeper_id: str, configuration: Configuration) -> Disk | None:
        """What a message finds there."""
        disk = self.disks.get(keeper_id)
        if disk is None and (made := self.rules.unknown(keeper_id, configuration)):
            disk = self.disks[keeper_id] = Disk(made)
        return disk

    def restart(self, keeper_id: str) -> None:
        if disk := self.disks[keeper_id]:
            disk.keeper = self.rules.restarted(disk.keeper)

    def lose_disk(self, keeper_id: str) -> None:
        self.disks[keeper_id] = None

    # a start

    def start(self, folder: Folder | None = None) -> Compute:
        """A new term, a new compute, the members as the catalogue has them; a folder is of one compute at a time."""
        self.term += 1
        self.starts += 1
        if folder is not None:
            self.folders.remove(folder)
        compute = Compute(f"c{self.starts}", self.term, self.configuration, folder)
        self.computes.append(compute)
        return compute

    def ask(self, compute: Compute, keeper_id: str, *, late: bool = False) -> None:
        """Asks for a promise. Late: the answer is under way, and may be lost or come twice."""
        disk = self.disk(keeper_id, compute.configuration)
        if disk is None:
            return
        answer = self.rules.promise(disk.keeper, compute.term, compute.id, compute.configuration)
        if isinstance(answer, Refused):
            self.term = max(self.term, answer.promised_term)
            return
        disk.keeper, vote = answer
        wal = tuple(disk.wal)
        self.arrives(lambda: self.vote(compute, vote, wal), late=late)

    def vote(self, compute: Compute, vote: Vote, wal: Wal) -> None:
        if not compute.history and not compute.ended:
            compute.votes[vote.keeper_id] = vote, wal

    def begin(self, compute: Compute, *, next_tli: bool = True) -> None:
        """Chooses, if enough have promised, then goes on in its folder or rebuilds one, and writes the end of recovery."""
        if compute.ended or compute.history:
            return
        choice = self.rules.choose([vote for vote, _ in compute.votes.values()], compute.configuration)
        if isinstance(choice, NotEnough):
            return
        self.begins(compute.term, compute.votes[choice.donor_id][1][: choice.flush_lsn])
        folder, compute.folder = compute.folder, None
        history = self.rules.go_on(folder.history, choice) if folder else None
        if folder and history:
            assert history[-1].begin_lsn <= len(folder.wal), "the folder has WAL up to where the new term begins"
            compute.history, compute.wal = history, folder.wal
            self.writes(history, 0, folder.wal)
        elif (found := self.rebuilt(choice)) is not None:
            tli = choice.next_tli if next_tli else choice.history[-1].tli + 1
            end = last_whole_lsn(found)
            compute.history, compute.wal = fence.begin(choice, tli=tli, begin_lsn=end), found[:end]
            compute.oldest_lsn = min(choice.first_lsn, end)
        else:
            compute.ended = True
            return
        self.begins(compute.term, compute.wal)
        self.write(compute, 1)
        compute.let_in_lsn = len(compute.wal)

    def rebuilt(self, choice: Choice) -> list[Unit] | None:
        """The choice's WAL: from the store what the donor has trimmed, the rest from the donor as it is by now."""
        disk = self.disks.get(choice.donor_id)
        if disk is None or not self.rules.serves(disk.keeper, choice.history, choice.first_lsn, choice.flush_lsn):
            return None
        stored = self.from_store(choice.history, 0, choice.first_lsn)
        return [*stored, *disk.wal[choice.first_lsn : choice.flush_lsn]]

    def from_store(self, history: TermHistory, begin_lsn: int, end_lsn: int) -> list[Unit]:
        """KeyError: what a safekeeper trimmed is not there."""
        return [
            self.store[[entry for entry in history if entry.begin_lsn <= lsn][-1], lsn]
            for lsn in range(begin_lsn, end_lsn)
        ]

    # a compute

    def write(self, compute: Compute, parts: int) -> None:
        record = len(compute.wal)
        units = [Unit(compute.id, record, part, parts) for part in range(parts)]
        self.writes(compute.history, record, units)
        compute.wal += units

    def stream(self, compute: Compute, keeper_id: str, length: int, *, late: bool = False) -> None:
        """A connection: the safekeeper accepts the life, is filled up by peers, takes some WAL and reports. Late: WAL is under way."""
        disk = self.disk(keeper_id, compute.configuration)
        if disk is None or not compute.runs:
            return
        answer = self.rules.accept(disk.keeper, compute.id, compute.configuration, compute.history)
        if isinstance(answer, Refused):
            self.term = max(self.term, answer.promised_term)
            return
        disk.keeper, lsn = answer
        del disk.wal[lsn:]
        if lsn < compute.oldest_lsn and not self.fill(compute, keeper_id, disk):
            return
        begin, units = disk.keeper.flush_lsn, compute.wal[disk.keeper.flush_lsn :][:length]
        compute.sent_lsn = max(compute.sent_lsn, begin + len(units))
        self.arrives(lambda: self.append(compute, keeper_id, begin, units), late=late)

    def fill(self, compute: Compute, keeper_id: str, disk: Disk) -> bool:
        """What the compute has recycled comes from peers, and what they have trimmed from the store, or not at all: then it begins where a peer does."""
        others = {one: other for one, other in self.disks.items() if other is not None and one != keeper_id}
        sources: dict[str, Log] = {one: other.keeper for one, other in others.items()}
        if len(self.stored) % 2:
            for other in others.values():
                self.skip(disk, other)
        else:
            sources |= {f"store {number}": log for number, log in enumerate(self.stored)}
        found = catch_up.ranges(compute.history, disk.keeper.flush_lsn, compute.oldest_lsn, sources)
        if isinstance(found, catch_up.Missing):
            return False
        for part in found:
            begin, end = part.begin_lsn, part.end_lsn
            if part.source in others:
                assert catch_up.serves(others[part.source].keeper, compute.history, begin, end)
                units = others[part.source].wal[begin:end]
            else:
                units = self.from_store(compute.history, begin, end)
            self.append(compute, keeper_id, begin, units)
        return True

    def skip(self, disk: Disk, source: Disk) -> None:
        before = disk.keeper
        disk.keeper = self.rules.skip(before, source.keeper)
        if disk.keeper is not before:
            units = self.from_store(source.keeper.history, before.flush_lsn, disk.keeper.flush_lsn)
            self.writes(disk.keeper.history, before.flush_lsn, units)
            disk.wal += units

    def append(self, compute: Compute, keeper_id: str, begin: int, units: Sequence[Unit]) -> None:
        """WAL arrives. What is refused changes nothing."""
        disk = self.disks.get(keeper_id)
        if disk is None:
            return
        answer = self.rules.append(disk.keeper, compute.term, begin, begin + len(units))
        if isinstance(answer, Refused):
            return
        new = units[disk.keeper.flush_lsn - begin :]
        self.writes(disk.keeper.history, disk.keeper.flush_lsn, new)
        disk.wal += new
        disk.keeper = answer

    def report(self, compute: Compute, keeper_id: str, *, late: bool = False) -> None:
        """What the safekeeper has flushed is reported to the compute."""
        if (disk := self.disks.get(keeper_id)) is not None:
            flushed = self.rules.flushed(disk.keeper)
            self.arrives(lambda: self.hears(compute, flushed), late=late)

    def hears(self, compute: Compute, flushed: Flushed) -> None:
        """Clients are let in, and hear of commits, as far as the quorum is."""
        if not compute.runs:
            return
        compute.reports[flushed.keeper_id] = flushed
        lsn = self.rules.acknowledged(compute.configuration, compute.history, compute.reports.values())
        if lsn is None or lsn < compute.let_in_lsn:
            return
        end = last_whole_lsn(compute.wal[:lsn])
        if end > compute.acknowledged_lsn:
            compute.acknowledged_lsn = end
            self.acknowledges(compute, end)

    def crash(self, compute: Compute, *, torn: int = 0, keeps_folder: bool = True) -> None:
        """Ends at any time. The folder keeps what was sent; of the rest the last units may be torn off."""
        if compute.runs and keeps_folder:
            end = max(compute.sent_lsn, len(compute.wal) - torn, compute.history[-1].begin_lsn)
            self.folders.append(Folder(compute.history, compute.wal[:end]))
        elif compute.folder and keeps_folder:
            self.folders.append(compute.folder)
        compute.ended = True

    # the store

    def upload(self, keeper_id: str) -> None:
        """All that this safekeeper has, acknowledged or not, goes to the store, under the entries of its history."""
        disk = self.disks[keeper_id]
        if disk is None:
            return
        log = disk.keeper
        for lsn in range(log.first_lsn, log.flush_lsn):
            owner = [entry for entry in log.held if entry.begin_lsn <= lsn][-1]
            if self.store.setdefault((owner, lsn), disk.wal[lsn]) != disk.wal[lsn]:
                raise Lost(f"the store has another content at {lsn} of {owner}")
        self.stored.append(Log(history=log.held, first_lsn=0, flush_lsn=log.flush_lsn))

    def trim(self, keeper_id: str, stored: Log) -> None:
        if disk := self.disks[keeper_id]:
            disk.keeper = self.rules.trim(disk.keeper, stored)

    # members

    def change(self, leave: Sequence[str], peer: str) -> list[str]:
        """Members are to be replaced, each by one that is seeded from `peer`. Answers the new ones."""
        disk = self.disks[peer]
        if self.configuration.next_members is not None or disk is None:
            return []
        joined = [next(self.names) for _ in leave]
        for one in joined:
            self.disks[one] = Disk(membership.seeded(disk.keeper, one), list(disk.wal))
        members = self.configuration.members
        changed = Members(members.ids.difference(leave).union(joined), members.quorum)
        self.configuration = self.rules.begin_change(self.configuration, changed)
        self.answers.clear()
        return joined

    def adopt(self, keeper_id: str) -> None:
        """A member hears of the catalogue's configuration and answers what it has."""
        if (disk := self.disks.get(keeper_id)) is not None:
            disk.keeper = fence.adopt(disk.keeper, self.configuration)
            self.answers[keeper_id] = disk.keeper

    def finish(self) -> None:
        """The change is finished, or what it waits for is ordered."""
        if self.configuration.next_members is None:
            return
        result = self.rules.finish_change(self.configuration, self.answers.values())
        if isinstance(result, Configuration):
            self.configuration = result
            self.answers.clear()
            return
        for one in sorted(result.promise):
            if (disk := self.disks.get(one)) is not None:
                answer = self.rules.promise(disk.keeper, result.term, result.compute_id, self.configuration)
                if not isinstance(answer, Refused):
                    disk.keeper = answer[0]

    def abandon(self) -> None:
        if self.configuration.next_members is not None:
            self.configuration = membership.abandon_change(self.configuration)
            self.answers.clear()

    def reconfigure(self, compute: Compute) -> None:
        """A running compute hears of the catalogue's configuration; it goes on without a pause."""
        compute.configuration = self.configuration

    # messages

    def arrives(self, message: Callable[[], None], *, late: bool) -> None:
        if late:
            self.messages.append(message)
        else:
            message()


def last_whole_lsn(wal: Sequence[Unit]) -> int:
    """Where recovery ends: behind the last record that is there with all its parts."""
    return next(
        (
            end
            for end in range(len(wal), 0, -1)
            if wal[end - 1].part == wal[end - 1].parts - 1
            and [replace(wal[end - 1], part=part) for part in range(wal[end - 1].parts)]
            == list(wal[max(0, end - wal[end - 1].parts) : end])
        ),
        0,
    )
