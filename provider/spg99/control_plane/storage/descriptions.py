"""What the object store says of tenants and databases, so that a lost catalogue can be made anew. Here: forms, keys, reading and writing. Not here: when it
is written (databases/describing.py), and back into a catalogue (recovery.py).

    catalogue/<tenant_id>/tenant                    a tenant with its credentials, sealed with its own data key
    catalogue/<tenant_id>/timelines/<timeline_id>   a database, sealed likewise

Apart from the chunks, so that a list of all of them is short.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spg99.errors import BadRequest, Damaged, NotFound, PreconditionFailed, StoreUnavailable
from spg99.protocol.safekeeper import Configuration

if TYPE_CHECKING:
    from spg99.images import TenantKey
    from spg99.objects import ObjectStore

DESCRIPTION_FORMAT: Final = 1
PREFIX: Final = "catalogue/"
_WRITES_MAX: Final = 5


class _Described(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = DESCRIPTION_FORMAT
    version: int

    @property
    def age(self) -> tuple[int, ...]:
        """Numbers that only grow; of two descriptions the one in which none is smaller is newer."""
        return (self.version,)


class OrganizationDescribed(BaseModel):
    """The account of a tenant."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    org_id: str
    name: str
    email: str = ""
    company: str = ""
    plan: str = "self-hosted"


class TenantDescribed(_Described):
    """A tenant, and by what its clients are let in: a recovered catalogue lets in the same ones."""

    tenant_id: str
    name: str
    project: str
    pg_user: str
    password: str = Field(repr=False)
    scram_verifier: str = Field(repr=False)
    credential_version: int
    credentials_id: str | None = None
    rotation_trigger: str | None = None
    rotated_at: datetime | None = None
    created_at: datetime
    organization: OrganizationDescribed


class DatabaseDescribed(_Described):
    """A database that has safekeepers."""

    db_id: str
    tenant_id: str
    name: str
    size: str
    min_size: str | None = None
    max_size: str | None = None
    idle_timeout_seconds: int
    storage_limit_bytes: int | None = None
    history_seconds: int | None = None
    deletion_protection: bool = False
    on_delete: str = "delete"
    source_database: str | None = None
    source_time: datetime | None = None
    source_lsn: str | None = None
    source_snapshot: str | None = None
    schema_only: bool = False
    branch_lsn: int | None = None
    restore_trigger: str | None = None
    """Of the restore that was carried out last: forgotten, the next declaration would go back once more."""
    restore_to: str | None = None
    expires_at: datetime | None = None
    undelete_until: datetime | None = None
    """It was deleted and can come back until then; `is_deleting` is true then, for versions that do not know of it."""
    database_name: str | None = None
    created_at: datetime
    is_deleting: bool = False
    begins_in_another: bool = False
    """A branch that was not started yet: its content is its source's."""
    timeline_id: str
    has_started: bool
    """A compute has started on it, so there is WAL that counts."""
    writer_term: int
    """At the time: it has grown since, by less than `TERMS_DESCRIBED_AT_ONCE` (databases/describing.py)."""
    configuration: Configuration
    node_name: str | None = None
    node_id: str | None = None
    """Where its files were last."""
    safekeepers: dict[str, str] = Field(default_factory=dict)
    """Names of those in the configuration, by id."""

    @property
    def age(self) -> tuple[int, ...]:
        """As above."""
        return (self.version, self.writer_term, self.configuration.number)


D = TypeVar("D", bound=_Described)


def key_of_tenant(tenant_id: str) -> str:
    """Where a tenant is described."""
    return f"{PREFIX}{tenant_id}/tenant"


def key_of_timeline(tenant_id: str, timeline_id: str) -> str:
    """Where a database is described."""
    return f"{PREFIX}{tenant_id}/timelines/{timeline_id}"


async def write(objects: ObjectStore, key: TenantKey, object_key: str, described: _Described, tag: str | None) -> str:
    """Describes it; `tag`: of the description that this one is newer than, as far as the caller knows. Answers the tag of what is there then: ours, or a
    newer one that another has written meanwhile, which stays. Raises StoreUnavailable."""
    content = key.seal(described.model_dump_json().encode(), object_key)
    for _ in range(_WRITES_MAX):
        try:
            return await objects.put_if_tag(object_key, content, tag)
        except PreconditionFailed:
            try:
                there = await objects.get(object_key)
            except NotFound:
                tag = None
                continue
            try:
                found = _read(type(described), key, object_key, there.content)
            except Damaged:
                found = None
            if found is not None and all(theirs >= ours for theirs, ours in zip(found.age, described.age, strict=True)):
                return there.tag
            tag = there.tag
    raise StoreUnavailable(f"The description {object_key} is written by others all the time.")


async def read(objects: ObjectStore, key: TenantKey, object_key: str, kind: type[D]) -> D:
    """A description. Raises NotFound, Damaged, Forbidden (another key), BadRequest (a newer version has written it)."""
    return _read(kind, key, object_key, (await objects.get(object_key)).content)


async def all_keys(objects: ObjectStore) -> AsyncIterator[tuple[str, str]]:
    """Of every description: the tenant's id and its key, those of a tenant together."""
    async for entry in objects.entries(PREFIX):
        yield entry.key.removeprefix(PREFIX).partition("/")[0], entry.key


def _read(kind: type[D], key: TenantKey, object_key: str, content: bytes) -> D:
    try:
        found = kind.model_validate_json(key.open(content, object_key))
    except ValidationError as error:
        # Without the cause: its text may hold a password.
        raise Damaged(
            f"The description {object_key} cannot be read: {error.error_count()} of its fields are wrong."
        ) from None
    if found.format != DESCRIPTION_FORMAT:
        raise BadRequest(
            f"The description {object_key} has the format {found.format}; this version of spg99 knows {DESCRIPTION_FORMAT}. Use a newer one."
        )
    return found
