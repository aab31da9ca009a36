"""Named queries: reads `queries.sql` of every domain. Here: finding a query by its name. Not here: running it.

A file holds the queries of one domain. A query begins with a line `-- query_name` (one word), may go on with comment lines that
say what it does, and ends where the next one begins. Names are unique over all files.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_HEADER = re.compile(r"^-- ([a-z][a-z0-9_]*)$", re.MULTILINE)


_DOMAINS = Path(__file__).parent.parent


@cache
def by_domain() -> dict[str, dict[str, str]]:
    """SQL by domain and name. Two queries of one name are a programmer's error (ValueError)."""
    found: dict[str, dict[str, str]] = {}
    seen: set[str] = set()
    for path in sorted(_DOMAINS.glob("*/queries.sql")):
        text = path.read_text()
        heads = list(_HEADER.finditer(text))
        queries = found[path.parent.name] = {}
        for head, following in zip(heads, [*heads[1:], None], strict=True):
            name = head[1]
            if name in seen:
                raise ValueError(f"two queries are called {name}")
            seen.add(name)
            queries[name] = text[head.end() : following.start() if following else len(text)].strip()
    return found


@cache
def _all() -> dict[str, str]:
    return {name: text for queries in by_domain().values() for name, text in queries.items()}


def statement(name: str) -> str:
    """The SQL of a named query. An unknown name is a programmer's error (KeyError)."""
    return _all()[name]


def names() -> frozenset[str]:
    """All names, for the test that runs every query through the planner."""
    return frozenset(_all())
