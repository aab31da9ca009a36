"""Who keeps a timeline's WAL, and how many of them are enough. Not here: what they hold (fence.py), how they change (membership.py).

A configuration has one set of members, or two while it changes from one to the other; then whatever needs enough of them needs
enough of either set. Two sizes follow from a set's quorum, and all proofs rest on how such sets meet:

    acknowledges    `quorum` members have flushed it
    promised        every set that acknowledged has one in it, and so has every other set that promised
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Members:
    """Safekeepers by id, and how many of them make a commit durable. An id is of one disk: who lost it is another."""

    ids: frozenset[str]
    quorum: int

    def __post_init__(self) -> None:
        if not 1 <= self.quorum <= len(self.ids):
            raise ValueError(f"a quorum of {self.quorum} out of {len(self.ids)}")


@dataclass(frozen=True)
class Configuration:
    """The members of a timeline at one time. `number` only grows, and there is one configuration of a number (the catalogue's row)."""

    number: int
    members: Members
    next_members: Members | None = None
    """Set while they are changed to these."""

    @property
    def sets(self) -> tuple[Members, ...]:
        """Each of them has to have enough."""
        return (self.members,) if self.next_members is None else (self.members, self.next_members)

    @property
    def ids(self) -> frozenset[str]:
        """All that take part."""
        return frozenset[str]().union(*(members.ids for members in self.sets))


def promises_needed(members: int, quorum: int) -> int:
    """How many promises make a start: members - quorum + 1 meet every set that acknowledged.

    And never less than a majority, so that two computes that were handed the same term (a catalogue restored from yesterday) cannot both have it.
    """
    return max(members - quorum + 1, members // 2 + 1)


def witnesses_needed(members: int, quorum: int) -> int:
    """How many meet every set that acknowledged and every set that promised: what they know together is all there is to know."""
    return max(members - quorum + 1, members - promises_needed(members, quorum) + 1)


def have_promised(configuration: Configuration, ids: Collection[str]) -> bool:
    """Whether these are enough for a start."""
    return all(
        len(members.ids.intersection(ids)) >= promises_needed(len(members.ids), members.quorum)
        for members in configuration.sets
    )


def acknowledged_lsn(configuration: Configuration, flush_lsns: Mapping[str, int]) -> int | None:
    """Up to where WAL is acknowledged by these (id to flush LSN). None: by too few of them, whatever it is.

    The caller counts only who is of its own term and configuration: a flush LSN of another life says nothing of this one.
    """
    found = []
    for members in configuration.sets:
        highest = sorted((flush_lsns[one] for one in members.ids & flush_lsns.keys()), reverse=True)
        if len(highest) < members.quorum:
            return None
        found.append(highest[members.quorum - 1])
    return min(found)


@dataclass(frozen=True)
class Standbys:
    """What PostgreSQL is to wait for: `ANY number (ids)`."""

    number: int
    ids: frozenset[str]


def standbys(configuration: Configuration, up: Collection[str]) -> Standbys:
    """What `synchronous_standby_names` says, so that PostgreSQL by itself never acknowledges with less than either set wants.

    It knows one list only. `ANY n (list)` leaves out of n no more than the list has beside a set. There are several such lists while members
    change; of them the one is taken that most of those who are `up` may fail without a commit waiting. Each of them is safe at any time.
    """
    common = frozenset.intersection(*(members.ids for members in configuration.sets))
    found = []
    for ids in (configuration.ids, configuration.ids.intersection(up), common, common.intersection(up)):
        number = max(members.quorum + len(ids - members.ids) for members in configuration.sets)
        if number <= len(ids):
            found.append((len(ids.intersection(up)) - number, len(ids), Standbys(number, ids)))
    return max(found, key=lambda one: one[:2])[2]
