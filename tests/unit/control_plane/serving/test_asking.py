"""A call that asks others before it may go on has an end, whatever they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from spg99.control_plane.serving import waits
from spg99.errors import Conflict, Spg99Error


@asynccontextmanager
async def _transaction() -> AsyncIterator[None]:
    yield


async def test_who_connects_again_after_every_answer_does_not_hold_the_call_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waits, "ASKING_SECONDS_MAX", 0.05)
    call: Any = SimpleNamespace(
        plane=SimpleNamespace(store=SimpleNamespace(transaction=_transaction)),
        request=SimpleNamespace(scope={"state": {}}),
    )
    attempts = 0

    async def attempt(tx: Any, refused: Spg99Error | None) -> tuple[str, ...]:
        nonlocal attempts
        attempts += 1
        assert attempts < 1_000_000
        if refused is not None:
            raise refused
        return ("op_1",)

    async def nothing_in_the_way(asked: tuple[str, ...], /, *, until: float) -> Spg99Error | None:
        return None

    with pytest.raises(Conflict, match="connects again"):
        await waits.asking(call, attempt, nothing_in_the_way)
