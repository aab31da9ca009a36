"""What a text must look like: the patterns of fields, each with the sentence that says it to people. Not here: rules over several
fields (rules.py), carrying them out (the API's models, bridges/shared/values.py).

Only cheap modules may be imported: bridges load this file at start.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

NAME_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_$]{0,62}$"
"""Names of tenants and databases (contract, section 2): what PostgreSQL takes as an identifier of at most 63 bytes."""
PROJECT_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
LSN_PATTERN: Final = r"^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$"
PASSWORD_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"

_WORDS: Final = {
    NAME_PATTERN: "must be a letter or _, then letters, digits, _ and $, at most 63 in all",
    PROJECT_PATTERN: "must be a letter or a digit, then letters, digits, _ and -",
    LSN_PATTERN: "must be a place in the WAL, two hexadecimal numbers such as 0/1A2B3C8",
    PASSWORD_PATTERN: "must hold no control characters, such as tabs and line breaks",
}


def mismatch(pattern: str, value: str) -> str:
    """What to say of a value that does not match: a sentence for the patterns above, with a name near to one that is none."""
    words = _WORDS.get(pattern, f"must match the pattern {pattern}")
    near = name_near(value) if pattern == NAME_PATTERN else None
    return f"{words}, such as {near}" if near else words


def name_near(value: str) -> str | None:
    """The name that somebody may have meant; None when too little of it is left."""
    found = re.sub(r"[^A-Za-z0-9_$]+", "_", value.strip())
    if not re.search("[A-Za-z0-9]", found):
        return None
    return (found if re.match("[A-Za-z_]", found) else f"_{found}")[:63]


def not_an_id(noun: str, fields: Sequence[str], human_id: str) -> str:
    """What to say of a human id that is none; `fields` make it up. One that is a name alone has no form to tell."""
    if tuple(fields) in (("name",), ("tenant",)):
        whose = noun if fields[0] == "name" else fields[0]
        return f"the name of a {whose} {mismatch(NAME_PATTERN, human_id)}, not '{human_id}'"
    return f"the id of a {noun} has the form {'/'.join(f'<{name}>' for name in fields)}, not '{human_id}'"
