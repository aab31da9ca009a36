"""Which rows of a list in name order a query gives: the parameters that every query of a page has. Pure. Not here: cursors
and answers (serving/pages.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Window:
    """Which rows of a list in name order a query gives."""

    limit: int
    offset: int = 0
    after: tuple[str, str] | None = None
    """(name, id) of the last row before."""
    name_prefix: str | None = None

    def parameters(self) -> dict[str, Any]:
        """The parameters that every query of a page has."""
        after_name, after_id = self.after or (None, None)
        prefix = {"name_prefix": self.name_prefix, "name_prefix_end": end_of_prefix(self.name_prefix)}
        return {"limit": self.limit, "offset": self.offset, "after_name": after_name, "after_id": after_id} | prefix


def end_of_prefix(prefix: str | None) -> str | None:
    """The first text after all texts that begin with `prefix`, in the byte order of ASCII names."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else None
