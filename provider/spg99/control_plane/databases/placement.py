"""Which node a timeline goes to, first and later, and which safekeepers it has (pure). Here: choosing among those there are. Not here: reading them (observe.py)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from spg99.control_plane.databases.view import Keeping, NodeView
from spg99.protocol.safekeeper import Configuration, Members


def choose(candidates: Iterable[NodeView], now: datetime) -> NodeView | None:
    """The node with the most free disk of those that are active and heard of, one that is short of it last; None: there is none."""
    fit = [node for node in candidates if node.status == "active" and not node.silent(now)]
    return min(fit, key=lambda node: (node.disk_is_short, -node.disk_free_bytes, node.node_id), default=None)


def choose_again(
    own: NodeView | None, candidates: Iterable[NodeView], now: datetime, *, own_is_away: bool
) -> NodeView | None:
    """Where the next compute of a timeline goes whose WAL safekeepers keep, so that any node can have it; None: where the last one was.

    It stays where its files are, also on a node that takes nothing new. From one that is away, was removed or is to be emptied it goes to one that
    has had it before, the latest first, else to the one with the most free disk; one that is short of disk comes last. Where there is no other, it stays.
    """
    if own is not None and own.status in ("active", "cordoned") and own.keeps_wal and not own_is_away:
        return None
    fit = [
        node
        for node in candidates
        if node.status == "active"
        and node.keeps_wal
        and not node.silent(now)
        and (own is None or node.node_id != own.node_id)
    ]
    return min(
        fit, key=lambda node: (node.disk_is_short, -node.last_term, -node.disk_free_bytes, node.node_id), default=None
    )


class TooFew(Exception):
    """There are not as many safekeepers as the account's policy wants."""

    def __init__(self, there: int) -> None:
        self.there = there


def choose_safekeepers(keeping: Keeping, before: Configuration | None, now: datetime) -> Configuration | None:
    """Who keeps the WAL of a timeline that begins; None: nobody, as the policy wants. Raises TooFew.

    Those with the most free disk, those that are short of it last. An attempt that has failed is followed by one with the same, unless one of them is silent: then it is another
    configuration, and what the former ones have of the timeline counts for nothing, as nothing of it was acknowledged.
    """
    if keeping.safekeepers == 0:
        return None
    fit = sorted(
        (one for one in keeping.candidates if not one.silent(now)),
        key=lambda one: (one.disk_is_short, -one.disk_free_bytes, one.safekeeper_id),
    )
    quorum = min(keeping.quorum, keeping.safekeepers) or keeping.safekeepers // 2 + 1
    if before is not None:
        ids = before.members.safekeeper_ids
        if (
            len(ids) == keeping.safekeepers
            and before.members.quorum == quorum
            and {one.safekeeper_id for one in fit}.issuperset(ids)
        ):
            return before
    if len(fit) < keeping.safekeepers:
        raise TooFew(len(fit))
    members = Members(safekeeper_ids=[one.safekeeper_id for one in fit[: keeping.safekeepers]], quorum=quorum)
    return Configuration(number=1 if before is None else before.number + 1, members=members)
