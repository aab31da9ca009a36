"""Tenant: one PostgreSQL user and the databases it owns. Not here: how credentials are made (control_plane/tenants/passwords.py)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from spg99.patterns import NAME_PATTERN, PROJECT_PATTERN
from spg99.resources.fields import Immutable, Secret, Volatile
from spg99.resources.noun import Resource, Spec


class TenantState(StrEnum):
    """Where a tenant stands in its life."""

    ACTIVE = "active"
    """It can own databases and its credentials are valid."""
    DELETING = "deleting"
    """It and its databases are being removed."""


class TenantSpec(Spec):
    """A tenant as a user declares it."""

    name: Immutable[str] = Field(pattern=NAME_PATTERN, examples=["acme"])
    """Name of the tenant, unique in the account."""
    project: Immutable[str] = Field(default="default", min_length=1, max_length=63, pattern=PROJECT_PATTERN)
    """Project of the account to which the tenant belongs."""


class Tenant(TenantSpec, Resource):
    """A tenant: the owner of databases, with one credential pair for all of them."""

    NOUN: ClassVar[str] = "tenant"
    SPEC: ClassVar[type[Spec]] = TenantSpec
    COLLECTION_PATH: ClassVar[str] = "/tenants"
    ITEM_PATH: ClassVar[str] = "/tenants/{name}"
    ID_FORMAT: ClassVar[str] = "{name}"
    UID_FIELD: ClassVar[str] = "tenant_id"
    HOLDS_DATA: ClassVar[bool] = True
    FILTERS: ClassVar[tuple[str, ...]] = ("state", "name_prefix")
    SETTLED_STATES: ClassVar[frozenset[str]] = frozenset({TenantState.ACTIVE})
    GONE_STATES: ClassVar[frozenset[str]] = frozenset({TenantState.DELETING})

    model_config = Resource.model_config

    tenant_id: str
    """Id of the tenant."""
    pg_user: str
    """PostgreSQL user of the tenant."""
    pg_password: Secret[str | None] = None
    """Password of `pg_user`. Null when the API key may not read credentials. A run that rotates the password leaves the old
    one here until the next refresh: in that run use what the tenant's credentials (TenantCredentials) answer."""
    dsn_template: Secret[str]
    """Connection string of any database of the tenant; put the database's name in place of `<db-name>`. Its password is as
    old as `pg_password`."""
    state: TenantState
    """Where the tenant stands in its life."""
    created_at: datetime
    """When the tenant was created (UTC)."""
    updated_at: Volatile[datetime]
    """When the tenant last changed (UTC)."""
