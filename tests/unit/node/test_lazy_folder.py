"""The agent's part of the rules of lazy pages: what is put where and when, who is still the file, what the next wake has ahead. Not here: the library's part
(tests/unit/lazy_pages), servers (tests/integration/node/kept/test_lazy_pages.py)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spg99.errors import Damaged
from spg99.images.chunking import ABSENT, CLEAN, DIRTY
from spg99.images.manifest import CHUNK_BYTES, ChunkedFile, Manifest
from spg99.node import lazy_folder as module
from spg99.node import wake_set
from spg99.node.chunk_cache import ChunkCache
from spg99.node.lazy_folder import LazyFolder, lazy_files
from spg99.node.lazy_map import LazyMap, has_birth_times
from spg99.node.runs import CHUNKS_MAX, FIRST_CHUNKS, Runs
from spg99.node.wake_set import NOTHING, WakeSet

TABLE, INDEX = "base/5/16400", "base/5/16401"
LAST_BYTES = 3 * 8192


def chunk(number: int, size: int = CHUNK_BYTES) -> bytes:
    return hashlib.shake_128(bytes([number])).digest(size)


def manifest(*files: ChunkedFile) -> Manifest:
    return Manifest(
        image_id="img_1", parent_image_id=None, tenant_id="ten_1", timeline_id="tl_1", writer_term=1, system_identifier=1, tli=1,
        lsn=1, checkpoint_lsn=1, pg_version=18, segment_bytes=1 << 20, created_at=datetime.now(UTC), dirs=(), packs=(), packed=(),
        chunked=files,
    )  # fmt: skip


def file_of(path: str, *sizes: int) -> ChunkedFile:
    return ChunkedFile(path, sum(sizes), 0o600, sum(sizes), tuple(f"{path}-{n}" for n in range(len(sizes))))


@pytest.fixture
def folder(tmp_path: Path) -> LazyFolder:
    if not has_birth_times(tmp_path):
        pytest.skip("the file system keeps no times of birth")
    (tmp_path / "pgdata/base/5").mkdir(parents=True)
    files = (file_of(TABLE, CHUNK_BYTES, CHUNK_BYTES, LAST_BYTES), file_of(INDEX, CHUNK_BYTES))
    for file in files:
        with (tmp_path / "pgdata" / file.path).open("wb") as opened:
            opened.truncate(file.size_bytes)
    LazyMap.create(tmp_path / "pages.map", tmp_path / "pgdata", files, None)
    found = LazyMap.open(tmp_path / "pages.map")
    assert found is not None
    return LazyFolder(tmp_path / "pgdata", found, manifest(*files))


def content(folder: LazyFolder, path: str = TABLE) -> bytes:
    return (folder.data_dir / path).read_bytes()


def test_a_chunk_is_put_where_it_belongs(folder: LazyFolder) -> None:
    number = folder.chunk_numbers[TABLE, 1]
    assert folder.name_of(number) == f"{TABLE}-1" and folder.end_of_file(number) == 3
    assert folder.put(number, chunk(1))
    assert content(folder) == bytes(CHUNK_BYTES) + chunk(1) + bytes(LAST_BYTES)
    assert [folder.map.state(n) for n in range(4)] == [ABSENT, CLEAN, ABSENT, ABSENT]
    assert folder.put(folder.chunk_numbers[TABLE, 2], chunk(2, LAST_BYTES))
    assert folder.put(folder.chunk_numbers[INDEX, 0], chunk(3)) and content(folder, INDEX) == chunk(3)


def test_one_that_was_renamed_meanwhile_is_the_same(folder: LazyFolder, tmp_path: Path) -> None:
    folder.data_dir.rename(tmp_path / "other")
    assert folder.put(1, chunk(1)) and (tmp_path / "other" / TABLE).read_bytes()[CHUNK_BYTES:][:5] == chunk(1)[:5]
    assert folder.map.is_of(tmp_path / "other")


def test_data_come_before_their_mark(folder: LazyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """R1. A kill in the middle leaves an absent chunk."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.put(1, chunk(1))
    assert folder.map.state(1) == ABSENT


@pytest.mark.parametrize("state", [CLEAN, DIRTY])
def test_what_came_meanwhile_stays(folder: LazyFolder, state: int) -> None:
    """R4. Looked at again under the lock."""
    folder.map.mark(1, state)
    assert folder.put(1, chunk(1))
    assert content(folder) == bytes(2 * CHUNK_BYTES + LAST_BYTES) and folder.map.state(1) == state


@pytest.mark.parametrize("length", [0, CHUNK_BYTES, CHUNK_BYTES + 8192])
def test_no_file_becomes_longer(folder: LazyFolder, length: int) -> None:
    """R4. A cut that this process knows nothing of."""
    os.truncate(folder.data_dir / TABLE, length)
    assert folder.put(1, chunk(1))
    assert content(folder) == bytes(min(length, CHUNK_BYTES)) + chunk(1)[: max(0, length - CHUNK_BYTES)]
    assert folder.map.state(1) == (DIRTY if length <= CHUNK_BYTES else CLEAN)


@pytest.mark.parametrize("length", [None, 3 * CHUNK_BYTES])
def test_another_file_of_that_name_is_left_alone(folder: LazyFolder, length: int | None) -> None:
    """R5."""
    (folder.data_dir / TABLE).unlink()
    if length is not None:
        (folder.data_dir / TABLE).write_bytes(bytes(length))
    assert not folder.put(1, chunk(1)) and folder.map.state(1) == ABSENT
    assert length is None or content(folder) == bytes(length)
    assert set(folder.map.states_by_path(folder.data_dir)) == {INDEX}


def test_a_link_is_not_followed(folder: LazyFolder, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(bytes(3 * CHUNK_BYTES))
    (folder.data_dir / TABLE).unlink()
    (folder.data_dir / TABLE).symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic link"):
        folder.put(1, chunk(1))
    assert (tmp_path / "precious").read_bytes() == bytes(3 * CHUNK_BYTES)


def test_a_chunk_of_another_size_is_refused(folder: LazyFolder) -> None:
    for number, size in ((0, LAST_BYTES), (2, CHUNK_BYTES)):
        with pytest.raises(Damaged):
            folder.put(number, chunk(0, size))
        assert folder.map.state(number) == ABSENT


def test_a_lock_that_a_server_holds_is_waited_for(folder: LazyFolder, tmp_path: Path) -> None:
    """R4. A cut holds the locks of all chunks behind it."""
    holds = (
        "import fcntl, os, struct, sys; fd = os.open(sys.argv[1], os.O_RDWR);"
        "fcntl.fcntl(fd, 38, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 1, 1, 0)); print('held', flush=True);"
        "sys.stdin.read(1); os.truncate(sys.argv[2], 0)"
    )
    command = [sys.executable, "-c", holds, str(tmp_path / "pages.map"), str(folder.data_dir / TABLE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        putting = threading.Thread(target=folder.put, args=(1, chunk(1)))
        putting.start()
        putting.join(0.3)
        assert putting.is_alive()
        holder.stdin.write("x")
        holder.stdin.flush()
        putting.join(10)
    assert content(folder) == b"" and folder.map.state(1) == DIRTY


def test_a_copy_is_not_the_folder(folder: LazyFolder, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", folder.data_dir, tmp_path / "copy"], check=True)
    assert folder.map.is_of(folder.data_dir) and not folder.map.is_of(tmp_path / "copy")
    assert folder.map.states_by_path(tmp_path / "copy") == {}


def test_relations_alone_are_left_out() -> None:
    lazy = ["base/5/16400", "base/5/16400.1", "base/5/16400_vm", "base/5/16400_fsm", "global/1260"]
    whole = [
        "pg_wal/000000010000000000000001",
        "pg_xact/0000",
        "base/5/pg_internal.init",
        "base/pgsql_tmp/x",
        "pg_stat/pgstat.stat",
    ]
    files = [file_of(path, CHUNK_BYTES) for path in [*lazy, *whole]]
    assert [file.path for file in lazy_files(manifest(*files))] == lazy


def without_use(*places: wake_set.Place) -> WakeSet:
    return WakeSet(dict.fromkeys(places, 0))


def test_the_next_wake_has_what_the_last_ones_used(folder: LazyFolder) -> None:
    numbers = folder.chunk_numbers
    first = wake_set.used(numbers, bytes([1, 0, 1, 1]), [2, 0], NOTHING)
    assert list(first.misses) == [(TABLE, 2), (TABLE, 0), (INDEX, 0)]  # as they were waited for, then the rest
    assert WakeSet.from_bytes(first.to_bytes()) == first
    later = first
    for _ in range(2):
        later = wake_set.used(numbers, bytes([1, 0, 0, 0]), [], later)
        assert (TABLE, 2) in later.misses
    later = wake_set.used(numbers, bytes([1, 0, 0, 0]), [], later)
    assert list(later.misses) == [(TABLE, 0)]
    assert wake_set.used(numbers, bytes(4), [], without_use(("gone", 7))).misses == {("gone", 7): 1}


def test_catalogues_and_roots_come_first() -> None:
    places = [("base/5/16400", 3), ("base/5/16400", 0), ("base/5/1249", 1), ("global/1262", 0), ("base/5/1249", 0)]
    numbers = {place: n for n, place in enumerate(places)}
    assert without_use(*places).chunks_of(numbers) == [3, 4, 2, 1, 0]
    assert without_use(("dropped", 0)).chunks_of(numbers) == []
    files = [file_of("base/5/1249", CHUNK_BYTES, CHUNK_BYTES), file_of(TABLE, CHUNK_BYTES)]
    assert list(wake_set.catalogues(files).misses) == [("base/5/1249", 0), ("base/5/1249", 1)]


def test_a_record_that_cannot_be_read_is_none() -> None:
    for text in (b"", b"{", b"[]", b'{"format": 2, "chunks": []}', b'{"format": 1, "chunks": [1]}'):
        assert WakeSet.from_bytes(text) == NOTHING


def test_a_scan_is_fetched_ahead_by_growing_runs() -> None:
    runs, asked, here = Runs(), 0, set[int]()
    for number in range(1000):
        if number not in here:
            asked += 1
            here.update(runs.after(number, 1000))
    assert asked < 40 and max(here) == 999
    assert Runs().after(5, 1000) == range(0)  # one alone is no scan
    runs = Runs()
    runs.after(5, 1000)
    first = runs.after(6, 1000)
    assert first == range(7, 7 + FIRST_CHUNKS)
    assert runs.after(7, 1000) == range(0) and len(runs.after(9, 1000)) == 2 * FIRST_CHUNKS
    assert len(runs.after(9, 1000)) == 0  # once


def test_a_run_ends_with_its_file_and_has_a_bound() -> None:
    runs = Runs()
    runs.after(5, 8)
    assert runs.after(6, 8) == range(7, 8) and runs.after(7, 8) == range(0)
    runs, at = Runs(), 0
    runs.after(0, 10**6)
    for _ in range(20):
        at += 1
        ahead = runs.after(at, 10**6)
        at = ahead.stop - 1 if ahead else at
    assert len(ahead) <= CHUNKS_MAX


def test_many_scattered_ones_are_no_scan() -> None:
    runs = Runs()
    assert all(runs.after(number * 7919 % 10007, 10007) == range(0) for number in range(1, 300))


def test_a_cache_has_a_bound_and_forgets_the_longest_unused(tmp_path: Path) -> None:
    cache = ChunkCache(tmp_path, 100_000)
    for n in range(8):
        cache.put("ten_1", f"{n:02}name", bytes(12_000))
        os.utime(tmp_path / "ten_1" / f"{n:02}" / f"{n:02}name", (n, n))
    assert cache.get("ten_1", "00name") == bytes(12_000)  # used again
    cache.put("ten_1", "99name", bytes(12_000))
    kept = {path.name for path in tmp_path.rglob("*name")}
    assert {"00name", "99name", "07name"} <= kept and "01name" not in kept
    assert cache.get("ten_1", "01name") is None and cache.get("ten_2", "00name") is None
    cache.drop("ten_1", "00name")
    assert cache.get("ten_1", "00name") is None
    nothing = ChunkCache(tmp_path / "none", 0)
    nothing.put("ten_1", "00name", b"x")
    assert nothing.get("ten_1", "00name") is None and not (tmp_path / "none").exists()


MUTATIONS: dict[str, tuple[str, str]] = {
    "R1 data before the mark": ("with self.map.locked(chunk):\n", "with self.map.locked(chunk):\n            self.map.state(chunk) == ABSENT and self.map.mark(chunk, CLEAN)\n"),
    "looked at again under the lock": ("if self.map.state(chunk) != ABSENT:", "if False:"),
    "never longer": ("memoryview(raw)[:room]", "memoryview(raw)"),
    "not behind the end": ("if room <= 0:", "if False:"),
    "the very file": ("if file_id(fd) != entry.file_id:", "if False:"),
    "no links": (" | os.O_NOFOLLOW, dir_fd", ", dir_fd"),
    "the size of a chunk": ("if len(raw) != min(", "if 0 and len(raw) != min("),
    "under a lock": ("with self.map.locked(chunk):", "with open(os.devnull):"),
}  # fmt: skip


@pytest.mark.slow  # again: without each rule the tests above fail
@pytest.mark.parametrize("rule", MUTATIONS)
def test_no_rule_is_there_for_nothing(rule: str, tmp_path: Path) -> None:
    source = Path(module.__file__).read_text()
    there, instead = MUTATIONS[rule]
    assert source.count(there) == 1, "the control no longer fits the source"
    changed = tmp_path / "changed_folder.py"
    changed.write_text(source.replace(there, instead))
    plugin = tmp_path / "breaks_rule.py"
    plugin.write_text(
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('spg99.node.lazy_folder', {str(changed)!r})\n"
        "module = importlib.util.module_from_spec(spec); sys.modules['spg99.node.lazy_folder'] = module\n"
        "spec.loader.exec_module(module)\n"
        "import spg99.node; spg99.node.lazy_folder = module\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "breaks_rule",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "-n",
        "0",
    ]
    command += [__file__, "-k", "not nothing and not cache and not run"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    # What fails here is meant to fail; and in CI pytest shows every difference of long values, which takes minutes for a chunk.
    for name in ("SPG99_OUTCOMES", "CI", "BUILD_NUMBER"):
        environment.pop(name, None)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3]
    )
    assert done.returncode == 1 and "failed" in done.stdout, done.stdout + done.stderr
