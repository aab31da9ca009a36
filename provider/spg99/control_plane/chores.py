"""What a Control Plane does by itself beside the life of databases: relays events, removes ended tenants, forgets what is old.

Here: when. Not here: what (the domains). Every chore may run in several Control Planes at once and be killed at any moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from spg99 import log
from spg99.control_plane.fleet import tokens
from spg99.control_plane.identity.known_keys import KnownKeys
from spg99.control_plane.records import audit, kept_answers, operations, outbox
from spg99.control_plane.serving.plane import Plane
from spg99.control_plane.store import Store
from spg99.control_plane.store.wakeups import Topic
from spg99.control_plane.tenants import rows
from spg99.errors import Spg99Error, Unavailable

_log = log.get("chores")

RELAY_AGAIN_SECONDS = 0.02
LAST_USED_SECONDS = 10.0
JANITOR_SECONDS = 600.0
SLOW_TICK_SECONDS = 30.0
_FAILED_PAUSE_SECONDS = 1.0
OPERATIONS_KEPT_FOR = timedelta(days=30)
ENROLMENT_TOKENS_KEPT_FOR = timedelta(days=1)

Turn = Callable[[], Awaitable[float]]
"""One turn of a chore; answers after how many seconds it looks again if nobody rings."""


def start(plane: Plane, known_keys: KnownKeys) -> list[asyncio.Task[None]]:
    """Starts all chores of this process; the caller cancels them at the end."""
    store, tick = plane.store, plane.settings.tick_seconds
    chores: dict[str, tuple[Turn, tuple[Topic, ...]]] = {
        "relay": (lambda: _relay(store, tick), (("spg99_outbox", None),)),
        "ended-tenants": (
            lambda: _remove_ended_tenants(store),
            (("spg99_tenant", None), ("spg99_database", None)),
        ),
        "last-used": (lambda: _write_last_used(known_keys), ()),
        "janitor": (lambda: _forget(plane), ()),
    }
    loops = [
        asyncio.create_task(_repeat(plane, name, turn, topics), name=f"chore-{name}")
        for name, (turn, topics) in chores.items()
    ]
    loops.append(asyncio.create_task(plane.feed.run(), name="feed"))
    loops.append(asyncio.create_task(known_keys.forget_on_change(plane.wakeups), name="known-keys"))
    return loops


async def _repeat(plane: Plane, name: str, turn: Turn, topics: tuple[Topic, ...]) -> None:
    with plane.wakeups.waiter(*topics) as bell:
        while True:
            bell.clear()
            try:
                pause = await turn()
            except Unavailable:
                pause = _FAILED_PAUSE_SECONDS  # the catalogue is away; those who lost it have said so
                await asyncio.sleep(pause)
            except Spg99Error as error:
                _log.warning("a turn failed", chore=name, reason=error.message)
                pause = await _paused(plane, name)
            except Exception:  # noqa: BLE001 - a loop's turn: the next one may succeed
                _log.exception("a turn failed", chore=name)
                pause = await _paused(plane, name)
            await bell.wait_for(pause)


async def _paused(plane: Plane, name: str) -> float:
    plane.metrics.loop_failures.labels(name).inc()
    await asyncio.sleep(_FAILED_PAUSE_SECONDS)  # also when somebody rings all the time
    return _FAILED_PAUSE_SECONDS


async def _relay(store: Store, tick_seconds: float) -> float:
    done = await outbox.relay(store)
    if not done.alone:
        return RELAY_AGAIN_SECONDS  # the other relay may have begun before our event was committed
    return 0.0 if done.published == outbox.RELAY_ROWS_MAX else tick_seconds


async def _remove_ended_tenants(store: Store) -> float:
    return 0.0 if await rows.remove_ended(store) else SLOW_TICK_SECONDS


async def _write_last_used(known_keys: KnownKeys) -> float:
    await known_keys.write_last_used()
    return LAST_USED_SECONDS


async def _forget(plane: Plane) -> float:
    now = plane.clock.now()
    async with plane.store.transaction() as tx:
        await audit.ensure_partitions(tx)
    async with plane.store.transaction() as tx:
        await kept_answers.forget_before(tx, now)
        await tokens.forget_before(tx, now - ENROLMENT_TOKENS_KEPT_FOR)
    async with plane.store.transaction() as tx:
        await outbox.forget_before(tx, now - outbox.KEPT_FOR)
    async with plane.store.transaction() as tx:
        await operations.forget_before(tx, now - OPERATIONS_KEPT_FOR)
    return JANITOR_SECONDS
