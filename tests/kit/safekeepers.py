"""Safekeepers in the test's own process, really serving and really writing. Not here: their process (integration/safekeeper has it)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvicorn

from spg99.archive import Live
from spg99.ids import new_id
from spg99.processes.listening import listen
from spg99.processes.own_certificate import OwnCertificate
from spg99.processes.safekeeper_clients import SafekeeperClients
from spg99.protocol.safekeeper import Configuration, Members
from spg99.protocol.tasks import Kept
from spg99.safekeeper import routes
from spg99.safekeeper.follower import Followers
from spg99.safekeeper.kept_timelines import KeptTimelines
from spg99.safekeeper.network import OnlyAgentsOrder, serve_agents


class ServedSafekeeper:
    """One of them. `stop` and `start` are a restart; with another folder it is another safekeeper."""

    def __init__(self, root: Path, socket: Path) -> None:
        self.id = new_id("sk")
        self.root, self.socket = root, socket
        self.timelines: KeptTimelines
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.timelines, self.followers = KeptTimelines(self.root, self.id), Followers()
        app = OnlyAgentsOrder(routes.app(self.timelines, self.followers))
        self._server = _Server(uvicorn.Config(app, uds=str(self.socket), lifespan="off", log_config=None))
        self._serving = asyncio.create_task(self._server.serve())
        async with asyncio.timeout(10):
            while not self._server.started:
                await asyncio.sleep(0.002)
        for timeline in self.timelines.all():
            self.followers.begin(timeline)

    def listen(self, certificate: OwnCertificate) -> str:
        """Serves agents of other machines as well; answers where (host:port). Until it is stopped."""
        assert self._server is not None
        (listener,) = listen("127.0.0.1", 0)
        serve_agents(self._server, [listener], certificate)
        self.followers.certificate = certificate
        return f"127.0.0.1:{listener.getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = self._server.force_exit = True
        await self._serving
        await self.followers.end()
        for timeline in self.timelines.all():
            timeline.close()
        self._server = None


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def reached() -> AsyncIterator[SafekeeperClients]:
    """Connections to safekeepers of this machine."""
    clients = SafekeeperClients()
    yield clients
    await clients.aclose()


@contextlib.asynccontextmanager
async def live_of(timeline_id: str, kept: Kept) -> AsyncIterator[Live]:
    """Those that keep a timeline, not asked yet."""
    async with reached() as clients:
        yield Live(timeline_id, kept, clients.of_kept(kept))


def kept_by(*safekeepers: ServedSafekeeper, tenant_id: str, quorum: int | None = None) -> Kept:
    """An order's word for: these keep it."""
    ids = sorted(one.id for one in safekeepers)
    members = Members(safekeeper_ids=ids, quorum=quorum or len(ids) // 2 + 1)
    return Kept(
        configuration=Configuration(number=1, members=members),
        addresses={one.id: str(one.socket) for one in safekeepers},
        tenant_id=tenant_id,
    )
