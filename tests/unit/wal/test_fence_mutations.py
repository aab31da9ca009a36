"""Each rule of the fence is there for a reason: with it broken the same exploration finds what was lost.

Here: the broken rules. Not here: the rules as they are (test_fence_proof.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from spg99.wal import fence, membership
from spg99.wal.fence import Choice, Flushed, Keeper, Log, NotEnough, Refused, TermHistory, Vote
from spg99.wal.membership import NotYet
from spg99.wal.quorum import Configuration, Members, acknowledged_lsn
from unit.wal.fence_machine import explore
from unit.wal.fence_world import Compute, Lost, Rules, World


def forgets_its_promise(keeper: Keeper) -> Keeper:
    """The promise was not durable."""
    return replace(keeper, promised_term=0, promised_to="")


def forgets_its_promise_until_it_accepts(keeper: Keeper) -> Keeper:
    """The promise is durable with the first WAL of the term only."""
    if keeper.history[-1].term == keeper.promised_term:
        return keeper
    return replace(keeper, promised_term=0, promised_to="")


def a_minority_suffices(votes: Iterable[Vote], configuration: Configuration) -> Choice | NotEnough:
    found = [vote for vote in votes if vote.configuration_number == configuration.number]
    if not found:
        return NotEnough(frozenset(), configuration.sets)
    these = frozenset(vote.keeper_id for vote in found)
    return fence.choose(found, Configuration(configuration.number, Members(these, len(these))))


def the_longest_log(votes: Iterable[Vote], configuration: Configuration) -> Choice | NotEnough:
    """The donor by flush LSN, whatever its last term."""
    found = list(votes)
    choice = fence.choose(found, configuration)
    if isinstance(choice, NotEnough):
        return choice
    best = max(found, key=lambda vote: (vote.flush_lsn, vote.last_term))
    return replace(
        choice, donor_id=best.keeper_id, history=best.held, first_lsn=best.first_lsn, flush_lsn=best.flush_lsn
    )


def the_highest_term_alone(votes: Iterable[Vote], configuration: Configuration) -> Choice | NotEnough:
    """The donor by last term, any of those."""
    found = list(votes)
    choice = fence.choose(found, configuration)
    if isinstance(choice, NotEnough):
        return choice
    best = min(found, key=lambda vote: (-vote.last_term, vote.flush_lsn))
    return replace(
        choice, donor_id=best.keeper_id, history=best.held, first_lsn=best.first_lsn, flush_lsn=best.flush_lsn
    )


def nothing_is_cut(
    keeper: Keeper, compute_id: str, configuration: Configuration, history: TermHistory
) -> tuple[Keeper, int] | Refused:
    answer = fence.accept(keeper, compute_id, configuration, history)
    if isinstance(answer, Refused):
        return answer
    return replace(answer[0], first_lsn=keeper.first_lsn, flush_lsn=keeper.flush_lsn), keeper.flush_lsn


def accepts_any_term(
    keeper: Keeper, compute_id: str, configuration: Configuration, history: TermHistory
) -> tuple[Keeper, int] | Refused:
    """Whatever was promised."""
    return fence.accept(replace(keeper, promised_term=0, promised_to=""), compute_id, configuration, history)


def every_folder_goes_on(folder_history: TermHistory, choice: Choice) -> TermHistory | None:
    last = folder_history[-1]
    return (*folder_history, fence.TermBegin(choice.term, last.tli, last.begin_lsn))


def two_at_once(configuration: Configuration, members: Members) -> Configuration:
    """The new set alone, from one moment to the next."""
    return Configuration(configuration.number + 1, members)


def finishes_at_once(configuration: Configuration, keepers: Iterable[Keeper]) -> Configuration | NotYet:
    assert configuration.next_members is not None
    return Configuration(configuration.number + 1, configuration.next_members)


def finishes_without_the_wal(configuration: Configuration, keepers: Iterable[Keeper]) -> Configuration | NotYet:
    found = membership.finish_change(configuration, keepers)
    if isinstance(found, NotYet) and not found.adopt and not found.promise:
        return finishes_at_once(configuration, keepers)
    return found


def finishes_without_the_promise(configuration: Configuration, keepers: Iterable[Keeper]) -> Configuration | NotYet:
    found = membership.finish_change(configuration, keepers)
    if isinstance(found, NotYet) and not found.adopt and not found.fill:
        return finishes_at_once(configuration, keepers)
    return found


def any_term_counts(configuration: Configuration, history: TermHistory, reports: Iterable[Flushed]) -> int | None:
    return acknowledged_lsn(configuration, {report.keeper_id: report.flush_lsn for report in reports})


def skips_by_place_alone(keeper: Keeper, source: Log) -> Keeper:
    """To where a peer begins, whatever life its WAL is of."""
    begin = source.first_lsn
    return replace(keeper, first_lsn=begin, flush_lsn=begin) if begin > keeper.flush_lsn else keeper


def votes_without_a_disk(keeper_id: str, configuration: Configuration) -> Keeper | None:
    return fence.created(keeper_id, configuration, tli=1, lsn=0)


BROKEN: dict[str, Rules] = {
    "a promise is forgotten at a restart": Rules(restarted=forgets_its_promise),
    "a promise is durable with the first WAL only": Rules(restarted=forgets_its_promise_until_it_accepts),
    "a minority suffices for a start": Rules(choose=a_minority_suffices),
    "the donor is the longest log": Rules(choose=the_longest_log),
    "the donor is any of the last term": Rules(choose=the_highest_term_alone),
    "nothing is cut at accept": Rules(accept=nothing_is_cut),
    "a safekeeper without its disk votes": Rules(unknown=votes_without_a_disk),
    "a stream of a lower term is accepted": Rules(accept=accepts_any_term),
    "every folder goes on": Rules(go_on=every_folder_goes_on),
    "two members are changed in one step": Rules(begin_change=two_at_once),
    "reports of an older term count": Rules(acknowledged=any_term_counts),
}


EXAMPLES = 2000
"""Far more than any of them takes (the slowest some 200): it ends with the first that is found."""


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_rule_is_found(broken: str) -> None:
    with pytest.raises((Lost, ValueError)):
        explore(BROKEN[broken], examples=EXAMPLES)


def lives(world: World, *taken: str) -> Compute:
    """A start that all promise to, and whose WAL these take."""
    compute = world.start()
    for keeper in ("k0", "k1", "k2"):
        world.ask(compute, keeper)
    world.begin(compute)
    writes(world, compute, *taken)
    return compute


def writes(world: World, compute: Compute, *taken: str) -> None:
    world.write(compute, 1)
    for keeper in taken:
        world.stream(compute, keeper, 99)
        world.report(compute, keeper)


def changed_without_the_wal(rules: Rules) -> None:
    """k1 is replaced by k3, filled from k2, who lacks what k0 and k1 made durable; then k2 and k3 are asked."""
    world = World(rules, keepers=3, quorum=2)
    writes(world, lives(world, "k0", "k1", "k2"), "k0", "k1")
    world.change(["k1"], "k2")
    for keeper in ("k0", "k2"):
        world.adopt(keeper)
    world.finish()
    after = world.start()
    for keeper in ("k2", "k3"):
        world.ask(after, keeper)
    world.begin(after)
    assert not after.runs


def changed_without_the_promise(rules: Rules) -> None:
    """k1 and k2 have promised term 2; k2 is replaced by k3, filled from k0, who has not; then term 1 goes on with k0 and k3."""
    world = World(rules, keepers=3, quorum=2)
    before = lives(world, "k0", "k1", "k2")
    after = world.start()
    for keeper in ("k1", "k2"):
        world.ask(after, keeper)
    world.begin(after)
    world.change(["k2"], "k0")
    for keeper in ("k0", "k1"):
        world.adopt(keeper)
    world.adopt("k3")
    world.finish()
    world.reconfigure(before)
    writes(world, before, "k0", "k3")


def skipped_to_a_life_that_is_over(rules: Rules) -> None:
    """k0 has WAL that nobody acknowledged, and has trimmed it; k2, who was away, is filled in the next life, which has nothing of it."""
    world = World(rules, keepers=3, quorum=2)
    before = lives(world, "k0", "k1", "k2")
    for _ in range(3):
        writes(world, before, "k0")
    world.upload("k0")
    world.trim("k0", world.stored[-1])
    after = world.start()
    for keeper in ("k1", "k2"):
        world.ask(after, keeper)
    world.begin(after)
    for _ in range(5):
        writes(world, after, "k1")
    after.oldest_lsn = len(after.wal)
    writes(world, after, "k1", "k2")
    filled = world.disks["k2"]
    assert filled is not None and filled.keeper.flush_lsn == len(after.wal)


def skipped_to_where_its_peers_begin(rules: Rules) -> None:
    """k2 was away; the others have trimmed what it lacks, and its compute has recycled it."""
    world = World(rules, keepers=3, quorum=2)
    compute = lives(world, "k0", "k1", "k2")
    for _ in range(4):
        writes(world, compute, "k0", "k1")
    world.upload("k0")
    for keeper in ("k0", "k1"):
        world.trim(keeper, world.stored[-1])
    compute.oldest_lsn = len(compute.wal)
    writes(world, compute, "k0", "k1", "k2")
    filled = world.disks["k2"]
    assert filled is not None and filled.keeper.flush_lsn == len(compute.wal)
    assert filled.keeper.first_lsn == compute.oldest_lsn


def test_a_laggard_begins_where_its_peers_do() -> None:
    skipped_to_where_its_peers_begin(Rules())
    with pytest.raises(AssertionError):
        skipped_to_where_its_peers_begin(Rules(skip=lambda keeper, source: keeper))


@pytest.mark.parametrize(
    ("history", "broken"),
    [
        (skipped_to_a_life_that_is_over, Rules(skip=skips_by_place_alone)),
        (changed_without_the_wal, Rules(finish_change=finishes_at_once)),
        (changed_without_the_wal, Rules(finish_change=finishes_without_the_wal)),
        (changed_without_the_promise, Rules(finish_change=finishes_at_once)),
        (changed_without_the_promise, Rules(finish_change=finishes_without_the_promise)),
    ],
)
def test_what_is_done_too_early_or_unchecked_loses(history: Callable[[Rules], None], broken: Rules) -> None:
    """The exploration takes long to come upon these: they are played as they are."""
    history(Rules())
    with pytest.raises(Lost):
        history(broken)
