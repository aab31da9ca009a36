"""The checks of `spg99 doctor` that go over the network: ports, Control Plane and key, Gateway and its certificate."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from spg99.commands.checks import Finding
from spg99.commands.connection import Connection, ask
from spg99.commands.dev_folder import DevFolder, DevState
from spg99.commands.ports import hold_port, listener_on
from spg99.config import API_PORT, GATEWAY_PORT
from spg99.errors import BadRequest, Spg99Error, Unauthorized
from spg99.wire.startup import SSL_REQUEST

ANSWER_SECONDS: Final = 5.0
_SAID: Final = ("SPG99_CP_URL", "CP_URL", "SPG99_API_KEY", "SPG99_TOKEN")


def remote_checks(data_dir: Path) -> Iterator[Finding]:
    """What can be reached from here, or whether it could be started."""
    folder = DevFolder(data_dir)
    state = folder.read() if folder.is_locked() else None
    if state is None:
        before = folder.read()
        yield port("HTTP API", before.api_port, API_PORT, "--api-port")
        yield port("Gateway", before.gateway_port, GATEWAY_PORT, "--gateway-port")
    else:
        how = "is still starting" if state.pid is None else "runs"
        yield Finding("ok", "Dev", f"`spg99 dev` {how} in {data_dir}")
    yield control_plane(data_dir if state is not None and "SPG99_CP_URL" not in os.environ else None)
    yield gateway(state)


def port(subject: str, used_last: int | None, usual: int, flag: str) -> Finding:
    """Could a dev take the port that it used last, or the usual one at its first start?"""
    number = used_last or usual
    try:
        hold_port("localhost", number).release()
    except OSError as error:
        reason = f"{subject}: {error.strerror or 'taken'}"
        if (who := listener_on(number)) is not None:
            reason += f", {who} listens there"
        if used_last:
            return Finding("fail", f"Port {number}", reason, f"Free it, or move on purpose with {flag}.")
        return Finding("warn", f"Port {number}", reason, f"`spg99 dev` takes another, or give {flag}.")
    return Finding("ok", f"Port {number}", "free")


def control_plane(data_dir: Path | None) -> Finding:
    """Does the Control Plane that a client here would use answer, and does it know the key?"""
    connection = Connection(url=None, api_key=None, data_dir=data_dir)
    try:
        settings = connection.settings()
    except BadRequest as error:
        return Finding("fail", "Control Plane", "no usable address", error.message)
    except Spg99Error as error:
        # Whoever has set one of the two wants to use it, and cannot.
        is_meant = any(os.environ.get(name) for name in _SAID) or (data_dir is not None and not _is_starting(data_dir))
        return Finding("fail" if is_meant else "warn", "Control Plane", "no address or no key", error.message)

    try:
        account = ask(
            settings, lambda client: client.call("GET", "/account"), timeout_seconds=ANSWER_SECONDS, max_attempts=2
        )
    except Unauthorized as error:
        return Finding("fail", "Control Plane", f"{settings.cp_url} answers, the key is refused", error.message)
    except Spg99Error as error:
        return Finding("fail", "Control Plane", f"{settings.cp_url}: {error.message}", "Start it, or set SPG99_CP_URL.")
    return Finding(
        "ok",
        "Control Plane",
        f"{settings.cp_url}, key of account {account.get('account_id') or account.get('name') or ''}",
    )


def _is_starting(data_dir: Path) -> bool:
    return DevFolder(data_dir).read().pid is None


def gateway(state: DevState | None) -> Finding:
    """Does the Gateway speak TLS with a certificate that clients can check?"""
    where = os.environ.get("SPG99_GATEWAY")
    ca_file = os.environ.get("PGSSLROOTCERT")
    if not where and state is not None and state.gateway_port is not None:
        where, ca_file = f"{state.gateway_host}:{state.gateway_port}", str(state.ca_file) if state.ca_file else None
    if not where:
        return Finding("warn", "Gateway", "no address", "Set SPG99_GATEWAY to host:port, or start `spg99 dev`.")
    if state is not None and state.pid is None and "SPG99_GATEWAY" not in os.environ:
        return Finding("warn", "Gateway", f"{where}: still starting", "Try again in a moment.")
    host, _, number = where.rpartition(":")
    if not host or not number.isdecimal():
        return Finding("fail", "Gateway", f"'{where}' is no address", "Set SPG99_GATEWAY to host:port.")
    try:
        text = certificate_of(host.strip("[]"), int(number), ca_file)
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message
        return Finding("fail", "Gateway", f"{where}: {reason}", "Set PGSSLROOTCERT to the CA of this Gateway.")
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", None) or error)
        return Finding("fail", "Gateway", f"{where}: {reason}", "Start it, or set SPG99_GATEWAY to host:port.")
    return Finding("ok", "Gateway", f"{where}, {text}")


def certificate_of(host: str, number: int, ca_file: str | None) -> str:
    """Shakes hands as psql does with sslmode=verify-full; answers protocol and end of the certificate's life.

    Raises OSError, with ssl.SSLCertVerificationError for a certificate that is not what it should be.
    """
    context = ssl.create_default_context(cafile=ca_file)
    with contextlib.closing(socket.create_connection((host, number), timeout=ANSWER_SECONDS)) as plain:
        plain.sendall(SSL_REQUEST)
        if (answer := plain.recv(1)) != b"S":
            raise ConnectionError(f"it does not offer TLS (answered {answer!r})")
        with context.wrap_socket(plain, server_hostname=host) as secured:
            certificate = secured.getpeercert() or {}
            return f"{secured.version()}, certificate valid until {certificate.get('notAfter', '?')}"
