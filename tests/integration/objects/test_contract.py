"""What every object store promises (objects/contract.py), by each of them. Not here: what only one of them has (test_folder_store.py)."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta

import pytest

from spg99.errors import BadRequest, ForeignStore, NotFound, PreconditionFailed
from spg99.images import tenants_in
from spg99.objects import ObjectStore, require_installation


async def keys(store: ObjectStore, prefix: str = "", *, after: str = "") -> list[str]:
    return [entry.key async for entry in store.entries(prefix, after=after)]


async def test_what_was_put_is_there_whole(store: ObjectStore) -> None:
    content = os.urandom(300_000)
    tag = await store.put("a/b", content)
    found = await store.get("a/b")
    assert (found.content, found.tag) == (content, tag)
    entry = await store.head("a/b")
    assert entry is not None and (entry.key, entry.size_bytes) == ("a/b", len(content))
    assert abs(entry.modified_at - datetime.now(UTC)) < timedelta(minutes=5)
    await store.put("a/b", b"")
    assert (await store.get("a/b")).content == b""


async def test_a_range_ends_where_the_object_does(store: ObjectStore) -> None:
    await store.put("a", b"0123456789")
    assert await store.get_range("a", 2, 3) == b"234"
    assert await store.get_range("a", 8, 5) == b"89"


async def test_what_is_not_there(store: ObjectStore) -> None:
    await store.put("a/b", b"x")
    for key in ("c", "a/c", "a/b/c", "a"):
        assert await store.head(key) is None
        with pytest.raises(NotFound):
            await store.get(key)
        with pytest.raises(NotFound):
            await store.get_range(key, 0, 1)
        await store.delete(key)
    assert (await store.get("a/b")).content == b"x"


async def test_deleted_twice(store: ObjectStore) -> None:
    await store.put("a", b"x")
    await store.delete("a")
    await store.delete("a")
    assert await store.head("a") is None
    assert await store.put_if_absent("a", b"y") is not None


async def test_only_one_is_first(fenced_store: ObjectStore) -> None:
    tags = await asyncio.gather(*(fenced_store.put_if_absent("head", str(n).encode()) for n in range(8)))
    winner = next(n for n, tag in enumerate(tags) if tag is not None)
    assert sum(tag is not None for tag in tags) == 1
    found = await fenced_store.get("head")
    assert (found.content, found.tag) == (str(winner).encode(), tags[winner])


async def test_a_late_writer_overwrites_nothing(store: ObjectStore) -> None:
    old = await store.put("head", b"term 1")
    new = await store.put_if_tag("head", b"term 2", old)
    with pytest.raises(PreconditionFailed):
        await store.put_if_tag("head", b"term 1 once more", old)
    found = await store.get("head")
    assert (found.content, found.tag) == (b"term 2", new)


async def test_a_tag_of_nothing_and_of_what_is_gone(store: ObjectStore) -> None:
    tag = await store.put_if_tag("head", b"1", None)
    with pytest.raises(PreconditionFailed):
        await store.put_if_tag("head", b"2", None)
    await store.delete("head")
    with pytest.raises(PreconditionFailed):
        await store.put_if_tag("head", b"2", tag)
    assert await store.head("head") is None


async def test_of_all_who_count_up_each_one_counts(fenced_store: ObjectStore) -> None:
    await fenced_store.put("count", b"0")

    async def count_up() -> None:
        while True:
            found = await fenced_store.get("count")
            try:
                await fenced_store.put_if_tag("count", str(int(found.content) + 1).encode(), found.tag)
                return
            except PreconditionFailed:
                continue

    await asyncio.gather(*(count_up() for _ in range(10)))
    assert (await fenced_store.get("count")).content == b"10"


async def test_many_contents_at_once(store: ObjectStore) -> None:
    objects = {f"chunks/{n:02x}/{n:04x}": os.urandom(5_000) for n in range(40)}
    await store.put("chunks/00/0000", b"was there")
    await store.put_contents(objects)
    await store.put_contents(objects)
    await store.put_contents({})
    for key, content in objects.items():
        assert (await store.get(key)).content == (b"was there" if key == "chunks/00/0000" else content)
    assert await keys(store, "chunks/") == sorted(objects)


async def test_a_list_is_in_the_order_of_keys(store: ObjectStore) -> None:
    names = ["a.b", "a/b", "a/c/d", "a0", "b", "a/b.c", "a-b"]
    await store.put_contents(dict.fromkeys(names, b""))
    assert await keys(store) == sorted(names)
    assert await keys(store, "a/") == ["a/b", "a/b.c", "a/c/d"]
    assert await keys(store, "a/b") == ["a/b", "a/b.c"]
    assert await keys(store, "a") == ["a-b", "a.b", "a/b", "a/b.c", "a/c/d", "a0"]
    assert await keys(store, "c") == await keys(store, "c/d") == []
    for after in sorted(names):
        assert await keys(store, after=after) == [name for name in sorted(names) if name > after]


async def test_a_long_list_comes_in_pages(store: ObjectStore) -> None:
    names = [f"a/{n:05}" for n in range(1_010)]
    await store.put_contents(dict.fromkeys(names, b"x"))
    assert await keys(store, "a/") == names
    assert await keys(store, "a/", after="a/00999") == names[1_000:]


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", ".a", "a/.b", "a b", "a\0", "ä", "a\\b", "-a", "a" * 201],
)
async def test_keys_that_are_none(store: ObjectStore, key: str) -> None:
    with pytest.raises(BadRequest):
        await store.put(key, b"x")
    with pytest.raises(BadRequest):
        await store.put_contents({"a": b"x", key: b"x"})
    with pytest.raises(BadRequest):
        await store.get(key)
    assert await keys(store) == []


async def test_a_store_of_another_installation_is_refused(store: ObjectStore) -> None:
    await require_installation(store, "ins_1")
    await require_installation(store, "ins_1")
    with pytest.raises(ForeignStore, match="belongs to the installation ins_1, this one is ins_2"):
        await require_installation(store, "ins_2")
    assert await keys(store) == ["installation.json"]


async def test_of_two_installations_that_find_it_empty_one_gets_it(fenced_store: ObjectStore) -> None:
    outcomes = await asyncio.gather(
        *(require_installation(fenced_store, f"ins_{n}") for n in range(4)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ForeignStore"] * 3 + ["NoneType"]


async def test_tenants_are_found_by_a_page_each(store: ObjectStore) -> None:
    """Ids of which one begins as the other does, with many objects: every store has to know the place behind all of a tenant's keys."""
    ids = ["ten_2", "ten_20", "ten_2a", "ten_3"]
    await store.put_contents({f"tenants/{one}/chunks/{n:02x}/{n:04x}": b"" for one in ids for n in range(30)})
    await store.put_contents(
        {f"tenants/{one}/{name}": b"" for one in ids for name in ("key.json", "timelines/tl_zz/x")}
    )
    await store.put_contents({"catalogue/ten_9/tenant": b"", "tenantz/ten_9/x": b""})
    assert sorted([one async for one in tenants_in(store)]) == ids
