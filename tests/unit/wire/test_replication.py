"""The streaming replication protocol, bytes to values and back."""

from __future__ import annotations

import struct

import pytest

from spg99.errors import ProtocolViolation
from spg99.wire import messages, replication
from spg99.wire.replication import Keepalive, System, WalData


def test_wal() -> None:
    body = struct.pack("!cQQq", b"w", 0x16_0000_0010, 0x16_0000_0020, 5) + b"some wal"
    assert replication.read_copy(body) == WalData(0x16_0000_0010, 0x16_0000_0020, b"some wal")


def test_keepalive() -> None:
    assert replication.read_copy(struct.pack("!cQqB", b"k", 99, 5, 1)) == Keepalive(99, reply_requested=True)
    assert replication.read_copy(struct.pack("!cQqB", b"k", 99, 5, 0)) == Keepalive(99, reply_requested=False)


@pytest.mark.parametrize("body", [b"", b"w", b"k123", b"x" + bytes(40), struct.pack("!cQqB", b"k", 9, 5, 1) + b"x"])
def test_what_is_none_of_it(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        replication.read_copy(body)


def test_a_status_update_says_flushed_and_never_applied() -> None:
    """34 bytes: `r`, written, flushed, applied, microseconds since 2000, reply requested."""
    moment = 946_684_800_000_000 + 7
    scanner = messages.FrameScanner(bytes_max=1000)
    scanner.feed(replication.status_update(write_lsn=12, flush_lsn=11, now_microseconds=moment))
    ((kind, body),) = list(scanner)
    assert (kind, struct.unpack("!cQQQqB", body)) == (b"d", (b"r", 12, 11, 0, 7, 0))


def test_identify_system() -> None:
    assert replication.system_of(("7714", "2", "16/B374D848", None)) == System(7714, 2, 0x16_B374_D848)
    for row in ((), ("7714", "2"), ("7714", "2", "nothing"), (None, "2", "0/0")):
        with pytest.raises(ProtocolViolation):
            replication.system_of(row)


def test_start_replication() -> None:
    sent = replication.start_replication(slot="spg99_sk_1", lsn=0x16_B374_D848, tli=3)
    assert sent[5:] == b'START_REPLICATION SLOT "spg99_sk_1" PHYSICAL 16/B374D848 TIMELINE 3\0'
