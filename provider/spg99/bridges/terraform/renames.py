"""What one plan says of objects that hold data, so that none is destroyed under one address that another address wants. Here: the
memory of one configured provider, and its refusals. Not here: what one resource alone may do (planning.py).

A block that was renamed without `moved` is planned as a destroy (no configuration) and a create (no prior state) of one id; an object that a
state holds under two addresses as a destroy of the one and a plan of the other. Core plans both in one process, in any order, and
tells no addresses. A replacement (`-replace`, tainted, create_before_destroy) is never planned without its configuration, so it is not meant.
"""

from __future__ import annotations

from _thread import allocate_lock

from spg99.bridges.shared.unknown import Unknown
from spg99.bridges.terraform.json_values import Values
from spg99.bridges.terraform.planning import Refusal
from spg99.shapes import Noun


class PlannedObjects:
    """By noun: what is planned to be destroyed, created and kept since the provider was configured."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._destroyed: set[tuple[str, str, object]] = set()
        self._created: set[tuple[str, str]] = set()
        self._kept: set[tuple[str, object]] = set()

    def refusals(self, noun: Noun, prior: Values | None, planned: Values | None) -> tuple[Refusal, ...]:
        """Notes one plan; answers why it, or the one that it contradicts, must not be carried out."""
        if not noun.holds_data:
            return ()
        with self._lock:
            if prior is not None and planned is None:
                return self._destroy(noun, str(prior["id"]), prior.get(noun.uid_field))
            if prior is not None:
                return self._keep(noun, str(prior["id"]), prior.get(noun.uid_field))
            if planned is None or planned["id"] is None or isinstance(planned["id"], Unknown):
                return ()
            return self._create(noun, str(planned["id"]))

    def _destroy(self, noun: Noun, human_id: str, uid: object) -> tuple[Refusal, ...]:
        self._destroyed.add((noun.noun, human_id, uid))
        if (noun.noun, human_id) in self._created:
            return (_renamed(noun, human_id),)
        if uid is not None and (noun.noun, uid) in self._kept:
            return (_held_twice(noun, human_id),)
        return ()

    def _keep(self, noun: Noun, human_id: str, uid: object) -> tuple[Refusal, ...]:
        self._kept.add((noun.noun, uid))
        is_destroyed = uid is not None and (noun.noun, human_id, uid) in self._destroyed
        return (_held_twice(noun, human_id),) if is_destroyed else ()

    def _create(self, noun: Noun, human_id: str) -> tuple[Refusal, ...]:
        self._created.add((noun.noun, human_id))
        is_destroyed = any((name, id_) == (noun.noun, human_id) for name, id_, _ in self._destroyed)
        return (_renamed(noun, human_id),) if is_destroyed else ()


def _renamed(noun: Noun, human_id: str) -> Refusal:
    what = noun.noun.replace("_", " ")
    return Refusal(
        "id",
        f"{human_id} would be destroyed under one address and created under another",
        f"The {what} '{human_id}' is to be destroyed, with its data, because its block is gone, and another block declares the same one. If "
        f"the block was renamed or moved, write `moved {{ from = spg99_{noun.noun}.<old name>, to = spg99_{noun.noun}.<new name> }}`: "
        "then nothing is destroyed. If an empty one is wanted, apply once without the new block.",
    )


def _held_twice(noun: Noun, human_id: str) -> Refusal:
    what = noun.noun.replace("_", " ")
    return Refusal(
        "id",
        f"{human_id} would be destroyed under one address and is kept under another",
        f"The state holds the {what} '{human_id}' under two addresses, and the block of one of them is gone: destroying that would destroy "
        f"what the other holds. Take the wrong one out of the state (`terraform state rm spg99_{noun.noun}.<old name>`, which destroys nothing).",
    )
