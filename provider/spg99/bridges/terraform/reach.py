"""The connection of this process to one Control Plane, made at the first call that needs it.

Here: threads to async and back. Not here: which Control Plane (configuration.py), what is asked (bridges/shared/operations.py).
A call runs in the thread that asks for it, without asyncio and httpx, until it has to wait for what others tell
(client/loopless.py): from then on all threads share one event loop. Most calls of most processes never get there.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from spg99.bridges.terraform.configuration import Configuration, user_agent
from spg99.reach import ClientSettings

if TYPE_CHECKING:
    from contextvars import Context

    from spg99.bridges.shared.operations import Operations
    from spg99.client import Client

T = TypeVar("T")


class Reach:
    """Operations on the configured Control Plane, for any thread."""

    def __init__(self, configuration: Configuration, version: str) -> None:
        self._configuration = configuration
        self._version = version
        self._lock = allocate_lock()
        self._open: Operations | None = None
        self.is_interrupted = False
        """All waits were ended; a new configuration makes a new connection."""

    def run(self, work: Callable[[Operations], Coroutine[Any, Any, T]]) -> T:
        """Carries out `work` and waits for it in this thread."""
        return _carried_out(work(self._connected()))

    def run_client(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """The same, for work that needs the client itself."""
        return _carried_out(work(self._connected().client))

    def interrupt(self) -> None:
        """Ends all waits, those to come too. Returns at once."""
        self.is_interrupted = True
        if self._open is not None:
            from spg99.bridges.shared import background

            background.call(self._open.interrupt)

    def _connected(self) -> Operations:
        with self._lock:
            if self._open is None:
                self._open = self._connect()
                if self.is_interrupted:
                    self._open.interrupt()
            return self._open

    def _connect(self) -> Operations:
        from spg99.bridges.shared.connecting import connected
        from spg99.bridges.shared.words import TERRAFORM

        given = self._configuration
        return connected(
            ClientSettings(given.url, given.api_key, given.ca_file or None),
            TERRAFORM,
            user_agent=user_agent(self._version, given.terraform_version, os.environ),
        )


def _carried_out(work: Coroutine[Any, Any, T]) -> T:
    from spg99.client import loopless

    return loopless.run(work, _go_on)


def _go_on(work: Coroutine[Any, Any, T], context: Context) -> T:
    from spg99.bridges.shared import background

    return background.go_on(work, context)
