"""What a safekeeper's answer asks of the agent whose compute it should follow (pure). Not here: asking (safekeepers.py)."""

from __future__ import annotations

from enum import StrEnum

from spg99.protocol.safekeeper import KeeperSeen


class Standing(StrEnum):
    """How a safekeeper stands with the compute that runs."""

    FOLLOWS = "follows"
    """It takes its WAL, or tries to."""
    IS_TO_FOLLOW = "is to follow"
    """It was not reached when this compute began, or has been away since: it has to be asked."""
    CUT_OFF = "cut off"
    """It follows, and will never have what comes next."""
    OUTDONE = "outdone"
    """A later compute has its promise: this one's turn is over."""


def standing(seen: KeeperSeen, term: int) -> Standing:
    """How this safekeeper stands with the compute of that term."""
    if seen.promised_term > term:
        return Standing.OUTDONE
    if seen.following_term != term:
        return Standing.IS_TO_FOLLOW
    return Standing.CUT_OFF if seen.is_cut_off else Standing.FOLLOWS
