"""How orphans are taken into the state that made them: import entries for Pulumi, blocks for Terraform, commands to type. Here: what
they are. Not here: writing or running them (command.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from spg99.bridges.pulumi.dynamic.import_file import import_file
from spg99.bridges.pulumi.dynamic.reference import TYPE_PREFIX
from spg99.commands.orphans.rules import Declared, State
from spg99.engine.urns import STACK_TYPE, name_of, qualified_type, type_of
from spg99.resources import Resource

ORPHANS_FILE = "orphans.json"


class TakingIn(NamedTuple):
    """What takes orphans into a Pulumi stack."""

    content: dict[str, Any]
    """An import file."""
    lost: tuple[Declared, ...]
    """Declared under a component that the state does not know, or by a program that did not tell: nobody can say where they belong."""


def taking_in(orphans: Iterable[tuple[Declared, Resource]], state: State) -> TakingIn:
    """An import file that gives each orphan the URN under which it was made."""
    entries, table, lost = list[dict[str, Any]](), dict[str, str](), list[Declared]()
    for declared, thing in orphans:
        urn = declared.resource
        parent = None if urn is None else _parent(urn, state)
        if urn is None or parent is None:
            lost.append(declared)
            continue
        entry = _entry(declared, thing, urn)
        if parent:
            label = f"parent-{len(table) + 1}" if parent not in table.values() else _label(table, parent)
            table[label] = parent
            entry["parent"] = label
        entries.append(entry)
    return TakingIn({"resources": entries} | ({"nameTable": table} if table else {}), tuple(lost))


def commands_for_pending(orphans: Iterable[Declared], state: State, *, in_files: bool, options: str = "") -> list[str]:
    """What settles the operations that are noted as pending in a Pulumi state, where the Pulumi CLI runs the stack.

    `in_files`: the stack is in a file backend, which our own engine writes. Pulumi's `refresh --import-pending-creates` is no
    way: it forgets the note and takes nothing in (measured with 3.274). A deletion or a change that was carried out and not
    noted is read back by a refresh; without one the next run fails at the first thing that is gone, or finds nothing to do.
    """
    pending = set(state.pending)
    made = {each.resource for each in orphans} & pending
    taken = (
        [f"spg99 orphans --import{options}"]
        if in_files
        else [f"spg99 orphans --import{options} -o {ORPHANS_FILE}", *import_commands(ORPHANS_FILE, options)]
    )
    notes_left = pending if not in_files else pending - made
    refresh = "pulumi refresh --clear-pending-creates" if notes_left else "pulumi refresh"
    return [*(taken if made else []), *([f"{refresh}{options}"] if notes_left or state.interrupted else [])]


def import_commands(file: str, options: str = "") -> list[str]:
    """What takes an import file into a stack of the Pulumi CLI."""
    return [f"pulumi import --file {file} --generate-code=false --protect=false{options}"]


def _entry(declared: Declared, thing: Resource, urn: str) -> dict[str, Any]:
    """One resource of the file: a dynamic one carries what Pulumi cannot ask for, others are read by their id."""
    type_ = type_of(urn)
    if type_.startswith(TYPE_PREFIX):
        (entry,) = import_file([thing], names={declared.id: name_of(urn)})["resources"]
        return dict(entry)
    return {"type": type_, "name": name_of(urn), "id": declared.id}


def _parent(urn: str, state: State) -> str | None:
    """The parent's URN; empty for the stack itself, None where the state does not tell it without doubt."""
    chain = qualified_type(urn).rpartition("$")[0]
    if not chain or chain == STACK_TYPE:
        return ""
    found = [each for each in state.urns if qualified_type(each) == chain]
    return found[0] if len(found) == 1 else None


def _label(table: Mapping[str, str], urn: str) -> str:
    return next(label for label, known in table.items() if known == urn)
