"""What a kept timeline's files on a node say of themselves: whose WAL they hold, where it ends, whether they may be trusted. Not here: what
follows from it (keeping.py), making them (materialise.py)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from spg99.atomic_write import write_file
from spg99.errors import Damaged, Spg99Error
from spg99.node import writer
from spg99.node.folder import TimelineFolder
from spg99.node.wake_set import NOTHING, WakeSet
from spg99.node.writer import Writer
from spg99.postgres.control_file import ClusterState, end_of_checkpoint, read_control_file
from spg99.protocol import safekeeper as said
from spg99.protocol.safekeeper import history_of, history_said
from spg99.wal.fence import TermHistory

DOUBTFUL_WITHIN: Final = timedelta(seconds=10)


class _Lived(BaseModel):
    """Whose WAL a folder holds. Of no use once another compute has begun on it: the writer's record has the higher term then."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    history: list[said.TermBegin]


@dataclass(frozen=True)
class End:
    """What the files say of their end."""

    checkpoint_lsn: int
    clean_end_lsn: int | None
    """Of all WAL there is; None: it was not stopped cleanly, and only a recovery can tell."""

    def is_before(self, lsn: int) -> bool:
        """Whether they are known to lack WAL that is kept up to `lsn`."""
        return self.clean_end_lsn is not None and self.clean_end_lsn < lsn

    def is_kept(self, kept_lsn: int | None) -> bool:
        """Whether nothing in them is beyond what a quorum holds (up to `kept_lsn`; None: nobody knows). No commit is behind the record of a clean stop."""
        return self.clean_end_lsn is not None and kept_lsn is not None and kept_lsn >= self.checkpoint_lsn


def end_of(timeline: TimelineFolder) -> End:
    """Where the WAL of these files ends. Raises Damaged."""
    control = read_control_file(timeline.data_dir)
    if control.state is not ClusterState.SHUT_DOWN:
        return End(control.checkpoint_lsn, None)
    return End(control.checkpoint_lsn, end_of_checkpoint(timeline.data_dir, control))


def lived(timeline: TimelineFolder, last: Writer | None) -> TermHistory | None:
    """Whose WAL is in the files on this node; None when they are no use: none there, not whole, or nobody can tell. `last`: the record of
    who wrote them last."""
    try:
        found = _Lived.model_validate_json(_history_file(timeline).read_bytes())
        read_control_file(timeline.data_dir)
    except (OSError, ValidationError, Damaged):
        return None
    # One that had begun on them and was ended before it was let in may have changed them in a way that nobody has noted.
    if last is None or not found.history or last.writer_term != found.history[-1].term:
        return None
    if last.boot_id is not None and last.boot_id != boot_id():
        return None  # the machine has crashed or was switched off, and nothing in them was ever synced
    return history_of(found.history)


def usable(timeline: TimelineFolder, last: Writer | None) -> tuple[TermHistory, End] | None:
    """Whose WAL is in the files and where it ends; None when a start need not try them."""
    terms = lived(timeline, last)
    if terms is None:
        return None
    try:
        return terms, end_of(timeline)
    except Damaged:
        return None


def note_lived(timeline: TimelineFolder, terms: TermHistory) -> None:
    """Notes whose WAL it is from now on."""
    note = _Lived(history=history_said(terms))
    write_file(_history_file(timeline), note.model_dump_json(), mode=0o600, durable=False)


def distrust(timeline: TimelineFolder) -> None:
    """Its files are made anew at the next start."""
    _history_file(timeline).unlink(missing_ok=True)


def are_doubtful(code: int | None, lived: timedelta) -> bool:
    """Whether a server that ended by itself (exit code; None: nobody knows) after this time did so by its files, for all that is known. Damage that
    stops no start ends a server with its first sessions, and another start on the same files would end as soon. Being killed is no sign of it."""
    return code is not None and code > 0 and lived < DOUBTFUL_WITHIN


def is_still(timeline: TimelineFolder, record: Writer) -> bool:
    """Whether this compute was the last that began on these files."""
    try:
        last = writer.read(timeline)
    except Spg99Error:
        return False
    return last is not None and last.compute_id == record.compute_id


def known_file(timeline: TimelineFolder) -> Path:
    """What is known of the files since their last image (images/known.py)."""
    return timeline.root / "image.json"


def note_evicted(timeline: TimelineFolder, size_bytes: int) -> None:
    """Notes how large a database is whose files are about to be given up."""
    write_file(timeline.evicted_file, str(size_bytes), mode=0o600, durable=False)


def past_wakes(timeline: TimelineFolder) -> WakeSet:
    """What its last wakes used."""
    try:
        return WakeSet.from_bytes(timeline.wake_set_file.read_bytes())
    except OSError:
        return NOTHING


def note_wake(timeline: TimelineFolder, used: WakeSet) -> None:
    """The next one has them before it asks."""
    write_file(timeline.wake_set_file, used.to_bytes(), mode=0o600, durable=False)


@functools.cache
def boot_id() -> str | None:
    """This run of the machine; None where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() or None
    except OSError:
        return None


def _history_file(timeline: TimelineFolder) -> Path:
    return timeline.root / "history.json"
