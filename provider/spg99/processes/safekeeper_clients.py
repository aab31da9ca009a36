"""Connections to safekeepers, kept: by the socket of one on this machine, by mutual TLS to one of another. Here: which way. Not here: what is asked
(client/safekeeper.py), of how many (node/safekeepers.py)."""

from __future__ import annotations

from collections.abc import Collection

from spg99.client.safekeeper import SafekeeperClient
from spg99.errors import Unavailable
from spg99.processes import addresses
from spg99.processes.own_certificate import OwnCertificate
from spg99.protocol.tasks import Kept


class SafekeeperClients:
    """Those that one process has asked."""

    def __init__(self) -> None:
        self.certificate: OwnCertificate | None = None
        """By what those of other machines are reached; None: only those of this one are."""
        self._clients: dict[tuple[str, str], SafekeeperClient] = {}

    def of(self, safekeeper_id: str, path: str, network_address: str | None) -> SafekeeperClient:
        """The client of a safekeeper. Raises Unavailable while this process has no certificate for one of another machine."""
        if network_address is None or self.certificate is None or addresses.is_here(path):
            if (near := self._clients.get(("", path))) is None:
                near = self._clients["", path] = SafekeeperClient(path)
            return near
        if (far := self._clients.get((safekeeper_id, network_address))) is None:
            context = self.certificate.client_context()
            far = SafekeeperClient(network_address, safekeeper_id=safekeeper_id, context=context)
            self._clients[safekeeper_id, network_address] = far
        return far

    def of_kept(self, kept: Kept) -> dict[str, SafekeeperClient]:
        """Those of a timeline by id; without those of other machines while this process has no certificate: they are as ones that do not answer."""
        found = {}
        for safekeeper_id, path in kept.addresses.items():
            try:
                found[safekeeper_id] = self.of(safekeeper_id, path, kept.network_addresses.get(safekeeper_id))
            except Unavailable:
                continue
        return found

    async def close_others(self, wanted: Collection[SafekeeperClient]) -> None:
        """Closes the connections of all that are not among these."""
        for place, client in list(self._clients.items()):
            if client not in wanted:
                del self._clients[place]
                await client.aclose()

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()
