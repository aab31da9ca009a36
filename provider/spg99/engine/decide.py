"""What to do with one resource. Here: pure rules, from what the state, the program and the provider say. Not here: doing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from spg99.engine import paths
from spg99.engine.state import Resource
from spg99.engine.values import Value, has_unknown, reveal


class Kind(StrEnum):
    """What a step does; the values are Pulumi's words for it."""

    SAME = "same"
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    READ = "read"
    IMPORT = "import"
    REFRESH = "refresh"
    DISCARD = "discard"
    DELETE_REPLACED = "delete-replaced"
    """the second half of a replacement; not counted by itself"""


class Change(StrEnum):
    """How one property differs."""

    ADD = "add"
    DELETE = "delete"
    UPDATE = "update"


@dataclass(frozen=True)
class Difference:
    """A provider's answer on how the wanted differs from the actual."""

    changed: bool
    keys: tuple[str, ...] = ()
    """top-level keys that changed, if the provider names them"""
    replaces: tuple[str, ...] = ()
    stables: tuple[str, ...] = ()
    delete_before_replace: bool = False
    details: Mapping[str, Change] = field(default_factory=dict)
    """by property path, if the provider goes into detail"""
    input_details: frozenset[str] = frozenset()
    """paths of `details` that are about inputs on both sides"""
    unavailable: bool = False
    """the provider could not say (its configuration is not known yet)"""


NOTHING = Difference(changed=False)


@dataclass(frozen=True)
class Goal:
    """What the program asks of a resource beyond its inputs, as far as it matters for the decision."""

    protect: bool = False
    import_id: str = ""
    replace_on_changes: Sequence[str] = ()
    delete_before_replace: bool | None = None
    replacement_trigger: Value = None


@dataclass(frozen=True)
class Decision:
    """The step to take. `refusal` is a sentence for the user: then nothing is to be done."""

    kind: Kind
    difference: Difference = NOTHING
    replace_keys: tuple[str, ...] = ()
    delete_first: bool = False
    refusal: str | None = None


def wants_import(goal: Goal, old: Resource | None, *, custom: bool) -> bool:
    """Whether the import option applies: not when that very object is in the state already."""
    if not custom or not goal.import_id:
        return False
    return old is None or old.external or (old.import_id or old.id) != goal.import_id


def decide(old: Resource | None, goal: Goal, difference: Difference, *, forced: Sequence[str] = ()) -> Decision:
    """The step for a resource whose provider has answered.

    `forced` are reasons to replace that no provider knows of: its provider was exchanged, say.
    """
    if old is None or old.external:
        return Decision(Kind.CREATE)
    replace_keys = {*difference.replaces, *forced}
    if difference.changed:
        replace_keys |= _on_changes(goal.replace_on_changes, difference)
    if old.init_errors and any(paths.contains(paths.parse(p), ("#initerror",)) for p in goal.replace_on_changes):
        replace_keys.add("#initerror")
    if trigger_fired(old.replacement_trigger, goal.replacement_trigger):
        replace_keys.add("replacementTrigger")
    if not (difference.changed or replace_keys or old.pending_replacement):
        # what failed half-way is tried again, though nothing differs
        return Decision(Kind.UPDATE if old.init_errors else Kind.SAME, difference)
    if not replace_keys and not old.pending_replacement:
        return Decision(Kind.UPDATE, difference)
    keys = tuple(sorted(replace_keys))
    decision = Decision(
        Kind.REPLACE,
        difference,
        keys,
        delete_first=difference.delete_before_replace
        if goal.delete_before_replace is None
        else goal.delete_before_replace,
    )
    if refusal := _refuse_replacement(old, goal, keys):
        return Decision(decision.kind, difference, keys, decision.delete_first, refusal)
    return decision


def _refuse_replacement(old: Resource, goal: Goal, keys: tuple[str, ...]) -> str | None:
    why = f" (because of {', '.join(keys)})" if keys else ""
    if old.protect and goal.protect:
        return (
            f"It would have to be replaced{why}, and it is protected. "
            "Remove `protect=True` from it in the program to allow that."
        )
    if goal.import_id:
        return f"It would have to be replaced{why}, but the program says `import_`. Remove that option first."
    return None


def decide_exchange(old: Resource, goal: Goal) -> Decision:
    """The step when the program says by `import_` that another object takes the place of one that the state holds."""
    if old.protect and goal.protect:
        return Decision(
            Kind.IMPORT,
            refusal=f"The state has it with the id '{old.id}', and it is protected; importing '{goal.import_id}' in its place "
            "would delete it. Remove `import_` if the id is wrong. If the other one is meant, remove `protect=True` first, or "
            "give the other one a name of its own in the program.",
        )
    return Decision(Kind.IMPORT)


def refuse_deletion(old: Resource, *, program_protects: bool | None) -> str | None:
    """Why a resource may not be deleted, or None. Every deletion asks here, whatever led to it.

    `program_protects` is what the program says now of the resource with this name; None: it says nothing.
    """
    if not old.protect or program_protects is False:
        return None
    if old.delete:
        return (
            f"An earlier run put another one in its place, so the deletion of '{old.id}' is pending; but it is protected. If "
            "it may go, declare the resource with `protect=False` and run `up`."
        )
    return (
        "It is protected and cannot be deleted. Set `protect=False` on it in the program and run `up` first, "
        "or leave it out of the targets."
    )


def _on_changes(wanted: Sequence[str], difference: Difference) -> set[str]:
    """Changed properties for which the program asks a replacement (`replace_on_changes`)."""
    outer = [paths.parse(text) for text in wanted]
    changed = [*difference.details, *difference.keys]
    return {text for text in changed for path in outer if paths.contains(path, paths.parse(text))}


def trigger_fired(old: Value, new: Value) -> bool:
    """Whether `replacement_trigger` changed. None means there is none."""
    if has_unknown(old) or has_unknown(new):
        return True
    return old is not None and new is not None and reveal(old) != reveal(new)
