"""A timeline's past in the object store: archived WAL and images as one history. Here: putting WAL there, and laying out the files of any moment
that is still kept. Not here: when that is done (pageserver/, node/), images themselves (images/), rules (wal/archived.py).

What a restore, a branch or a rebuild calls:

    point = Point()                          # the end of what there is; Point(lsn=...) | Point(time=...): that moment
    laid = await lay_out_at(point, timeline_id, kept, clients, objects, key, data_dir, account)

`data_dir` is made (it must not be there) and holds the newest image at or before the moment and the WAL behind it, from store and safekeepers, up to
the moment and not a byte further. Start PostgreSQL on it with `laid.settings`: it replays that WAL to its end and begins a new timeline, of which
`laid.history` is the past (`fence.begin(Choice...)`, or the root of a timeline of its own). No recovery target is needed, so none can be missed:
a time is translated here into the LSN before the first transaction that ended after it.

`kept` is the source's (protocol/tasks.py): its safekeepers are asked, by the caller's `clients` (processes/safekeeper_clients.py), for what the store has not
yet. `kept.addresses` empty: the store alone counts.
Raises BadRequest for a moment outside of what is kept (it names the bounds), CannotWake when safekeepers that are needed do not answer or hold
another life (try again), and what images/ raises; then nothing was laid out.

    window = await kept_window(timeline_id, kept, clients, objects, key)      # the bounds, without laying anything out

For who archives (pageserver/): `Archive` (pieces, lives), `Live` (what safekeepers have).

    tenants/<tenant_id>/timelines/<timeline_id>/wal/<segment>-<tli>-<term>-<begin of the term>-<end>     a piece of WAL, sealed
    tenants/<tenant_id>/timelines/<timeline_id>/lives/<term>-<tli>-<begin of the term>                   the history that ends with this term, sealed
"""

from spg99.archive.ends import acknowledged, point_of
from spg99.archive.live import Live
from spg99.archive.moments import Laid, Point, Window, kept_window, lay_out_at
from spg99.archive.stored import Archive, Life

__all__ = [
    "Archive",
    "Laid",
    "Life",
    "Live",
    "Point",
    "Window",
    "acknowledged",
    "kept_window",
    "lay_out_at",
    "point_of",
]
