"""One platform for all faults of a worker, and its order file. A platform that does not heal fails the test that broke it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.orders import Orders
from kit.platform import Platform, a_platform


@pytest.fixture(scope="session")
def orders() -> Iterator[Orders]:
    """Where the platform looks for orders to die."""
    with tempfile.TemporaryDirectory(prefix="spg99-orders-") as folder:
        yield Orders(Path(folder) / "order")


@pytest.fixture(scope="session")
def _platform(orders: Orders) -> Iterator[Platform]:
    with a_platform(environment=orders.environment) as running:
        yield running


@pytest.fixture
def platform(_platform: Platform, orders: Orders) -> Iterator[Platform]:
    """The whole platform, really running, with no order open."""
    orders.disarm()
    yield _platform
    orders.disarm()
