"""What a server's TLS is like, and the certificate that it shows: always the one in its files. Not here: making files (certificates.py)."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from spg99 import log
from spg99.errors import BadRequest, Spg99Error
from spg99.tls.certificates import CertificateFiles

RENEWAL_CHECK_SECONDS: Final = 3600.0

_log = log.get("tls")


def server_context(cert: Path, key: Path, *, protocols: Sequence[str]) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate chain and key; `protocols` are ALPN names.

    Raises BadRequest that names what cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(protocols))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ValueError) as error:
        raise BadRequest(f"The TLS certificate {cert} with key {key} cannot be used: {error}") from error
    return context


class ServedCertificate:
    """The context for the next connection. Files that have changed are taken up at once; files that do not fit together
    (one of two is replaced already) are said in the log, and the certificate before them goes on being shown.

    `files` answers where they are, and renews what is ours; it is asked again every hour.
    """

    def __init__(
        self,
        files: Callable[[], CertificateFiles],
        *,
        protocols: Sequence[str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._protocols = protocols
        self._monotonic = monotonic
        self.files = files()
        self._asked_at = monotonic()
        self._refused: object = None
        self._seen = _signature(self.files)
        self._context = server_context(self.files.cert, self.files.key, protocols=protocols)

    def context(self) -> ssl.SSLContext:
        """For one connection; costs two looks at the file system."""
        try:
            if self._monotonic() - self._asked_at >= RENEWAL_CHECK_SECONDS:
                self._asked_at = self._monotonic()
                self.files = self._files()
            if (found := _signature(self.files)) not in (self._seen, self._refused):
                self._take_up(found)
        except (Spg99Error, OSError) as error:
            _log.error("the TLS certificate could not be renewed", error=str(error))
        return self._context

    def _take_up(self, found: object) -> None:
        self._refused = found  # said once for each state of the files
        self._context = server_context(self.files.cert, self.files.key, protocols=self._protocols)
        self._seen, self._refused = found, None
        _log.info("new TLS certificate in use", cert=str(self.files.cert))


def _signature(files: CertificateFiles) -> object:
    """Differs when one of the files was written or replaced."""
    seen = []
    for path in (files.cert, files.key):
        try:
            stat = path.stat()
            seen.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        except OSError:
            seen.append((0, 0, 0))  # gone for a moment, as a rule: it is being replaced
    return tuple(seen)
