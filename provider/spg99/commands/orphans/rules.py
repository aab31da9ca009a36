"""Which objects are orphans: declared by a stack or state, and not held by it. Pure. Not here: where the two lists come from.

What a state holds is never one, whatever the platform says: by its uid, and where the state does not tell the uid (it may be
encrypted), by its kind and human id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple


class Declared(NamedTuple):
    """An object of the platform and who declares it, as `GET /v2/declarations` answers."""

    noun: str
    id: str
    uid: str
    tool: str
    state: str
    resource: str | None
    by_this_key: bool
    also_known_to: str | None
    declared_at: datetime

    @classmethod
    def of(cls, item: dict[str, Any]) -> Declared:
        """From an item of the list; what a newer Control Plane adds is left out."""
        values = {name: item.get(name) for name in cls._fields}
        return cls(**values | {"declared_at": datetime.fromisoformat(item["declared_at"])})  # type: ignore[arg-type]


class Held(NamedTuple):
    """An object that a state holds, also one that waits for its deletion or is only looked up."""

    noun: str
    uid: str | None
    """None where the state does not tell it."""
    id: str | None


class State(NamedTuple):
    """What there is to know of a stack's or tool's state."""

    family: str
    """`pulumi` or `terraform`."""
    held: tuple[Held, ...] = ()
    stacks: tuple[tuple[str, str], ...] = ()
    """(project, stack) of each URN in it, once; Pulumi only."""
    pending: tuple[str, ...] = ()
    """URNs whose create has begun and not ended; Pulumi only. They are not held."""
    interrupted: tuple[str, ...] = ()
    """URNs whose change or deletion has begun and not ended; Pulumi only. What the state says of them may be old."""
    urns: tuple[str, ...] = ()
    """Of all resources, components too."""


class Sorted(NamedTuple):
    """The objects that a stack or state made and does not hold, by what may be said of each."""

    orphans: tuple[Declared, ...]
    elsewhere: tuple[Declared, ...]
    """Another stack or state has read them as its own since: taken over there, or looked up."""
    other_keys: tuple[Declared, ...]
    """Declared with another API key: perhaps by somebody else, whose stack is called the same."""


def orphans_of(
    declared: Iterable[Declared],
    held: Sequence[Held],
    *,
    now: datetime,
    older_than_seconds: int = 0,
    any_key: bool = False,
) -> Sorted:
    """The declared objects that are not held, and have been there for `older_than_seconds` at least."""
    uids = {each.uid for each in held if each.uid is not None}
    names = {(each.noun, each.id) for each in held if each.uid is None}
    begun_before = now - timedelta(seconds=older_than_seconds)
    loose = [
        each
        for each in declared
        if each.uid not in uids
        and (each.noun, each.id) not in names
        and (not older_than_seconds or each.declared_at <= begun_before)
    ]
    mine = [each for each in loose if each.by_this_key or any_key]
    return Sorted(
        tuple(each for each in mine if each.also_known_to is None),
        tuple(each for each in mine if each.also_known_to is not None),
        tuple(each for each in loose if not (each.by_this_key or any_key)),
    )


def holds_any(declared: Iterable[Declared], held: Sequence[Held]) -> bool:
    """Whether the state holds anything that was declared under its name: then it is the right state."""
    uids, names = {each.uid for each in held}, {(each.noun, each.id) for each in held}
    return any(each.uid in uids or (each.noun, each.id) in names for each in declared)


_FIRST_TO_GO = ("database", "tenant_credentials", "tenant", "api_key")


def in_order_of_deletion(orphans: Iterable[Declared]) -> list[Declared]:
    """What belongs to a tenant goes before it, and API keys last: one of them may be the one in use."""
    return sorted(
        orphans, key=lambda each: (_FIRST_TO_GO.index(each.noun) if each.noun in _FIRST_TO_GO else 0, each.id)
    )
