"""Which Control Plane this process talks to: configuration in, Operations out. One connection per address and key."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from spg99.bridges.shared import background
from spg99.reach import ClientSettings, client_settings

if TYPE_CHECKING:
    from spg99.bridges.shared.operations import Operations

T = TypeVar("T")

_lock = threading.Lock()
_open: dict[ClientSettings, Operations] = {}


def settings_from(config: Mapping[str, Any]) -> ClientSettings:
    """Settings from a provider's configuration: the whole stack's (`spg99:url`) or that of an explicit provider (`url`).

    What is missing comes from the environment. Raises Unauthorized with a sentence that names all ways.
    """
    url = config.get("url") or config.get("spg99:url")
    api_key = config.get("apiKey") or config.get("spg99:apiKey")
    ca_file = config.get("caFile") or config.get("spg99:caFile")
    return client_settings(url=url, api_key=api_key, ca_file=ca_file)


def operations(settings: ClientSettings) -> Operations:
    """The operations on this Control Plane; connects at the first call."""
    with _lock:
        if settings not in _open:
            _open[settings] = _connect(settings)
        return _open[settings]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs an operation and waits for it, in this thread until it has to wait for what others tell (client/loopless.py)."""
    from spg99.client import loopless  # start time: a preview of new objects asks nobody

    return loopless.run(work, background.go_on)


def interrupt() -> None:
    """Pulumi ends the run, at its end or before: ends all waits, and acknowledges what was created."""
    for connection in list(_open.values()):
        with contextlib.suppress(RuntimeError):
            background.call(connection.interrupt)
    for connection in list(_open.values()):
        with contextlib.suppress(RuntimeError):
            run(connection.acknowledge())


def _connect(settings: ClientSettings) -> Operations:
    from spg99.bridges.shared.connecting import connected
    from spg99.bridges.shared.words import PULUMI_DYNAMIC

    return connected(settings, PULUMI_DYNAMIC)
