"""Names for what a program declares without one. Here: which, and how they are made to fit. Not here: Check itself (checks.py).

A noun may be left without a name when its human id holds one among its inputs (`acme/app`): then Pulumi proposes one, or we
make one of the declaration's name and a few random characters, the same ones for the same random seed.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from spg99.bridges.pulumi.native.messages import DISABLE, ENFORCE
from spg99.bridges.shared.values import failures_in
from spg99.errors import BadRequest
from spg99.shapes import Field, Noun, Type

NAME = "name"
RANDOM_CHARACTERS = 7
LONGEST = 255


def name_field(noun: Noun) -> Field | None:
    """The input that may be left out to get a name; None where names are the user's."""
    return noun.input_named(NAME) if NAME in noun.id_fields() else None


def name_for(noun: Noun, *, declared: str, urn: str, seed: bytes, options: Any = None) -> str:
    """A name for the object that is declared as `declared`. `options` are Pulumi's AutonamingOptions, None without any.

    Raises BadRequest with a sentence when names are not to be made, or the one that must be taken does not fit.
    """
    field = name_field(noun)
    assert field is not None
    if options is not None and options.mode == DISABLE:
        raise BadRequest("is required (autonaming is disabled)")
    if options is not None and options.proposed_name:
        proposed = options.proposed_name
        if options.mode == ENFORCE:
            if not _fits(field.type, proposed):
                raise BadRequest(
                    f"the name '{proposed}' that autonaming enforces does not fit: {_why(field.type, proposed)}"
                )
            return str(proposed)
        made = fitted(field.type, proposed)
    else:
        # Without a seed (older engines) the URN is what stays the same from the preview to the run.
        suffix = hashlib.sha256(seed or urn.encode()).hexdigest()[:RANDOM_CHARACTERS]
        made = fitted(field.type, f"{declared}-{suffix}")
    if made is None:
        raise BadRequest(f"is required: no name can be made of '{declared}' that matches {field.type.pattern}")
    return made


def fitted(type_: Type, text: str) -> str | None:
    """`text` with as little changed as makes it a value of this type; None when nothing does."""
    dashed, plain = (re.sub(rf"[^A-Za-z0-9{sign}]+", sign, text).strip(sign) for sign in "-_")
    spelled = (text, dashed, plain, f"n{dashed}", f"n{plain}", f"_{plain}")
    candidates = [each for one in spelled for each in (one, one.lower())]
    for candidate in candidates:
        if _fits(type_, candidate):
            return candidate
    for candidate in candidates:
        # What makes the name unique is at its end, so a long one loses characters in the middle.
        for longest in range(min(len(candidate) - 1, LONGEST), RANDOM_CHARACTERS + 1, -1):
            if _fits(type_, shorter := _shortened(candidate, longest)):
                return shorter
    return None


def _shortened(text: str, longest: int) -> str:
    end = RANDOM_CHARACTERS + 1
    return text[: longest - end] + text[-end:]


def _fits(type_: Type, text: str) -> bool:
    return _why(type_, text) is None


def _why(type_: Type, text: str) -> str | None:
    failure = next(failures_in(type_, text, (), secret=False, spelling=str), None)
    return None if failure is None else failure.reason
