"""Who does something, for the audit log. Here: the word. Not here: what they may do (serving/call.py)."""

from __future__ import annotations

from dataclasses import dataclass

from spg99.declarer import Declarer


@dataclass(frozen=True)
class Actor:
    """An API key, a node, a gateway, or the system itself; with the request in which it acts."""

    id: str
    """`key_...`, `node_...`, `gw_...` or `system`."""
    request_id: str | None = None
    declarer: Declarer | None = None
    """The stack or state on whose behalf it acts, where the client says (records/declarations.py)."""


SYSTEM = Actor("system")
"""The Control Plane acting by itself: loops and janitors."""
