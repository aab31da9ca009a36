"""How the gateway's parent and its workers talk: JSON lines over a socket pair, calls and answers both ways.

Here: framing, matching answers to calls, errors across. Not here: what is asked (registry.py, worker.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from spg99 import log
from spg99.errors import Internal, Spg99Error, Unavailable, from_envelope

Handler = Callable[..., Awaitable[Any]]

_LINE_BYTES_MAX = 16 * 1024 * 1024
BACKLOG_BYTES_MAX = 16 * 1024 * 1024
"""More that nobody reads: the other end hangs, and the channel is given up as if it had ended (a worker is replaced)."""
_log = log.get("gateway")


class Channel:
    """One end of a conversation. `handlers` answer what the other end asks; `serve` runs until it is gone."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, sock: socket.socket) -> None:
        """Takes over a connected socket."""
        sock.setblocking(False)
        self._reader, self._writer = await asyncio.open_unix_connection(sock=sock, limit=_LINE_BYTES_MAX)

    async def call(self, name: str, **arguments: Any) -> Any:
        """Asks the other end and waits for its answer. Raises the Spg99Error it raised, Unavailable when it is gone."""
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._send({"call": name, "n": number, "with": arguments})
            await self._drained()
            return await answer
        finally:
            self._waiting.pop(number, None)

    def notify(self, name: str, **arguments: Any) -> None:
        """Says something that needs no answer; nothing happens when the other end is gone."""
        try:
            self._send({"call": name, "with": arguments})
        except Unavailable:
            return

    async def serve(self) -> None:
        """Answers until the other end is gone."""
        assert self._reader is not None
        try:
            while line := await self._reader.readline():
                self._receive(json.loads(line))
        except ConnectionError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Ends the conversation; open calls fail."""
        if self._writer is not None:
            self._writer.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable("The gateway is shutting down. Connect again."))
        for task in self._working:
            task.cancel()

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer is None or self._writer.is_closing():
            raise Unavailable("The gateway is shutting down. Connect again.")
        if self._writer.transport.get_write_buffer_size() > BACKLOG_BYTES_MAX:
            _log.error("the other end of a gateway's processes does not read", backlog_bytes_max=BACKLOG_BYTES_MAX)
            self._writer.transport.abort()  # closing would wait for what nobody reads
            self.close()
            raise Unavailable("The gateway is shutting down. Connect again.")
        self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def _drained(self) -> None:
        """Waits while much is on its way: who asks much is slowed rather than kept in memory."""
        assert self._writer is not None
        with contextlib.suppress(ConnectionError):  # then `close` answers whoever waits
            await self._writer.drain()

    def _receive(self, message: dict[str, Any]) -> None:
        if "call" in message:
            task = asyncio.get_running_loop().create_task(self._answer(message))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
            return
        answer = self._waiting.pop(message["n"], None)
        if answer is None or answer.done():
            return
        if (error := message.get("error")) is not None:
            answer.set_exception(from_envelope(error["status"], error))
        else:
            answer.set_result(message.get("result"))

    async def _answer(self, message: dict[str, Any]) -> None:
        reply: dict[str, Any] = {"n": message.get("n")}
        try:
            reply["result"] = await self._handlers[message["call"]](**message["with"])
        except Spg99Error as error:
            reply["error"] = error.envelope() | {"status": error.http_status, "request_id": error.request_id}
        except Exception:  # noqa: BLE001 - the edge of this process: the caller must get an answer
            _log.exception("a call between gateway processes failed", call=message["call"])
            reply["error"] = Internal().envelope() | {"status": Internal.http_status}
        if reply["n"] is not None:
            try:
                self._send(reply)
                await self._drained()
            except Unavailable:
                return
