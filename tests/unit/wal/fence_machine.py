"""Which step comes next in the world of the fence: any (Hypothesis). Not here: the steps (fence_world.py), how many are tried (the tests)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from unit.wal.fence_world import Compute, Rules, World

Thing = TypeVar("Thing")
some = st.sampled_from([0xFF, 0xFF, 0b01011, 0b10101, 0b01110, 0b00011, 0b00101, 0b00110, 0b1, 0b10, 0b100, 0b11000, 0])
"""A set of whatever there is, by its bits: all, most or one of them more often than by chance."""
seldom = st.sampled_from([0, 0, 0, 0b1, 0b10, 0b110, 0b101])
few = st.sampled_from([0, 0, 0, 1, 1, 2, 3])
yes = st.booleans()
parts = st.sampled_from([1, 2, 3, 6])
folders = st.sampled_from([1, 1, 0, 2])
"""The newest that was kept, none, an older one."""
lengths = st.sampled_from([99, 99, 99, 1, 2, 4])


def one_of(things: Sequence[Thing], number: int) -> Thing:
    """The newest come first: what is going on is broken more often than what is over."""
    return things[-1 - number % len(things)]


def some_of(things: Sequence[Thing], number: int) -> list[Thing]:
    return [thing for bit, thing in enumerate(things) if number >> bit & 1]


class FenceMachine(RuleBasedStateMachine):
    """Every step may come at any time; `World` says what may never happen."""

    followed = Rules()
    keepers = 3
    quorum = 2
    changes = 2
    """Of the members, in one history; 0 leaves all its steps to two computes and the same members."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.followed, keepers=self.keepers, quorum=self.quorum)
        everybody = 0xFF
        self.written(self.begun(0, everybody, 0, True), 1, everybody, 99, 0)

    @property
    def members(self) -> list[str]:
        return sorted(self.world.configuration.ids)

    @property
    def lost(self) -> int:
        """Members without a disk: with more of them nothing happens any more."""
        return sum(self.world.disks[one] is None for one in self.members)

    @property
    def may_change(self) -> bool:
        number = self.world.configuration.number
        return self.world.configuration.next_members is None and number <= 2 * self.changes

    @property
    def running(self) -> list[Compute]:
        return [compute for compute in self.world.computes if compute.runs]

    @property
    def alive(self) -> list[Compute]:
        return [compute for compute in self.world.computes if not compute.ended]

    # starts and lives, whole or in pieces

    def begun(self, folder: int, reached: int, late: int, next_tli: bool) -> Compute:
        kept = self.world.folders[-folder] if 0 < folder <= len(self.world.folders) else None
        compute = self.world.start(kept)
        for keeper in some_of(self.members, reached):
            self.world.ask(compute, keeper, late=keeper in some_of(self.members, late))
        self.world.begin(compute, next_tli=next_tli)
        return compute

    def written(self, compute: Compute, parts: int, reached: int, length: int, lost: int) -> None:
        if compute.runs:
            self.world.write(compute, parts)
        for keeper in some_of(self.members, reached):
            self.world.stream(compute, keeper, length)
            if keeper not in some_of(self.members, lost):
                self.world.report(compute, keeper)

    @rule(folder=folders, reached=some, late=seldom, next_tli=yes)
    def start(self, folder: int, reached: int, late: int, next_tli: bool) -> None:
        """A start reaches some of the members; some answers are lost, or come later."""
        self.begun(folder, reached, late, next_tli)

    @rule(folder=folders, reached=some, next_tli=yes, parts=parts, taken=st.none() | some, length=lengths, lost=seldom)
    def live(
        self, folder: int, reached: int, next_tli: bool, parts: int, taken: int | None, length: int, lost: int
    ) -> None:
        """A start that writes at once, often to those alone who have promised."""
        taken = reached if taken is None else taken
        self.written(self.begun(folder, reached, 0, next_tli), parts, taken, length, lost)

    @precondition(lambda self: self.running)
    @rule(
        torn=few,
        keeps_folder=yes,
        folder=folders,
        reached=some,
        next_tli=yes,
        parts=parts,
        taken=st.none() | some,
        length=lengths,
    )
    def crash_and_live(
        self,
        torn: int,
        keeps_folder: bool,
        folder: int,
        reached: int,
        next_tli: bool,
        parts: int,
        taken: int | None,
        length: int,
    ) -> None:
        """One ends, and the next begins at once, often in its folder."""
        taken = reached if taken is None else taken
        self.world.crash(one_of(self.running, 0), torn=torn, keeps_folder=keeps_folder)
        self.written(self.begun(folder, reached, 0, next_tli), parts, taken, length, 0)

    @precondition(lambda self: self.running)
    @rule(alone=few, before=parts, after=parts, next_tli=yes)
    def partition(self, alone: int, before: int, after: int, next_tli: bool) -> None:
        """The newest compute is left with one safekeeper, while another lives on the others."""
        side = 1 << alone % len(self.members)
        self.written(one_of(self.running, 0), before, side, 99, 0)
        self.written(self.begun(0, 0xFF ^ side, 0, next_tli), after, 0xFF ^ side, 99, 0)

    @precondition(lambda self: self.alive)
    @rule(which=few, reached=some, late=yes, next_tli=yes)
    def ask_again(self, which: int, reached: int, late: bool, next_tli: bool) -> None:
        compute = one_of(self.alive, which)
        for keeper in some_of(self.members, reached):
            self.world.ask(compute, keeper, late=late)
        self.world.begin(compute, next_tli=next_tli)

    @precondition(lambda self: self.running)
    @rule(which=few, parts=parts, reached=some, length=lengths, lost=seldom, knows=yes)
    def write(self, which: int, parts: int, reached: int, length: int, lost: int, knows: bool) -> None:
        """A record, some WAL to some safekeepers, and some of their reports; the compute may know the newest configuration."""
        compute = one_of(self.running, which)
        if knows:
            self.world.reconfigure(compute)
        self.written(compute, parts, reached, length, lost)

    @precondition(lambda self: len(self.running) > 1)
    @rule(parts=parts, reached=some, lengths=st.tuples(lengths, lengths), lost=seldom)
    def write_both(self, parts: int, reached: int, lengths: tuple[int, int], lost: int) -> None:
        """The newest two believe that they are the one, and one after the other writes."""
        for which, length in enumerate(lengths):
            self.written(one_of(self.running, which), parts, reached, length, lost)

    @precondition(lambda self: self.running)
    @rule(which=few, keeper=few, length=few)
    def stream_late(self, which: int, keeper: int, length: int) -> None:
        self.world.stream(one_of(self.running, which), one_of(self.members, keeper), length, late=True)

    @precondition(lambda self: self.running)
    @rule(which=few, keeper=few)
    def report_late(self, which: int, keeper: int) -> None:
        self.world.report(one_of(self.running, which), one_of(self.members, keeper), late=True)

    @precondition(lambda self: self.world.messages)
    @rule(which=few, again=yes)
    def deliver(self, which: int, again: bool) -> None:
        """A late message comes, and may come again. One that never does is lost."""
        message = one_of(self.world.messages, which)
        if not again:
            self.world.messages.remove(message)
        message()

    @precondition(lambda self: self.alive)
    @rule(which=few, torn=few, keeps_folder=yes)
    def crash(self, which: int, torn: int, keeps_folder: bool) -> None:
        self.world.crash(one_of(self.alive, which), torn=torn, keeps_folder=keeps_folder)

    @precondition(lambda self: self.running)
    @rule(which=few, back=few)
    def recycle(self, which: int, back: int) -> None:
        compute = one_of(self.running, which)
        compute.oldest_lsn = max(compute.oldest_lsn, len(compute.wal) - back)

    # safekeepers, store, catalogue

    @rule(which=some, writer=few)
    def restart(self, which: int, writer: int) -> None:
        """Some restart, and whoever believes that it is the writer connects to all again."""
        for keeper in some_of(self.members, which):
            self.world.restart(keeper)
        if self.running:
            self.written(one_of(self.running, writer), 1, 0xFF, 99, 0)

    @precondition(lambda self: self.lost < self.keepers - self.quorum)
    @rule(which=few)
    def lose_disk(self, which: int) -> None:
        self.world.lose_disk(one_of(self.members, which))

    @rule(which=few)
    def upload(self, which: int) -> None:
        self.world.upload(one_of(self.members, which))

    @precondition(lambda self: self.world.stored)
    @rule(which=some, log=few)
    def trim(self, which: int, log: int) -> None:
        for keeper in some_of(self.members, which):
            self.world.trim(keeper, one_of(self.world.stored, log))

    @precondition(lambda self: self.world.starts % 4 == 3)
    @rule()
    def restore_catalogue(self) -> None:
        """Terms that were handed out are handed out again, to other computes."""
        self.world.term = max(0, self.world.term - 1)

    # members

    @precondition(lambda self: self.may_change)
    @rule(leave=few, more=yes, peer=few, reached=some)
    def change(self, leave: int, more: bool, peer: int, reached: int) -> None:
        """One is replaced, or two; some hear of it."""
        members = self.members
        leaving = sorted({one_of(members, leave), *([one_of(members, leave + 1)] if more else [])})
        self.world.change(leaving, one_of(members, peer))
        for keeper in some_of(self.members, reached):
            self.world.adopt(keeper)

    @precondition(lambda self: self.may_change)
    @rule(leave=few, peer=few, reached=some, taken=some)
    def replace_one(self, leave: int, peer: int, reached: int, taken: int) -> None:
        """One is replaced as quickly as it goes, while the newest compute writes."""
        self.change(leave, False, peer, reached)
        if self.running:
            self.written(one_of(self.running, 0), 1, taken, 99, 0)
        if self.world.configuration.next_members:
            self.finish(reached, again=True)

    @precondition(lambda self: self.world.configuration.next_members)
    @rule(reached=some, again=yes)
    def finish(self, reached: int, again: bool) -> None:
        for keeper in some_of(self.members, reached):
            self.world.adopt(keeper)
        self.world.finish()
        if again:
            self.finish(reached, again=False)

    @precondition(lambda self: self.world.configuration.next_members)
    @rule()
    def abandon(self) -> None:
        self.world.abandon()


def explore(
    rules: Rules,
    *,
    keepers: int = 3,
    quorum: int = 2,
    changes: int = 2,
    examples: int,
    steps: int = 30,
    machine: type[FenceMachine] = FenceMachine,
) -> None:
    """Runs so many histories of so many steps, always the same ones. Raises what the world does not allow."""
    made = type("Machine", (machine,), {"followed": rules, "keepers": keepers, "quorum": quorum, "changes": changes})
    run_state_machine_as_test(
        made,
        settings=settings(
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=examples,
            stateful_step_count=steps,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
