"""What has become of a conditional write whose answer was lost (pure). Here: the rule. Not here: writing and reading (s3.py).

Each conditional write carries a mark of its own, a random word that is stored beside the content. Content cannot tell: two writers may put the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

TRIES_MAX: Final = 10
FIRST_PAUSE_SECONDS: Final = 0.1
PAUSE_BEFORE_TRY_SECONDS_MAX: Final = 5.0


class Outcome(Enum):
    """What reading back has shown."""

    WRITTEN = "it is there"
    NOT_YET = "what was there before still is: it was not written, and may still be; written again it is written once"
    OVERTAKEN = "another is there by now; whether this one was before it, nobody knows"


@dataclass(frozen=True)
class Found:
    """What stands under the key now."""

    tag: str
    mark: str | None
    """Of the write that put it there; None: it was not a conditional one."""


def outcome(found: Found | None, *, mark: str, tag_before: str | None) -> Outcome:
    """Of the write with this mark that was to replace what had the tag `tag_before` (None: nothing)."""
    if found is not None and found.mark == mark:
        return Outcome.WRITTEN
    if (found.tag if found is not None else None) == tag_before:
        return Outcome.NOT_YET
    return Outcome.OVERTAKEN


def pause_seconds(tries: int) -> float:
    """Before the next one, after so many."""
    return min(FIRST_PAUSE_SECONDS * float(2 ** (tries - 1)), PAUSE_BEFORE_TRY_SECONDS_MAX)
