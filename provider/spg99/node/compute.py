"""A compute that runs, or is believed to until its end is noticed: what an agent holds of it. Not here: starting and ending them (computes.py)."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter

from spg99 import log
from spg99.node.confinement import Confinement
from spg99.node.folder import TimelineFolder
from spg99.node.writer import Writer
from spg99.postgres import Cluster, Running
from spg99.protocol.tasks import ComputeStarted

NOTICE_SECONDS: Final = 0.2
"""How long a heartbeat, and a stop of one that does not answer, wait for the end of a process that seems to be gone."""

_log = log.get("node")


@dataclass
class Compute:
    """One of them."""

    timeline: TimelineFolder
    record: Writer
    cluster: Cluster
    log_begin: int
    watch: asyncio.Task[None] | None = None
    confines_later: asyncio.TimerHandle | None = None
    confining: asyncio.Task[None] | None = None


async def confine(confinement: Confinement, compute: Compute, pid: int, failures: Counter | None) -> None:
    """Sets a compute's bounds. What fails is logged and counted: nobody waits for it before the compute has ended."""
    record = compute.record
    try:
        await asyncio.to_thread(confinement.confine, record.compute_id, record.profile, pid)
    except Exception as error:  # noqa: BLE001 - nobody waits for it before the compute has ended
        if failures is not None:
            failures.labels("confine").inc()
        _log.error("a compute runs without bounds", exc_info=error, compute_id=record.compute_id)


async def dies(compute: Compute, pid: int) -> bool:
    """Whether a postmaster that did not answer is ending: then its silence is no sign of use, and nobody is left to be cut off."""
    with contextlib.suppress(TimeoutError, OSError):
        await asyncio.wait_for(compute.cluster.wait_end(pid), NOTICE_SECONDS)
        return True
    return False


def started(compute: Compute, running: Running) -> ComputeStarted:
    """What is answered once it takes connections."""
    return ComputeStarted(
        compute_id=compute.record.compute_id,
        backend_addr=compute.record.backend_addr,
        backend_port=compute.record.backend_port,
        pid=running.pid,
        started_at=running.started_at,
    )
