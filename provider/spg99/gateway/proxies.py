"""Which peers are balancers whose word about a client's address is taken. Here: the rule. Not here: reading their headers."""

from __future__ import annotations

import ipaddress

from spg99.config import GatewaySettings


class Proxies:
    """The networks that the operator has named (`GatewaySettings.proxy_networks`)."""

    def __init__(self, networks: str) -> None:
        self._networks = GatewaySettings.networks_of(networks)

    def __contains__(self, address: str) -> bool:
        """Whether this peer is one; an IPv4 address is the same written as IPv6."""
        if not self._networks:
            return False
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)
