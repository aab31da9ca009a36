"""What a stopped cluster says of itself in global/pg_control, and where the WAL of its last checkpoint ends. Here: those bytes.
Not here: changing them, starting on them.

Source of the layouts: PostgreSQL's pg_control.h, xlogrecord.h and xlog_internal.h, as gcc and clang lay them out on 64-bit little endian
machines; both formats are compared with pg_controldata by tests/integration/postgres/test_control_file.py.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from spg99.errors import BadRequest, Damaged
from spg99.wal.lsn import PAGE_BYTES, Segment, format_lsn, segment_name, segment_number

NAME: Final = "global/pg_control"
LAZY_NAME: Final = "global/pg_control.lazy"
"""Of a folder whose files are not all here: only a server with the library provider/lazy_pages finds it."""
FILE_BYTES: Final = 8192
_CRC_OFFSETS: Final = {1300: 288, 1800: 292}
"""By pg_control_version: that of PostgreSQL 13 to 17, that of 18. The checksum is of all that stands before it."""


class ClusterState(IntEnum):
    """DBState of pg_control.h."""

    STARTING_UP = 0
    SHUT_DOWN = 1
    SHUT_DOWN_IN_RECOVERY = 2
    SHUTTING_DOWN = 3
    IN_CRASH_RECOVERY = 4
    IN_ARCHIVE_RECOVERY = 5
    IN_PRODUCTION = 6

    @property
    def words(self) -> str:
        """As pg_controldata says it, nearly."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class ControlFile:
    """What of it we use."""

    system_identifier: int
    control_version: int
    catalog_version: int
    state: ClusterState
    checkpoint_lsn: int
    """Where the last checkpoint's record begins."""
    redo_lsn: int
    """Where recovery begins; of a shutdown checkpoint the same."""
    tli: int
    """The timeline of the last checkpoint."""
    segment_bytes: int
    checksums: bool
    min_recovery_lsn: int = 0
    """Of one that was stopped in recovery: it is whole once WAL up to here was replayed."""


def read_control_file(data_dir: Path) -> ControlFile:
    """Of a cluster's folder. Raises Damaged when it is not whole, BadRequest when it is of a version that is not known here."""
    return parse_control_file(read_control_bytes(data_dir))


def read_control_bytes(data_dir: Path) -> bytes:
    """The file as it is. Raises Damaged when it is not there."""
    for name in (NAME, LAZY_NAME):
        try:
            return (data_dir / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise Damaged(f"{data_dir} holds no whole cluster: {NAME} is missing.")


def place_of(data_dir: Path, name: str) -> Path:
    """Where a file of the cluster lies: in its folder by its name, but for the control file of a lazy one."""
    path = data_dir / name
    return data_dir / LAZY_NAME if name == NAME and not path.exists() else path


def parse_control_file(content: bytes) -> ControlFile:
    """Of its bytes. Raises as `read_control_file` does."""
    if len(content) < FILE_BYTES:
        raise Damaged(f"{NAME} is cut short: {len(content)} bytes of {FILE_BYTES}.")
    system_identifier, control_version, catalog_version, state = struct.unpack_from("<QIII", content)
    if (crc_offset := _CRC_OFFSETS.get(control_version)) is None:
        raise BadRequest(f"{NAME} has the format {control_version}, known are {', '.join(map(str, _CRC_OFFSETS))}.")
    if crc32c(content[:crc_offset]) != struct.unpack_from("<I", content, crc_offset)[0]:
        raise Damaged(f"{NAME} is damaged: its checksum does not fit.")
    checkpoint_lsn, redo_lsn, tli = struct.unpack_from("<QQI", content, 32)
    (min_recovery_lsn,) = struct.unpack_from("<Q", content, 136)
    (segment_bytes,) = struct.unpack_from("<I", content, 228)
    (checksum_version,) = struct.unpack_from("<I", content, 252)
    return ControlFile(
        system_identifier=system_identifier,
        control_version=control_version,
        catalog_version=catalog_version,
        state=ClusterState(state),
        checkpoint_lsn=checkpoint_lsn,
        redo_lsn=redo_lsn,
        tli=tli,
        segment_bytes=segment_bytes,
        checksums=checksum_version != 0,
        min_recovery_lsn=min_recovery_lsn,
    )


_PAGE_HEADER_BYTES, _SEGMENT_HEADER_BYTES = 24, 40
_RECORD_HEADER: Final = struct.Struct(
    "<IIQBBxxI"
)  # total length, transaction, previous record, info, resource manager, checksum
_CHECKPOINT_SHUTDOWN: Final = (0, 0x00)
"""Resource manager and info of the record that a clean stop ends with."""
_RECORD_BYTES_MAX: Final = 1024


def end_of_checkpoint(data_dir: Path, control: ControlFile) -> int:
    """The LSN behind the record of the last checkpoint: all that a cleanly stopped cluster has written.

    Raises Damaged when the record is not in pg_wal, whole and that of a clean stop: PostgreSQL would not start there either.
    """
    try:
        head, _ = _read_wal(data_dir, control, control.checkpoint_lsn, _RECORD_HEADER.size)
        length, *_, info, manager, checksum = _RECORD_HEADER.unpack(head)
        if not _RECORD_HEADER.size < length <= _RECORD_BYTES_MAX or (manager, info & 0xF0) != _CHECKPOINT_SHUTDOWN:
            raise ValueError("there is no record of a clean stop")
        record, end = _read_wal(data_dir, control, control.checkpoint_lsn, length)
        if crc32c(record[_RECORD_HEADER.size :] + record[: _RECORD_HEADER.size - 4]) != checksum:
            raise ValueError("its checksum does not fit")
    except (OSError, ValueError) as error:
        raise Damaged(
            f"The WAL of the last checkpoint of {data_dir} ({format_lsn(control.checkpoint_lsn)}) is missing or damaged: {error}."
        ) from error
    return (end + 7) // 8 * 8


def _read_wal(data_dir: Path, control: ControlFile, lsn: int, length: int) -> tuple[bytes, int]:
    """`length` bytes of records from `lsn` on, and the LSN behind them; the headers of pages are checked and stepped over."""
    found = b""
    while len(found) < length:
        page_lsn = lsn // PAGE_BYTES * PAGE_BYTES
        with open(data_dir / "pg_wal" / _segment(control, page_lsn), "rb") as file:
            file.seek(page_lsn % control.segment_bytes)
            page = file.read(PAGE_BYTES)
        if len(page) < PAGE_BYTES or struct.unpack_from("<Q", page, 8)[0] != page_lsn:
            raise ValueError(f"there is no page of {format_lsn(page_lsn)}")
        header = _SEGMENT_HEADER_BYTES if page_lsn % control.segment_bytes == 0 else _PAGE_HEADER_BYTES
        begin = max(lsn - page_lsn, header)
        part = page[begin : begin + length - len(found)]
        found, lsn = found + part, page_lsn + begin + len(part)
    return found, lsn


def _segment(control: ControlFile, lsn: int) -> str:
    return segment_name(Segment(control.tli, segment_number(lsn, control.segment_bytes)), control.segment_bytes)


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        rows.append(byte)
    return tuple(rows)


_TABLE: Final = _table()


def crc32c(content: bytes) -> int:
    """CRC-32C (Castagnoli), PostgreSQL's checksum of control file and WAL records. For hundreds of bytes, not for files."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
