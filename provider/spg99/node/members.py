"""Changes who keeps a timeline's WAL, while its compute runs or sleeps: the order of the steps, each of which may be taken again after a crash. Not here: when a change is
finished (wal/membership.py), who is to be replaced by whom (the Control Plane), asking one safekeeper (client/).

    names      the compute waits for enough of both sets, and nobody in it counts by the old one any more
    follow     all members know of the change, and take WAL under it
    seed       a new one begins with a peer's promise; its WAL comes from its peers and the compute
    finished?  once the new set knows all that the old one may have promised or acknowledged
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from spg99 import faults, log
from spg99.errors import CannotWake, NotFound, Spg99Error
from spg99.node import kept_files, standbys, writer
from spg99.node.compute import Compute
from spg99.node.folder import TimelineFolder
from spg99.node.keeping import Keeping
from spg99.node.safekeepers import Safekeepers
from spg99.protocol import safekeeper as said
from spg99.protocol.safekeeper import configuration_of, keeper_of
from spg99.protocol.tasks import Kept
from spg99.wal import membership
from spg99.wal.membership import NotYet
from spg99.wal.quorum import Configuration

FINISH_SECONDS_MAX: Final = 30.0
_AGAIN_SECONDS: Final = 0.05

_log = log.get("node")


async def reconfigure(keeping: Keeping, timeline_id: str, kept: Kept, compute: Compute | None) -> bool:
    """Has a configuration hold, with the compute that runs or without one; answers whether it may be followed by the next, or is the only one. Raises CannotWake."""
    running = None
    if compute is not None and compute.record.pid is not None:
        terms = await asyncio.to_thread(kept_files.lived, compute.timeline, compute.record)
        if terms is None:
            raise CannotWake("What its compute has written is not known.")
        pid = compute.record.pid
        compute.record = compute.record.model_copy(update={"kept": kept})
        await asyncio.to_thread(writer.write_fence, compute.timeline, compute.record)  # a later agent goes by it
        follow = keeping.follow_of_record(compute.record, kept, terms)
        running = (compute.timeline, pid, follow)
    found = await change(keeping.safekeepers, timeline_id, kept, running=running)
    return found is not None or kept.configuration.next_members is None


async def change(
    safekeepers: Safekeepers,
    timeline_id: str,
    kept: Kept,
    *,
    running: tuple[TimelineFolder, int, said.Follow] | None,
    seconds_max: float = FINISH_SECONDS_MAX,
) -> Configuration | None:
    """One configuration, of two sets or of one, comes to hold. With two: the one that follows when the change can be finished; None: not yet, ask again. With one:
    None, all that answer know of it. `running`: files, postmaster and how its WAL is taken, of a compute that runs. Raises CannotWake; then it is tried again.
    """
    configuration = configuration_of(kept.configuration)
    if running is not None:
        timeline, pid, follow = running
        await standbys.change(timeline, kept.configuration, pid)
        faults.point("members.names_changed")
        await safekeepers.follow(timeline_id, kept, follow)
    states = await _announced(safekeepers, timeline_id, kept)
    if configuration.next_members is None:
        return None
    await _seed(safekeepers, timeline_id, kept, configuration, states, running[2] if running is not None else None)
    deadline = time.monotonic() + seconds_max
    while True:
        states = await _announced(safekeepers, timeline_id, kept)
        found = membership.finish_change(configuration, map(keeper_of, states.values()))
        if isinstance(found, Configuration):
            _log.info("a change of members can be finished", timeline_id=timeline_id, number=found.number)
            return found
        await _promise(safekeepers, timeline_id, kept, found)
        if time.monotonic() > deadline:
            _log.info("a change of members waits", timeline_id=timeline_id, why=repr(found))
            return None
        await asyncio.sleep(_AGAIN_SECONDS)


async def _announced(safekeepers: Safekeepers, timeline_id: str, kept: Kept) -> dict[str, said.KeeperState]:
    """What members have, who know of this configuration by then."""
    states: dict[str, said.KeeperState] = {}

    async def announce(safekeeper_id: str) -> None:
        try:
            ask = said.Configure(configuration=kept.configuration)
            states[safekeeper_id] = await safekeepers.client(kept, safekeeper_id).configure(timeline_id, ask)
        except Spg99Error as error:
            _log.debug("a member was not told", safekeeper_id=safekeeper_id, reason=error.message)

    await asyncio.gather(*map(announce, kept.addresses))
    return states


async def _seed(
    safekeepers: Safekeepers,
    timeline_id: str,
    kept: Kept,
    configuration: Configuration,
    states: dict[str, said.KeeperState],
    follow: said.Follow | None,
) -> None:
    """New members that do not know the timeline begin with what the most advanced of the old ones has."""
    assert configuration.next_members is not None
    donors = {name: keeper_of(state) for name, state in states.items() if name in configuration.members.ids}
    if not donors:
        raise CannotWake("No safekeeper of the database answers.")
    donor = max(donors.values(), key=lambda keeper: (keeper.last_term, keeper.flush_lsn, keeper.promised_term))
    for name in sorted((configuration.next_members.ids - configuration.members.ids) & kept.addresses.keys()):
        client = safekeepers.client(kept, name)
        try:
            await client.seed(timeline_id, said.Seed(configuration=kept.configuration, donor=states[donor.id]))
            faults.point("members.seeded")
            if follow is not None:
                await client.follow(timeline_id, follow)
        except Spg99Error as error:
            raise CannotWake(f"The new safekeeper {name} does not take the database's WAL: {error.message}") from error


async def _promise(safekeepers: Safekeepers, timeline_id: str, kept: Kept, missing: NotYet) -> None:
    ask = said.PromiseAsk(term=missing.term, compute_id=missing.compute_id, configuration=kept.configuration)
    for name in sorted(missing.promise & kept.addresses.keys()):
        try:
            await safekeepers.client(kept, name).promise(timeline_id, ask)
        except NotFound:
            continue
        except Spg99Error as error:
            _log.debug("a member does not promise", safekeeper_id=name, reason=error.message)
