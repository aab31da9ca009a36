"""A network between two processes that can be cut without a word: a TCP proxy that swallows what it is given. Here: the cut.
Not here: connections that break (tests/faults/cutting_proxy.py), who is behind it (the tests').
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Self


class CuttableNetwork:
    """Listens on a port of its own and forwards to `target_port`, from a thread of its own. Use it as `with`.

    While it is cut, no byte goes either way and nobody is told: connections stand, new ones are taken and then silent.
    What stood when it was cut stays dead after `heal` (as behind a firewall that has forgotten it); new ones work.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.swallowed_bytes = 0
        self._cuts = 0
        self._is_cut = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cuttable-network", daemon=True)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """From now on everything is swallowed."""
        self._cuts += 1
        self._is_cut = True

    def heal(self) -> None:
        """New connections get through again."""
        self._is_cut = False

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(client, to_client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        began = -1 if self._is_cut else self._cuts
        to_server: asyncio.StreamWriter | None = None
        try:
            with contextlib.suppress(OSError):
                server, to_server = await asyncio.open_connection("127.0.0.1", self.target_port)
                sides = [
                    asyncio.ensure_future(self._carry(client, to_server, began)),
                    asyncio.ensure_future(self._carry(server, to_client, began)),
                ]
                try:
                    await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for side in sides:
                        side.cancel()
                    await asyncio.gather(*sides, return_exceptions=True)
        finally:
            for writer in (to_client, to_server):
                if writer is not None:
                    writer.close()

    async def _carry(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, began: int) -> None:
        while data := await source.read(65536):
            if began != self._cuts:
                self.swallowed_bytes += len(data)
                continue
            to.write(data)
            await to.drain()
        if began != self._cuts:
            await asyncio.Event().wait()  # the end of the stream is swallowed as well
