"""When a safekeeper says that something is wrong with it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from spg99.protocol.safekeeper import Trouble
from spg99.safekeeper.health import Health, SafekeeperMetrics, health, is_short

GIB = 1 << 30


def test_a_disk_is_short_long_before_it_is_full() -> None:
    assert is_short(50 * GIB, 4 * GIB)
    assert not is_short(50 * GIB, 6 * GIB)
    assert is_short(1000 * GIB, 9 * GIB)  # of a large one not a tenth, but ten gigabytes
    assert not is_short(1000 * GIB, 11 * GIB)


def test_it_complains_of_itself_and_not_of_computes_that_do_not_answer() -> None:
    well = health([None, Trouble.AWAY, Trouble.FILLING], disk_total_bytes=50 * GIB, disk_free_bytes=40 * GIB, damaged=0)
    assert well.complaints() == []
    ill = health(
        [Trouble.DISK, Trouble.DISK, Trouble.CUT_OFF], disk_total_bytes=50 * GIB, disk_free_bytes=GIB, damaged=3
    )
    short, disk, cut_off, damaged = ill.complaints()
    assert "1024 of 51200 MiB are free" in short
    assert "refuses the WAL of 2 timelines" in disk
    assert "for 1 timelines" in cut_off
    assert "3 timelines is damaged" in damaged


def test_what_it_shows() -> None:
    registry = CollectorRegistry()
    metrics = SafekeeperMetrics(registry)
    metrics.show(Health(50 * GIB, GIB, 1, {Trouble.DISK: 2}))
    metrics.show(Health(50 * GIB, 40 * GIB, 0, {Trouble.AWAY: 1}))
    text = generate_latest(registry).decode()
    assert 'spg99_safekeeper_timelines_not_taken{trouble="disk"} 0.0' in text
    assert 'spg99_safekeeper_timelines_not_taken{trouble="away"} 1.0' in text
    assert "spg99_safekeeper_disk_short 0.0" in text
