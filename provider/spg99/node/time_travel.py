"""A moment of a timeline that is only read: its folder is laid out, served, and thrown away.

PostgreSQL itself refuses every write there, whoever asks: the folder is a standby's that follows nobody. It never ends its recovery, and nobody who can log in may
have it promoted. Recovery up to the moment was over before that (in single-user mode, as a branch's), so no lock of a transaction that was under way then is held.

Here: what makes a folder such a one, and its settings. Not here: laying out (branching.py), processes (computes.py).
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from spg99.errors import Internal
from spg99.node.folder import TimelineFolder
from spg99.postgres import Account
from spg99.protocol.tasks import is_moment

SIGNAL_NAME: Final = "standby.signal"
_SETTINGS: Final = {
    "hot_standby": "on",
    # It follows nobody and waits for nothing.
    "primary_conninfo": "",
    "restore_command": "",
    "wal_retrieve_retry_interval": "1h",
    # The folder is made anew for every start.
    "fsync": "off",
}


def make_read_only(data_dir: Path, account: Account | None) -> None:
    """From here on a server on this stopped cluster only reads."""
    path = data_dir / SIGNAL_NAME
    path.touch(mode=0o600)
    if account is not None:
        os.chown(path, account.uid, account.gid)


def settings(timeline: TimelineFolder) -> dict[str, str]:
    """What a start on these files has to say beside the settings of every compute; of a database nothing. Raises Internal for a moment on whose files a
    server would write."""
    if not is_moment(timeline.timeline_id):
        return {}
    if not (timeline.data_dir / SIGNAL_NAME).is_file():
        raise Internal(
            "The files of this moment are not marked as only read, so nothing is started on them. Connect again: they are made anew."
        )
    return dict(_SETTINGS)


def leftovers(there: Collection[TimelineFolder], running: Collection[str]) -> list[str]:
    """Timelines that go without being asked for (pure): moments on which no server runs. Nothing else ever does: of a moment there is no only copy."""
    return [one.timeline_id for one in there if is_moment(one.timeline_id) and one.timeline_id not in running]
