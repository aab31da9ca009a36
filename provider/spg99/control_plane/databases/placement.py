"""Which node a new timeline goes to (pure). Here: choosing among those there are. Not here: reading them (observe.py)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from spg99.control_plane.databases.view import NodeView


def choose(candidates: Iterable[NodeView], now: datetime) -> NodeView | None:
    """The node with the most free disk of those that are active and heard of, one that is short of it last; None: there is none."""
    fit = [node for node in candidates if node.status == "active" and not node.silent(now)]
    return min(fit, key=lambda node: (node.disk_is_short, -node.disk_free_bytes, node.node_id), default=None)
