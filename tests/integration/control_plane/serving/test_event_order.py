"""The order of events under concurrent writers: whoever resumes anywhere misses nothing and reads nothing twice."""

from __future__ import annotations

import asyncio
import random

from spg99.control_plane.records import outbox
from spg99.control_plane.store import Store

WRITERS, EACH = 5, 40


async def write(store: Store, writer: int) -> None:
    for number in range(EACH):
        async with store.transaction() as tx:
            await outbox.publish(
                tx,
                "t.x",
                subject=f"s{writer}",
                org_id=None,
                tenant_id=None,
                payload={"writer": writer, "number": number},
            )
            # Numbers are drawn above; committing later than a neighbour is what breaks naive readers.
            await asyncio.sleep(random.random() * 0.01)


async def relay_until(store: Store, done: asyncio.Event) -> None:
    while True:
        ended = done.is_set()
        await outbox.relay(store)
        if ended:
            return
        await asyncio.sleep(random.random() * 0.005)


async def read(store: Store, done: asyncio.Event) -> list[outbox.Event]:
    """A reader that remembers nothing but the last position it saw."""
    seen: list[outbox.Event] = []
    while True:
        ended = done.is_set()
        async with store.transaction() as tx:
            found = await outbox.since(tx, seen[-1].position if seen else 0, limit=random.randint(1, 7))
        seen += found
        if ended and not found:
            return seen
        await asyncio.sleep(0)


async def test_no_gap_and_no_repeat_under_concurrent_writers_and_relays(url: str) -> None:
    store = Store(url, pool_size=12)
    await store.open()
    try:
        written, relayed = asyncio.Event(), asyncio.Event()
        relays = [asyncio.create_task(relay_until(store, written)) for _ in range(2)]
        readers = [asyncio.create_task(read(store, relayed)) for _ in range(3)]
        await asyncio.gather(*(write(store, writer) for writer in range(WRITERS)))
        written.set()
        await asyncio.gather(*relays)
        await outbox.relay(store)
        relayed.set()
        for seen in await asyncio.gather(*readers):
            positions = [event.position for event in seen]
            assert positions == sorted(set(positions))
            assert len(seen) == WRITERS * EACH
            for writer in range(WRITERS):
                numbers = [event.envelope["payload"]["number"] for event in seen if event.subject == f"s{writer}"]
                assert numbers == list(range(EACH)), "order of each aggregate is the order of its commits"
    finally:
        await store.close()


async def test_what_was_not_committed_when_the_relay_ran_comes_later_not_earlier(url: str) -> None:
    store = Store(url, pool_size=6)
    await store.open()
    try:
        async with store.transaction() as slow:
            await outbox.publish(slow, "t.slow", subject="a", org_id=None, tenant_id=None, payload={})
            async with store.transaction() as fast:
                await outbox.publish(fast, "t.fast", subject="b", org_id=None, tenant_id=None, payload={})
            assert (await outbox.relay(store)).published == 1
            async with store.transaction() as tx:
                first = await outbox.since(tx, 0)
            assert [event.event_type for event in first] == ["t.fast"]
        assert (await outbox.relay(store)).published == 1
        async with store.transaction() as tx:
            assert [e.event_type for e in await outbox.since(tx, first[-1].position)] == ["t.slow"]
    finally:
        await store.close()


async def test_forgetting_old_events_keeps_the_newest_as_a_mark(url: str) -> None:
    store = Store(url, pool_size=4)
    await store.open()
    try:
        for number in range(3):
            async with store.transaction() as tx:
                await outbox.publish(tx, "t.x", subject=str(number), org_id=None, tenant_id=None, payload={})
        await outbox.relay(store)
        async with store.transaction() as tx:
            newest = await outbox.last_position(tx)
            moment = await tx.value("last_event_position") and (
                await tx._connection.execute("select clock_timestamp() + interval '1 s'")
            )
            row = await moment.fetchone()
            assert await outbox.forget_before(tx, row[0], limit=1) == 1
            assert await outbox.forget_before(tx, row[0], limit=9) == 1
            assert await outbox.kept(tx) == outbox.Kept(newest, newest)
    finally:
        await store.close()
