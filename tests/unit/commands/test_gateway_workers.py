"""How many workers the Gateway of `spg99 dev` has. Here: whose word counts. Not here: workers (tests/integration/gateway)."""

from __future__ import annotations

from typing import Any

import pytest

from spg99.commands.supervisor import gateway_workers
from spg99.config import DevSettings, GatewaySettings


@pytest.mark.parametrize(
    ("asked", "gateway", "expected"),
    [(None, {}, 0), (None, {"workers": 3}, 3), (2, {"workers": 3}, 2), (4, {}, 4)],
)
def test_none_unless_more_are_asked_for(asked: int | None, gateway: dict[str, Any], expected: int) -> None:
    assert gateway_workers(DevSettings(gateway_workers=asked), GatewaySettings(**gateway)) == expected
