"""PostgreSQL connection strings: taking apart, putting together, making fit for a log. Pure, standard library only.

The grammar is that of libpq 18 for URIs (`postgresql://user:password@host:port/database?sslmode=require`, `postgres://` as well), percent-encoding
and `ssl=true` included. Two things are stricter: the port and `sslmode` must be ones there are, which libpq looks at when
it connects; and a bare '@' in a host or a database is refused, because a password that nobody encoded looks just so
(`u:1/x@h/d`). One is laxer: parameters that libpq does not know pass, because other drivers have their own.
Raises FunctionFault with the argument that is wrong; no sentence ever quotes a part of a connection string that may be
a password, not even of a broken one. Not here: the older `host=... user=...` form, several hosts in one string.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from spg99.shapes import FunctionFault

DEFAULT_PORT = 5432
PORT_MAX = 65535
PORT_REFUSED = f"the port must be a whole number between 1 and {PORT_MAX}"
SCHEMES = ("postgres", "postgresql")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
REDACTED = "***"

_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONNECTION = {"host": "host", "port": "port", "user": "user", "password": "password", "dbname": "database"}
"""Parameters behind the `?` that stand for a part in front of it, and win over it."""


class _Spans(NamedTuple):
    """The raw text of the parts, still percent-encoded; None: not there."""

    scheme: str
    user: str | None
    password: str | None
    host: str
    port: str | None
    database: str | None
    query: str | None


def parse_dsn(dsn: str) -> dict[str, Any]:
    """The parts of a connection string, percent-decoded.

    Answers scheme, host (null: the driver's default), port (5432 unless written), user, password, database, sslmode
    (null where not written) and parameters: everything behind the `?` but connection parts, sslmode included.
    """
    spans = _split(dsn)
    parts: dict[str, Any] = {
        "scheme": spans.scheme,
        "host": _decoded(spans.host, "host") or None,
        "port": DEFAULT_PORT if not spans.port else _port(_decoded(spans.port, "port")),
        "user": None if spans.user is None else _decoded(spans.user, "user") or None,
        "password": None if spans.password is None else _decoded(spans.password, "password") or None,
        "database": None if spans.database is None else _decoded(spans.database, "database") or None,
    }
    parameters: dict[str, str] = {}
    for name, value in _pairs(spans.query):
        if (name, value) == ("ssl", "true"):  # as JDBC writes it
            parameters["sslmode"] = "require"
        elif name not in _CONNECTION:
            parameters[name] = value
        elif name == "port":
            parts["port"] = _port(value)
        else:
            parts[_CONNECTION[name]] = value or None
    mode = parameters.get("sslmode")
    if mode is not None and mode not in SSL_MODES:
        raise FunctionFault(0, f"sslmode must be one of {', '.join(SSL_MODES)}")
    return parts | {"sslmode": mode, "parameters": parameters}


def build_dsn(
    host: str,
    port: int | None,
    user: str | None,
    password: str | None,
    database: str | None,
    parameters: Mapping[str, str] | None,
) -> str:
    """A connection string of these parts, percent-encoded where needed; null leaves a part out.

    An IPv6 address goes without brackets, a folder of a unix socket with its leading slash.
    """
    for argument, text in enumerate((host, None, user, password, database)):
        if isinstance(text, str) and "\0" in text:
            raise FunctionFault(argument, "must not hold a null character")
    if not host:
        raise FunctionFault(0, "must not be empty: the name or address of a host, or the folder of a unix socket")
    if host.startswith("["):
        raise FunctionFault(0, "an IPv6 address goes without brackets")
    if password is not None and not user:
        raise FunctionFault(2, "a password needs a user")
    dsn = "postgresql://"  # what every client takes; `postgres://` is refused by some (SQLAlchemy)
    if user:
        dsn += quote(user, safe="") + (f":{quote(password, safe='')}" if password is not None else "") + "@"
    dsn += f"[{quote(host, safe=':')}]" if ":" in host and not host.startswith("/") else quote(host, safe="")
    if port is not None:
        if not 1 <= port <= PORT_MAX:
            raise FunctionFault(1, PORT_REFUSED)
        dsn += f":{port}"
    if database or parameters:
        dsn += "/" + quote(database or "", safe="")
    pairs = []
    for name, value in sorted((parameters or {}).items()):
        if not name or "\0" in name + value:
            raise FunctionFault(5, "a parameter needs a name, and neither may hold a null character")
        if name in _CONNECTION:
            raise FunctionFault(5, f"'{name}' is an argument of its own, not a parameter")
        if name == "sslmode" and value not in SSL_MODES:
            raise FunctionFault(5, f"sslmode must be one of {', '.join(SSL_MODES)}")
        pairs.append(f"{quote(name, safe='')}={quote(value, safe='')}")
    return dsn + ("?" + "&".join(pairs) if pairs else "")


def redact_dsn(dsn: str) -> str:
    """The same connection string with `***` in place of the password and of every secret parameter, fit for logs and outputs; all
    else stays as written."""
    spans = _split(dsn)
    parse_dsn(dsn)  # what cannot be understood cannot be redacted either
    prefix = dsn[: dsn.index("://") + 3]
    rest = dsn[len(prefix) :]
    if spans.password:
        user = spans.user or ""
        rest = f"{user}:{REDACTED}{rest[len(user) + 1 + len(spans.password) :]}"
    if spans.query:
        front = rest[: len(rest) - len(spans.query)]
        pieces = [
            f"{piece.partition('=')[0]}={REDACTED}" if _is_secret(piece.partition("=")[0]) else piece
            for piece in spans.query.split("&")
        ]
        rest = front + "&".join(pieces)
    return prefix + rest


def _is_secret(raw_name: str) -> bool:
    """password, sslpassword, oauth_client_secret, scram_client_key ...; sslkey, sslkeylogfile and passfile are paths."""
    name = _decoded(raw_name, "parameter").lower()
    return any(part in name for part in ("password", "passwd", "secret", "token")) or name.endswith("_key")


def _split(dsn: str) -> _Spans:
    """The parts as libpq finds them: user and password reach up to the first `@` that no `/` precedes."""
    scheme, separator, rest = dsn.partition("://")
    if not separator or scheme not in SCHEMES:
        raise FunctionFault(0, "must begin with postgres:// or postgresql://")
    user = password = None
    if (at := re.search(r"[@/]", rest)) is not None and at.group() == "@":
        user, colon, found = rest[: at.start()].partition(":")
        password = found if colon else None
        rest = rest[at.end() :]
    place = re.search(r"[/?]", rest)
    address, rest = (rest, "") if place is None else (rest[: place.start()], rest[place.start() :])
    if "@" in address or "@" in rest.partition("?")[0]:
        raise FunctionFault(
            0, "an '@', '/' or '?' inside the user or the password must be percent-encoded (%40, %2F, %3F)"
        )
    host, port = _address(address)
    database = query = None
    if rest.startswith("/"):
        database, mark, found = rest[1:].partition("?")
        query = found if mark else None
    elif rest.startswith("?"):
        query = rest[1:]
    return _Spans(scheme, user, password, host, port, database, query)


def _address(address: str) -> tuple[str, str | None]:
    if "," in address:
        raise FunctionFault(0, "names several hosts; only one is understood here")
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        if not bracket or not host or (rest and not rest.startswith(":")):
            raise FunctionFault(0, "an IPv6 address must stand in brackets, with the port behind them: [::1]:5432")
        return host, rest[1:] if rest else None
    host, colon, port = address.partition(":")
    if ":" in port:
        raise FunctionFault(0, "an IPv6 address must stand in brackets: [::1]:5432")
    return host, port if colon else None


def _pairs(query: str | None) -> list[tuple[str, str]]:
    found = []
    for piece in _pieces(query) if query else []:
        name, equals, value = piece.partition("=")
        if not name or not equals or "=" in value:
            raise FunctionFault(0, "behind the '?' there must be name=value pairs, joined by '&'")
        found.append((_decoded(name, "parameter"), _decoded(value, "parameter")))
    return found


def _pieces(query: str) -> list[str]:
    return (query[:-1] if query.endswith("&") and query != "&" else query).split("&")  # one at the end is forgiven


def _decoded(raw: str, what: str) -> str:
    if _BROKEN_PERCENT.search(raw):
        raise FunctionFault(
            0, f"the {what} holds a '%' that is not followed by two hexadecimal digits; write %25 for '%'"
        )
    try:
        text = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise FunctionFault(0, f"the {what} is not UTF-8 after percent-decoding") from None
    if "\0" in text:
        raise FunctionFault(0, f"the {what} must not hold a null character (%00)")
    return text


def _port(digits: str) -> int:
    # Never quoted: with an unencoded '/' in the password, what stands here is a piece of it. Nor too long for int().
    is_number = digits.isascii() and digits.isdigit() and len(digits.lstrip("0")) <= len(str(PORT_MAX))
    if not is_number or not 1 <= int(digits.lstrip("0") or "0") <= PORT_MAX:
        raise FunctionFault(0, PORT_REFUSED)
    return int(digits.lstrip("0"))
