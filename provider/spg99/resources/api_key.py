"""ApiKey: a bearer token of the HTTP API. Not here: checking one (control_plane/serving/call.py)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from pydantic import AwareDatetime, Field

from spg99.patterns import NAME_PATTERN
from spg99.resources.fields import Immutable, Secret, Unordered, Volatile
from spg99.resources.noun import Resource, Spec
from spg99.rules import Rule, tenant_fits_scope


class Scope(StrEnum):
    """What an API key may see at most."""

    GLOBAL = "global"
    """Every account of the installation."""
    ACCOUNT = "account"
    """One account."""
    TENANT = "tenant"
    """One tenant and its databases."""


class Permission(StrEnum):
    """What an API key may do within its scope; reading needs none."""

    CAN_CREATE_TENANT = "can_create_tenant"
    """Create, change and rotate tenants."""
    CAN_CREATE_DB = "can_create_db"
    """Create databases and change their settings."""
    CAN_SCALE = "can_scale"
    """Start, stop and resize databases."""
    CAN_DELETE = "can_delete"
    """Delete tenants and databases."""
    CAN_READ_CREDENTIALS = "can_read_credentials"
    """Read passwords and complete connection strings."""
    CAN_MANAGE_KEYS = "can_manage_keys"
    """Create, rotate and revoke API keys with at most its own rights."""
    CAN_ADMIN_PLATFORM = "can_admin_platform"
    """Administer the installation: nodes, policies."""


class ApiKeySpec(Spec):
    """An API key as a user declares it."""

    RULES: ClassVar[tuple[Rule, ...]] = (tenant_fits_scope,)

    name: str = Field(min_length=1, max_length=100, examples=["ci"])
    """What the key is for."""
    scope: Immutable[Scope] = Scope.ACCOUNT
    """What the key may see at most."""
    tenant: Immutable[str | None] = Field(default=None, pattern=NAME_PATTERN)
    """Name of the tenant, for keys of scope `tenant`."""
    permissions: Immutable[Unordered[list[Permission]]] = Field(default_factory=list, max_length=16)
    """What the key may do. Reading needs no permission."""
    expires_at: Immutable[AwareDatetime | None] = None
    """When the key stops working (RFC 3339). Null means never."""


class ApiKey(ApiKeySpec, Resource):
    """A bearer token of the HTTP API with a scope, permissions and an optional expiry."""

    NOUN: ClassVar[str] = "api_key"
    SPEC: ClassVar[type[Spec]] = ApiKeySpec
    COLLECTION_PATH: ClassVar[str] = "/keys"
    ITEM_PATH: ClassVar[str] = "/keys/{key_id}"
    ID_FORMAT: ClassVar[str] = "{key_id}"
    UID_FIELD: ClassVar[str] = "key_id"

    model_config = Resource.model_config

    key_id: str
    """Id of the key."""
    token: Secret[str | None] = None
    """The bearer token. Answered once, at creation or rotation; only a hash of it is kept."""
    created_at: datetime
    """When the key was created (UTC)."""
    last_used_at: Volatile[datetime | None] = None
    """When the key was last used (UTC), to the minute."""
