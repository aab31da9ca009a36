"""The certificate authority of the installation: one in the catalogue, its key encrypted like the passwords there. Here: its row, issuing, whose
certificates are refused. Not here: certificates as bytes (tls/authority.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import SYSTEM
from spg99.control_plane.records.secret_box import SecretBox
from spg99.control_plane.store import Store, Transaction
from spg99.processes import WatchedClock
from spg99.protocol.certificates import CertificateIssued, CertificateRequest
from spg99.tls import authority
from spg99.tls.authority import Authority

_THE_ONE = "machines"
"""There is one authority; its key in the catalogue is bound to this name."""


class Authorities:
    """Issues certificates; the authority is read once. Any number of Control Planes share one."""

    def __init__(self, store: Store, box: SecretBox, clock: WatchedClock) -> None:
        self._store = store
        self._box = box
        self._clock = clock
        self._known: Authority | None = None

    async def issue(self, identity_id: str, request: CertificateRequest) -> CertificateIssued:
        """A certificate for the identity that asks. Raises BadRequest for what is no request, Internal when the authority's key was encrypted with
        another installation key."""
        if self._known is None:
            async with self._store.transaction() as tx:
                self._known = await self._read_or_make(tx)
        certificate = authority.sign(self._known, request.request, identity_id, self._clock.now())
        return CertificateIssued(certificate=certificate, authority=self._known.certificate)

    async def _read_or_make(self, tx: Transaction) -> Authority:
        row = await tx.one_or_none(_AuthorityRow, "find_authority", name=_THE_ONE)
        if row is None:
            made = authority.make(self._clock.now())
            sealed = self._box.encrypt(made.key.encode(), _THE_ONE)
            await tx.execute("insert_authority", name=_THE_ONE, certificate=made.certificate, key_encrypted=sealed)
            row = await tx.one(_AuthorityRow, "find_authority", name=_THE_ONE)  # another process may have been first
            await audit.record(tx, SYSTEM, "authority.create", None)
        return Authority(row.certificate, self._box.decrypt(row.key_encrypted, _THE_ONE).decode())


async def revoke(tx: Transaction, identity_id: str, now: datetime) -> None:
    """From the next heartbeats on no agent and no safekeeper lets this identity in."""
    await tx.execute("revoke_identity", identity_id=identity_id, now=now)


async def revoked(tx: Transaction, now: datetime) -> list[str]:
    """Identities that were removed and whose certificates may not have ended yet."""
    rows = await tx.many(_Revoked, "revoked_identities", since=now - authority.LIFE)
    return [row.identity_id for row in rows]


@dataclass(frozen=True)
class _AuthorityRow:
    certificate: str
    key_encrypted: bytes


@dataclass(frozen=True)
class _Revoked:
    identity_id: str
