"""Old rows go a bounded number at a time, whatever they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spg99.control_plane.store import prune
from spg99.control_plane.store.queries import names, statement

AT_ONCE = 7


class Rows:
    """A store of nothing but old rows, which counts transactions."""

    def __init__(self, count: int) -> None:
        self.left, self.transactions = count, 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        self.transactions += 1
        yield self

    async def forget(self, tx: Any, moment: datetime, /, *, limit: int) -> int:
        assert tx is self and limit == AT_ONCE
        gone = min(limit, self.left)
        self.left -= gone
        return gone


@given(st.integers(0, 60))
def test_all_go_and_no_transaction_takes_more_than_it_may(count: int) -> None:
    rows = Rows(count)
    assert asyncio.run(prune(rows, rows.forget, datetime.now(UTC), rows_at_once=AT_ONCE)) == count  # type: ignore[arg-type]
    assert rows.left == 0 and rows.transactions == count // AT_ONCE + 1


def of_age() -> list[str]:
    """Queries that delete what is older than a moment, of all objects (those of one database are few)."""
    return [
        name
        for name in sorted(names())
        if "\ndelete from" in f"\n{statement(name)}"
        and "%(moment)s" in statement(name)
        and "%(db_id)s" not in statement(name)
    ]


@pytest.mark.parametrize("name", of_age())
def test_no_query_deletes_all_that_is_old_at_once(name: str) -> None:
    assert "limit %(limit)s" in statement(name), f"{name} may delete a million rows in one transaction"


def test_the_queries_are_found() -> None:
    assert len(of_age()) >= 7
