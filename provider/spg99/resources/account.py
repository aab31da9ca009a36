"""Account: whom an API key acts for; it can only be read. Not here: organizations, as the catalogue calls them (control_plane/identity/)."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from spg99.resources.fields import Volatile
from spg99.resources.noun import Resource, Spec


class Account(Resource):
    """The account an API key acts for: the owner of projects, tenants and keys."""

    NOUN: ClassVar[str] = "account"
    SPEC: ClassVar[type[Spec]] = Spec  # there is nothing to write
    COLLECTION_PATH: ClassVar[str] = "/account"
    ITEM_PATH: ClassVar[str] = "/account"
    ID_FORMAT: ClassVar[str] = ""
    UID_FIELD: ClassVar[str] = "account_id"
    LISTED: ClassVar[bool] = False

    account_id: str
    """Id of the account: `org_...`."""
    name: str
    """Name of the contact or the account."""
    email: str
    """Address of the contact; empty when none was given."""
    company: str
    """Company; empty when none was given."""
    plan: str
    """Plan of the account; it decides on limits."""
    created_at: datetime
    """When the account was created (UTC)."""
    updated_at: Volatile[datetime]
    """When the account last changed (UTC)."""
