"""TenantCredentials: a tenant's password as something one declares and rotates. Not here: making one (control_plane/tenants/passwords.py)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from spg99.patterns import NAME_PATTERN, PASSWORD_PATTERN
from spg99.resources.fields import Immutable, MovedBy, Secret, Volatile
from spg99.resources.noun import Resource, Spec
from spg99.rules import Rule, password_is_sent_alike

PASSWORD_LENGTH_MIN, PASSWORD_LENGTH_MAX = 12, 256
BY_ROTATION = MovedBy(("rotation_trigger", "pg_password"))


class CredentialsState(StrEnum):
    """Whether a declaration manages the credentials of a tenant."""

    MANAGED = "managed"
    """A declaration decides when there is another password."""
    UNMANAGED = "unmanaged"
    """No declaration does: the password is the one the tenant was made with, or was last given."""


class _Declared(Spec):
    """What is written and answered alike."""

    tenant: Immutable[str] = Field(pattern=NAME_PATTERN, examples=["acme"])
    """Name of the tenant."""
    rotation_trigger: str | None = Field(default=None, max_length=200, examples=["2026-07"])
    """Any text, for example a date. Another value gives the tenant a new random password, in place of one of your own
    too; the value it begins with, and null, change nothing."""


class TenantCredentialsSpec(_Declared):
    """The credentials of a tenant as a user declares them."""

    RULES: ClassVar[tuple[Rule, ...]] = (password_is_sent_alike,)

    pg_password: Secret[str | None] = Field(
        default=None, min_length=PASSWORD_LENGTH_MIN, max_length=PASSWORD_LENGTH_MAX, pattern=PASSWORD_PATTERN
    )
    """A password of your own instead of a random one: 12 to 256 characters that every PostgreSQL client sends alike
    (one that SASLprep, RFC 4013, neither changes nor prohibits). It is never answered in this field. Null leaves the
    password as it is."""


class TenantCredentials(_Declared, Resource):
    """The credentials of a tenant, rotated without downtime: databases keep running and live connections stay; the old
    password is refused from then on. Deleting ends the management only: the password stays."""

    NOUN: ClassVar[str] = "tenant_credentials"
    SPEC: ClassVar[type[Spec]] = TenantCredentialsSpec
    COLLECTION_PATH: ClassVar[str] = "/tenants/{tenant}/credentials"
    ITEM_PATH: ClassVar[str] = "/tenants/{tenant}/credentials"
    ID_FORMAT: ClassVar[str] = "{tenant}"
    UID_FIELD: ClassVar[str] = "credentials_id"
    LISTED: ClassVar[bool] = False
    SETTLED_STATES: ClassVar[frozenset[str]] = frozenset({CredentialsState.MANAGED})
    GONE_STATES: ClassVar[frozenset[str]] = frozenset({CredentialsState.UNMANAGED})

    model_config = Resource.model_config

    credentials_id: str | None = None
    """Id of this declaration of the credentials; null while nobody manages them."""
    tenant_id: str
    """Id of the tenant."""
    state: CredentialsState
    """Whether a declaration manages the credentials."""
    pg_user: str
    """PostgreSQL user of the tenant."""
    password: Annotated[Volatile[Secret[str | None]], BY_ROTATION] = None
    """Password of `pg_user`, the new one in the very run that rotates it. Null when the API key may not read credentials."""
    dsn_template: Annotated[Volatile[Secret[str]], BY_ROTATION]
    """Connection string of any database of the tenant with this password; put the database's name in place of `<db-name>`."""
    credential_version: Annotated[Volatile[int], BY_ROTATION]
    """Number of the password: grows with each new one."""
    rotated_at: Annotated[Volatile[datetime], BY_ROTATION]
    """When the tenant was given this password (UTC)."""
