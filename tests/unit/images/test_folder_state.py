"""Which files count as unchanged, and what stays out of an image. Not here: real clusters (tests/integration/images)."""

from __future__ import annotations

from pathlib import Path

import pytest

from spg99.errors import BadRequest
from spg99.images.folder_state import Seen, Signature, is_wal_left_out, read_state

SECOND = 1_000_000_000
THEN = Signature(size_bytes=8192, mtime_ns=10 * SECOND, ctime_ns=10 * SECOND, inode=7)


@pytest.mark.parametrize(
    ("changed", "same", "same_in_a_copy"),
    [
        ({}, True, True),
        ({"size_bytes": 16384}, False, False),
        ({"mtime_ns": 10 * SECOND + 1}, False, False),
        ({"mtime_ns": 9 * SECOND}, False, False),
        ({"ctime_ns": 11 * SECOND}, False, True),
        ({"inode": 8}, False, True),
    ],
)
def test_a_file_is_the_same_by_all_that_the_kernel_says(
    changed: dict[str, int], same: bool, same_in_a_copy: bool
) -> None:
    seen, now = Seen(12 * SECOND, {"base/1/2": THEN}), THEN._replace(**changed)
    assert seen.is_unchanged("base/1/2", now, is_copy=False) is same
    assert seen.is_unchanged("base/1/2", now, is_copy=True) is same_in_a_copy
    assert not seen.is_unchanged("base/1/3", now, is_copy=True)


@pytest.mark.parametrize(
    ("at_ns", "same"), [(10 * SECOND, False), (10 * SECOND + 20_000_000, False), (11 * SECOND, True)]
)
def test_what_changed_within_a_tick_of_being_seen_may_change_once_more(at_ns: int, same: bool) -> None:
    assert Seen(at_ns, {"a": THEN}).is_unchanged("a", THEN, is_copy=False) is same
    assert Seen(at_ns, {"a": THEN}).is_unchanged("a", THEN, is_copy=True) is same


def test_what_stays_out(tmp_path: Path) -> None:
    names = ["PG_VERSION", "base/1/1259", "base/1/pg_internal.init", "base/1/t3_16400", "base/pgsql_tmp/pgsql_tmp1.0"]
    names += ["postmaster.pid", "postmaster.opts", "pg_replslot/sk1/state", "pg_stat/pgstat.stat", "pg_subtrans/0000"]
    names += ["pg_wal/000000010000000000000001", "pg_wal/archive_status/x.done", "pg_notify/0000", "global/pg_control"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    state = read_state(tmp_path)
    assert sorted(state.seen.files) == [
        "PG_VERSION", "base/1/1259", "global/pg_control", "pg_stat/pgstat.stat", "pg_wal/000000010000000000000001",
    ]  # fmt: skip
    assert {"pg_replslot", "pg_subtrans", "pg_notify", "pg_wal/archive_status"} <= set(state.dirs)
    assert not {"pg_replslot/sk1", "base/pgsql_tmp"} & set(state.dirs)


def test_of_wal_the_segments_of_the_checkpoint_and_the_histories_stay() -> None:
    segments = frozenset({"000000020000000000000005"})
    assert not is_wal_left_out("pg_wal/000000020000000000000005", segments)
    assert not is_wal_left_out("pg_wal/00000002.history", segments)
    for name in (
        "000000020000000000000006",
        "xlogtemp.12",
        "000000010000000000000005.partial",
        "000000010000000000000005",
    ):
        assert is_wal_left_out(f"pg_wal/{name}", segments)
    assert not is_wal_left_out("base/1/1259", segments)


def test_a_link_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "pg_tblspc").mkdir()
    (tmp_path / "pg_tblspc" / "16400").symlink_to(tmp_path)
    with pytest.raises(BadRequest, match="has a tablespace"):
        read_state(tmp_path)
    (tmp_path / "pg_tblspc" / "16400").rename(tmp_path / "link")
    with pytest.raises(BadRequest, match="no file and no folder"):
        read_state(tmp_path)
