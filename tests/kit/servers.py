"""uvicorn inside a test's process: signals stay pytest's, and it ends at once. Not here: what it serves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

TICK_SECONDS = 0.01


class Server(uvicorn.Server):
    """Ends within milliseconds where uvicorn waits twice for a tenth of a second, whether or not anybody is connected.

    Tests start hundreds of them. While somebody is connected it ends as uvicorn does.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        tick = 0
        while not await self.on_tick(tick):
            tick += 1
            await asyncio.sleep(TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        if not self.force_exit:
            await self.lifespan.shutdown()
