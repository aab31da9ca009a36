"""Which resource must go before which. Here: pure questions on lists of resources. Not here: deleting them (deletion.py)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from spg99.engine.state import Resource, copy


def deletion_waits(doomed: Sequence[Resource]) -> dict[int, set[int]]:
    """For each resource (by its place in the list) the places of those that must be deleted before it.

    `doomed` is in state order: whatever a resource needs stands before it. Several may share a URN (replaced ones).
    """
    places: dict[str, list[int]] = {}
    waits: dict[int, set[int]] = {place: set() for place in range(len(doomed))}
    for place, resource in enumerate(doomed):
        for urn in resource.needs():
            for needed in places.get(urn, ()):
                waits[needed].add(place)
        places.setdefault(resource.urn, []).append(place)
    return waits


def dependents(of: Iterable[str], resources: Sequence[Resource], *, by_parent: bool = True) -> set[str]:
    """URNs of everything that directly or indirectly needs one of `of` (which are not in the answer)."""
    reached = set(of)
    for resource in resources:  # state order: one pass is enough
        needs = resource.needs() if by_parent else resource.needs() - {resource.parent}
        if needs & reached:
            reached.add(resource.urn)
    return reached - set(of)


def others(resources: Iterable[Resource], than: Iterable[Resource]) -> list[Resource]:
    """The resources that are none of these very ones, by identity: comparing each with each takes a second for 500."""
    these = {id(resource) for resource in than}
    return [resource for resource in resources if id(resource) not in these]


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Tells whether a URN is one of the targets; `*` stands for a part without `::`, `**` for anything."""
    expressions = []
    for pattern in patterns:
        pieces = re.split(r"(\*\*|\*)", pattern)
        text = "".join(".*" if p == "**" else "[^:]*(?::[^:]+)*" if p == "*" else re.escape(p) for p in pieces)
        expressions.append(re.compile(text))
    return lambda urn: any(e.fullmatch(urn) for e in expressions)


def without(resources: Sequence[Resource], gone: set[str]) -> list[Resource]:
    """The resources without references to URNs that no longer exist."""
    if not gone:
        return list(resources)
    kept = []
    for resource in resources:
        if not resource.needs() & gone:
            kept.append(resource)
            continue
        kept.append(
            copy(
                resource,
                parent="" if resource.parent in gone else resource.parent,
                dependencies=[u for u in resource.dependencies if u not in gone],
                property_dependencies={
                    key: [u for u in urns if u not in gone] for key, urns in resource.property_dependencies.items()
                },
                deleted_with="" if resource.deleted_with in gone else resource.deleted_with,
            )
        )
    return kept
