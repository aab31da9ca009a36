"""What a user may declare: the single truth, one file a noun. Everything else (API bodies, schemas, docs) derives from it."""

from spg99.resources.account import Account
from spg99.resources.api_key import ApiKey, ApiKeySpec, Permission, Scope
from spg99.resources.database import (
    Database,
    DatabaseSpec,
    DatabaseState,
    OnDelete,
    ScaleState,
    Size,
    StorageHeldBy,
    StorageState,
)
from spg99.resources.fields import Immutable, Mark, Secret, Unordered, Volatile, marks_of
from spg99.resources.noun import Page, Resource, Spec
from spg99.resources.snapshot import Snapshot, SnapshotSpec
from spg99.resources.snapshot_schedule import SnapshotSchedule, SnapshotScheduleSpec
from spg99.resources.tenant import Tenant, TenantSpec, TenantState
from spg99.resources.tenant_credentials import CredentialsState, TenantCredentials, TenantCredentialsSpec

NOUNS: tuple[type[Resource], ...] = (Tenant, Database, ApiKey, TenantCredentials, Snapshot, SnapshotSchedule)
"""Every noun a user may declare, in the order in which documentation lists them."""
READS: tuple[type[Resource], ...] = (Account,)
"""What can only be read."""

__all__ = [
    "NOUNS",
    "READS",
    "Account",
    "ApiKey",
    "ApiKeySpec",
    "CredentialsState",
    "Database",
    "DatabaseSpec",
    "DatabaseState",
    "Immutable",
    "Mark",
    "OnDelete",
    "Page",
    "Permission",
    "Resource",
    "ScaleState",
    "Scope",
    "Secret",
    "Size",
    "Snapshot",
    "SnapshotSchedule",
    "SnapshotScheduleSpec",
    "SnapshotSpec",
    "Spec",
    "StorageHeldBy",
    "StorageState",
    "Tenant",
    "TenantCredentials",
    "TenantCredentialsSpec",
    "TenantSpec",
    "TenantState",
    "Unordered",
    "Volatile",
    "marks_of",
]
