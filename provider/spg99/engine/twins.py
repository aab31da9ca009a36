"""Two entries of a state for one object: when it is that, and what a user is told of it. Pure. Not here: what is done then
(deletion.py, importing.py, registration.py).

An object that was renamed in the program without an alias, and then imported under its new name, is held twice. Deleting the
entry that the program wants no more would delete what the other one holds.
"""

from __future__ import annotations

from spg99.engine.state import Resource
from spg99.engine.urns import DYNAMIC_PACKAGES, is_default_provider, name_of, package_of, split_reference
from spg99.engine.values import Value, reveal


def is_same_object(one: Resource, other: Resource) -> bool:
    """Whether both are entries of one object: of one type and id, served by one provider.

    An id is its object's only within one provider: two clusters, or two regions, have an object each under the same one.
    """
    if not (one.managed and other.managed and one.id) or (one.type, one.id) != (other.type, other.id):
        return False
    if _code_of(one) != _code_of(other):
        return False
    return _served_by(one) == _served_by(other)


def _code_of(resource: Resource) -> Value:
    """The provider that a dynamic resource brings along, where its type does not tell whose it is."""
    is_nameless = package_of(resource.type) in DYNAMIC_PACKAGES and resource.type.endswith(":dynamic:Resource")
    return reveal(resource.inputs.get("__provider")) if is_nameless else None


def holds_object_of(leaving: Resource, entry: Resource) -> bool:
    """Whether `entry`, which stays, holds the object of `leaving`. One whose own deletion is pending does where that is refused."""
    if entry is leaving or (entry.delete and not entry.protect) or entry.pending_replacement or not leaving.managed:
        return False
    if leaving.delete and (entry.type, entry.id) == (leaving.type, leaving.id):
        return True  # what was to go has been taken back, maybe only to be read: deleting it would delete that
    return is_same_object(leaving, entry)


def _served_by(resource: Resource) -> str:
    """Its provider's URN; of default ones only the package, because each version of a plugin has one of its own."""
    urn, _ = split_reference(resource.provider)
    return package_of(resource.type) if is_default_provider(urn) else resource.provider


def said_of_a_drop(leaving: Resource, holder: Resource) -> str:
    """What a user is told of an entry that left the state without a deletion."""
    return (
        f"{name_of(leaving.urn)} is dropped from the state and nothing is deleted: {holder.urn} holds the same object, "
        f"'{leaving.id}'. It is deleted when that one goes, too."
    )


def refused_import(found: Resource, holder: Resource) -> str:
    """Why an object that the state holds under another name is not imported."""
    return (
        f"The state holds '{found.id}' already, as {holder.urn}; one object cannot be two resources of a stack. Nothing was "
        f"changed. If it was renamed in the program, do not import it: give it the option "
        f'`aliases=[Alias(name="{name_of(holder.urn)}")]`, or rename it in the state (`pulumi state rename`). If the old entry '
        "is the wrong one, take that out of the state first (`pulumi state delete` with its URN; without the Pulumi CLI `stack "
        "export`, remove its entry, `stack import`): that deletes nothing but the entry."
    )
