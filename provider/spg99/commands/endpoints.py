"""Where the servers of `spg99 dev` are reached, and the names that their certificates need. Decided here; started in supervisor.py."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import psutil

from spg99.config import ControlPlaneSettings, DevSettings
from spg99.processes.listening import WILDCARDS, is_loopback


@dataclass(frozen=True)
class ApiEndpoint:
    """How the HTTP API is reached from this machine."""

    url: str
    """With /v2."""
    is_tls: bool
    has_our_ca: bool
    """Whether its certificate is made by us; otherwise the operator's own CA must be trusted (SPG99_CA_FILE)."""


def api_endpoint(settings: DevSettings, plane: ControlPlaneSettings, port: int) -> ApiEndpoint:
    """The address for clients here; `plane` are the Control Plane's settings as it will see them."""
    is_tls = settings.tls if settings.tls is not None else not is_loopback(settings.host)
    if is_tls:
        host = settings.api_host or ("localhost" if settings.host in WILDCARDS else settings.host)
    else:
        # By number: no resolver is asked, and no proxy for names stands between.
        host = {"localhost": "127.0.0.1", "": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(
            settings.host, settings.host
        )
    scheme = "https" if is_tls else "http"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/v2"
    return ApiEndpoint(url, is_tls, has_our_ca=plane.tls_cert_file is None)


def certificate_names(listed: str, *, host: str, known_as: list[str | None]) -> list[str]:
    """Names for a certificate that is made: those the operator lists, what clients are told, and what is listened on; on
    all addresses, those that the machine has now."""
    names = [name.strip() for name in listed.split(",")] + [name or "" for name in known_as]
    names += machine_names() if host in WILDCARDS else [host]
    return list(dict.fromkeys(name for name in names if name))


def machine_names() -> list[str]:
    """The machine's own name and its addresses that others can use."""
    addresses = [
        address.address
        for interface in psutil.net_if_addrs().values()
        for address in interface
        if address.family in (socket.AF_INET, socket.AF_INET6) and "%" not in address.address
    ]
    return [socket.gethostname(), *sorted(addresses)]
