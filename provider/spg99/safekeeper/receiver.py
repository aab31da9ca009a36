"""Takes the WAL of one compute: connects, asks for it from where ours ends, has it kept, says how far it lasts.

Here: one connection from its start to its end. Not here: what may be taken and where it is written (kept_timeline.py), when to connect
again (follower.py), bytes (wire/replication.py).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final, Protocol

from spg99 import spans
from spg99.errors import ProtocolViolation, Unavailable
from spg99.processes.own_certificate import OwnCertificate
from spg99.protocol.safekeeper import ROLE, Follow
from spg99.safekeeper import network
from spg99.wal.lsn import format_lsn
from spg99.wire import messages, replication
from spg99.wire.messages import FrameScanner
from spg99.wire.replication import Keepalive, WalData
from spg99.wire.startup import startup_message

ANSWER_SECONDS_MAX: Final = 10.0
SILENCE_SECONDS_MAX: Final = 15.0
"""The compute says something every 2.5 s (half its wal_sender_timeout)."""
_READ_BYTES: Final = 1 << 18
_UNFLUSHED_BYTES_MAX: Final = 1 << 22
"""While more comes than can be read at once, a sync covers this much."""
_UNDEFINED_FILE: Final = "58P01"
_SLOT_IS_INVALID: Final = "55000"


@dataclass(frozen=True)
class Source:
    """A compute to take WAL from."""

    follow: Follow
    application_name: str
    """As it stands in the compute's synchronous_standby_names."""
    slot: str
    certificate: OwnCertificate | None = None
    """By what one of another machine is reached."""


class Sink(Protocol):
    """Who keeps what comes."""

    system_identifier: int

    @property
    def flushed_lsn(self) -> int:
        """Up to where WAL lasts here: it is asked for from there on."""
        ...

    def tli_at(self, lsn: int) -> int:
        """The PostgreSQL timeline that WAL at this place belongs to, in the history of the compute's term."""
        ...

    def write(self, lsn: int, data: memoryview) -> None:
        """Takes WAL. Raises Conflict when this compute's turn is over."""
        ...

    def flush(self) -> int:
        """Makes it last; answers up to where."""
        ...

    def connected(self, server_lsn: int) -> None:
        """The compute has answered; it had flushed up to `server_lsn` by then."""
        ...


class Closed(Unavailable):
    """The compute has ended the connection."""


class CutOff(Closed):
    """The WAL that comes next here cannot be had from this compute: it has removed it, or has never had it."""

    may_be_filled = True
    """Whether others could help: not where the compute itself has lost WAL."""


class Behind(CutOff):
    """The compute has less than is here."""

    may_be_filled = False


class Receiver:
    """One connection to one compute."""

    def __init__(self, source: Source, sink: Sink) -> None:
        self._source = source
        self._sink = sink
        self._scanner = FrameScanner(bytes_max=replication.MESSAGE_BYTES_MAX)
        self._reported_lsn = -1

    async def run(self) -> None:
        """Takes WAL until the compute ends. Raises Closed then, CutOff when it has no WAL for us, OSError when nobody answers, Conflict when another compute's turn has
        come, ProtocolViolation when it is not the server it should be."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                self._reader, self._writer = await network.connect(
                    self._source.follow, self._source.certificate, limit=_READ_BYTES
                )
        except TimeoutError:
            raise Closed("The compute does not take connections.") from None
        except Unavailable as error:
            raise Closed(error.message) from error
        spans.mark("receiver.connected")
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await self._enter()
            while True:
                lsn = self._sink.flushed_lsn
                await self._stream(lsn, self._sink.tli_at(lsn))
        except TimeoutError:
            raise Closed("The compute is silent.") from None
        finally:
            self._writer.close()

    async def _enter(self) -> None:
        self._writer.write(
            startup_message(
                {
                    b"user": ROLE.encode(),
                    b"replication": b"true",
                    b"application_name": self._source.application_name.encode(),
                    b"client_encoding": b"UTF8",
                }
            )
        )
        await self._answer()
        self._writer.write(replication.query("IDENTIFY_SYSTEM"))
        rows = await self._answer()
        system = replication.system_of(rows[0] if rows else ())
        if system.system_identifier != self._sink.system_identifier:
            raise ProtocolViolation(
                f"The compute is of another database: its system identifier is {system.system_identifier}, not "
                f"{self._sink.system_identifier}."
            )
        lsn = self._sink.flushed_lsn
        if system.flush_lsn < lsn and system.tli == self._sink.tli_at(lsn):
            raise Behind(
                f"The compute has WAL up to {format_lsn(system.flush_lsn)} only, less than the {format_lsn(lsn)} that are here."
            )
        await self._make_slot()
        self._sink.connected(system.flush_lsn)

    async def _make_slot(self) -> None:
        self._writer.write(replication.query(f'READ_REPLICATION_SLOT "{self._source.slot}"'))
        rows = await self._answer()
        if not rows or rows[0][0] is None:
            self._writer.write(replication.query(f'CREATE_REPLICATION_SLOT "{self._source.slot}" PHYSICAL RESERVE_WAL'))
            await self._answer()

    async def _drop_slot(self) -> None:
        """A slot that the compute has given up (max_slot_wal_keep_size) is made anew by the next try: the WAL may be there still."""
        await self._answer()
        self._writer.write(replication.query(f'DROP_REPLICATION_SLOT "{self._source.slot}"'))
        await self._answer()

    async def _stream(self, lsn: int, tli: int) -> None:
        """Takes what there is of one timeline: without end, or up to where the next one begins. Raises CutOff."""
        self._writer.write(replication.start_replication(slot=self._source.slot, lsn=lsn, tli=tli))
        is_streaming, is_more, unflushed_bytes = False, False, 0
        while True:
            for kind, body in self._scanner:
                if kind == replication.COPY_BOTH:
                    is_streaming = True
                    spans.mark("receiver.streams")
                    self._report(lsn)
                elif kind == replication.COPY_DATA and is_streaming:
                    self._take(body)
                elif kind == replication.COPY_DONE:
                    self._writer.write(messages.frame(replication.COPY_DONE, b""))
                elif kind == messages.ERROR_RESPONSE:
                    refusal = _refusal(body)
                    if not is_streaming and _code_of(body) == _SLOT_IS_INVALID:
                        await self._drop_slot()
                    raise refusal if is_streaming and not _is_wal_gone(body) else CutOff(refusal.message)
                elif kind == messages.READY_FOR_QUERY:
                    if not is_streaming:
                        raise CutOff("The compute has nothing of the timeline that comes next.")
                    return
            if is_streaming and (not is_more or unflushed_bytes >= _UNFLUSHED_BYTES_MAX):
                self._report(self._sink.flush())
                unflushed_bytes = 0
            read_bytes = await self._read()
            unflushed_bytes += read_bytes
            is_more = read_bytes >= _READ_BYTES

    def _take(self, body: bytes) -> None:
        message = replication.read_copy(body)
        if isinstance(message, WalData):
            self._sink.write(message.begin_lsn, memoryview(message.data))
        elif isinstance(message, Keepalive) and message.reply_requested:
            self._reported_lsn = -1

    def _report(self, flush_lsn: int) -> None:
        """Says how far it lasts, if that is news."""
        if flush_lsn == self._reported_lsn:
            return
        self._reported_lsn = flush_lsn
        now = time.time_ns() // 1000
        self._writer.write(replication.status_update(write_lsn=flush_lsn, flush_lsn=flush_lsn, now_microseconds=now))

    async def _answer(self) -> list[tuple[str | None, ...]]:
        """The rows that are said until the server waits for the next command."""
        rows: list[tuple[str | None, ...]] = []
        while True:
            for kind, body in self._scanner:
                if kind == messages.ERROR_RESPONSE:
                    raise _refusal(body)
                if kind == messages.DATA_ROW:
                    rows.append(messages.data_row(body))
                elif kind == messages.READY_FOR_QUERY:
                    return rows
            await self._read()

    async def _read(self) -> int:
        """Takes what has come; answers how many bytes."""
        async with asyncio.timeout(SILENCE_SECONDS_MAX):
            data = await self._reader.read(_READ_BYTES)
        if not data:
            raise Closed("The compute has closed the connection.")
        self._scanner.feed(data)
        return len(data)


def _is_wal_gone(body: bytes) -> bool:
    """Whether the server has removed the segment that was asked for: seen only once it streams."""
    return _code_of(body) == _UNDEFINED_FILE


def _code_of(body: bytes) -> str | None:
    return messages.error_fields(body).get("C")


def _refusal(body: bytes) -> Closed:
    fields = messages.error_fields(body)
    return Closed(f"The compute refuses: {fields.get('M', 'without a word')} ({fields.get('C', '?')}).")
