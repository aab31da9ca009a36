"""Connections to safekeepers, kept: by the socket of one on this machine, by mutual TLS to one of another. Here: which way. Not here: what is asked
(client/safekeeper.py), of how many (node/safekeepers.py)."""

from __future__ import annotations

from spg99.client.safekeeper import SafekeeperClient
from spg99.processes import addresses
from spg99.processes.own_certificate import OwnCertificate


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

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()
