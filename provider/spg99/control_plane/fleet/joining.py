"""Joining, the same for every kind of process of ours: a single-use token is traded for an identity, which is known by its bearer token from then on.

Here: the steps. Not here: what a name that is known already means to each kind (nodes.py, gateways.py, safekeepers.py, pageservers.py), tokens as
texts (tokens.py).
"""

from __future__ import annotations

from typing import Any, Final, Protocol, TypeVar

from spg99.control_plane.fleet import tokens
from spg99.control_plane.fleet.tokens import EnrolmentKind
from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.store import Transaction
from spg99.errors import Unauthorized
from spg99.ids import new_id
from spg99.protocol import Enrolment, Identity

_PREFIXES: Final[dict[EnrolmentKind, str]] = {"node": "node", "gateway": "gw", "safekeeper": "sk", "pageserver": "ps"}
"""Of ids: by them the other end of a connection knows what it speaks to (tls/authority.py)."""

Row = TypeVar("Row")


class Joined(Protocol):
    """The row of one that has joined."""

    @property
    def identity_id(self) -> str:
        """What it is known by."""


async def join(
    tx: Transaction,
    kind: EnrolmentKind,
    enrolment: Enrolment,
    query: str,
    *,
    identity_id: str | None = None,
    state: str | None = None,
    **values: Any,
) -> Identity | None:
    """Writes the row of one whose token was used up, and answers its identity. `query` writes it and answers its id, or nothing: then None.
    `identity_id`: that it brings; None: a new one. `values`: what the query takes besides."""
    bearer_token = tokens.new_bearer_token(kind)
    joined: str | None = await tx.value(
        query,
        identity_id=identity_id or new_id(_PREFIXES[kind]),
        name=enrolment.name,
        hostname=enrolment.hostname,
        token_sha256=tokens.hash_of(bearer_token),
        **values,
    )
    if joined is None:
        return None
    await audit.record(tx, SYSTEM, f"{kind}.enroll", joined, name=enrolment.name, state=state)
    return Identity(identity_id=joined, bearer_token=bearer_token)


async def known(tx: Transaction, kind: EnrolmentKind, row: type[Row], query: str, bearer_token: str) -> Row:
    """The row of the one whose identity this is. Raises Unauthorized."""
    found = await tx.one_or_none(row, query, token_sha256=tokens.hash_of(bearer_token))
    if found is None:
        raise Unauthorized(f"This identity is not known. Enrol the {kind} again with a fresh token.")
    return found
