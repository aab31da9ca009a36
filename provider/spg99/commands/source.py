"""A PostgreSQL that a user names by a URL: libpq's variables for it, and how it is spoken to. Not here: speaking (tunnel.py)."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from spg99.commands.tunnel import Server
from spg99.errors import BadRequest

MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_VARIABLES: Final = {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "options": "PGOPTIONS"}


def source_variables(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What a postgresql:// URL says, in libpq's variables; user and password that it leaves open are those of `environment`. Of TLS only what the URL
    says: `spg99 env` sets PGSSLROOTCERT for our own servers, and their CA has not signed for the source. Raises BadRequest."""
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError as error:
        raise BadRequest(f"The URL of the source is not understood: {error}.") from error
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    user = unquote(parts.username or "") or environment.get("PGUSER", "")
    host = unquote(parts.hostname or "") or query.get("host", "")
    if not user or not host:
        raise BadRequest("The URL of the source has no host or no user: postgresql://USER@HOST/DATABASE.")
    found = {
        "PGHOST": host,
        "PGPORT": str(port),
        "PGUSER": user,
        "PGDATABASE": unquote(parts.path.lstrip("/")) or user,
    }
    if password := unquote(parts.password or "") or environment.get("PGPASSWORD", ""):
        found["PGPASSWORD"] = password
    for name, variable in _VARIABLES.items():
        if value := query.get(name):
            found[variable] = value
    return found


def server_of(said: Mapping[str, str]) -> Server:
    """How a server is spoken to by these variables, as libpq would: `prefer` and less take what there is, `require` TLS from anybody (with a CA file
    from one that it has signed), `verify-ca` and `verify-full` check. Raises BadRequest for a mode that is not known or a CA file that cannot be read."""
    host, port, mode = said["PGHOST"], int(said["PGPORT"]), said.get("PGSSLMODE", "prefer")
    ca_file = said.get("PGSSLROOTCERT")
    if mode not in MODES:
        raise BadRequest(f"sslmode '{mode}' is not known: {', '.join(MODES)}.")
    if mode == "disable":
        return Server(host, port, None)
    if mode == "require" and ca_file:
        mode = "verify-ca"
    try:
        context = ssl.create_default_context(cafile=None if ca_file in (None, "system") else ca_file)
    except (OSError, ssl.SSLError) as error:
        raise BadRequest(f"The CA certificates {ca_file} cannot be read: {error}.") from error
    if ca_file == "system":
        mode = "verify-full"  # as libpq does: a CA that signs for everybody says nothing without the name
    context.check_hostname = mode == "verify-full"
    if mode not in ("verify-ca", "verify-full"):
        context.verify_mode = ssl.CERT_NONE
    return Server(host, port, context, is_tls_optional=mode in ("allow", "prefer"))
