"""What a run tells at its end of the creates that it has recorded: all of them, in as many calls as it takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from spg99.bridges.shared.operations import ACKNOWLEDGED_MAX, Operations
from spg99.client import Client


@pytest.mark.parametrize("count", [0, 1, ACKNOWLEDGED_MAX, ACKNOWLEDGED_MAX + 1, 3 * ACKNOWLEDGED_MAX])
async def test_every_key_is_told_once(count: int) -> None:
    told: list[list[str]] = []

    async def acknowledge(keys: list[str]) -> None:
        told.append(list(keys))

    operations = Operations(cast(Client, SimpleNamespace(acknowledge=acknowledge)), cast(Any, None))
    operations._answered = [f"key-{number}" for number in range(count)]
    await operations.acknowledge()
    assert [key for keys in told for key in keys] == [f"key-{number}" for number in range(count)]
    assert all(1 <= len(keys) <= ACKNOWLEDGED_MAX for keys in told)
    await operations.acknowledge()
    assert sum(map(len, told)) == count
