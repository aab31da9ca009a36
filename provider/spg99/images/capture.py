"""What a stopped cluster is at this moment: which of its files belong into an image, and which have changed. Here: that the cluster is stopped
and stays so, reading its files. Not here: chunks and packs (chunking.py), names and times of files (folder_state.py)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from spg99.errors import Conflict, Damaged
from spg99.images.folder_state import FolderState, Seen, is_wal_left_out, read_state
from spg99.images.manifest import CHUNK_BYTES
from spg99.postgres import control_file
from spg99.postgres.control_file import ClusterState, ControlFile
from spg99.postgres.postmaster import PID_FILE
from spg99.wal.lsn import Segment, segment_name, segment_numbers

_WAL_PAGE: Final = 8192


@dataclass(frozen=True)
class Captured:
    """A stopped cluster at one LSN: its files, and the contents of those that have changed, or the folder where they can be read."""

    data_dir: Path
    control: ControlFile
    control_bytes: bytes
    lsn: int
    pg_version: int
    state: FolderState
    stored_bytes: Mapping[str, int]
    """Of each file that belongs into the image, in the order of names: how much of it is not zeros behind an end."""
    unchanged: frozenset[str]
    contents: Mapping[str, bytes] | None
    """Of all that have changed. None: they are read from the folder when they are wanted."""
    redo_lsn: int | None = None
    """Where recovery begins, of one that was stopped in recovery: it holds no WAL itself."""

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return sum(map(len, (self.contents or {}).values()))


def capture(data_dir: Path, seen: Seen | None = None, *, is_copy: bool = False) -> Captured:
    """Reads what has changed since `seen` into memory: PostgreSQL may be started on the folder as soon as this has returned.

    `is_copy`: `seen` is of the folder that this one is a copy of. For a thread; raises as `build` does. What has changed must fit into
    memory: this is for folders just made.
    """
    examined = examine(data_dir, seen, is_copy=is_copy)
    contents = {
        path: read(data_dir, path, examined.stored_bytes[path])
        for path in examined.stored_bytes
        if path not in examined.unchanged
    }
    require_still(examined)
    return Captured(**{**vars(examined), "contents": contents})


def examine(data_dir: Path, seen: Seen | None, *, is_copy: bool, in_recovery: bool = False) -> Captured:
    """What `capture` answers without the contents. Raises as it does. `in_recovery`: of a cluster that has replayed WAL and was stopped then."""
    _require_no_postmaster(data_dir)
    control_bytes = control_file.read_control_bytes(data_dir)
    control = control_file.parse_control_file(control_bytes)
    wanted = ClusterState.SHUT_DOWN_IN_RECOVERY if in_recovery else ClusterState.SHUT_DOWN
    if control.state is not wanted:
        raise Conflict(
            f"The cluster in {data_dir} was not stopped cleanly (it is '{control.state.words}'): no image is made of it. "
            "Start it and stop it."
        )
    lsn = control.min_recovery_lsn if in_recovery else control_file.end_of_checkpoint(data_dir, control)
    try:
        pg_version = int((data_dir / "PG_VERSION").read_text())
    except (OSError, ValueError) as error:
        raise Damaged(f"{data_dir} holds no whole cluster: PG_VERSION cannot be read.") from error
    state = read_state(data_dir)
    segments = {} if in_recovery else _segments(control, lsn)
    stored = {}
    unchanged = set()
    for path, signature in state.seen.files.items():
        if path.startswith("pg_wal/"):
            if is_wal_left_out(path, frozenset(segments)):
                continue
            stored[path] = min(signature.size_bytes, segments.get(path.removeprefix("pg_wal/"), signature.size_bytes))
            continue  # the few there are are always read: their cut moves
        stored[path] = signature.size_bytes
        if seen is not None and seen.is_unchanged(path, signature, is_copy=is_copy):
            unchanged.add(path)
    return Captured(
        data_dir,
        control,
        control_bytes,
        lsn,
        pg_version,
        state,
        stored,
        frozenset(unchanged),
        contents=None,
        redo_lsn=control.redo_lsn if in_recovery else None,
    )


def _segments(control: ControlFile, lsn: int) -> dict[str, int]:
    """Names of the segments that a start needs, from the checkpoint's record to its end, and how much of each.

    Of the last one a page more than was written: PostgreSQL reads on behind the last record until it finds none.
    """
    size = control.segment_bytes
    needed = segment_numbers(control.redo_lsn, lsn, size)
    cut = min(size, ((lsn - 1) % size // _WAL_PAGE + 2) * _WAL_PAGE)
    return {segment_name(Segment(control.tli, n), size): cut if n == needed[-1] else size for n in needed}


def _require_no_postmaster(data_dir: Path) -> None:
    if (data_dir / PID_FILE).exists():
        raise Conflict(
            f"The cluster in {data_dir} runs, or was not stopped cleanly ({PID_FILE} is there): no image is made of it."
        )


def require_still(captured: Captured) -> None:
    """Raises Conflict when somebody has started the cluster: a start writes its pid file first, and a stop leaves another control file."""
    _require_no_postmaster(captured.data_dir)
    if control_file.read_control_bytes(captured.data_dir) != captured.control_bytes:
        raise Conflict(
            f"The cluster in {captured.data_dir} was started while its image was made. Stop it, then make one."
        )


def read(data_dir: Path, path: str, length: int) -> bytes:
    """The file's first bytes. Raises Conflict when it is not what it was."""
    with _unchanging(data_dir / path), open(control_file.place_of(data_dir, path), "rb", buffering=0) as file:
        return _read_at(file, 0, length)


def read_chunks(data_dir: Path, path: str, length: int, wanted: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Number and content of these chunks of its first bytes. Raises as `read` does."""
    with _unchanging(data_dir / path), open(data_dir / path, "rb", buffering=0) as file:
        for number in wanted:
            offset = number * CHUNK_BYTES
            yield number, _read_at(file, offset, min(CHUNK_BYTES, length - offset))


def _read_at(file: FileIO, offset: int, length: int) -> bytes:
    content = os.pread(file.fileno(), length, offset)
    if len(content) != length:
        raise FileNotFoundError
    return content


@contextlib.contextmanager
def _unchanging(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise Conflict(f"{path} changed while an image was made of it. Stop the cluster, then make one.") from None
