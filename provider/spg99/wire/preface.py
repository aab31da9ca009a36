"""The first words on a connection to another machine's agent: which compute is wanted, and whether one is let through. Here: bytes <-> values.

    asks:    "SPG99" version(1 byte) length(2 bytes) JSON
    answer:  length(2 bytes) JSON       {} = what follows is the compute's; {"code", "reason"} = the connection ends

What follows the question may be sent with it: nobody waits for the answer. Not here: who may be let through (node/network.py).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Literal

from spg99.errors import ProtocolViolation

VERSION: Final = 1
_MAGIC: Final = b"SPG99"
_HEAD_BYTES: Final = len(_MAGIC) + 3
BODY_BYTES_MAX: Final = 2048
REASON_CHARACTERS_MAX: Final = 300

Target = Literal["clients", "wal"]


@dataclass(frozen=True)
class Preface:
    """Who wants what."""

    target: Target
    """`clients`: the socket of its clients. `wal`: the one that safekeepers take WAL from."""
    compute_id: str
    writer_term: int


@dataclass(frozen=True)
class Refused:
    """Why nobody is let through: a word for programs and a sentence."""

    code: str
    """`not_here`: it does not run there (any more). `stale`: its term is over. `forbidden`: not with this certificate. `malformed`."""
    reason: str


def question(preface: Preface) -> bytes:
    """The first bytes of a connection."""
    body = json.dumps(asdict(preface), separators=(",", ":")).encode()
    return _MAGIC + bytes([VERSION]) + len(body).to_bytes(2) + body


def answer(refused: Refused | None) -> bytes:
    """The first bytes that come back."""
    said = {"code": refused.code, "reason": refused.reason[:REASON_CHARACTERS_MAX]} if refused else {}
    body = json.dumps(said, separators=(",", ":")).encode()
    return len(body).to_bytes(2) + body


class QuestionReader:
    """Collects bytes until they are a whole question."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Preface | None:
        """The question once it is whole. Raises ProtocolViolation as soon as it can be none."""
        self._data += data
        if not self._data.startswith(_MAGIC[: len(self._data)]):
            raise ProtocolViolation("This port is for other processes of the same installation only.")
        if len(self._data) < _HEAD_BYTES:
            return None
        if self._data[len(_MAGIC)] != VERSION:
            raise ProtocolViolation(f"Version {self._data[len(_MAGIC)]} of the preface is not known here.")
        length = int.from_bytes(self._data[_HEAD_BYTES - 2 : _HEAD_BYTES])
        if length > BODY_BYTES_MAX:
            raise ProtocolViolation("The preface is too long.")
        if len(self._data) < _HEAD_BYTES + length:
            return None
        body = bytes(self._data[_HEAD_BYTES : _HEAD_BYTES + length])
        del self._data[: _HEAD_BYTES + length]
        return _preface_of(body)

    @property
    def rest(self) -> bytes:
        """What came after it."""
        return bytes(self._data)


class AnswerReader:
    """Collects bytes until they are a whole answer."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> bytes | Refused | None:
        """None: more is to come. Bytes: one is let through, and these came after the answer. Raises ProtocolViolation."""
        self._data += data
        if len(self._data) < 2:
            return None
        length = int.from_bytes(self._data[:2])
        if length > BODY_BYTES_MAX:
            raise ProtocolViolation("The answer to a preface is too long.")
        if len(self._data) < 2 + length:
            return None
        said = _object_of(bytes(self._data[2 : 2 + length]))
        if said:
            return Refused(str(said.get("code", "")), str(said.get("reason", "")))
        return bytes(self._data[2 + length :])


def _preface_of(body: bytes) -> Preface:
    said = _object_of(body)
    target, compute_id, term = said.get("target"), said.get("compute_id"), said.get("writer_term")
    if target not in ("clients", "wal") or not isinstance(compute_id, str) or not isinstance(term, int):
        raise ProtocolViolation("The preface names no compute.")
    return Preface(target, compute_id, term)


def _object_of(body: bytes) -> dict[str, object]:
    try:
        said = json.loads(body)
    except (ValueError, UnicodeDecodeError):
        said = None
    if not isinstance(said, dict):
        raise ProtocolViolation("The preface cannot be read.")
    return said
