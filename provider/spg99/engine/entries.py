"""Entries of a state by type and id. Here: finding those that may be of one object. Not here: whether they are (twins.py), what
the state is (snapshot.py).

Every deletion asks for others of its object; going through the whole state for each took more than all the rest of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from spg99.engine.state import Resource


class Entries:
    """Resources under their type and id. Those that are equal are still told apart."""

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._found: dict[tuple[str, str], dict[int, Resource]] = {}
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        """Takes one in; one that is there already stays once."""
        self._found.setdefault((resource.type, resource.id), {})[id(resource)] = resource

    def remove(self, resource: Resource) -> bool:
        """Forgets this very one; answers whether it was there."""
        return self._found.get((resource.type, resource.id), {}).pop(id(resource), None) is not None

    def of(self, type_: str, id_: str) -> list[Resource]:
        """All of this type and id, in the order in which they came."""
        return list(self._found.get((type_, id_), {}).values())
