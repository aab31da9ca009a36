"""How a state file names our provider: a constant pickle that says "import it and call it", never code or secrets.

Pulumi's own way (dill) writes the provider's code, or what it has captured, into every resource: it changes with every
edit and every Python version, leaks what it captured, and keeps running old code. This one is 90 bytes for ever.
"""

from __future__ import annotations

import base64
from functools import cache

PROVIDER_KEY = "__provider"
TYPE_PREFIX = "pulumi-python:dynamic/spg99:"
MODULE, QUALNAME = "spg99.bridges.dynamic", "Provider"


def type_token(noun_class: str) -> str:
    """The Pulumi type of a noun: `pulumi-python:dynamic/spg99:Database`."""
    return TYPE_PREFIX + noun_class


@cache
def provider_reference(noun: str, module: str = MODULE) -> str:
    """`Provider(noun)` as base64 of a pickle of protocol 4, written by hand: the same under every Python."""
    return base64.b64encode(
        b"\x80\x04"  # PROTO 4
        + _text(module)
        + _text(QUALNAME)
        + b"\x93"  # STACK_GLOBAL: import module, take attribute
        + _text(noun)
        + b"\x85R."  # TUPLE1, REDUCE (call it), STOP
    ).decode()


def _text(text: str) -> bytes:
    raw = text.encode()
    return b"\x8c" + bytes([len(raw)]) + raw  # SHORT_BINUNICODE
