"""The server's side of a SCRAM-SHA-256(-PLUS) conversation, one message at a time (RFC 5802, 7677, 5929).

Here: reading the client's messages, answering them, channel binding and its downgrade. Not here: sockets, whose
verifier it is, how long a failure takes (login.py).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

from spg99.errors import ProtocolViolation, Unauthorized, WrongPassword
from spg99.wire.scram import KEY_BYTES, Verifier, mac

PLAIN: Final = "SCRAM-SHA-256"
PLUS: Final = "SCRAM-SHA-256-PLUS"
NONCE_BYTES: Final = 18
_BINDING: Final = "tls-server-end-point"


class ServerExchange:
    """One client's attempt to prove its password; use `first`, then `final`, once each; `final` once more where
    `renew` has taken another verifier.

    `end_point_hash` is the hash of our certificate (None: channel binding is not offered). `nonce` is printable and
    fresh. A `doomed` exchange (unknown user) looks like any other and always ends in WrongPassword.
    """

    def __init__(
        self,
        verifier: Verifier,
        *,
        mechanism: str,
        nonce: str,
        end_point_hash: bytes | None = None,
        doomed: bool = False,
    ) -> None:
        if mechanism not in (PLAIN, PLUS) or (mechanism == PLUS and end_point_hash is None):
            raise ProtocolViolation("The client selected an authentication mechanism that was not offered.")
        self._verifier = verifier
        self._plus = mechanism == PLUS
        self._server_nonce = nonce
        self._end_point_hash = end_point_hash
        self._doomed = doomed
        self._gs2_header = ""
        self._nonce = ""
        self._client_first_bare = ""
        self._server_first = ""

    def first(self, client_first: bytes) -> bytes:
        """Answers the client's first message with nonce, salt and iteration count."""
        text = _text(client_first)
        flag, authzid, bare = _split(text, ",", 2)
        self._check_flag(flag)
        if authzid:
            raise ProtocolViolation("The client asked for an authorization identity, which is not supported.")
        if bare.startswith("m="):
            raise ProtocolViolation("The client requires a SCRAM extension that is not supported.")
        attributes = bare.split(",")
        if len(attributes) < 2 or not attributes[0].startswith("n="):
            raise ProtocolViolation("The first SCRAM message is malformed.")
        client_nonce = _value(attributes[1], "r")
        if not client_nonce or not all("!" <= c <= "~" for c in client_nonce):
            raise ProtocolViolation("The SCRAM nonce is empty or has characters that are not printable.")
        self._gs2_header = f"{flag},,"
        self._client_first_bare = bare
        self._nonce = client_nonce + self._server_nonce
        salt = base64.b64encode(self._verifier.salt).decode()
        self._server_first = f"r={self._nonce},s={salt},i={self._verifier.iterations}"
        return self._server_first.encode()

    def final(self, client_final: bytes) -> bytes:
        """Checks the proof; answers with our own. Raises WrongPassword when it does not fit."""
        text = _text(client_final)
        without_proof, separator, proof_field = text.rpartition(",")
        attributes = without_proof.split(",")
        if not separator or len(attributes) < 2:
            raise ProtocolViolation("The final SCRAM message is malformed.")
        if not hmac.compare_digest(_base64(_value(attributes[0], "c")), self._binding()):
            raise Unauthorized("SCRAM channel binding check failed: the client is bound to another TLS connection.")
        if not hmac.compare_digest(_value(attributes[1], "r").encode(), self._nonce.encode()):
            raise ProtocolViolation("The SCRAM nonce is not the one of this conversation.")
        proof = _base64(_value(proof_field, "p"))
        if len(proof) != KEY_BYTES:
            raise ProtocolViolation("The SCRAM proof has the wrong length.")
        auth_message = f"{self._client_first_bare},{self._server_first},{without_proof}".encode()
        signature = mac(self._verifier.stored_key, auth_message)
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        fits = hmac.compare_digest(hashlib.sha256(client_key).digest(), self._verifier.stored_key)
        answer = mac(self._verifier.server_key, auth_message)
        # Both are computed before either is checked: a doomed exchange takes as long as a real one.
        if not fits or self._doomed:
            raise WrongPassword
        return b"v=" + base64.b64encode(answer)

    def renew(self, verifier: Verifier) -> bool:
        """Takes another verifier of the same user, for `final` to be asked once more. False, and nothing has changed, when it is
        no other one, or was made with another salt: the client's proof says nothing about it then."""
        known = self._verifier
        if self._doomed or verifier == known or (verifier.salt, verifier.iterations) != (known.salt, known.iterations):
            return False
        self._verifier = verifier
        return True

    def _check_flag(self, flag: str) -> None:
        if flag == "n":
            if self._plus:
                raise ProtocolViolation("The client selected SCRAM-SHA-256-PLUS but sends no channel binding.")
        elif flag == "y":
            if self._plus:
                raise ProtocolViolation("The client selected SCRAM-SHA-256-PLUS but sends no channel binding.")
            if self._end_point_hash is not None:
                # We offered -PLUS and the client did not see it: somebody in between took it out of the list.
                raise Unauthorized(
                    "SCRAM channel binding negotiation error: the client supports channel binding but believes that "
                    "this server does not. The list of mechanisms may have been changed on the way."
                )
        elif flag.startswith("p="):
            if not self._plus:
                raise ProtocolViolation("The client selected SCRAM-SHA-256 but sends channel binding.")
            if flag != f"p={_BINDING}":
                raise ProtocolViolation(f"The only channel binding supported is {_BINDING}.")
        else:
            raise ProtocolViolation("The first SCRAM message is malformed.")

    def _binding(self) -> bytes:
        header = self._gs2_header.encode()
        return header + (self._end_point_hash or b"") if self._plus else header


def _text(message: bytes) -> str:
    try:
        text = message.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation("A SCRAM message is not UTF-8.") from None
    if "\0" in text:
        raise ProtocolViolation("A SCRAM message has a zero byte.")
    return text


def _split(text: str, separator: str, times: int) -> list[str]:
    parts = text.split(separator, times)
    if len(parts) != times + 1:
        raise ProtocolViolation("The first SCRAM message is malformed.")
    return parts


def _value(attribute: str, name: str) -> str:
    if not attribute.startswith(name + "="):
        raise ProtocolViolation(f"A SCRAM message lacks its attribute '{name}'.")
    return attribute[2:]


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolViolation("A SCRAM attribute is not base64.") from None
