"""A real catalogue, one or more Control Planes on it, and scripted agents and Gateways that speak the internal API."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from integration.control_plane.databases.in_process_platform import InProcessPlatform
from spg99.control_plane.catalogue import ADMIN, EmbeddedCatalogue
from spg99.control_plane.store import migrate


class _Thread:
    """A loop that lives as long as the test run: the catalogue's process belongs to it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@pytest.fixture(scope="session")
def catalogue(session_data_dir: Path) -> Iterator[str]:
    """URL of a running catalogue; its database is migrated and serves as template."""
    thread = _Thread()
    embedded = EmbeddedCatalogue(session_data_dir)
    url = thread.run(embedded.start())
    migrate.up(url)
    with psycopg.connect(_as_admin(url), autocommit=True) as connection:
        # Nobody cuts the power here, and making a database per test waits for the disk otherwise.
        connection.execute("alter system set fsync = off")
        connection.execute("select pg_reload_conf()")
    yield url
    thread.run(embedded.stop())
    thread.end()


@pytest.fixture
def catalogue_url(catalogue: str) -> Iterator[str]:
    """URL of a fresh catalogue database."""
    name = f"t_{threading.get_ident()}_{_next()}"
    admin = _as_admin(catalogue)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"create database {name} template spg99 owner spg99_owner")
    yield catalogue.replace("/spg99?", f"/{name}?")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
async def platform(catalogue_url: str, data_dir: Path) -> AsyncIterator[InProcessPlatform]:
    """One Control Plane with an organization and a tenant; agents and Gateways are added by the test."""
    async with InProcessPlatform(catalogue_url, data_dir) as platform:
        yield platform


def _as_admin(url: str) -> str:
    return url.replace("spg99_owner@", f"{ADMIN}@").replace("/spg99?", "/postgres?")


_count = iter(range(10_000))


def _next() -> int:
    return next(_count)
