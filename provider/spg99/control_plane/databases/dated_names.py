"""Names that we give databases and snapshots of ours: a word for what one is, and when (pure). Not here: seeing to it that nobody has it."""

from __future__ import annotations

from datetime import datetime

NAME_LENGTH_MAX = 63


def dated(name: str, word: str, moment: datetime) -> str:
    """`<name>_<word>_<time>`: a name that a database may have, of at most 63 characters."""
    suffix = f"_{word}_{moment:%Y%m%d_%H%M%S}"
    return name[: NAME_LENGTH_MAX - len(suffix)] + suffix
