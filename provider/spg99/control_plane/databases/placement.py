"""Which node a new timeline goes to, and which safekeepers it has (pure). Here: choosing among those there are. Not here: reading them (observe.py)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from spg99.control_plane.databases.view import Keeping, NodeView
from spg99.protocol.safekeeper import Configuration, Members


def choose(candidates: Iterable[NodeView], now: datetime) -> NodeView | None:
    """The node with the most free disk of those that are active and heard of, one that is short of it last; None: there is none."""
    fit = [node for node in candidates if node.status == "active" and not node.silent(now)]
    return min(fit, key=lambda node: (node.disk_is_short, -node.disk_free_bytes, node.node_id), default=None)


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
