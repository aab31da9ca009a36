"""Spares: there when they are needed, made when nobody is, and never one that is half made."""

from __future__ import annotations

from pathlib import Path

import pytest

from spg99.node import spares
from spg99.node.folder import NodeFolder
from spg99.node.spares import REST_SECONDS, SPARES, Spares
from spg99.postgres.reserve import Disk


class Bench:
    """Spares whose copies are a file, on a clock of the test."""

    def __init__(self, folder: Path) -> None:
        self.node = NodeFolder(folder, folder / "run")
        self.node.spares_dir.mkdir()
        self.now = 0.0
        self.fails = False
        self.spares = Spares(self.node, self._copy, monotonic=lambda: self.now)
        self.targets = (folder / f"target-{number}" for number in range(99))

    async def _copy(self, path: Path) -> None:
        path.mkdir()
        (path / "first half").touch()
        if self.fails:
            raise OSError("The disk is full.")
        (path / "second half").touch()

    def take(self) -> bool:
        target = next(self.targets)
        return self.spares.take(target) and len(list(target.iterdir())) == 2

    async def settle(self) -> None:
        self.now += REST_SECONDS
        for _ in range(SPARES + 1):
            await self.spares.fill()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_each_is_taken_once_and_made_again(bench: Bench) -> None:
    await bench.settle()
    assert [bench.take() for _ in range(SPARES + 1)] == [True] * SPARES + [False]
    await bench.settle()
    assert bench.take()


async def test_none_is_made_while_somebody_starts(bench: Bench) -> None:
    await bench.settle()
    bench.take()
    assert await bench.spares.fill() == REST_SECONDS
    assert len(list(bench.node.spares_dir.iterdir())) == SPARES - 1


async def test_what_a_former_agent_left_is_not_used(bench: Bench) -> None:
    (bench.node.spares_dir / "left").mkdir()
    assert not bench.take()
    await bench.settle()
    assert not (bench.node.spares_dir / "left").exists()


async def test_a_copy_that_fails_leaves_nothing(bench: Bench) -> None:
    bench.fails = True
    with pytest.raises(OSError, match="full"):
        await bench.settle()
    assert list(bench.node.spares_dir.iterdir()) == [] and not bench.take()


async def test_none_is_made_on_a_disk_that_is_nearly_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "disk_of", lambda _: Disk(10**12, 10**6))
    await bench.settle()
    assert not bench.take()


async def test_one_that_was_removed_by_hand_is_not_missed(bench: Bench) -> None:
    await bench.settle()
    for path in bench.node.spares_dir.iterdir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    assert not bench.take()
