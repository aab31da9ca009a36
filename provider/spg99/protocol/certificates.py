"""Certificates of our own processes, by which those of different machines know each other. Not here: making them (tls/authority.py).

POST /internal/v1/{nodes,gateways,safekeepers,pageservers}/certificate  CertificateRequest -> CertificateIssued
"""

from __future__ import annotations

from pydantic import Field

from spg99.protocol import Message


class CertificateRequest(Message):
    """Asks for a certificate of the identity that asks; the one before it stays good until its end."""

    request: str = Field(max_length=4096)
    """PKCS #10, PEM. The key stays where it was made."""


class CertificateIssued(Message):
    """A certificate, and whom to trust with it."""

    certificate: str
    """PEM; its name is the identity's id."""
    authority: str
    """PEM of the certificate that signs all of them."""
