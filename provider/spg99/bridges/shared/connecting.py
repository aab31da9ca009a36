"""The connection of a bridge to one Control Plane, opened the same way for every tool. Not here: which one (a tool's configuration,
spg99/reach.py), what is asked (operations.py), threads to async and back (background.py).

It brings asyncio and httpx along: a bridge imports it when it connects, not before.
"""

from __future__ import annotations

from spg99.bridges.shared.operations import Operations
from spg99.bridges.shared.words import Words
from spg99.client import Client
from spg99.reach import ClientSettings

ATTEMPTS_MAX = 10
"""About half a minute: a Control Plane that is being restarted comes back in less."""


def connected(settings: ClientSettings, words: Words, *, user_agent: str | None = None) -> Operations:
    """The operations on this Control Plane, said in a tool's words. Nothing is sent before the first of them."""
    return Operations(Client.of(settings, max_attempts=ATTEMPTS_MAX, user_agent=user_agent), words)
