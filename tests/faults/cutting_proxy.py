"""A TCP proxy that loses what networks lose: the request, the answer, or half of the answer. Here: cutting, by chance.
Not here: what a client makes of it (test_lost_answers.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from enum import StrEnum
from typing import Self


class Cut(StrEnum):
    """Where a connection breaks off."""

    BEFORE_REQUEST = "before the request was forwarded"
    BEFORE_ANSWER = "after the request, before its answer"
    IN_ANSWER = "in the middle of the answer"


class CuttingProxy:
    """Listens on a port of its own and forwards to `target_port`; each piece a client sends may be its last.

    Use it as `async with`. `chance` may be changed while it runs.
    """

    def __init__(self, target_port: int, *, chance: float, seed: int) -> None:
        self.target_port = target_port
        self.chance = chance
        self.kinds = list(Cut)
        self.cuts: Counter[Cut] = Counter()
        self.forwarded = 0
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await asyncio.gather(*self._serving)

    @property
    def port(self) -> int:
        """Where clients connect."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def _take(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(client, to_client))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        to_server: asyncio.StreamWriter | None = None
        self._writers.add(to_client)
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._writers.add(to_server)
            async with asyncio.TaskGroup() as both:
                cut: list[Cut] = []
                both.create_task(self._requests(client, to_server, cut))
                both.create_task(self._answers(server, to_client, cut))
        except* (OSError, _Broken):
            pass
        finally:
            for writer in (to_client, to_server):
                if writer is not None:
                    self._close(writer)
                    self._writers.discard(writer)

    async def _requests(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, cut: list[Cut]) -> None:
        while data := await client.read(65536):
            if not cut and self._random.random() < self.chance:
                cut.append(self._random.choice(self.kinds))
                self.cuts[cut[0]] += 1
                if cut[0] is Cut.BEFORE_REQUEST:
                    raise _Broken
            self.forwarded += 1
            to_server.write(data)
            await to_server.drain()
        raise _Broken

    async def _answers(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, cut: list[Cut]) -> None:
        while data := await server.read(65536):
            if cut and cut[0] is Cut.IN_ANSWER:
                to_client.write(data[: self._random.randrange(1, len(data))])
                with contextlib.suppress(OSError):
                    await to_client.drain()
            if cut:
                raise _Broken
            to_client.write(data)
            await to_client.drain()
        raise _Broken

    def _close(self, writer: asyncio.StreamWriter) -> None:
        if self._random.random() < 0.5:  # half of them with a reset, the others with an orderly end of the stream
            raw: socket.socket | None = writer.get_extra_info("socket")
            if raw is not None:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()


class _Broken(Exception):
    """This connection has ended."""
