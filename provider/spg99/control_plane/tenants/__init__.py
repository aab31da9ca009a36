"""Tenants: PostgreSQL users with their credentials, and the projects they are grouped in. Here: what other domains may call."""

from spg99.control_plane.tenants.passwords import dsn_of_any
from spg99.control_plane.tenants.rows import TenantRow, password_of, verifier_of
from spg99.control_plane.tenants.rows import by_id as tenant_by_id
from spg99.control_plane.tenants.visible import Asked as AskedTenant
from spg99.control_plane.tenants.visible import ask_held as ask_held_tenant
from spg99.control_plane.tenants.visible import named as visible_tenant
from spg99.control_plane.tenants.visible import password as visible_password

__all__ = [
    "AskedTenant",
    "TenantRow",
    "ask_held_tenant",
    "dsn_of_any",
    "password_of",
    "tenant_by_id",
    "verifier_of",
    "visible_password",
    "visible_tenant",
]
