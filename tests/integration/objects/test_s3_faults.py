"""What a store makes of faults on the way to a real S3 server, and of faults of that server. Not here: the rule by which a lost answer is settled
(tests/unit/objects), the faults themselves (kit/faulty_s3.py)."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit import s3_servers
from kit.faulty_s3 import Fault, FaultyS3
from kit.s3_servers import BUCKET, S3Server
from spg99.errors import NotFound, PreconditionFailed, StoreFull, StoreUnavailable
from spg99.ids import random_word
from spg99.objects import ObjectStore
from spg99.objects.s3 import RemoteStore

PASSING = (
    Fault.ERROR,
    Fault.SLOW_DOWN,
    Fault.LOST_REQUEST,
    Fault.HALF_REQUEST,
    Fault.LOST_ANSWER,
    Fault.TRUNCATED,
    Fault.SLOW,
)


@pytest.fixture(params=["moto", pytest.param("versitygw", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def faulty(server: S3Server) -> Iterator[FaultyS3]:
    with FaultyS3(server) as proxy:
        yield proxy


@pytest.fixture
def path() -> str:
    return random_word(8)


@pytest.fixture
def store(faulty: FaultyS3, path: str) -> ObjectStore:
    return RemoteStore(f"s3://{BUCKET}/{path}", faulty.options, budget_seconds=20)


def methods(faulty: FaultyS3, key: str) -> list[str]:
    return [method for method, path in faulty.seen if path.partition("?")[0].endswith(f"/{key}")]


@pytest.mark.parametrize("fault", PASSING)
async def test_a_fault_that_passes_is_waited_out(store: ObjectStore, faulty: FaultyS3, fault: Fault) -> None:
    content = os.urandom(100_000)
    faulty.next(fault, method="PUT")
    await store.put("a", content)
    faulty.next(fault, method="GET")
    assert (await store.get("a")).content == content
    faulty.next(fault, method="GET")
    assert await store.get_range("a", 10, 50_000) == content[10:50_010]
    faulty.next(fault, method="GET")
    assert [entry.key async for entry in store.entries("")] == ["a"]
    faulty.next(fault)
    assert await store.head("a") is not None
    faulty.next(fault)
    await store.delete("a")
    assert await store.head("a") is None
    assert faulty.done[fault] == 6


@pytest.mark.parametrize("fault", PASSING)
async def test_a_conditional_write_takes_place_once(store: ObjectStore, faulty: FaultyS3, fault: Fault) -> None:
    faulty.next(fault, method="PUT")
    first = await store.put_if_absent("head", b"1")
    assert first is not None and (await store.get("head")).content == b"1"
    faulty.next(fault, method="PUT")
    second = await store.put_if_tag("head", b"2", first)
    found = await store.get("head")
    assert (found.content, found.tag) == (b"2", second)
    assert faulty.done[fault] == 2
    with pytest.raises(PreconditionFailed):
        await store.put_if_tag("head", b"3", first)


async def test_of_a_lost_answer_that_was_no_nobody_hears_yes(store: ObjectStore, faulty: FaultyS3, path: str) -> None:
    """The server has refused it because of another's, and the answer is lost. What stands there has the same content as ours."""
    other = faulty.server.store(path)
    await other.put_if_absent("head", b"same")
    faulty.next(Fault.LOST_ANSWER, method="PUT")
    assert await store.put_if_absent("head", b"same") is None
    tag = (await other.get("head")).tag
    await other.put_if_tag("head", b"next", tag)
    faulty.next(Fault.LOST_ANSWER, method="PUT")
    with pytest.raises(
        StoreUnavailable, match="not known"
    ):  # ours may have been there in between, for all anybody knows
        await store.put_if_tag("head", b"next", tag)
    assert (await other.get("head")).content == b"next"


async def test_a_lost_request_is_sent_again_not_taken_for_done(store: ObjectStore, faulty: FaultyS3) -> None:
    faulty.next(Fault.LOST_REQUEST, method="PUT")
    assert await store.put_if_absent("head", b"1") is not None
    assert methods(faulty, "head").count("PUT") == 2
    assert (await store.get("head")).content == b"1"


async def test_a_lost_answer_is_read_back_not_sent_again(store: ObjectStore, faulty: FaultyS3) -> None:
    faulty.next(Fault.LOST_ANSWER, method="PUT")
    assert await store.put_if_absent("head", b"1") is not None
    assert methods(faulty, "head") == ["PUT", "HEAD"]


@pytest.mark.slow
async def test_counting_up_through_faults_counts_each_one_once(store: ObjectStore, faulty: FaultyS3) -> None:
    tag = await store.put("count", b"0")
    faulty.by_chance(0.3, seed=7, kinds=PASSING)
    for n in range(1, 21):
        tag = await store.put_if_tag("count", str(n).encode(), tag)
    faulty.heal()
    assert (await store.get("count")).content == b"20"
    assert sum(faulty.done.values()) > 5


@pytest.mark.slow
async def test_many_contents_through_faults(store: ObjectStore, faulty: FaultyS3) -> None:
    objects = {f"chunks/{n:02x}": os.urandom(20_000) for n in range(60)}
    faulty.by_chance(0.25, seed=3, kinds=PASSING)
    await store.put_contents(objects)
    for key, content in objects.items():
        assert (await store.get(key)).content == content
    assert sum(faulty.done.values()) > 10


@pytest.mark.slow
async def test_it_is_not_tried_for_ever(faulty: FaultyS3, path: str) -> None:
    store = RemoteStore(f"s3://{BUCKET}/{path}", faulty.options, budget_seconds=1)
    faulty.always(Fault.SLOW_DOWN)
    for call in (store.put("a", b"x"), store.put_if_absent("a", b"x"), store.get("a"), store.put_contents({"a": b"x"})):
        before = len(faulty.seen)
        with pytest.raises(StoreUnavailable) as raised:
            await asyncio.wait_for(call, 15)
        assert raised.value.retryable and 1 < len(faulty.seen) - before < 60
        assert "\n" not in str(raised.value) and "test-secret" not in str(raised.value)


@pytest.mark.slow
async def test_a_store_without_room_says_so(faulty: FaultyS3, path: str) -> None:
    store = RemoteStore(f"s3://{BUCKET}/{path}", faulty.options, budget_seconds=1)
    await store.put("a", b"old")
    faulty.always(Fault.NO_SPACE, method="PUT")
    for call in (store.put("a", b"x"), store.put_if_absent("b", b"x"), store.put_contents({"c": b"x"})):
        with pytest.raises(StoreFull):
            await call
    faulty.heal()
    assert [entry.key async for entry in store.entries("")] == ["a"]
    assert (await store.get("a")).content == b"old"


@pytest.mark.slow
async def test_a_killed_upload_is_not_half_there(faulty: FaultyS3, path: str) -> None:
    """Large enough for an upload in parts."""
    store = RemoteStore(f"s3://{BUCKET}/{path}", faulty.options, budget_seconds=1)
    await store.put("a", b"old")
    faulty.always(Fault.HALF_REQUEST, method="PUT")
    content = os.urandom(12_000_000)
    for key in ("a", "b"):
        with pytest.raises(StoreUnavailable):
            await store.put(key, content)
    with pytest.raises(StoreUnavailable):
        await store.put_contents({"b": content})
    faulty.heal()
    assert [entry.key async for entry in store.entries("")] == ["a"]
    assert (await store.get("a")).content == b"old"
    with pytest.raises(NotFound):
        await store.get("b")
    await store.put("b", content)
    assert (await store.get("b")).content == content


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounts a small disk")
async def test_a_real_server_whose_disk_is_full(tmp_path: Path) -> None:
    s3_servers.find_versitygw()
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=False).returncode != 0:
        pytest.skip("may not mount")
    try:
        with s3_servers.versitygw(disk) as server:
            store = RemoteStore(f"s3://{BUCKET}/x", server.options, budget_seconds=1)
            await store.put("kept", b"x" * 1_000_000)
            with pytest.raises(StoreFull):
                await store.put_contents({f"c/{n}": os.urandom(1_000_000) for n in range(8)})
            with pytest.raises(StoreFull):
                await store.put("kept", os.urandom(4_000_000))
            assert (await store.get("kept")).content == b"x" * 1_000_000
            async for entry in store.entries("c/"):
                assert entry.size_bytes == 1_000_000
                await store.delete(entry.key)
            await store.put("kept", b"again")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
