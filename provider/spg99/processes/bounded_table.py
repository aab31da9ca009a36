"""What a process remembers and may forget: a table that never grows beyond a number of entries. Here: which entry goes.

Not here: how long an entry may be believed; whoever keeps the table knows.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedTable(OrderedDict[K, V]):
    """At most `entries_max` entries: what was written longest ago goes first, one at a time.

    What a stranger may invent (names, tokens) has a table of its own, or a flood of it pushes out what is real.
    """

    def __init__(self, entries_max: int) -> None:
        super().__init__()
        self.entries_max = entries_max

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > self.entries_max:
            self.popitem(last=False)
