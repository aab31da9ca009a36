"""The first things in an empty catalogue: an organization, an admin key, tokens for the first node and gateway.

Here: making them, again and again with the same outcome. Not here: the schema (store/migrate.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from spg99.clock import Clock
from spg99.control_plane.platform import audit, keys, organizations
from spg99.control_plane.platform.actors import SYSTEM
from spg99.control_plane.platform.credentials import read_or_make_secret
from spg99.control_plane.store import Store
from spg99.ids import new_id, random_word
from spg99.resources import Permission

ENROLMENT_MINUTES = 15


def admin_token(data_dir: Path) -> str:
    """The token of the admin key: kept in `<data_dir>/secrets/admin.key` (0600), made at first use."""
    return read_or_make_secret(data_dir / "secrets" / "admin.key", keys.new_token)


async def bootstrap(store: Store, *, admin_token: str) -> None:
    """Makes the organization `default` and a key of scope global with every permission that `admin_token` opens.

    The caller keeps the token in its file first: whatever is killed when, the next call ends the same.
    """
    async with store.transaction() as tx:
        await organizations.ensure_default(tx)
        await organizations.project_named(tx, organizations.DEFAULT_ORG_ID, organizations.DEFAULT_PROJECT, SYSTEM)
        key_id = new_id("key")
        made = await tx.execute(
            "ensure_key",
            key_id=key_id,
            name="admin",
            permissions=sorted(p.value for p in Permission),
            token_sha256=keys.sha256_of(admin_token),
        )
        if made:
            await audit.record(tx, SYSTEM, "key.create", key_id, name="admin", scope="global")
        await audit.ensure_partitions(tx)


async def new_enrolment_token(store: Store, kind: Literal["node", "gateway"], clock: Clock) -> str:
    """A single-use token that lets one node or gateway enrol within 15 minutes."""
    token = f"spg99_enrol_{random_word(8)}_{random_word(40)}"
    async with store.transaction() as tx:
        await tx.execute(
            "insert_enrolment_token",
            token_sha256=keys.sha256_of(token),
            kind=kind,
            created_at=clock.now(),
            minutes=ENROLMENT_MINUTES,
        )
        await audit.record(tx, SYSTEM, "enrolment_token.create", None, kind=kind)
    return token
