"""The streaming replication protocol as one who receives WAL speaks it (PostgreSQL documentation, section "Streaming Replication
Protocol"). Here: commands, and bytes to values and back. Not here: sockets, files, what may be taken (safekeeper/, wal/).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from spg99.errors import ProtocolViolation
from spg99.wire import messages

COPY_BOTH: Final = b"W"
COPY_DATA: Final = b"d"
COPY_DONE: Final = b"c"
COMMAND_COMPLETE: Final = b"C"

MESSAGE_BYTES_MAX: Final = 1 << 20
"""A walsender sends at most 128 KiB of WAL in one message (MAX_SEND_SIZE); a timeline's history file is small."""
_WAL: Final = 0x77
_KEEPALIVE: Final = 0x6B
_WAL_HEAD: Final = struct.Struct("!BQQq")
_KEEPALIVE_HEAD: Final = struct.Struct("!BQqB")
_STATUS: Final = struct.Struct("!cQQQqB")
_MICROSECONDS_FROM_1970_TO_2000: Final = 946_684_800_000_000


@dataclass(frozen=True, slots=True)
class WalData:
    """Some bytes of WAL."""

    begin_lsn: int
    """Where they begin."""
    server_end_lsn: int
    """How far the server has flushed."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Keepalive:
    """The server says that it is there."""

    server_end_lsn: int
    reply_requested: bool


@dataclass(frozen=True, slots=True)
class System:
    """The answer to IDENTIFY_SYSTEM."""

    system_identifier: int
    tli: int
    flush_lsn: int
    """How far the server had flushed at that moment."""


def query(text: str) -> bytes:
    """A command of the simple query protocol, as a replication connection takes it."""
    return messages.frame(messages.QUERY, text.encode() + b"\0")


def start_replication(*, slot: str, lsn: int, tli: int) -> bytes:
    """Asks for WAL of a timeline from `lsn` on."""
    return query(f'START_REPLICATION SLOT "{slot}" PHYSICAL {lsn >> 32:X}/{lsn & 0xFFFFFFFF:X} TIMELINE {tli}')


def system_of(row: tuple[str | None, ...]) -> System:
    """Reads the row that IDENTIFY_SYSTEM answers. Raises ProtocolViolation."""
    try:
        high, low = str(row[2]).split("/")
        return System(int(str(row[0])), int(str(row[1])), (int(high, 16) << 32) | int(low, 16))
    except (IndexError, ValueError):
        raise ProtocolViolation("The answer to IDENTIFY_SYSTEM is not understood.") from None


def read_copy(body: bytes) -> WalData | Keepalive:
    """What is in a CopyData message of a walsender. Raises ProtocolViolation."""
    kind = body[0] if body else 0
    if kind == _WAL and len(body) >= _WAL_HEAD.size:
        _, begin, end, _ = _WAL_HEAD.unpack_from(body)
        return WalData(begin, end, body[_WAL_HEAD.size :])
    if kind == _KEEPALIVE and len(body) == _KEEPALIVE_HEAD.size:
        _, end, _, reply = _KEEPALIVE_HEAD.unpack(body)
        return Keepalive(end, reply != 0)
    raise ProtocolViolation("The server sends something in its WAL stream that is not understood.")


def status_update(*, write_lsn: int, flush_lsn: int, now_microseconds: int, reply_requested: bool = False) -> bytes:
    """A standby status update: how far WAL was written and flushed here. Nothing is applied, so that is always 0/0 (`InvalidXLogRecPtr`):
    a session that set synchronous_commit to remote_apply waits for ever, as with pg_receivewal; `now_microseconds` since 1970."""
    moment = now_microseconds - _MICROSECONDS_FROM_1970_TO_2000
    body = _STATUS.pack(b"r", write_lsn, flush_lsn, 0, moment, reply_requested)
    return messages.frame(COPY_DATA, body)
