"""What only the folder has: a disk that runs full, writers that are killed, a power cut. Not here: the contract (test_contract.py)."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from spg99.errors import StoreFull, StoreUnavailable
from spg99.objects import FolderStore
from spg99.objects.folder import DRAFT_SECONDS_MAX

WRITER = """
import asyncio, sys
from pathlib import Path
from spg99.objects import FolderStore

async def main():
    store = FolderStore(Path(sys.argv[1]))
    if sys.argv[2] == "put":
        await store.put("a/b", b"new" * 100_000)
    else:
        await store.put_contents({f"c/{n}": bytes([n]) * 100_000 for n in range(5)})

asyncio.run(main())
"""


def killed_at(point: str, root: Path, what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITER, root, what], env=os.environ | {"SPG99_FAULT_POINT": point}, check=False
    )
    assert done.returncode == -signal.SIGKILL


async def contents(store: FolderStore) -> dict[str, bytes]:
    return {entry.key: (await store.get(entry.key)).content async for entry in store.entries("")}


async def test_a_writer_killed_before_the_rename_changes_nothing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    await store.put("a/b", b"old")
    killed_at("objects.put.before_rename", tmp_path, "put")
    assert await contents(store) == {"a/b": b"old"}
    await asyncio.wait_for(store.put("a/b", b"next"), 10)  # the killed one's lock is free


@pytest.mark.parametrize("point", ["objects.put_contents.before_rename", "objects.put_contents.between_renames:3"])
async def test_many_killed_in_the_middle_are_whole_or_not_there(tmp_path: Path, point: str) -> None:
    store = FolderStore(tmp_path)
    killed_at(point, tmp_path, "many")
    found = await contents(store)
    assert len(found) == (3 if point.endswith("3") else 0)
    assert all(content == bytes([int(key[-1])]) * 100_000 for key, content in found.items())


async def test_drafts_of_killed_writers_are_swept_by_age(tmp_path: Path) -> None:
    killed_at("objects.put_contents.before_rename", tmp_path, "many")
    drafts = list((tmp_path / ".drafts").iterdir())
    assert len(drafts) == 5
    long_ago = time.time() - DRAFT_SECONDS_MAX - 60
    for draft in drafts[:3]:
        os.utime(draft, (long_ago, long_ago))
    FolderStore(tmp_path)
    assert sorted((tmp_path / ".drafts").iterdir()) == sorted(drafts[3:])


async def test_a_full_disk_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)
    await store.put("a", b"old")
    written = 0
    real = os.fsync

    def full(fd: int) -> None:
        nonlocal written
        written += 1
        if written > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreFull) as raised:
            await store.put_contents({f"c/{n}": b"x" * 10 for n in range(5)})
        assert raised.value.retryable
        with pytest.raises(StoreFull):
            await store.put("a", b"new")
        with pytest.raises(StoreFull):
            await store.put_if_absent("b", b"new")
    assert await contents(store) == {"a": b"old"}
    assert list((tmp_path / ".drafts").iterdir()) == []


async def test_a_disk_that_fails_is_not_called_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreUnavailable) as raised:
        await store.put("a", b"x")
    assert not isinstance(raised.value, StoreFull)


async def test_names_come_after_contents_and_folders_after_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path)
    await store.put("c/0", b"")  # so that no folder has to be made in what follows
    steps: list[tuple[str, str]] = []

    def noting(name: str) -> None:
        real: Any = getattr(os, name)

        def call(first: Any, *rest: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{first}") if name == "fsync" else str(rest[0])
            done = real(first, *rest)
            steps.append((name, str(Path(path).relative_to(tmp_path))))
            return done

        monkeypatch.setattr(os, name, call)

    noting("fsync")
    noting("replace")
    await store.put_contents({"c/1": b"1", "c/2": b"2"})
    assert [name for name, _ in steps] == ["fsync", "fsync", "replace", "replace", "fsync"]
    assert all(path.startswith(".drafts/") for _, path in steps[:2])
    assert steps[2:] == [("replace", "c/1"), ("replace", "c/2"), ("fsync", "c")]
    steps.clear()
    await store.put_contents({"c/1": b"1"})
    assert steps == [("fsync", "c")]  # the one who wrote it may have been killed before


async def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    one, other = FolderStore(tmp_path), FolderStore(tmp_path)
    tags = await asyncio.gather(
        *(store.put_if_tag("head", b"x", None) for store in (one, other)), return_exceptions=True
    )
    assert sum(isinstance(tag, str) for tag in tags) == 1
