"""A safekeeper that was away: it takes the WAL again when it is back, whoever has been started again meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from integration.node.kept.databases import Database, KeepingNode, lose
from kit.safekeepers import ServedSafekeeper
from kit.waits import until
from spg99.safekeeper.kept_timeline import KeptTimeline


def follows(safekeeper: ServedSafekeeper, database: Database) -> Callable[[], bool]:
    """A check: it has all that the running compute had when it reached it."""

    def check() -> bool:
        seen = safekeeper.timelines.get(database.timeline_id).seen()
        return seen.following_term == database.term and seen.caught_up

    return check


def images_of(node: KeepingNode, database: Database) -> list[Path]:
    return list(node.objects_dir.glob(f"tenants/*/timelines/{database.timeline_id}/images/*"))


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


@pytest.mark.slow  # broken
@pytest.mark.parametrize("is_trimmed", [True, False])
async def test_one_that_was_away_for_too_long_is_filled_up_by_a_peer(
    node: KeepingNode,
    of_three: Database,
    safekeepers: list[ServedSafekeeper],
    monkeypatch: pytest.MonkeyPatch,
    is_trimmed: bool,
) -> None:
    """The compute was made anew behind an image, and has no WAL for it. It stayed out for ever, and with the others' WAL on one more disk only the database did
    not start."""
    if not is_trimmed:
        monkeypatch.setattr(KeptTimeline, "trim", lambda *_: None)
    await of_three.start(node)
    await of_three.run("create table t (n int)", "insert into t values (1)")
    first, second, away = safekeepers
    await away.stop()
    for n in (2, 3):
        lose(node, of_three)  # a new PostgreSQL timeline each
        await of_three.start(node)
        await of_three.run(f"insert into t values ({n})")
        # Some segments of WAL: the one in which it stopped is not the one in which the image's begins.
        await of_three.run("create table filling as select generate_series(1, 60000)", "drop table filling")
    await of_three.stop(node)
    await until("its image", lambda: len(images_of(node, of_three)) > 1, seconds=30)
    if is_trimmed:
        await until("WAL to be removed", lambda: _is_trimmed(first, of_three))
    root = node.folder.timeline(of_three.timeline_id).root
    root.rename(root.with_name(".trash-asleep"))  # at once: its image may be cut right now
    await second.stop()
    await away.start()
    await of_three.start(node)  # a quorum is what one has and one has not
    assert await of_three.run("insert into t values (4)", "select n from t order by n") == [(1,), (2,), (3,), (4,)]
    await second.start()
    await node.handlers.reconcile_safekeepers()
    await until("it to follow", follows(second, of_three))
    await first.stop()  # the one that it was filled from
    lose(node, of_three)
    await of_three.start(node)
    assert await of_three.run("select n from t order by n") == [(1,), (2,), (3,), (4,)]


def _is_trimmed(safekeeper: ServedSafekeeper, database: Database) -> bool:
    keeper = safekeeper.timelines.get(database.timeline_id).keeper
    return keeper.first_lsn > keeper.history[0].begin_lsn


async def test_one_that_was_away_follows_also_after_stale_files_were_made_anew(
    make_node: Callable[..., KeepingNode], of_three: Database, safekeepers: list[ServedSafekeeper]
) -> None:
    """The first attempt, on files of before, came to nothing; the start went on under the same term, and that term counted as over."""
    first, second = make_node("n1"), make_node("n2")
    for node in (first, second):
        await of_three.start(node)
        await of_three.run("create table if not exists t (n int)", "insert into t values (1)")
        await of_three.stop(node)
    await safekeepers[0].stop()
    await of_three.start(first)
    await safekeepers[0].start()
    await first.handlers.reconcile_safekeepers()
    assert safekeepers[0].timelines.get(of_three.timeline_id).seen().following_term == of_three.term
    await safekeepers[1].stop()
    assert await of_three.run("insert into t values (1)", "select count(*) from t") == [(3,)]
