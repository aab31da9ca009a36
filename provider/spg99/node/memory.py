"""Memory of running computes: who takes too much, and ending what it does before the node feels it.

Here: the rule (pure) and looking. Not here: bounds (confinement.py), signals (sessions.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import psutil

from spg99 import log
from spg99.node.confinement import memory_bounds
from spg99.node.sessions import cancel, sessions, terminate
from spg99.resources import Size

Step = Literal["cancel", "terminate"]

_log = log.get("node")


@dataclass(frozen=True)
class Ending:
    """What is to be done to one session."""

    pid: int
    step: Step


def whom_to_end(taken: Mapping[int, int], *, compute_bytes: int, cancelled: frozenset[int]) -> list[Ending]:
    """The largest sessions of a compute that takes too much, as many as bring it below its bound.

    `taken`: private memory by session, in bytes. One that was cancelled at the last look and still stands here loses its
    session: what it holds is not a statement's.
    """
    over = sum(taken.values()) - compute_bytes
    found = []
    for pid, size in sorted(taken.items(), key=lambda item: (-item[1], item[0])):
        if over <= 0:
            break
        found.append(Ending(pid, "terminate" if pid in cancelled else "cancel"))
        over -= size
    return found


@dataclass(frozen=True)
class Eater:
    """A running compute that has sessions."""

    compute_id: str
    size: Size
    postmaster_pid: int


class MemoryWatch:
    """Looks at the memory of computes, and remembers whom it has asked to stop."""

    def __init__(self) -> None:
        self._cancelled: dict[str, frozenset[int]] = {}

    def check(self, eaters: Iterable[Eater]) -> None:
        """Ends what takes too much."""
        cancelled: dict[str, frozenset[int]] = {}
        for eater in eaters:
            found = {session.pid: session for session in sessions(eater.postmaster_pid)}
            taken = {pid: private_bytes(session) for pid, session in found.items()}
            before = self._cancelled.get(eater.compute_id, frozenset())
            bound = memory_bounds(eater.size).compute_bytes
            endings = whom_to_end(taken, compute_bytes=bound, cancelled=before)
            for ending in endings:
                _log.warning(
                    "a session takes too much memory",
                    compute_id=eater.compute_id, step=ending.step, session_bytes=taken[ending.pid],
                    compute_bytes=sum(taken.values()),
                )  # fmt: skip
                (cancel if ending.step == "cancel" else terminate)(found[ending.pid])
            if endings:
                cancelled[eater.compute_id] = frozenset(ending.pid for ending in endings)
        self._cancelled = cancelled


def private_bytes(session: psutil.Process) -> int:
    """Memory that a session has for itself: resident and not shared. Cheap: one small file."""
    try:
        info = session.memory_info()
        return max(0, int(info.rss - getattr(info, "shared", 0)))
    except psutil.Error:
        return 0
