"""Named queries: reads the .sql files beside this one. Here: finding a query by its name. Not here: running it.

A file holds queries of one noun. A query begins with a line `-- query_name` (one word), may go on with comment lines that
say what it does, and ends where the next one begins. Names are unique over all files.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_HEADER = re.compile(r"^-- ([a-z][a-z0-9_]*)$", re.MULTILINE)


@cache
def _all() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob("*.sql")):
        text = path.read_text()
        heads = list(_HEADER.finditer(text))
        for head, following in zip(heads, [*heads[1:], None], strict=True):
            name = head[1]
            if name in found:
                raise ValueError(f"two queries are called {name}")
            found[name] = text[head.end() : following.start() if following else len(text)].strip()
    return found


def statement(name: str) -> str:
    """The SQL of a named query. An unknown name is a programmer's error (KeyError)."""
    return _all()[name]


def names() -> frozenset[str]:
    """All names, for the test that runs every query through the planner."""
    return frozenset(_all())
