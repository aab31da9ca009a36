"""SafekeeperClient: what an agent asks a safekeeper. Here: which call is which message. Not here: their shapes (protocol/safekeeper.py), what
follows from the answers of several (node/)."""

from __future__ import annotations

import ssl
import zlib
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from pydantic import ValidationError

from spg99.client.typed import understood
from spg99.errors import Unavailable, from_envelope
from spg99.left_out import left_out
from spg99.protocol import Message
from spg99.protocol import safekeeper as said

if TYPE_CHECKING:
    import httpx

CALL_SECONDS_MAX: Final = 10.0
CONNECT_SECONDS_MAX: Final = 4.0
"""A machine that does not answer is gone or cut off."""
M = TypeVar("M", bound=Message)


class SafekeeperClient:
    """One safekeeper: by the path of its unix socket, or over the network (host:port) as the identity that its certificate must show. Every call may be made again. Raises Unavailable when it does not answer,
    Conflict when it has promised a higher term, NotFound when it does not know the timeline."""

    def __init__(
        self, address: str, *, safekeeper_id: str | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        """`context`: mutual TLS of this process; None: `address` is a path."""
        with left_out("httpx._main"):  # as in over_httpx.py
            import httpx  # a node without safekeepers has no use for it

        self.address = address
        self.safekeeper_id = safekeeper_id
        self._named = {"sni_hostname": safekeeper_id} if safekeeper_id is not None else None
        self._http = httpx.AsyncClient(
            # No TLS on a unix socket: reading all certificates of the system would hold up a wake by 40 ms.
            transport=httpx.AsyncHTTPTransport(verify=context)
            if context is not None
            else httpx.AsyncHTTPTransport(uds=address, verify=False),
            base_url=f"https://{address}" if context is not None else "http://safekeeper",
            timeout=CALL_SECONDS_MAX,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def seen(self, timeline_id: str, *, wait_seconds: float = 0.0) -> said.KeeperSeen:
        """How it stands with a timeline; `wait_seconds`: until it has caught up, so long at most."""
        return await self._call("GET", f"/{timeline_id}", said.KeeperSeen, wait_seconds=wait_seconds)

    async def all(self) -> said.KeptTimelines:
        """How it stands with all its timelines."""
        return await self._call("GET", "", said.KeptTimelines)

    async def begin(self, timeline_id: str, begin: said.TimelineBegin) -> said.KeeperSeen:
        """A timeline begins."""
        return await self._call("PUT", f"/{timeline_id}", said.KeeperSeen, begin)

    async def promise(self, timeline_id: str, ask: said.PromiseAsk) -> said.Vote:
        """Asks for the promise of a term."""
        return await self._call("POST", f"/{timeline_id}/promise", said.Vote, ask)

    async def follow(self, timeline_id: str, follow: said.Follow) -> said.KeeperSeen:
        """Has it take the WAL of a compute."""
        return await self._call("POST", f"/{timeline_id}/follow", said.KeeperSeen, follow)

    async def configure(self, timeline_id: str, ask: said.Configure) -> said.KeeperState:
        """Tells it who the members are; what it has by then."""
        return await self._call("POST", f"/{timeline_id}/configure", said.KeeperState, ask)

    async def seed(self, timeline_id: str, ask: said.Seed) -> said.KeeperState:
        """Makes it a new member that begins with what a peer has."""
        return await self._call("POST", f"/{timeline_id}/seed", said.KeeperState, ask)

    async def rest(self, timeline_id: str, term: int) -> None:
        """The compute of this term has ended."""
        await self._call("POST", f"/{timeline_id}/rest", said.KeeperSeen, said.Rest(term=term))

    async def trim(self, timeline_id: str, trim: said.Trim) -> None:
        """Lets it remove WAL that is not needed any more."""
        await self._call("POST", f"/{timeline_id}/trim", said.KeeperSeen, trim)

    async def segment(self, timeline_id: str, name: str) -> bytes:
        """A segment of WAL by PostgreSQL's name for it."""
        return (await self._send("GET", f"/{timeline_id}/wal/{name}")).content

    async def wal(self, timeline_id: str, ask: said.WalAsk) -> bytes:
        """WAL of a life by place. Raises Conflict when it is not all there, Unavailable also for an answer that was cut short or altered on its way."""
        answer = await self._send("POST", f"/{timeline_id}/wal", ask)
        content = answer.content
        is_whole = len(content) == ask.end_lsn - ask.begin_lsn
        if not is_whole or answer.headers.get(said.WAL_CRC_HEADER) != str(zlib.crc32(content)):
            raise Unavailable(f"The safekeeper at {self.address} has answered with damaged WAL.")
        return content

    async def remove(self, timeline_id: str) -> None:
        """Removes all that is kept of a timeline."""
        await self._send("DELETE", f"/{timeline_id}")

    async def _call(
        self, method: str, path: str, kind: type[M], message: Message | None = None, *, wait_seconds: float = 0.0
    ) -> M:
        answer = await self._send(method, path, message, wait_seconds=wait_seconds)
        return understood(kind, kind.__name__, _json(answer))

    async def _send(
        self, method: str, path: str, message: Message | None = None, *, wait_seconds: float = 0.0
    ) -> httpx.Response:
        import httpx

        try:
            answer = await self._http.request(
                method,
                f"/timelines{path}",
                content=message.model_dump_json() if message is not None else None,
                params={"wait_seconds": f"{wait_seconds:.3f}"} if wait_seconds else None,
                timeout=httpx.Timeout(CALL_SECONDS_MAX + wait_seconds, connect=CONNECT_SECONDS_MAX),
                extensions=self._named,
            )
        except httpx.HTTPError as error:
            raise Unavailable(f"The safekeeper at {self.address} does not answer ({type(error).__name__}).") from error
        if answer.is_success:
            return answer
        envelope = _json(answer)
        raise from_envelope(answer.status_code, envelope if isinstance(envelope, dict) else {})


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except (ValueError, ValidationError):
        return None
