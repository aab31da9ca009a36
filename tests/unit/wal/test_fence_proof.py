"""The fence holds: whatever was acknowledged is in every later life, in any order of steps that Hypothesis comes upon.

Here: how many histories of which sizes. Not here: the steps (fence_machine.py), what they do and what may never happen (fence_world.py), and that each
rule is needed (test_fence_mutations.py).
"""

from __future__ import annotations

import pytest

from kit.examples import few_are_enough
from spg99.wal import fence
from spg99.wal.fence import Choice
from spg99.wal.quorum import Configuration
from unit.wal.fence_machine import FenceMachine, explore
from unit.wal.fence_world import Rules, World

SIZES = [(3, 2), (1, 1), (5, 3)]
"""Safekeepers and quorum."""


@pytest.mark.parametrize(("keepers", "quorum"), SIZES)
def test_what_was_acknowledged_is_in_every_later_life(keepers: int, quorum: int) -> None:
    explore(Rules(), keepers=keepers, quorum=quorum, examples=60 if few_are_enough() else 300)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("changes", [0, 1, 4])
@pytest.mark.parametrize(("keepers", "quorum"), [*SIZES, (3, 3), (4, 3), (2, 2)])
def test_what_was_acknowledged_is_in_every_later_life_long(keepers: int, quorum: int, changes: int) -> None:
    explore(Rules(), keepers=keepers, quorum=quorum, changes=changes, examples=5000, steps=60)


def test_the_exploration_comes_upon_what_it_is_about() -> None:
    """Were the histories empty, nothing would be proved."""
    seen = {"acknowledged by two terms": 0, "went on in its folder": 0, "rebuilt": 0, "members changed": 0, "cut": 0}

    def cutting(
        keeper: fence.Keeper, compute_id: str, configuration: Configuration, history: fence.TermHistory
    ) -> tuple[fence.Keeper, int] | fence.Refused:
        answer = fence.accept(keeper, compute_id, configuration, history)
        if not isinstance(answer, fence.Refused) and answer[1] < keeper.flush_lsn:
            seen["cut"] += 1
        return answer

    def going_on(history: fence.TermHistory, choice: Choice) -> fence.TermHistory | None:
        found = fence.go_on(history, choice) if fence.goes_on(history[-1].term, choice) else None
        seen["went on in its folder" if found else "rebuilt"] += 1
        return found

    class Seen(FenceMachine):
        def teardown(self) -> None:
            world: World = self.world
            seen["acknowledged by two terms"] += len({life.term for life in world.acked}) > 1
            last: Configuration = world.configuration
            seen["members changed"] += last.number > 2 and last.next_members is None

    explore(Rules(accept=cutting, go_on=going_on), examples=60, machine=Seen)
    assert min(seen.values()) >= 5, seen
