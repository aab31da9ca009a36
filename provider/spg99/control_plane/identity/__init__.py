"""Who acts: API keys and the organizations they act for. Here: what other domains may call; the rest is our own business."""

from spg99.control_plane.identity.keys import remove_of_tenant as remove_keys_of_tenant
from spg99.control_plane.identity.keys import revoke_of_tenant as revoke_keys_of_tenant
from spg99.control_plane.identity.organizations import DEFAULT_ORG_ID
from spg99.control_plane.identity.organizations import find as find_organization
from spg99.control_plane.identity.organizations import lock as lock_organization

__all__ = ["DEFAULT_ORG_ID", "find_organization", "lock_organization", "remove_keys_of_tenant", "revoke_keys_of_tenant"]
