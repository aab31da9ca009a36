"""The only place that talks to the catalogue: transactions, named queries, migrations. Not here: what a row means."""

from spg99.control_plane.store.pruning import prune
from spg99.control_plane.store.transaction import (
    Deferred,
    ReferenceViolation,
    RuleViolation,
    Store,
    Transaction,
    UniqueViolation,
)
from spg99.control_plane.store.wakeups import Wakeups
from spg99.control_plane.store.window import Window

__all__ = [
    "Deferred",
    "ReferenceViolation",
    "RuleViolation",
    "Store",
    "Transaction",
    "UniqueViolation",
    "Wakeups",
    "Window",
    "prune",
]
