"""What HTTP needs of domains, as protocols: `server.py` hands in who keeps them. Here: the words. Not here: any domain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from spg99.control_plane.records.actors import Actor
from spg99.control_plane.store import Transaction
from spg99.errors import Spg99Error

if TYPE_CHECKING:  # a call holds the process, which holds these
    from spg99.control_plane.serving.call import Call


class Key(Protocol):
    """An API key, as far as a call needs to know it (identity/keys.py)."""

    @property
    def key_id(self) -> str: ...
    @property
    def org_id(self) -> str | None: ...
    @property
    def tenant_id(self) -> str | None: ...
    @property
    def scope(self) -> str: ...
    @property
    def permissions(self) -> list[str]: ...
    @property
    def expires_at(self) -> datetime | None: ...


class Keys(Protocol):
    """Who has which token (identity/known_keys.py)."""

    async def admit(self, token: str, *, address: str | None = None) -> Key:
        """The key that `token` opens now, for one request. Raises Unauthorized, and TooManyRequests beyond its rate."""
        ...

    async def check(self, token: str) -> None:
        """Raises Unauthorized unless `token` opens a key now."""
        ...

    async def account_of(self, key: Key, wanted: str | None) -> str:
        """The account a call acts for. Raises NotFound when the key may not act for the one that is wanted."""
        ...


class SeenTenant(Protocol):
    """A tenant that a call may see (tenants/rows.py)."""

    @property
    def tenant_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...


class TenantDatabases(Protocol):
    """The databases of one tenant, for who removes the tenant (databases/deletion_requests.py)."""

    async def count(self, tx: Transaction, tenant_id: str) -> int:
        """How many there are that are not on their way out."""
        ...

    async def names(self, tx: Transaction, tenant_id: str, *, limit: int) -> list[str]:
        """Names of those that are counted, the newest first."""
        ...

    async def count_snapshots(self, tx: Transaction, tenant_id: str) -> int:
        """How many snapshots there are of databases that are deleted."""
        ...

    async def begin_delete(
        self, tx: Transaction, tenant_id: str, *, force: bool, actor: Actor, now: datetime
    ) -> tuple[str, ...]:
        """Begins to delete all of them, or none: then answers what was asked first. Raises Conflict as for one."""
        ...

    async def refusal(self, asked: Sequence[str], *, until: float) -> Spg99Error | None:
        """Waits for the answers, until `until` of time.monotonic(); None: they may be deleted."""
        ...


class NodeDisk(Protocol):
    """The disk of a node (fleet/nodes.py)."""

    @property
    def name(self) -> str: ...
    @property
    def free_bytes(self) -> int: ...
    @property
    def is_short(self) -> bool: ...
    @property
    def reserve_is_given_up(self) -> bool: ...


Disks = Callable[[Transaction, datetime], Awaitable[Sequence[NodeDisk]]]
"""The disks of the nodes that are there."""
TenantOf = Callable[[Transaction, "Call", str], Awaitable[SeenTenant]]
"""Finds the tenant of a name, if the call may see it. Raises NotFound."""
Missing = Callable[[Transaction, datetime], Awaitable[str | None]]
"""Something a domain needs from outside: None while it is there, else a sentence for /readyz."""
CountByState = Callable[[Transaction], Awaitable[Mapping[str, int]]]
"""How many of its things a domain has, by state, for /metrics."""
