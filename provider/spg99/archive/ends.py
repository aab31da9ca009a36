"""Where moments are that are told by who wrote, and not by a place: asked of safekeepers. Here: finding them. Not here: laying them out (moments.py), the rule (wal/past.py)."""

from __future__ import annotations

from spg99.archive.live import Live, log_of
from spg99.archive.moments import Point
from spg99.errors import CannotWake
from spg99.processes.safekeeper_clients import SafekeeperClients
from spg99.protocol.tasks import Kept, Origin
from spg99.wal import past
from spg99.wal.fence import Log


async def point_of(origin: Origin, kept: Kept, clients: SafekeeperClients) -> Point:
    """The moment at which something begins, for `lay_out_at`. Raises CannotWake."""
    point = origin.point
    if point.end_of_term is None:
        return Point(lsn=point.lsn, time=point.time)
    return Point(lsn=past.end_of_term(await acknowledged(origin.timeline_id, kept, clients), point.end_of_term))


async def acknowledged(timeline_id: str, kept: Kept, clients: SafekeeperClients) -> Log:
    """A log that holds all that was acknowledged on a timeline before this call, by the argument of `fence.choose`: each set that acknowledged has one
    of those in it who answer here, and of those the most advanced has all of it. Nothing is promised for it. Raises CannotWake."""
    live = Live(timeline_id, kept, clients.of_kept(kept))
    await live.ask()
    if (best := live.best) is None or not live.are_enough:
        raise CannotWake(
            f"Too few safekeepers of timeline {timeline_id} answer to tell where it ends: {len(live.seen)} of {len(kept.addresses)}."
        )
    return log_of(best)
