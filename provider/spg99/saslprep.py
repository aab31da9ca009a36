"""SASLprep (RFC 4013): the form in which a password is compared. Here: preparing. Not here: SCRAM (wire/scram.py).

Only cheap modules may be imported: bridges check a password with it at start.
"""

from __future__ import annotations


def saslprepped(password: str) -> str | None:
    """RFC 4013 to the letter: the prepared text, or None for one that it prohibits."""
    if password.isascii():
        return password if password and password.isprintable() else None
    # Late: the tables take longer to import than most processes of a bridge live, and few passwords need them.
    import stringprep
    import unicodedata

    prohibited = (
        stringprep.in_table_c12,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
        stringprep.in_table_a1,
    )
    # U+200B is in both tables; PostgreSQL makes it a space.
    spaced = (" " if stringprep.in_table_c12(c) else c for c in password)
    mapped = "".join(c for c in spaced if not stringprep.in_table_b1(c))
    prepared = unicodedata.normalize("NFKC", mapped)
    if not prepared or any(in_table(c) for c in prepared for in_table in prohibited):
        return None
    right_to_left = [stringprep.in_table_d1(c) for c in prepared]
    if any(right_to_left) and (
        any(stringprep.in_table_d2(c) for c in prepared) or not (right_to_left[0] and right_to_left[-1])
    ):
        return None
    return prepared
