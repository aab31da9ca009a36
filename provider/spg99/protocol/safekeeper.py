"""Agent and safekeeper: who may write a timeline, where its WAL is taken from, what is kept of it. And safekeeper and Control Plane.

A safekeeper serves these on a unix socket that only our own user can enter, and to agents of other machines by mutual TLS:

GET    /timelines/{timeline_id}          -> KeeperSeen | 404    (`wait_seconds`: until `caught_up`, that long at most)
PUT    /timelines/{timeline_id}          TimelineBegin -> KeeperSeen | 409
POST   /timelines/{timeline_id}/promise  PromiseAsk    -> Vote | 404 | 409 (a higher term was promised)
POST   /timelines/{timeline_id}/follow   Follow        -> KeeperSeen | 409 (a higher term was promised)
POST   /timelines/{timeline_id}/rest     Rest          -> KeeperSeen        (its compute has ended)
POST   /timelines/{timeline_id}/trim     Trim          -> KeeperSeen
GET    /timelines/{timeline_id}/wal/{name}  -> bytes of a segment, as PostgreSQL names it | 404
POST   /timelines/{timeline_id}/wal      WalAsk       -> these bytes, their CRC-32 in WAL_CRC_HEADER | 404 | 409 (it has not all of them, of that life)
POST   /timelines/{timeline_id}/configure Configure   -> KeeperState | 404
POST   /timelines/{timeline_id}/seed     Seed         -> KeeperState        (a new member begins with what a peer is)
DELETE /timelines/{timeline_id}          -> 204
GET    /timelines                        -> KeptTimelines

and says to the Control Plane:

POST /internal/v1/safekeepers/enroll     Enrolment           -> Identity
POST /internal/v1/safekeepers/heartbeat  SafekeeperHeartbeat -> SafekeeperAnswer

The rules behind them are in wal/fence.py. LSNs are whole numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final

from pydantic import Field

from spg99.errors import Conflict
from spg99.protocol import Message
from spg99.protocol.node import HEARTBEAT_SECONDS
from spg99.wal import fence, quorum

ROLE: Final = "spg99_safekeeper"
"""The role of a compute that may stream WAL and nothing else. The Gateway lets tenants in by their own names only, so no client comes
in as this one."""


STANDBY_PREFIX: Final = "spg99_sk_"
"""So are all safekeepers called in a compute, and nobody else may be (provider/tenant_rules has it again, in C)."""


def standby_name(safekeeper_id: str) -> str:
    """What a safekeeper is called in a compute's synchronous_standby_names; its slot there is called the same."""
    return STANDBY_PREFIX + safekeeper_id.removeprefix("sk_")


class TermBegin(Message):
    """From `begin_lsn` on, WAL was written by the compute of this term, on this PostgreSQL timeline."""

    term: int
    tli: int
    begin_lsn: int


class Members(Message):
    """Safekeepers by id, and how many of them make a commit durable."""

    safekeeper_ids: list[str]
    quorum: int


class Configuration(Message):
    """Who keeps a timeline, see wal/quorum.py."""

    number: int
    members: Members
    next_members: Members | None = None


class TimelineBegin(Message):
    """A timeline that has no acknowledged commit yet begins here. Again, and for a later attempt of its first start: what an earlier
    attempt left is removed. Refused once a higher term was promised."""

    term: int
    compute_id: str
    configuration: Configuration
    system_identifier: int
    segment_bytes: int
    tli: int
    begin_lsn: int
    """The first byte of a segment."""
    attempts: list[str] | None = None
    """Computes of all attempts that the catalogue knows. WAL of another one is not put aside for this: that catalogue is older than the WAL. None: an agent
    or a Control Plane of an older version does not say."""


class PromiseAsk(Message):
    """Asks never to take WAL of a lower term again. Once it is answered, that lasts."""

    term: int
    compute_id: str
    configuration: Configuration


class Vote(Message):
    """The promise, and what this safekeeper has."""

    safekeeper_id: str
    term: int
    compute_id: str
    configuration_number: int
    history: list[TermBegin]
    flush_lsn: int
    first_lsn: int
    system_identifier: int
    segment_bytes: int


class Follow(Message):
    """Take the WAL of this compute. Again: a success."""

    term: int
    compute_id: str
    configuration: Configuration
    history: list[TermBegin]
    """Of the compute: the terms before it, and its own at the end."""
    backend_addr: str
    """Folder of its unix socket."""
    backend_port: int
    node_id: str | None = None
    node_address: str | None = None
    """Where its node's agent lets safekeepers of other machines through to it (host:port); None: nowhere."""
    peers: dict[str, str] = Field(default_factory=dict)
    """Where the timeline's other safekeepers are, by id: one that is behind is filled up by them."""
    peer_network_addresses: dict[str, str] = Field(default_factory=dict)
    """The same for those of other machines (host:port)."""


WAL_BYTES_MAX: Final = 1 << 20
"""Of one WalAsk."""
WAL_CRC_HEADER: Final = "x-spg99-wal-crc32"


class WalAsk(Message):
    """A peer that is behind asks for WAL of the life that it takes."""

    history: list[TermBegin]
    """Of that life."""
    begin_lsn: int
    end_lsn: int
    """Without this byte; WAL_BYTES_MAX behind `begin_lsn` at most."""


class Rest(Message):
    """The compute of this term has ended: nothing is taken until the next one begins. Of a term that is over: nothing happens."""

    term: int


class Trim(Message):
    """WAL below this place, of this history, is no longer needed here: an image of it is in the object store."""

    below_lsn: int
    history: list[TermBegin]


class Configure(Message):
    """The members of a timeline have changed, or are being changed. From the answer on nothing counts that comes under an older configuration."""

    configuration: Configuration


class KeeperState(Message):
    """All that a safekeeper knows of a timeline (wal/fence.py, Keeper)."""

    safekeeper_id: str
    system_identifier: int
    segment_bytes: int
    configuration: Configuration
    promised_term: int
    promised_to: str
    history: list[TermBegin]
    first_lsn: int
    flush_lsn: int


class Seed(Message):
    """Begin a timeline here as a new member of it: with a peer's promise and history; its WAL comes as that of one that was away. Again: a success."""

    configuration: Configuration
    donor: KeeperState
    """What the peer has answered since it knows of the change."""


class Trouble(StrEnum):
    """Why a safekeeper takes nothing from the compute that it should follow."""

    AWAY = "away"
    """The compute does not answer."""
    DISK = "disk"
    """Its own disk refuses."""
    FILLING = "filling"
    """It was away for too long for the compute, and waits for peers that have what comes next."""
    CUT_OFF = "cut_off"
    """Nobody has what comes next."""


class KeeperSeen(Message):
    """How a safekeeper stands with one timeline."""

    safekeeper_id: str
    timeline_id: str
    promised_term: int
    promised_to: str = ""
    """The compute of that promise; empty from a safekeeper of an older version."""
    history: list[TermBegin]
    flush_lsn: int
    first_lsn: int
    following_term: int | None = None
    """Of the compute whose WAL it takes; None: of none."""
    caught_up: bool = False
    """It has all that the compute had flushed when it answered it first."""
    problem: str | None = None
    """A sentence: why it takes nothing from the compute it should follow."""
    trouble: Trouble | None = None
    """The same in a word."""
    is_cut_off: bool = False
    """And never will: the compute has removed the WAL that comes next here, or has never had it."""
    system_identifier: int = 0
    segment_bytes: int = 0
    """Of the cluster; 0 from a safekeeper of an older version."""


class KeptTimelines(Message):
    """All timelines of a safekeeper."""

    timelines: list[KeeperSeen]


class SafekeeperHeartbeat(Message):
    """What a safekeeper tells of itself."""

    address: str
    """Where agents of its machine reach it: the path of its unix socket."""
    network_address: str | None = None
    """Where agents of other machines do (host:port, mutual TLS); None: nowhere."""
    disk_total_bytes: int = 0
    disk_free_bytes: int = 0
    disk_is_short: bool = False
    """It should get no more timelines if others can, and somebody should make room."""
    damaged: int = 0
    """Timelines of which what it kept cannot be read."""
    troubles: dict[Trouble, int] = Field(default_factory=dict)
    """Timelines whose WAL it should take and does not, by why."""
    timelines: list[str] = Field(default_factory=list)
    """All of them, now and then; else empty."""
    promised_terms: dict[str, int] = Field(default_factory=dict)
    """With them: what was promised of each. Below it nothing starts, whatever a catalogue of yesterday says."""


class SafekeeperAnswer(Message):
    """What it should know in return."""

    forget_timeline_ids: list[str] = Field(default_factory=list)
    """Timelines that belong to nothing any more: remove them."""
    revoked_ids: list[str] = Field(default_factory=list)
    """Identities that were removed: let none of them in."""
    heartbeat_seconds: int = HEARTBEAT_SECONDS


def history_of(history: Sequence[TermBegin]) -> fence.TermHistory:
    """The history that a message says."""
    return tuple(fence.TermBegin(entry.term, entry.tli, entry.begin_lsn) for entry in history)


def history_said(history: fence.TermHistory) -> list[TermBegin]:
    """A history as a message says it."""
    return [TermBegin(term=entry.term, tli=entry.tli, begin_lsn=entry.begin_lsn) for entry in history]


def configuration_of(configuration: Configuration) -> quorum.Configuration:
    """The configuration that a message says. ValueError for a quorum that its members cannot make."""

    def members(some: Members) -> quorum.Members:
        return quorum.Members(frozenset(some.safekeeper_ids), some.quorum)

    then = configuration.next_members
    return quorum.Configuration(configuration.number, members(configuration.members), members(then) if then else None)


def configuration_said(configuration: quorum.Configuration) -> Configuration:
    """A configuration as a message says it."""

    def members(some: quorum.Members) -> Members:
        return Members(safekeeper_ids=sorted(some.ids), quorum=some.quorum)

    then = configuration.next_members
    return Configuration(
        number=configuration.number,
        members=members(configuration.members),
        next_members=members(then) if then is not None else None,
    )


def keeper_of(state: KeeperState) -> fence.Keeper:
    """The keeper that a message says."""
    return fence.Keeper(
        id=state.safekeeper_id,
        configuration=configuration_of(state.configuration),
        promised_term=state.promised_term,
        promised_to=state.promised_to,
        history=history_of(state.history),
        first_lsn=state.first_lsn,
        flush_lsn=state.flush_lsn,
    )


def vote_of(vote: Vote) -> fence.Vote:
    """The vote that a message says."""
    return fence.Vote(
        keeper_id=vote.safekeeper_id,
        term=vote.term,
        compute_id=vote.compute_id,
        configuration_number=vote.configuration_number,
        history=history_of(vote.history),
        first_lsn=vote.first_lsn,
        flush_lsn=vote.flush_lsn,
    )


def vote_said(vote: fence.Vote, *, system_identifier: int, segment_bytes: int) -> Vote:
    """A vote as a message says it."""
    return Vote(
        safekeeper_id=vote.keeper_id,
        term=vote.term,
        compute_id=vote.compute_id,
        configuration_number=vote.configuration_number,
        history=history_said(vote.history),
        flush_lsn=vote.flush_lsn,
        first_lsn=vote.first_lsn,
        system_identifier=system_identifier,
        segment_bytes=segment_bytes,
    )


def require_own(seen: KeeperSeen, attempts: Collection[str]) -> None:
    """Before a timeline begins (fence.is_anothers): raises Conflict when a safekeeper has WAL of it of which the catalogue knows nothing."""
    if seen.promised_to and fence.is_anothers(history_of(seen.history), seen.promised_to, attempts):
        raise Conflict(
            f"Safekeeper {seen.safekeeper_id} holds WAL of this database that a compute wrote of which the catalogue knows nothing ({seen.promised_to}, term "
            f"{seen.promised_term}): the catalogue is older than the database, as after it was restored from a copy. Nothing was changed. Restore a newer "
            "copy, or make the catalogue anew from the object store: spg99 storage recover."
        )
