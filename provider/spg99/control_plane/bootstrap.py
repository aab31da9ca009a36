"""The first things in an empty catalogue: an organization, an admin key, tokens for the first node and gateway.

Here: making them, again and again with the same outcome. Not here: the schema (store/migrate.py).
"""

from __future__ import annotations

from pathlib import Path

from spg99.clock import Clock
from spg99.control_plane.fleet import tokens
from spg99.control_plane.identity import keys, organizations
from spg99.control_plane.records import audit, policies
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.records.secret_box import read_or_make_secret, write_secret
from spg99.control_plane.store import Store
from spg99.control_plane.tenants import projects


def admin_key_file(data_dir: Path) -> Path:
    """Where the token of the admin key is kept (0600)."""
    return data_dir / "secrets" / "admin.key"


def admin_token(data_dir: Path) -> tuple[str, bool]:
    """The token of the admin key, made at first use, and whether it was made by this call. A file that a power cut has emptied is
    no key."""
    made = keys.new_token()
    token = read_or_make_secret(admin_key_file(data_dir), lambda: made)
    if not token:
        write_secret(admin_key_file(data_dir), token := made)
    return token, token == made


async def recover_admin_key(store: Store, *, data_dir: Path | None) -> str:
    """A new key with every permission, for an owner who has none left; answers its token. Nothing else changes.

    With `data_dir` the token takes the place of the one in its file, as the last thing before the change is final: killed in
    between, the file holds no key (`spg99 env` says so), and the next call makes one.
    """
    token = keys.new_token()
    async with store.transaction() as tx:
        key_id = await keys.ensure_admin(tx, token, is_new=True)
        await audit.record(tx, SYSTEM, "key.recover", key_id, name="admin", scope="global")
        if data_dir is not None:
            write_secret(admin_key_file(data_dir), token)
    return token


async def bootstrap(store: Store, *, admin_token: str, is_new: bool = False) -> None:
    """Makes the organization `default` and a key of scope global with every permission that `admin_token` opens.

    The caller keeps the token in its file first: whatever is killed when, the next call ends the same, in a catalogue that has had no
    key yet. In any other only a token that was made just now (`is_new`) becomes a key: an older one may have been one, and leaked. Who
    is killed between the two there has a file that holds no key, as after a revocation (`keys recover`).
    """
    async with store.transaction() as tx:
        await organizations.ensure_default(tx)
        await projects.named(tx, organizations.DEFAULT_ORG_ID, projects.DEFAULT_PROJECT, SYSTEM)
        await keys.ensure_admin(tx, admin_token, is_new=is_new)
        await audit.ensure_partitions(tx)


async def set_policy(store: Store, key: str, value: int) -> None:
    """Sets a policy for all; one that is so already stays untouched. Raises BadRequest outside its bounds."""
    async with store.transaction() as tx:
        if await policies.value(tx, key) != value:
            await policies.set_value(tx, key, value, SYSTEM)


async def new_enrolment_token(store: Store, kind: tokens.EnrolmentKind, clock: Clock) -> str:
    """A single-use token that lets one process of a kind enrol within 15 minutes."""
    async with store.transaction() as tx:
        return await tokens.new_enrolment(tx, kind, clock.now())
