"""Which files of sleeping databases go: the oldest first, no more than must, never those that run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spg99.node.cache_rules import CachedFolder, CacheLimits, evictions, free_bytes_wanted
from spg99.postgres.reserve import Disk

GB = 1 << 30
ROOMY = Disk(100 * GB, 90 * GB)
A, B, C = (CachedFolder(name, GB, used_at) for name, used_at in (("a", 100.0), ("b", 200.0), ("c", 300.0)))


def test_without_a_bound_and_with_room_everything_stays() -> None:
    assert evictions([A, B, C], 0, CacheLimits(), ROOMY, now=1e9) == []


def test_the_longest_unused_go_until_it_fits() -> None:
    assert evictions([C, A, B], 0, CacheLimits(bytes_max=2 * GB), ROOMY, now=400) == ["a"]
    assert evictions([C, A, B], 0, CacheLimits(bytes_max=0), ROOMY, now=400) == ["a", "b", "c"]


def test_what_runs_takes_room_and_does_not_go() -> None:
    assert evictions([B, C], 3 * GB, CacheLimits(bytes_max=4 * GB), ROOMY, now=400) == ["b"]


def test_what_nobody_has_used_for_long_goes() -> None:
    assert evictions([A, B, C], 0, CacheLimits(unused_seconds_max=150), ROOMY, now=400) == ["a", "b"]


def test_a_disk_that_runs_full_takes_the_longest_unused_until_there_is_room() -> None:
    wanted = free_bytes_wanted(ROOMY)
    assert evictions([A, B, C], 0, CacheLimits(), Disk(100 * GB, wanted), now=400) == []
    assert evictions([A, B, C], 0, CacheLimits(), Disk(100 * GB, wanted - 1), now=400) == ["a"]
    assert evictions([A, B, C], 0, CacheLimits(), Disk(100 * GB, wanted - GB - 1), now=400) == ["a", "b"]


@given(
    sizes=st.lists(st.tuples(st.integers(0, 10), st.integers(0, 100)), max_size=8),
    bytes_max=st.none() | st.integers(0, 40),
    unused_max=st.none() | st.integers(0, 100),
    running=st.integers(0, 20),
)
def test_no_more_and_no_less_than_must(
    sizes: list[tuple[int, int]], bytes_max: int | None, unused_max: int | None, running: int
) -> None:
    folders = [CachedFolder(str(n), size, used_at) for n, (size, used_at) in enumerate(sizes)]
    gone = evictions(folders, running, CacheLimits(bytes_max, unused_max), ROOMY, now=100)
    stay = [folder for folder in folders if folder.timeline_id not in gone]
    left = running + sum(folder.size_bytes for folder in stay)
    assert bytes_max is None or left <= bytes_max or not stay
    assert all(unused_max is None or 100 - folder.used_at <= unused_max for folder in stay)
    newest_gone = [folder for folder in folders if folder.timeline_id in gone]
    for folder in newest_gone:  # each was too old, or without it there was still too much
        older = sum(
            f.size_bytes for f in newest_gone if (f.used_at, f.timeline_id) < (folder.used_at, folder.timeline_id)
        )
        whole = running + sum(f.size_bytes for f in folders)
        too_old = unused_max is not None and 100 - folder.used_at > unused_max
        assert too_old or (bytes_max is not None and whole - older > bytes_max)
