"""The client's side of SCRAM, written from RFC 5802 and nothing else. Here: for tests. Not here: the server's side."""

from __future__ import annotations

import base64
import hashlib

from spg99.wire.scram import mac


class ScramClient:
    """One conversation."""

    def __init__(
        self, password: str, *, gs2: str = "n,,", binding: bytes = b"", nonce: str = "rOprNGfwEbeRWgbNEkqO"
    ) -> None:
        self.password, self.gs2, self.binding, self.nonce = password, gs2, binding, nonce
        self.bare = f"n=,r={nonce}"

    def first(self) -> bytes:
        return (self.gs2 + self.bare).encode()

    def final(self, server_first: bytes) -> bytes:
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        client_key = mac(salted, b"Client Key")
        channel = base64.b64encode(self.gs2.encode() + self.binding).decode()
        without_proof = f"c={channel},r={fields['r']}"
        message = f"{self.bare},{server_first.decode()},{without_proof}".encode()
        signature = mac(hashlib.sha256(client_key).digest(), message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.expected = b"v=" + base64.b64encode(mac(mac(salted, b"Server Key"), message))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()
