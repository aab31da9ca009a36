"""One start of a kept database under way. Here: what is known of it, and whose fault it was when it fails. Not here: the order of its steps (keeping.py)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from spg99.errors import CannotWake
from spg99.images.manifest import images_of
from spg99.node.folder import TimelineFolder
from spg99.node.safekeepers import BEGUN_BEFORE, StaleFiles
from spg99.objects import ObjectStore
from spg99.postgres.preload import Preload
from spg99.protocol.tasks import ComputeStart, Kept
from spg99.wal.fence import Choice, TermHistory


@dataclass
class Start:
    """One start under way: what has been found out before the process is made, and what goes on beside it."""

    order: ComputeStart
    kept: Kept
    timeline: TimelineFolder
    settings: dict[str, str]
    preload: Preload | None = None
    """What the process has to load to run on files that are not here yet."""
    choice: Choice | None = None
    """None: the first start, there is nothing to choose; or its files are there, and the votes come while PostgreSQL starts."""
    segment_bytes: int = 0
    """Of its WAL, where there was something to choose."""
    history: TermHistory | None = None
    """Of the new life; None: it is known once PostgreSQL has found the end of the WAL."""
    is_gated: bool = False
    """Clients are let in only once the quorum holds all that there is: it may be more than was ever acknowledged."""
    is_over: bool = False
    """PostgreSQL did not start: what goes on beside it need not go further."""
    has_begun: bool = False
    """Its life was told to safekeepers: there may be WAL of its term."""
    beside: list[asyncio.Task[None]] = field(default_factory=list)
    """Clients are let in only when these have ended well."""

    def preload_after(self, first: Preload | None) -> Preload | None:
        """What the process has to load in all."""
        return first.before(self.preload) if first is not None else self.preload


async def require_no_image(order: ComputeStart, kept: Kept, objects: ObjectStore) -> None:
    """Before the first image of a first start: WAL of its term goes on from one image alone. An agent that was killed in this very start may have stored one, of
    files that are no more. Raises CannotWake; the next start has another term, to which that image does not belong."""
    if any(ref.term == order.writer_term for ref in await images_of(objects, kept.tenant_id, order.timeline_id)):
        raise CannotWake(BEGUN_BEFORE)


async def are_files_at_fault(start: Start, error: Exception) -> bool:
    """Whether a start failed by the files that were there: they are stale, or the quorum would have this compute write and PostgreSQL cannot start on
    them. They are a cache: made anew, it can."""
    if start.order.makes_timeline or start.choice is not None:
        return False
    start.is_over = True
    outcomes = await asyncio.gather(*start.beside, return_exceptions=True)
    if isinstance(error, StaleFiles) or any(isinstance(outcome, StaleFiles) for outcome in outcomes):
        return True
    return not any(isinstance(outcome, BaseException) for outcome in outcomes)
