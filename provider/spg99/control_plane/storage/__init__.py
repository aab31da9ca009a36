"""Where the durable history of a database is: timelines; and whose the object store is. Here: what other domains may call. Not here: the files (node/)."""

from spg99.control_plane.storage import descriptions
from spg99.control_plane.storage.descriptions import DatabaseDescribed, TenantDescribed
from spg99.control_plane.storage.installation import Installation
from spg99.control_plane.storage.object_store import Opened, StoreAccess
from spg99.control_plane.storage.pins import PinRow
from spg99.control_plane.storage.pins import delete_of_owner as delete_pins_of_owner
from spg99.control_plane.storage.pins import insert as insert_pin
from spg99.control_plane.storage.pins import of_timeline as pins_of_timeline
from spg99.control_plane.storage.pins import of_timelines as pins_of_timelines
from spg99.control_plane.storage.shredding import Shredder
from spg99.control_plane.storage.stored_tenants import note_described as note_tenant_described
from spg99.control_plane.storage.stored_tenants import shred as shred_tenant
from spg99.control_plane.storage.timelines import (
    TimelineRow,
    descriptions_to_remove,
    note_description_removed,
    note_history,
)
from spg99.control_plane.storage.timelines import configure as configure_timeline
from spg99.control_plane.storage.timelines import find as find_timeline
from spg99.control_plane.storage.timelines import forget_before as forget_timelines_before
from spg99.control_plane.storage.timelines import give as give_timeline
from spg99.control_plane.storage.timelines import insert as insert_timeline
from spg99.control_plane.storage.timelines import kept as kept_timelines
from spg99.control_plane.storage.timelines import mark as mark_timeline
from spg99.control_plane.storage.timelines import node_of as node_of_timeline
from spg99.control_plane.storage.timelines import note_described as note_timeline_described
from spg99.control_plane.storage.timelines import place as place_timeline
from spg99.control_plane.storage.timelines import to_forget as timelines_to_forget
from spg99.control_plane.storage.timelines import with_members as timelines_with_members

__all__ = [
    "DatabaseDescribed",
    "Installation",
    "Opened",
    "PinRow",
    "Shredder",
    "StoreAccess",
    "TenantDescribed",
    "TimelineRow",
    "configure_timeline",
    "delete_pins_of_owner",
    "descriptions",
    "descriptions_to_remove",
    "find_timeline",
    "forget_timelines_before",
    "give_timeline",
    "insert_pin",
    "insert_timeline",
    "kept_timelines",
    "mark_timeline",
    "node_of_timeline",
    "note_description_removed",
    "note_history",
    "note_tenant_described",
    "note_timeline_described",
    "pins_of_timeline",
    "pins_of_timelines",
    "place_timeline",
    "shred_tenant",
    "timelines_to_forget",
    "timelines_with_members",
]
