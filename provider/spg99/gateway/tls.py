"""TLS as the gateway speaks it. Here: the context and the hash that channel binding needs. Not here: making files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from spg99.tls.context import CertificatePair, server_context
from spg99.wire.login import ALPN


@dataclass(frozen=True, slots=True)
class Tls:
    """What a worker needs to speak TLS."""

    context: ssl.SSLContext
    end_point_hash: bytes | None
    """`tls-server-end-point` of RFC 5929; None when the certificate's signature defines no hash (Ed25519)."""


def load(pair: CertificatePair) -> Tls:
    """TLS with this certificate chain and key. Raises BadRequest that names what cannot be used."""
    context = server_context(pair, protocols=[ALPN])
    # Sessions are never resumed, as in PostgreSQL; tickets would only cost time.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    certificate = x509.load_pem_x509_certificate(pair.chain.encode())
    return Tls(context, _end_point_hash(certificate))


def _end_point_hash(certificate: x509.Certificate) -> bytes | None:
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None:
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    return certificate.fingerprint(algorithm)
