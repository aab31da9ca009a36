"""The certificate by which a process is known to those of other machines: asked of the Control Plane, kept in a file, renewed in time.

Here: when it is asked for, where it is kept. Not here: what is in it (tls/authority.py), TLS itself (tls/mutual.py).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from pydantic import BaseModel, Field, ValidationError

from spg99 import log
from spg99.atomic_write import make_folders, write_file
from spg99.clock import Clock
from spg99.errors import Spg99Error, Unavailable
from spg99.protocol.certificates import CertificateIssued, CertificateRequest
from spg99.tls import authority
from spg99.tls.authority import Credentials
from spg99.tls.mutual import MutualTls, peer_of, refusal_of

RENEW_AFTER: Final = authority.LIFE / 3
TURN_AGAIN_SECONDS: Final = 60.0

_log = log.get("certificate")


class OwnCertificate:
    """The certificate of one identity. `file` keeps it through a restart, so that a process which begins while no Control Plane is there can be
    reached; another identity's in there is not used."""

    def __init__(
        self,
        identity_id: str,
        file: Path,
        ask: Callable[[CertificateRequest], Awaitable[CertificateIssued]],
        clock: Clock,
    ) -> None:
        self.identity_id = identity_id
        self._file = file
        self._ask = ask
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._tls: MutualTls | None = None
        self.revoked: frozenset[str] = frozenset()
        """Identities whose certificates are refused though they have not ended, as the Control Plane last said."""
        self._read()

    @property
    def tls(self) -> MutualTls:
        """What to speak with. Raises Unavailable before there is a certificate."""
        if self._tls is None:
            raise Unavailable(
                "This process has no certificate yet: it gets one as soon as the Control Plane answers, and reaches other machines then."
            )
        return self._tls

    @property
    def is_there(self) -> bool:
        """Whether there is one."""
        return self._tls is not None

    def server_context(self) -> ssl.SSLContext:
        """For one connection that comes in. Raises Unavailable."""
        return self.tls.server

    def client_context(self) -> ssl.SSLContext:
        """For one connection that goes out. Raises Unavailable."""
        return self.tls.client

    def refusal(self, secured: ssl.SSLObject | None, *, kinds: frozenset[str]) -> str | None:
        """Why the other end may not come in, as a sentence; None: it may."""
        return refusal_of(peer_of(secured), kinds=kinds, revoked=self.revoked)

    async def turn(self) -> float:
        """Gets one if there is none, or another in time; answers after how many seconds to look again. Raises what the Control Plane says, while
        what is there may be good for long."""
        async with self._one_at_a_time:
            if self._tls is None or self._left() < authority.LIFE - RENEW_AFTER:
                await self._renew()
        return TURN_AGAIN_SECONDS

    def _left(self) -> timedelta:
        assert self._tls is not None, "asked only where there is one"
        return authority.ends_at(self._tls.credentials.certificate) - self._clock.now()

    async def _renew(self) -> None:
        key, request = await asyncio.to_thread(authority.make_request, self.identity_id)
        issued = await self._ask(CertificateRequest(request=request))
        credentials = Credentials(issued.certificate, key, issued.authority)
        self._use(credentials)
        make_folders(self._file.parent)
        kept = _Kept(identity_id=self.identity_id, **vars(credentials))
        await asyncio.to_thread(write_file, self._file, kept.model_dump_json(), mode=0o600)
        _log.info("a certificate was issued", identity_id=self.identity_id)

    def _read(self) -> None:
        try:
            kept = _Kept.model_validate_json(self._file.read_bytes())
            if kept.identity_id != self.identity_id:
                return
            credentials = Credentials(kept.certificate, kept.key, kept.authority)
            if authority.ends_at(credentials.certificate) > self._clock.now():
                self._use(credentials)
        except FileNotFoundError:
            return
        except (OSError, ValueError, ValidationError, Spg99Error) as error:
            _log.warning("the certificate that was kept cannot be used", file=str(self._file), reason=str(error))

    def _use(self, credentials: Credentials) -> None:
        if self._tls is None:
            self._tls = MutualTls(credentials)
        else:
            self._tls.renew(credentials)


class _Kept(BaseModel):
    identity_id: str
    certificate: str
    key: str = Field(repr=False)
    authority: str
