"""What a server's TLS is like, and the certificate that it shows: always the one in its files. Not here: making files (certificates.py)."""

from __future__ import annotations

import os
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, TypeVar

from spg99 import log
from spg99.errors import BadRequest, Spg99Error
from spg99.tls.certificates import CertificateFiles

RENEWAL_CHECK_SECONDS: Final = 3600.0
"""How often ours is asked whether it must be renewed; what stands in the files is looked at each time."""

_log = log.get("tls")

T = TypeVar("T")


@dataclass(frozen=True)
class CertificatePair:
    """A certificate chain and its key (PEM) as they were read together: who has loaded them once can do it again, whatever
    becomes of the files."""

    chain: str
    key: str = field(repr=False)
    origin: str
    """What to call it in a sentence."""

    @classmethod
    def read(cls, cert: Path, key: Path) -> CertificatePair:
        """Raises BadRequest that names what cannot be read."""
        origin = f"The TLS certificate {cert} with key {key}"
        try:
            return cls(cert.read_text(), key.read_text(), origin)
        except (OSError, ValueError) as error:
            raise BadRequest(f"{origin} cannot be used: {error}") from error


def server_context(pair: CertificatePair, *, protocols: Sequence[str]) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate chain and key; `protocols` are ALPN names.

    Raises BadRequest that names what cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(protocols))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        load_chain(context, pair.chain, pair.key)
    except (OSError, ValueError) as error:
        raise BadRequest(f"{pair.origin} cannot be used: {error}") from error
    return context


def load_chain(context: ssl.SSLContext, chain: str, key: str) -> None:
    """Has a context show this certificate chain (PEM). Raises OSError or ValueError for what it cannot."""
    with _file_of(f"{chain}\n{key}") as file:
        context.load_cert_chain(file)


class ServedCertificate(Generic[T]):
    """What the next connection is served with. Files that have changed are taken up at once; files that do not fit together
    (one of two is replaced already) are said in the log, and the certificate before them goes on being shown.

    `files` answers where they are, and renews what is ours; it is asked again every hour. `load` makes what is needed of a
    pair, or raises BadRequest.
    """

    def __init__(
        self,
        files: Callable[[], CertificateFiles],
        load: Callable[[CertificatePair], T],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._load = load
        self._monotonic = monotonic
        self.files = files()
        self._asked_at = monotonic()
        self._refused: object = None
        self._seen = _signature(self.files)
        self.pair = CertificatePair.read(self.files.cert, self.files.key)
        """What is shown."""
        self._loaded = load(self.pair)

    def current(self) -> T:
        """For one connection; costs two looks at the file system."""
        try:
            if self._monotonic() - self._asked_at >= RENEWAL_CHECK_SECONDS:
                self._asked_at = self._monotonic()
                self.files = self._files()
            if (found := _signature(self.files)) not in (self._seen, self._refused):
                self._take_up(found)
        except (Spg99Error, OSError) as error:
            _log.error("the TLS certificate could not be renewed", error=str(error))
        return self._loaded

    def _take_up(self, found: object) -> None:
        self._refused = found  # said once for each state of the files
        pair = CertificatePair.read(self.files.cert, self.files.key)
        self._loaded = self._load(pair)
        self.pair, self._seen, self._refused = pair, found, None
        _log.info("new TLS certificate in use", cert=str(self.files.cert))


@contextmanager
def _file_of(text: str) -> Iterator[str]:
    """A name under which OpenSSL can read a text; nobody else can, and it is gone afterwards."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("spg99-tls")
        try:
            os.write(number, text.encode())
            yield f"/proc/self/fd/{number}"
        finally:
            os.close(number)
        return
    with tempfile.NamedTemporaryFile("w", prefix="spg99-tls-") as file:  # 0600
        file.write(text)
        file.flush()
        yield file.name


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
