"""Pageserver and Control Plane: which timelines have a history to keep, and how far it is kept.

POST /internal/v1/pageservers/enroll     Enrolment           -> Identity
POST /internal/v1/pageservers/heartbeat  PageserverHeartbeat -> PageserverAnswer
(its certificate: certificates.py)

LSNs are whole numbers.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from spg99.protocol import Message
from spg99.protocol.node import HEARTBEAT_SECONDS
from spg99.protocol.tasks import Kept, Origin


class Pin(Message):
    """A moment that somebody may still go back to. Without an LSN: nothing of `at` and later may go."""

    lsn: int | None = None
    at: datetime | None = None


class TimelineToKeep(Message):
    """A timeline whose WAL safekeepers keep."""

    timeline_id: str
    kept: Kept
    is_gone: bool = False
    """Its database was deleted: what nobody has pinned goes."""
    history_seconds: int = 0
    """So far back every moment can be gone back to."""
    image_wal_bytes: int = 0
    """A running one gets an image whenever it has written so much; 0: only when it stops."""
    pins: list[Pin] = Field(default_factory=list)


class TimelineHistory(Message):
    """What the store has of a timeline."""

    timeline_id: str
    archived_lsn: int = 0
    image_lsn: int = 0
    """Of the newest image."""
    recoverable_from: datetime | None = None
    """The oldest moment; None: it is not known yet, or there is none."""
    last_verified_at: datetime | None = None
    """When an image was last made by replaying WAL on the one before, with all its pages' checksums right."""
    problem: str | None = None
    """A sentence: why WAL waits on safekeepers, or no image is made."""
    is_swept: bool = False
    """Of one that is gone: the store has nothing of it any more."""


class MomentToVerify(Message):
    """A snapshot's moment that somebody wants laid out and read."""

    snapshot_id: str
    origin: Origin
    """Of a timeline that is cared for; who keeps it stands there."""


class MomentVerified(Message):
    """What came of it."""

    snapshot_id: str
    verified_at: datetime | None = None
    """When all of it was read and right; None: it was not."""
    problem: str | None = None
    """A sentence: what is wrong with it, or why nobody can tell yet."""
    is_over: bool = True
    """False: it is tried again."""


class PageserverHeartbeat(Message):
    """What has changed since the last one."""

    histories: list[TimelineHistory] = Field(default_factory=list)
    verified: list[MomentVerified] = Field(default_factory=list)


class PageserverAnswer(Message):
    """What to care for."""

    installation_id: str
    """Whose the object store must be."""
    is_active: bool = False
    """False: another pageserver does the work; this one waits."""
    timelines: list[TimelineToKeep] = Field(default_factory=list)
    verify: list[MomentToVerify] = Field(default_factory=list)
    """The first of those that are to be verified."""
    heartbeat_seconds: int = HEARTBEAT_SECONDS
