"""Databases, one noun: rows, wishes of the API, what is due, the answer. Not here: how one lives (lifecycle/)."""

from spg99.control_plane.platform.databases.due import due, look_at_those_of_node, next_due_at, note_storage, postpone
from spg99.control_plane.platform.databases.resource import as_resource
from spg99.control_plane.platform.databases.rows import (
    DatabaseRow,
    by_id,
    find,
    lock,
    lock_of_name,
    lock_unless_busy,
    look,
    of_tenant,
    page,
    remove,
    save,
    tell,
)
from spg99.control_plane.platform.databases.wishes import (
    CHANGEABLE,
    begin_delete,
    change,
    create,
    want_running,
    want_stopped,
)

__all__ = [
    "CHANGEABLE",
    "DatabaseRow",
    "as_resource",
    "begin_delete",
    "by_id",
    "change",
    "create",
    "due",
    "find",
    "lock",
    "lock_of_name",
    "lock_unless_busy",
    "look",
    "look_at_those_of_node",
    "next_due_at",
    "note_storage",
    "of_tenant",
    "page",
    "postpone",
    "remove",
    "save",
    "tell",
    "want_running",
    "want_stopped",
]
