"""Where the durable history of a database is: timelines; and whose the object store is. Here: what other domains may call. Not here: the files (node/)."""

from spg99.control_plane.storage.installation import Installation
from spg99.control_plane.storage.timelines import configure as configure_timeline
from spg99.control_plane.storage.timelines import forget_before as forget_timelines_before
from spg99.control_plane.storage.timelines import insert as insert_timeline
from spg99.control_plane.storage.timelines import mark as mark_timeline
from spg99.control_plane.storage.timelines import node_of as node_of_timeline
from spg99.control_plane.storage.timelines import place as place_timeline
from spg99.control_plane.storage.timelines import to_forget as timelines_to_forget

__all__ = [
    "Installation",
    "configure_timeline",
    "forget_timelines_before",
    "insert_timeline",
    "mark_timeline",
    "node_of_timeline",
    "place_timeline",
    "timelines_to_forget",
]
