"""Tokens of nodes, Gateways, safekeepers and pageservers: one that lets in once, and one that is its identity from then on. Here: making, hashing, using up.

Not here: who has which (nodes.py, gateways.py).
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal

from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import SYSTEM, Actor
from spg99.control_plane.store import Transaction
from spg99.errors import Unauthorized
from spg99.ids import random_word
from spg99.processes import WatchedClock

ENROLMENT_MINUTES = 15
EnrolmentKind = Literal["node", "gateway", "safekeeper", "pageserver"]


async def new_enrolment(tx: Transaction, kind: EnrolmentKind, now: datetime, actor: Actor = SYSTEM) -> str:
    """A single-use token that lets one node, gateway, safekeeper or pageserver enrol within 15 minutes."""
    token = f"spg99_enrol_{random_word(8)}_{random_word(40)}"
    await tx.execute(
        "insert_enrolment_token",
        token_sha256=hash_of(token),
        kind=kind,
        created_at=now,
        minutes=ENROLMENT_MINUTES,
    )
    await audit.record(tx, actor, "enrolment_token.create", None, kind=kind)
    return token


async def forget_before(tx: Transaction, moment: datetime, *, limit: int) -> int:
    """Deletes at most `limit` enrolment tokens whose time ended before `moment`."""
    return await tx.execute("forget_enrolment_tokens", moment=moment, limit=limit)


async def use(tx: Transaction, token: str, kind: EnrolmentKind, clock: WatchedClock) -> None:
    """Uses up an enrolment token. Raises Unauthorized when it is unknown, used, expired or for something else. A step forward
    of the wall clock (a machine that boots and hears of the time) ends none."""
    now = min(clock.now(), clock.unstepped(timedelta(minutes=ENROLMENT_MINUTES)))
    if await tx.value("use_enrolment_token", token_sha256=hash_of(token), kind=kind, now=now) is None:
        raise Unauthorized(
            f"The enrolment token of this {kind} is unknown, used up or older than 15 minutes. Make a new one."
        )


def new_bearer_token(kind: EnrolmentKind) -> str:
    """A fresh identity token; only its hash is kept."""
    return f"spg99_{kind}_{secrets.token_hex(4)}_{secrets.token_hex(32)}"


def hash_of(token: str) -> str:
    """What the catalogue keeps of a token. The token has 256 bits of chance in it, so a plain hash is enough."""
    return sha256(token.encode()).hexdigest()
