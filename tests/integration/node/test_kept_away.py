"""A safekeeper that was away: it takes the WAL again when it is back, whoever has been started again meanwhile."""

# ruff: noqa: F811 - fixtures of the neighbour
from __future__ import annotations

from collections.abc import Callable

from integration.node.test_kept import (  # noqa: F401
    Database,
    KeepingNode,
    database,
    make_node,
    node,
    of_three,
    safekeepers,
)
from kit.safekeepers import ServedSafekeeper
from kit.waits import until


def follows(safekeeper: ServedSafekeeper, database: Database) -> Callable[[], bool]:
    """A check: it has all that the running compute had when it reached it."""

    def check() -> bool:
        seen = safekeeper.timelines.get(database.timeline_id).seen()
        return seen.following_term == database.term and seen.caught_up

    return check


async def test_one_that_was_away_at_the_start_follows_though_the_agent_was_started_again(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    """The agent asked it again and again in a loop of its own, which died with it."""
    await of_three.start(node)
    await of_three.run("create table t (n int)")
    await of_three.stop(node)
    away = safekeepers[2]
    await away.stop()
    await of_three.start(node)
    await of_three.run("insert into t values (1)")
    await node.computes.leave()
    node.fresh_agent()
    assert await node.computes.adopt() == 1
    assert await node.handlers.reconcile_safekeepers() > 0  # nobody there yet
    await away.start()
    assert not follows(away, of_three)()
    await node.handlers.reconcile_safekeepers()
    await until("it to follow", follows(away, of_three))
    await safekeepers[0].stop()
    await of_three.run("insert into t values (2)")  # it counts


async def test_one_that_is_back_is_not_asked_for_a_compute_that_has_ended(
    node: KeepingNode, of_three: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    await of_three.start(node)
    await safekeepers[2].stop()
    await of_three.stop(node)
    await safekeepers[2].start()
    await node.handlers.reconcile_safekeepers()
    assert safekeepers[0].timelines.get(of_three.timeline_id).seen().following_term is None
