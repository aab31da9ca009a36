"""What a deletion of several resources would end at: those that the platform protects, seen in the state before the first of them is
touched. Pure. Not here: `protect=True`, which is the program's (decide.py), and the platform's own refusal (bridges)."""

from __future__ import annotations

from collections.abc import Sequence

from spg99.emit.names import camel
from spg99.emit.pulumi_types import noun_of
from spg99.engine.graph import others
from spg99.engine.state import Resource
from spg99.engine.twins import holds_object_of
from spg99.engine.values import reveal
from spg99.prepared import PACKAGE


def guarded(doomed: Sequence[Resource], current: Sequence[Resource]) -> list[tuple[Resource, str]]:
    """Which of `doomed` their provider would refuse to delete, as the state of the stack (`current`) knows them, and why.

    What only leaves the state is not among them, nor what waits for its deletion: of that the state may be long out of date.
    """
    going = {r.urn for r in doomed}
    staying = others(current, doomed)
    return [
        (resource, reason)
        for resource in doomed
        if resource.managed
        and not (resource.delete or resource.pending_replacement or resource.retain_on_delete)
        and resource.deleted_with not in going
        and (reason := _reason(resource))
        and not any(holds_object_of(resource, other) for other in staying)
    ]


def _reason(resource: Resource) -> str | None:
    noun = noun_of(PACKAGE, resource.type)
    if noun is None or noun.protected_by is None:
        return None
    if not noun.is_protected({noun.protected_by: reveal(resource.outputs.get(camel(noun.protected_by)))}):
        return None
    return (
        f"The {noun.noun.replace('_', ' ')} '{resource.id}' is protected: {noun.protected_by} is on, says the state. Nothing was "
        "deleted. Set it to false in the program and run `up` first; if it was turned off outside, `refresh` first."
    )
