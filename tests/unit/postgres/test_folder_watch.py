"""Waiting for a folder to be written: what is written is never missed, and without inotify it looks often."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from spg99.postgres import folder_watch
from spg99.postgres.folder_watch import FolderWatch

LONG_SECONDS = 20.0


def test_what_was_written_before_the_wait_ends_it_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        with FolderWatch(tmp_path) as watch:
            for text in ("one", "two"):
                (tmp_path / "file").write_text(text)
                async with asyncio.timeout(LONG_SECONDS / 2):
                    await watch.wait(LONG_SECONDS)

    asyncio.run(run())


def test_a_wait_ends_by_itself_and_leaves_no_file_open(tmp_path: Path) -> None:
    async def run() -> None:
        with FolderWatch(tmp_path) as watch:
            await watch.wait(0.001)

    open_before = len(os.listdir("/proc/self/fd"))
    asyncio.run(run())
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_its_end_keeps_the_loop_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closing = threading.Event()
    close = os.close

    def close_slowly(fd: int) -> None:
        closing.wait(LONG_SECONDS)
        close(fd)

    async def run() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(folder_watch.os, "close", close_slowly)
            with FolderWatch(tmp_path):
                pass
        closing.set()

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < LONG_SECONDS / 2


def test_without_inotify_it_only_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> int:
        raise OSError(24, "Too many open files", str(folder))

    monkeypatch.setattr(folder_watch, "_watching", refuse)

    async def run() -> None:
        with FolderWatch(tmp_path) as watch:
            async with asyncio.timeout(LONG_SECONDS / 2):
                await watch.wait(LONG_SECONDS)

    asyncio.run(run())


def test_a_folder_that_is_gone_is_no_error(tmp_path: Path) -> None:
    async def run() -> None:
        with FolderWatch(tmp_path / "gone") as watch:
            await watch.wait(0.001)

    asyncio.run(run())
