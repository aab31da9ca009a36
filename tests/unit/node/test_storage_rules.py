"""How much disk a node lets each database take: no history of growth, however fast, reaches the low-water mark."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from spg99.node.storage_rules import (
    GB,
    MB,
    Grower,
    bounds,
    grants,
    is_short,
    kept_bytes,
    low_water_bytes,
    new_timeline_bytes_min,
    sentence,
    taken,
    words,
)
from spg99.postgres.reserve import Disk, Reserve, is_needed, reserve_bytes
from spg99.resources import StorageState

disks = st.integers(200 * MB, 1000 * GB).flatmap(
    lambda total: st.integers(0, total).map(lambda free: Disk(total_bytes=total, free_bytes=free))
)
growers = st.lists(
    st.tuples(st.sampled_from([0, 64 * MB, GB, 100 * GB]), st.integers(0, 200 * GB), st.integers(-GB, 10 * GB)),
    max_size=20,
).map(lambda rows: [Grower(f"tl_{number}", *row) for number, row in enumerate(rows)])


@given(disks, growers)
def test_all_grants_together_are_no_more_than_the_room(disk: Disk, found: list[Grower]) -> None:
    granted = grants(found, disk)
    assert granted.keys() == {grower.timeline_id for grower in found}
    growth = sum(max(0, granted[grower.timeline_id].limit_bytes - grower.used_bytes) for grower in found)
    assert growth <= max(0, disk.free_bytes - low_water_bytes(disk.total_bytes))


@given(disks, growers)
def test_a_grant_is_never_more_than_the_databases_own_limit(disk: Disk, found: list[Grower]) -> None:
    for grower in found:
        grant = grants(found, disk)[grower.timeline_id]
        if grower.limit_bytes:
            assert grant.limit_bytes <= grower.limit_bytes
        if grant.short is StorageState.LIMIT_REACHED:
            assert grant.limit_bytes == grower.limit_bytes


@given(disks, growers)
def test_who_grows_gets_at_least_as_much_as_who_does_not(disk: Disk, found: list[Grower]) -> None:
    unlimited = [Grower(grower.timeline_id, 0, grower.used_bytes, grower.grown_bytes) for grower in found]
    granted = grants(unlimited, disk)
    shares = sorted(
        (max(0, one.grown_bytes), granted[one.timeline_id].limit_bytes - one.used_bytes) for one in unlimited
    )
    assert [share for _, share in shares] == sorted(share for _, share in shares)


@given(st.integers(200 * MB, 100 * GB), st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_two_who_write_as_fast_as_they_may_never_reach_the_low_water_mark(total: int, greed: list[float]) -> None:
    used, free = {"tl_1": 0, "tl_2": 0}, total
    grown = dict.fromkeys(used, 0)
    for step in greed:
        granted = grants([Grower(name, 0, used[name], grown[name]) for name in used], Disk(total, free))
        grown = {
            "tl_1": granted["tl_1"].limit_bytes - used["tl_1"],
            "tl_2": int(step * (granted["tl_2"].limit_bytes - used["tl_2"])),
        }
        used = {name: used[name] + grown[name] for name in used}
        free = total - sum(used.values())
        assert free >= low_water_bytes(total)


@given(st.integers(500 * MB, 100 * GB), st.lists(st.floats(0.2, 1), min_size=1, max_size=4), st.integers(0, 10 * MB))
def test_a_calm_neighbour_of_those_who_take_all_they_can_goes_on(
    total: int, greed: list[float], calm_used: int
) -> None:
    """It adds a page a look, and is never refused before it has had its own part of what is kept."""
    used = {f"tl_{number}": 0 for number in range(len(greed))} | {"calm": calm_used}
    part = kept_bytes(total) // len(used)
    page = max(8192, part // 300)
    grown, took, had = dict.fromkeys(used, 0), dict.fromkeys(used, 0), 0
    for _ in range(400):
        disk = Disk(total, total - sum(used.values()))
        seen = [Grower(name, 0, used[name], grown[name], took[name]) for name in used]
        took = taken(seen, disk)
        granted = grants(
            [Grower(one.timeline_id, 0, one.used_bytes, one.grown_bytes, took[one.timeline_id]) for one in seen], disk
        )
        grown = {
            f"tl_{number}": int(share * (granted[f"tl_{number}"].limit_bytes - used[f"tl_{number}"]))
            for number, share in enumerate(greed)
        }
        grown["calm"] = page if granted["calm"].limit_bytes - used["calm"] >= page else 0
        assert grown["calm"] or had >= part - 2 * page, f"refused after {had} of its {part} bytes"
        had += grown["calm"]
        used = {name: used[name] + grown[name] for name in used}
        assert total - sum(used.values()) >= low_water_bytes(total)


@given(disks)
def test_a_node_that_is_short_lets_nobody_grow_and_heals_by_itself(disk: Disk) -> None:
    one = [Grower("tl_1", 0, 10 * MB)]
    if is_short(disk):
        assert grants(one, disk)["tl_1"].limit_bytes == 10 * MB
        assert grants(one, disk)["tl_1"].short is StorageState.NODE_FULL
    else:
        assert grants(one, disk)["tl_1"].limit_bytes > 10 * MB


@given(disks)
def test_the_reserve_does_not_come_and_go(disk: Disk) -> None:
    size = reserve_bytes(disk.total_bytes)
    if not is_needed(disk, is_there=False):
        assert not is_needed(Disk(disk.total_bytes, disk.free_bytes - size), is_there=True)
    if is_needed(disk, is_there=True):
        assert is_needed(Disk(disk.total_bytes, disk.free_bytes + size), is_there=False)


def test_the_reserve_takes_real_disk_goes_and_comes_back(tmp_path: Path) -> None:
    path, total = tmp_path / "reserve", 160 * MB
    reserve = Reserve(path)
    assert reserve.keep(Disk(total, total)) and not reserve.is_given_up
    assert path.stat().st_blocks * 512 >= reserve_bytes(total) == 10 * MB
    assert not reserve.keep(Disk(total, 20 * MB)) and path.exists()
    assert not reserve.is_missed(Disk(total, 20 * MB))
    assert reserve.keep(Disk(total, 5 * MB)) and reserve.is_given_up and not path.exists()
    assert reserve.is_missed(Disk(total, 15 * MB)) and not reserve.is_missed(Disk(total, 31 * MB))
    assert not reserve.keep(Disk(total, 20 * MB)) and reserve.is_given_up
    assert reserve.keep(Disk(total, 31 * MB)) and not reserve.is_given_up


@given(st.integers(200 * MB, 1000 * GB))
def test_databases_stop_growing_long_before_new_ones_are_refused(total: int) -> None:
    assert reserve_bytes(total) <= new_timeline_bytes_min(total) <= low_water_bytes(total) // 2


@given(st.integers(0, 1 << 46), st.sampled_from([256 * MB, GB]), st.integers(200 * MB, 1000 * GB))
def test_wal_and_temporary_files_lie_inside_of_the_limit(limit: int, wal_max: int, total: int) -> None:
    within = bounds(limit, wal_bytes_max=wal_max, disk_total_bytes=total)
    assert 16 * MB <= within.wal_bytes <= max(wal_max, 16 * MB)
    if limit >= 128 * MB:
        assert within.wal_bytes <= limit // 8 and within.temp_file_bytes <= limit // 2
        assert within.reserve_bytes <= limit // 16


def test_sentences_name_the_limit() -> None:
    one = grants([Grower("tl_1", 512 * MB, 0)], Disk(1000 * GB, 500 * GB))["tl_1"]
    assert sentence(one, configured_bytes=512 * MB) == (
        "this database has reached its storage limit of 512 MB (storage_limit_bytes): "
        "delete, truncate or drop something, or raise the limit"
    )
    full = grants([Grower("tl_1", 512 * MB, 0)], Disk(GB, MB))["tl_1"]
    assert "disk of this database's node is nearly full" in sentence(full, configured_bytes=0)
    assert [words(size) for size in (GB, 3 * GB // 2, 100_000_000, 67_108_865)] == [
        "1 GB",
        "1536 MB",
        "100000000 bytes",
        "67108865 bytes",
    ]
