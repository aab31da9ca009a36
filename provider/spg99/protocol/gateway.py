"""Gateway and Control Plane: credentials, wake-up, leases, invalidation.

POST /gateways/credentials   CredentialsQuery -> Credentials | 404
POST /gateways/slowed-logins SlowedLogins     -> 204           (an event for the owner of each user that exists)
POST /gateways/connect       ConnectRequest   -> Checkout | NotFound 3D000 | CannotWake 57P03 (long poll)
POST /gateways/leases        LeaseReport      -> LeaseAnswer   (renews all leases of this gateway in one call)
POST /gateways/cancel        CancelForward    -> 204           (every Gateway reads a Change of kind `cancel`)
GET  /gateways/changes?after=N  -> text/event-stream of Change (id = position); 409 `Conflict` when N is too old
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field

from spg99.protocol import Message

CONNECT_SECONDS_MAX: Final = 60.0
"""No connect waits longer for a database, whatever is asked."""
CHANGES_KEEP_ALIVE_SECONDS: Final = 4.0
"""How often the stream of changes says at least that it stands; two such times may pass between two words."""
CHANGES_SILENCE_SECONDS: Final = 12.0
"""A stream of changes that was silent for so long is dead: while it is believed, a password that was changed elsewhere goes on."""


SLOWED_LOGINS_MAX: Final = 100


class CredentialsQuery(Message):
    """Asks what is needed to check the password of one PostgreSQL user."""

    pg_user: str


class Credentials(Message):
    """Enough to check a password without knowing it (RFC 5803 verifier as PostgreSQL stores it)."""

    tenant_id: str
    tenant: str
    pg_user: str
    scram_verifier: str = Field(repr=False)
    """`SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`."""
    credential_version: int
    max_connections: int
    """Connections this tenant may hold through one gateway (policy `gateway.tenant_connections_max`)."""
    max_connections_of_database: int = 600
    """Connections one of its databases may (policy `gateway.database_connections_max`)."""


class SlowedLogin(Message):
    """Log-ins of one user from one address fail so often that they are slowed from now on."""

    pg_user: str
    client_addr: str


class SlowedLogins(Message):
    """Said once when it begins, and not again for some minutes."""

    logins: list[SlowedLogin] = Field(max_length=SLOWED_LOGINS_MAX)


class ConnectRequest(Message):
    """A client wants this database. Takes or renews this gateway's lease and wakes the database if it sleeps."""

    tenant_id: str
    database: str
    wait_seconds: float = 25.0
    """How long the answer may take (`CONNECT_SECONDS_MAX` at most); after it: CannotWake with the reason."""
    failed_compute_id: str | None = None
    """A compute that was handed out before and could not be reached."""
    client_addr: str | None = None
    """Address of the client that came first: events that follow from this request name it."""


class Checkout(Message):
    """Where the writer of a database is. Usable until the lease ends or a Change says otherwise."""

    db_id: str
    tenant_id: str
    database: str
    pg_user: str
    compute_id: str
    backend_addr: str
    """Folder of a unix socket when it starts with `/`, else a host name."""
    backend_port: int
    node_id: str | None = None
    node_address: str | None = None
    """Where the agent of its node lets Gateways of other machines through to it (host:port, mutual TLS); None: nowhere."""
    writer_term: int
    lease_control_epoch: int
    lease_seconds: int
    """The lease ends this long after the last LeaseReport that named the database."""
    grace_seconds: int
    """While the Control Plane cannot be reached, a cached checkout may be used this long after the lease's end."""
    woke: bool
    """True when this connect had to wake the database."""


class LeaseUse(Message):
    """Use of one database through one gateway."""

    db_id: str
    active_connections: int
    """0 releases the lease."""
    idle_seconds: float | None = Field(default=None, ge=0)
    """How long ago it was last used, measured by the Gateway's monotonic clock: the two wall clocks need not agree."""
    last_used_at: datetime | None = None
    """Said by Gateways of versions before `idle_seconds`."""


class Egress(Message):
    """Bytes sent to clients, counted once however often they are told: a batch is told again, unchanged and under the same
    number, until a report with it is answered; bytes that go out meanwhile are the next batch."""

    run_id: str
    """This run of the gateway's process; numbers begin anew with each."""
    batch: int = Field(ge=1, lt=2**63)
    """1, 2, 3 ... One that is not above the last of this run was counted already."""
    sent_bytes: dict[str, Annotated[int, Field(ge=0, lt=2**63)]]
    """By db_id."""


class LeaseReport(Message):
    """All databases this gateway serves or has just stopped serving."""

    leases: list[LeaseUse]
    egress: Egress | None = None


class LeaseAnswer(Message):
    """Which leases stand."""

    renewed: list[str]
    """db_ids."""
    lost: list[str]
    """db_ids whose lease no longer stands (deleted, compute gone): forget the cached checkout, keep live relays alone."""
    renew_seconds: int


class Change(Message):
    """Something a gateway may have cached is no longer true; or one of them is asked to cancel what a client runs."""

    kind: Literal["tenant", "database", "cancel"]
    tenant_id: str = ""
    db_id: str | None = None
    lease_control_epoch: int | None = None
    reason: str
    """`credentials.rotated`, `tenant.deleting`, `database.deleting`, `compute.changed`, `freeze`, `cancel.forwarded`."""
    cancel_key_hash: str | None = None
    """Of a key that one of the Gateways may have given out; kind `cancel` only, kept nowhere."""


class CancelForward(Message):
    """A cancel request whose key is of no session here: behind a balancer it may have landed at the wrong Gateway."""

    key_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Not the key itself: nobody who reads it on the way can cancel with it at a Gateway's port."""
