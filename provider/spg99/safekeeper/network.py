"""A safekeeper and other machines: serves agents, peers and pageservers by mutual TLS, reaches computes through the agents of their nodes. Here: who may come in, the way there.
Not here: what is asked (routes.py), the WAL (receiver.py), TLS (tls/mutual.py)."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any, Final, cast

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from spg99 import log
from spg99.errors import Forbidden, ProtocolViolation, Unavailable
from spg99.processes import addresses
from spg99.processes.own_certificate import OwnCertificate
from spg99.protocol.safekeeper import Follow
from spg99.tls.listener import HttpsListener
from spg99.tls.mutual import notice_silence, peer_of
from spg99.wire import preface
from spg99.wire.preface import Preface, Refused

_READS: Final = frozenset({("GET", ""), ("POST", "/wal")})
_MAY: Final[dict[str, tuple[str, frozenset[tuple[str, str]]]]] = {
    "sk": ("a safekeeper: it may read here, and nothing else", _READS),
    "ps": ("a pageserver: it may read and trim here, and nothing else", _READS | {("POST", "/trim")}),
}
"""What others than agents may ask, by the kind of their identity: method and the end of the path. An agent may ask for everything."""
_KINDS: Final = frozenset({"node", *_MAY})
ONLY_OURS: Final = "This port is for agents, safekeepers and pageservers of the same installation only."

_PEER: Final = "spg99.peer"
"""In the state of a connection: the identity at its other end."""

_log = log.get("network")


def serve_agents(server: uvicorn.Server, listeners: list[socket.socket], certificate: OwnCertificate) -> None:
    """Has a server that has started serve its app to agents of other machines as well; they end with it."""
    for listener in listeners:
        made = HttpsListener(
            listener, lambda: _protocol(server, certificate), certificate.server_context, only=ONLY_OURS
        )
        server.servers.append(cast(asyncio.Server, made))  # it has what uvicorn's end needs of one


def _protocol(server: uvicorn.Server, certificate: OwnCertificate) -> asyncio.Protocol:
    """One connection, as uvicorn makes it, once it is known who is there. Who was let in before and is removed meanwhile is refused by the next request."""
    kind: Any = server.config.http_protocol_class
    state: dict[str, Any] = {}
    made: asyncio.Protocol = kind(config=server.config, server_state=server.server_state, app_state=state)
    begin, receive = made.connection_made, made.data_received
    transport: asyncio.Transport | None = None

    def connection_made(connected: asyncio.BaseTransport) -> None:
        nonlocal transport
        transport = cast(asyncio.Transport, connected)
        notice_silence(transport.get_extra_info("socket"))
        state[_PEER] = peer_of(transport.get_extra_info("ssl_object"))
        begin(transport)

    def data_received(data: bytes) -> None:
        assert transport is not None
        secured = transport.get_extra_info("ssl_object")
        reason = certificate.refusal(secured, kinds=_KINDS)
        if reason is None:
            receive(data)
        elif not transport.is_closing():
            _log.warning("a connection was refused", peer_id=peer_of(secured), reason=reason)
            transport.write(_forbidden(reason))
            transport.close()

    made.connection_made, made.data_received = connection_made, data_received  # type: ignore[method-assign, assignment]
    return made


def refusal_of_call(peer_id: str, method: str, path: str) -> str | None:
    """Why the identity at the other end may not make this call, as a sentence; None: it may. Without an identity it has come by our unix socket."""
    who, calls = _MAY.get(peer_id.partition("_")[0], ("", None))
    if calls is None or any(method == its and path.endswith(end) for its, end in calls):
        return None
    return f"'{peer_id}' is {who}."


class OnlyAgentsOrder:
    """The app as it is to other machines: safekeepers and pageservers read of it, and order it nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer_id = scope.get("state", {}).get(_PEER, "")
        reason = refusal_of_call(peer_id, scope["method"], scope["path"]) if scope["type"] == "http" else None
        if reason is not None:
            refusal = Forbidden(reason)
            await JSONResponse(refusal.envelope(), status_code=refusal.http_status)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _forbidden(reason: str) -> bytes:
    body = json.dumps(Forbidden(reason).envelope()).encode()
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


async def connect(
    follow: Follow, certificate: OwnCertificate | None, *, limit: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the socket from which a compute's WAL is taken: its own where it can be entered, else through the agent of its node. Raises OSError,
    Unavailable with the agent's reason."""
    path = Path(follow.backend_addr) / f".s.PGSQL.{follow.backend_port}"
    if follow.node_address is None or certificate is None or addresses.is_here(path):
        return await asyncio.open_unix_connection(str(path), limit=limit)
    host, port = addresses.parted(follow.node_address, setting="The address of a node")
    reader, writer = await asyncio.open_connection(
        host, port, limit=limit, ssl=certificate.client_context(), server_hostname=follow.node_id
    )
    try:
        notice_silence(writer.get_extra_info("socket"))
        writer.write(preface.question(Preface("wal", follow.compute_id, follow.term)))
        answers, answer = preface.AnswerReader(), None
        while answer is None:
            data = await reader.read(
                1
            )  # the first byte after the answer is PostgreSQL's, and it speaks when it is spoken to
            if not data:
                raise Unavailable("The agent of the compute's node has closed the connection.")
            answer = answers.feed(data)
        if isinstance(answer, Refused):
            raise Unavailable(f"The agent of the compute's node refuses: {answer.reason}")
    except ProtocolViolation as error:
        writer.close()
        raise Unavailable(f"What answers at {follow.node_address} is no agent: {error.message}") from error
    except BaseException:
        writer.close()
        raise
    return reader, writer
