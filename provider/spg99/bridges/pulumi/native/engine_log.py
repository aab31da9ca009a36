"""Lines on a resource in Pulumi's display. Lines are lost, never errors, when the engine does not take them."""

from __future__ import annotations

import asyncio
from typing import Any

from spg99.bridges.pulumi.native.messages import INFO, message

SECONDS_MAX = 5.0


class EngineLog:
    """The way back to the engine that started this plugin."""

    def __init__(self, address: str = "") -> None:
        self._channel: Any = None
        self._log: Any = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._address = ""
        self.connect(address)

    def connect(self, address: str) -> None:
        """Takes the engine's address: from the command line, the handshake, or Attach, whichever says it last."""
        if address and address != self._address:
            self._address, self._log = address, None

    def status(self, urn: str, text: str) -> None:
        """Shows what a resource waits for; replaced by the next line."""
        self._send(urn, text, INFO, ephemeral=True)

    def line(self, urn: str, text: str, severity: int) -> None:
        """Writes a line that stays."""
        self._send(urn, text, severity, ephemeral=False)

    async def flush(self) -> None:
        """Waits until the engine has all lines, so that none comes after the answer it belongs to."""
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=SECONDS_MAX)

    def _send(self, urn: str, text: str, severity: int, *, ephemeral: bool) -> None:
        if not self._address:
            return
        request = message("LogRequest")(severity=severity, message=text, urn=urn, ephemeral=ephemeral)
        task = asyncio.get_running_loop().create_task(self._sent(request))
        self._under_way.add(task)  # a task that nobody holds may vanish
        task.add_done_callback(self._under_way.discard)

    async def _sent(self, request: Any) -> None:
        import grpc

        if self._log is None:
            self._channel = grpc.aio.insecure_channel(self._address)
            self._log = self._channel.unary_unary(
                "/pulumirpc.Engine/Log",
                request_serializer=message("LogRequest").SerializeToString,
                response_deserializer=message("Empty").FromString,
            )
        try:
            await self._log(request, timeout=SECONDS_MAX)
        except (grpc.RpcError, asyncio.CancelledError):
            return
