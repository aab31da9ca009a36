"""What every route needs of the process it runs in. Here: the parts. Not here: making them (server.py) or using them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.requests import HTTPConnection

from spg99.config import ControlPlaneSettings
from spg99.control_plane.records.secret_box import SecretBox
from spg99.control_plane.serving.feed import Feed
from spg99.control_plane.serving.interfaces import CountByState, Disks, Keys, Missing, TenantDatabases, TenantOf
from spg99.control_plane.serving.metrics import Metrics
from spg99.control_plane.store import Store, Wakeups
from spg99.processes import Loops, WatchedClock


@dataclass(frozen=True)
class Plane:
    """One Control Plane process. Nothing in it matters to another one: the catalogue is the truth."""

    settings: ControlPlaneSettings
    store: Store
    clock: WatchedClock
    box: SecretBox
    wakeups: Wakeups
    """Long polls wait here."""
    feed: Feed
    """Event streams listen here."""
    metrics: Metrics
    keys: Keys
    tenant_of: TenantOf
    databases_of_tenants: TenantDatabases
    missing: tuple[Missing, ...]
    """What /readyz asks the domains."""
    databases_by_state: CountByState
    databases_by_storage_state: CountByState
    disks: Disks
    loops: Loops
    """What runs beside the requests."""
    essential_loops: frozenset[str]
    """Loops without which this process is not ready."""
    metrics_in_api: bool = True
    """Whether /metrics is answered to whoever reaches the API; else on its own address alone."""

    def close(self) -> None:
        """Lets go whoever waits: long polls, streams, loops."""
        self.wakeups.close()
        self.feed.wake_all()


def plane_of(request: HTTPConnection) -> Plane:
    """The process this request reached."""
    return cast(Plane, request.app.state.plane)
