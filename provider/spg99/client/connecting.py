"""A connection in an event loop: a name to addresses, the first that takes one, TLS. Not here: what is said on it (in_loop.py), the
same without a loop (sockets.py)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from spg99.client.exchanges import PORTS, Address, NotConnected, NotConnectedInTime
from spg99.client.sockets import HEAD_START_SECONDS, handshake_failure

if TYPE_CHECKING:
    import ssl

P = TypeVar("P", bound=asyncio.Protocol)


async def connected(address: Address, context: ssl.SSLContext | None, protocol: Callable[[], P], seconds: float) -> P:
    """A protocol that is connected. Raises NotConnected, from the SSLError where it is one that stays."""
    try:
        async with asyncio.timeout(seconds):
            plain = await first_connection(await _addresses(address))
            return await _spoken(plain, address, context, protocol)
    except TimeoutError:
        raise NotConnectedInTime("no connection in time") from None
    except OSError as error:
        raise NotConnected(str(error)) from error


async def _spoken(
    plain: socket.socket, address: Address, context: ssl.SSLContext | None, protocol: Callable[[], P]
) -> P:
    loop = asyncio.get_running_loop()
    try:
        if context is None:
            return (await loop.create_connection(protocol, sock=plain))[1]
        return (await loop.create_connection(protocol, sock=plain, ssl=context, server_hostname=address.host))[1]
    except BaseException as failed:
        plain.close()
        problem = None if isinstance(failed, TimeoutError) else handshake_failure(failed)
        if problem is None:
            raise
    raise problem


async def _addresses(address: Address) -> list[tuple[Any, ...]]:
    """What the name stands for. Raises NotConnected."""
    port = address.port or PORTS[address.scheme]
    try:
        return [*socket.getaddrinfo(address.host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)]
    except socket.gaierror:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(address.host, port, type=socket.SOCK_STREAM)
    except OSError as unknown:
        raise NotConnected("getaddrinfo failed") from unknown
    return [each for each in found if each[0] in (socket.AF_INET, socket.AF_INET6)]


async def first_connection(addresses: list[tuple[Any, ...]]) -> socket.socket:
    """A connection to the first address that takes one: each has a small head start over the next (RFC 8305). Raises OSError."""
    if len(addresses) == 1:
        return await _one(addresses[0])
    waiting = [*addresses]
    under_way: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException = OSError("no address")
    try:
        while waiting or under_way:
            if waiting:
                under_way.add(asyncio.create_task(_one(waiting.pop(0))))
            done, under_way = await asyncio.wait(
                under_way, timeout=HEAD_START_SECONDS if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for each in done:
                if (failed := each.exception()) is None:
                    under_way |= done - {each}
                    return each.result()
                failure = failed
    finally:
        for each in under_way:
            each.cancel()
            each.add_done_callback(_close)
    raise failure


async def _one(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, where = address
    plain = socket.socket(family, kind, protocol)
    try:
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(plain, where)
    except BaseException:
        plain.close()
        raise
    return plain


def _close(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
