"""Identifiers: `<prefix>_<20 characters>`. Here: making them. Not here: what they identify."""

from __future__ import annotations

import os
import re

# Crockford's base 32, lower case: no i, l, o, u, so that an id survives being read aloud.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_OF_BYTE = bytes(ord(_ALPHABET[byte % 32]) for byte in range(256))
_ID = re.compile(r"[a-z]{1,8}_[0-9A-Za-z]{1,40}", re.ASCII)
_LENGTH = 20  # 100 bits: no collision in the life of an installation


def new_id(prefix: str) -> str:
    """A fresh random identifier such as `db_4f0k...`.

    Prefixes in use: org, prj, key, ten, db, tl (timeline), mom (timeline of a moment that is only read), cmp (compute), node, gw (gateway), sk (safekeeper), op (operation), evt, req, run (of a gateway), ins (installation), mk (master key), snap (snapshot), exp (export), att (an attempt at one), sched (snapshot schedule).
    """
    return f"{prefix}_{random_word(_LENGTH)}"


def random_word(length: int) -> str:
    """`length` random characters of the identifier alphabet (5 bits each)."""
    # What `secrets` does, without its imports: a provider process makes one id for each request.
    return os.urandom(length).translate(_OF_BYTE).decode()


def is_id(text: str) -> bool:
    """Whether a text from elsewhere is an identifier, and so can stand in a path."""
    return _ID.fullmatch(text) is not None
