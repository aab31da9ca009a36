"""PostgreSQL on this machine: programs, the account that runs them, one cluster on disk. Not here: what a cluster is for
(node/ runs computes with it, the Control Plane its embedded catalogue)."""

from spg99.postgres.accounts import Account, prepare_account, require_reachable, service_account
from spg99.postgres.binaries import Binaries, find_binaries
from spg99.postgres.cluster import Cluster
from spg99.postgres.postmaster import Exit, Running
from spg99.postgres.replay import newest_timeline

__all__ = [
    "Account",
    "Binaries",
    "Cluster",
    "Exit",
    "Running",
    "find_binaries",
    "newest_timeline",
    "prepare_account",
    "require_reachable",
    "service_account",
]
