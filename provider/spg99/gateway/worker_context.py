"""What all sessions of one worker share. Nothing is done here."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from spg99.config import GatewaySettings
from spg99.gateway.cancel import CancelKeys
from spg99.gateway.channel import Channel
from spg99.gateway.counters import Counters
from spg99.gateway.proxies import Proxies
from spg99.gateway.tls import Tls
from spg99.tls.mutual import MutualTls
from spg99.wire.startup import CancelRequest

if TYPE_CHECKING:
    from spg99.gateway.session import Session

SHUTTING_DOWN: Final = ("57P01", "The gateway is shutting down. Connect again.")


@dataclass(slots=True)
class WorkerContext:
    """What all sessions of a worker share."""

    settings: GatewaySettings
    tls: Tls
    parent: Channel
    """Answers what only the parent knows (registry.py)."""
    mock_secret: bytes = field(repr=False)
    proxies: Proxies
    """The balancers whose PROXY protocol headers are taken."""
    network: MutualTls | None = None
    """By what computes of other machines are reached; None: no checkout has named one yet."""
    cancel_keys: CancelKeys = field(default_factory=CancelKeys)
    counters: Counters = field(default_factory=Counters)
    sessions: dict[int, Session] = field(default_factory=dict)
    """Those which have logged in."""
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    cancel: Callable[[CancelRequest], asyncio.Task[None]] | None = None

    @property
    def network_context(self) -> ssl.SSLContext | None:
        """For one connection to another machine."""
        return self.network.client if self.network is not None else None
