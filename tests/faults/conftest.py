"""One house for all faults of a worker, and its order file. A house that does not heal fails the test that broke it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.orders import Orders
from house import House, a_house


@pytest.fixture(scope="session")
def orders() -> Iterator[Orders]:
    """Where the house looks for orders to die."""
    with tempfile.TemporaryDirectory(prefix="spg99-orders-") as folder:
        yield Orders(Path(folder) / "order")


@pytest.fixture(scope="session")
def _house(orders: Orders) -> Iterator[House]:
    with a_house(environment=orders.environment) as running:
        yield running


@pytest.fixture
def house(_house: House, orders: Orders) -> Iterator[House]:
    """The whole platform, really running, with no order open."""
    orders.disarm()
    yield _house
    orders.disarm()
