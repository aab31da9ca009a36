"""How many examples a property test tries: all of them in `make test` and CI, a few in `make check`. Not here: any property."""

from __future__ import annotations

import os

from hypothesis import settings

FEW = 10


def few_are_enough() -> bool:
    """Whether this is the minute before a commit (SPG99_EXAMPLES=few)."""
    return os.environ.get("SPG99_EXAMPLES") == "few"


def examples(number: int) -> int:
    """`number`, or a few."""
    return min(number, FEW) if few_are_enough() else number


# No property is of speed: on a busy machine a deadline fails what is right.
settings.register_profile("all", deadline=None)
settings.register_profile("few", settings.get_profile("all"), max_examples=FEW)
