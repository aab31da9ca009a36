"""PostgreSQL's timeline history files (`00000002.history`): on which timelines a timeline stands. Not here: terms (fence.py), files.

A file has a line for each timeline that was left on the way: its number, the LSN at which it was left, a reason. Numbers alone say nothing:
two lives of one database may both have called themselves timeline 2. So histories are compared whole.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from spg99.wal.fence import TermHistory
from spg99.wal.lsn import TLI_MAX, format_lsn, parse_lsn

_FILE_NAME = re.compile(r"([0-9A-F]{8})\.history", re.ASCII)
_LINE = re.compile(r"\s*(\d+)\s+([0-9A-Fa-f]+/[0-9A-Fa-f]+)(?:\s+(.*))?", re.ASCII)


@dataclass(frozen=True)
class Switch:
    """A timeline was left: its WAL counts up to, and without, `lsn`."""

    tli: int
    lsn: int


@dataclass(frozen=True)
class TimelineHistory:
    """A timeline and those that it stands on, the oldest first. Timelines and LSNs ascend: ValueError otherwise.

    Reasons are no part of it: they are for people, and two files that differ in them alone say the same.
    """

    tli: int
    switches: tuple[Switch, ...] = ()

    def __post_init__(self) -> None:
        tlis = [switch.tli for switch in self.switches] + [self.tli]
        lsns = [switch.lsn for switch in self.switches]
        if tlis[0] < 1 or tlis[-1] > TLI_MAX or any(one >= two for one, two in itertools.pairwise(tlis)):
            raise ValueError(f"timelines do not ascend: {tlis}")
        if any(one > two for one, two in itertools.pairwise(lsns)):
            raise ValueError(f"timelines are left in no order: {[format_lsn(lsn) for lsn in lsns]}")


def parse_last(tli: int, text: str) -> Switch:
    """Where timeline `tli` itself began, by its file's last line. What is before need not ascend: a recovery that damage has ended early copies all that its target
    stood on. ValueError where there is no line."""
    lines = [found for line in text.splitlines() if (found := _LINE.fullmatch(line))]
    if not lines:
        raise ValueError(f"the history of timeline {tli} has no line")
    return Switch(tli, parse_lsn(lines[-1][2]))


def parse_history(tli: int, text: str) -> TimelineHistory:
    """The file of timeline `tli`. Blank lines and comments (`#`) are passed over; ValueError names the line that is none."""
    switches = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not (found := _LINE.fullmatch(line)):
            raise ValueError(f"line {number} of the history of timeline {tli} is none: {line!r}")
        switches.append(Switch(int(found[1]), parse_lsn(found[2])))
    return TimelineHistory(tli, tuple(switches))


def format_history(history: TimelineHistory, reason: str = "no recovery target specified") -> str:
    """The file's text, as PostgreSQL writes it; one reason for all its lines."""
    return "".join(f"{switch.tli}\t{format_lsn(switch.lsn)}\t{reason}\n" for switch in history.switches)


def history_name(tli: int) -> str:
    """The file's name. Timeline 1 has no file: it stands on nothing."""
    return f"{tli:08X}.history"


def parse_history_name(name: str) -> int:
    """The timeline of a history file. ValueError for any other file."""
    if not (found := _FILE_NAME.fullmatch(name)):
        raise ValueError(f"not a timeline history file: {name!r}")
    return int(found[1], 16)


def files_of(terms: TermHistory) -> dict[int, str]:
    """The files in which PostgreSQL finds on what its timelines stand: number -> text. The first one has none."""
    files: dict[int, str] = {}
    switches: list[Switch] = []
    tli = terms[0].tli
    for entry in terms:
        if entry.tli != tli:
            switches.append(Switch(tli, entry.begin_lsn))
            tli = entry.tli
            files[tli] = format_history(TimelineHistory(tli, tuple(switches)))
    return files


def owner(history: TimelineHistory, lsn: int) -> int:
    """The timeline whose WAL holds the byte at `lsn`, on the way to this one."""
    return next((switch.tli for switch in history.switches if lsn < switch.lsn), history.tli)


def descends(child: TimelineHistory, ancestor: TimelineHistory) -> bool:
    """Whether `child` stands on this very `ancestor` (or is it): not on another of the same number."""
    if child == ancestor:
        return True
    length = len(ancestor.switches)
    return child.switches[:length] == ancestor.switches and any(
        switch.tli == ancestor.tli for switch in child.switches[length : length + 1]
    )


def parted(one: TimelineHistory, two: TimelineHistory) -> int | None:
    """The LSN up to which two histories are the same WAL. None: all of it. 0: they have nothing in common, not even a first timeline.

    Of two that say the same this knows no difference: whether the same number is the same life, only terms can say (fence.py).
    """
    if one == two:
        return None
    common_lsn = 0
    ways = [(*((switch.tli, switch.lsn) for switch in history.switches), (history.tli, None)) for history in (one, two)]
    for (tli_one, lsn_one), (tli_two, lsn_two) in zip(*ways, strict=False):
        if tli_one != tli_two:
            break
        common_lsn = min(lsn for lsn in (lsn_one, lsn_two) if lsn is not None)
        if lsn_one != lsn_two:
            break
    return common_lsn
