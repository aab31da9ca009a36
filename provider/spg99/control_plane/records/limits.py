"""Limits of an account, from policies; none by default. Here: what one says, refusing with LimitExceeded. Not here: counting."""

from __future__ import annotations

from spg99.errors import LimitExceeded

NO_LIMIT = -1


def maximum(policy: int) -> int | None:
    """The limit that such a policy says; None: no limit."""
    return None if policy == NO_LIMIT else policy


def exceeded(key: str, most: int, sentence: str) -> LimitExceeded:
    """The refusal of one more."""
    return LimitExceeded(f"{sentence} Delete one, or ask for a larger plan.", details={"limit": key, "maximum": most})
