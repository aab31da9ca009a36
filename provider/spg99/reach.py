"""How a client of ours finds the Control Plane: URL, API key and CA, given or from the environment. Cheap to import, for bridges.

Here: what stands in for what, which addresses a key may be sent to, and where a dev of this machine is. Not here: settings of servers (config.py), a tool's own configuration (bridges/).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from spg99.errors import BadRequest, Unauthorized


class ClientSettings(NamedTuple):
    """How a client of ours reaches the Control Plane (contract, section 1)."""

    cp_url: str
    """Base URL with /v2."""
    api_key: str
    """Bearer token."""
    ca_file: str | None = None
    """File with the CAs (PEM) that may have signed the Control Plane's certificate; None: those the machine trusts."""

    def __repr__(self) -> str:
        return f"ClientSettings(cp_url={self.cp_url!r}, api_key=***, ca_file={self.ca_file!r})"


CA_FILE_VARIABLE = "SPG99_CA_FILE"
PAGE_ITEMS_MAX = 500
"""Items of one page of a list, at most (`limit` in the contract)."""


HOW_TO_CONFIGURE = (
    "Set `spg99:url` and `spg99:apiKey` in the stack configuration, or SPG99_CP_URL and SPG99_API_KEY in the environment "
    '(`eval "$(spg99 env)"` prints them), or give an explicit provider instance.'
)


def client_settings(
    *, url: str | None = None, api_key: str | None = None, ca_file: str | None = None
) -> ClientSettings:
    """URL, key and CA of the Control Plane: what was given, else `SPG99_CP_URL`, `SPG99_API_KEY` and `SPG99_CA_FILE`, else
    the older `CP_URL` (without /v2) and `SPG99_TOKEN`.

    Raises Unauthorized with a sentence that names all ways when either is missing, BadRequest for an address that a key must
    not be sent to.
    """
    url = url or os.environ.get("SPG99_CP_URL")
    if not url and (older := os.environ.get("CP_URL")):
        url = older.rstrip("/") + "/v2"
    api_key = api_key or os.environ.get("SPG99_API_KEY") or os.environ.get("SPG99_TOKEN")
    missing = [what for what, value in (("URL of the Control Plane", url), ("API key", api_key)) if not value]
    if not url or not api_key:
        verb = "is" if len(missing) == 1 else "are"
        raise Unauthorized(f"The {' and the '.join(missing)} {verb} missing. {HOW_TO_CONFIGURE}")
    if (reason := bad_url(url)) is not None:
        raise BadRequest(f"The URL of the Control Plane is not usable. {reason}")
    ca_file = ca_file or os.environ.get(CA_FILE_VARIABLE) or None
    return ClientSettings(cp_url=url.rstrip("/"), api_key=api_key, ca_file=ca_file)


def bad_url(url: str) -> str | None:
    """Why an API key must not be sent to this URL, in sentences; None when it may be. The same for every bridge and the CLI."""
    from urllib.parse import urlsplit  # start time: a plan of new objects checks no address

    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "It is no URL. It looks like `https://spg99.example.com/v2`."
    if parts.scheme not in ("http", "https") or not host:
        return (
            "It must begin with https:// (or http:// for this machine) and name a host: `https://spg99.example.com/v2`."
        )
    if parts.username or parts.password:
        return "It must not hold a user or a password; the API key goes separately."
    if parts.scheme == "http" and not _is_loopback(host):
        return (
            f"http:// would send the API key readable for everybody on the way to {host}. Use https://; http:// is allowed "
            "for localhost only."
        )
    return None


def _is_loopback(host: str) -> bool:
    """`localhost`, `::1`, 127.0.0.0/8; no name that only begins like one of them."""
    parts = host.split(".")
    numbers = [int(part) for part in parts if len(part) <= 3 and part.isascii() and part.isdigit()]
    is_127 = len(parts) == len(numbers) == 4 and numbers[0] == 127 and max(numbers) < 256
    return host in ("localhost", "::1") or is_127


def default_data_dir() -> Path:
    """Where everything is kept unless told otherwise.

    Root's PostgreSQL processes run as another user, who must be able to walk to it, so root's default is not under /root.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/spg99")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "spg99"
