"""What one provider process has heard of each declaration, so that no replacement destroys what the state holds. Pure.

Engines replace what nobody asked the provider about: `--replace`, `state taint`, `replace_on_changes`, a
`replacement_trigger`. They call Check (with the old inputs, without, or both), then either Create and Delete, or Delete and
Create; Diff often not at all. So the guard stands where the object is touched: a Create never answers the object that the
declaration has, and a Delete that belongs to a replacement of data needs the user's word (`allow_replacement`).

Measured with Pulumi 3.260 (docs/decisions.md, "A forced replacement"). Not here: a replacement that an edit of the program
needs; checks refuse it in the preview (bridges/shared/changes.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spg99.bridges.pulumi.shared.declared import Declarations, Declared
from spg99.bridges.shared.changes import agrees, how_to_replace
from spg99.bridges.shared.objects import Held
from spg99.bridges.shared.unknown import has_unknown
from spg99.bridges.shared.words import Words
from spg99.errors import Conflict
from spg99.shapes import Noun


@dataclass
class _Heard:
    """Of one declaration, since this process began."""

    is_declared: bool = False
    agreed: bool = False
    """The program, as it is now, agrees to lose data."""
    anew: bool = False
    """The last Check came without old inputs: what follows is a create, of a new object or in place of the old."""
    held: Held | None = None
    """The object that the state has for it."""
    held_uid_is_gone: bool = False
    """It was deleted since."""
    made_uid: Any = None
    made_was_there: bool = False

    @property
    def held_uid(self) -> Any:
        """The uid of the object that the state has for it."""
        return None if self.held is None else self.held.uid


class Replacements:
    """The memory of one process, by URN. Every URN may be None (a host that does not tell it): then nothing is known."""

    def __init__(self, words: Words, declarations: Declarations | None = None) -> None:
        """`declarations`: what other processes of the same engine have heard, too."""
        self._words = words
        self.declarations = declarations or Declarations()
        self._heard: defaultdict[str | None, _Heard] = defaultdict(_Heard)
        self._by_name: dict[tuple[str, str], Declared] = {}
        """By noun and human id: what holds data and is declared, under whatever URN."""

    def checked(
        self,
        noun: Noun,
        urn: str | None,
        *,
        old_inputs: Mapping[str, Any],
        old_outputs: Mapping[str, Any],
        new_inputs: Mapping[str, Any],
    ) -> None:
        """A Check: what the state has of this declaration, and what the program says now."""
        heard = self._heard[urn]
        heard.is_declared, heard.agreed = True, agrees(new_inputs)
        heard.anew = not old_inputs and not old_outputs
        if not heard.anew:
            heard.held = Held(old_outputs.get(noun.uid_field), _human_id(noun, {**old_inputs, **old_outputs}))
            heard.held_uid_is_gone = False
        if noun.holds_data and urn is not None:
            declared = Declared(heard.agreed, None if heard.anew else heard.held_uid)
            self.declarations.note(urn, declared)
            if (human_id := _human_id(noun, new_inputs)) is not None:
                self._by_name[noun.noun, human_id] = declared

    def before_create(self, noun: Noun, urn: str | None) -> Held | None:
        """The object that a Create of this declaration must not answer; None when the state has none that is known."""
        heard = self._heard.get(urn) if urn else None
        if heard is None or heard.held is None or heard.held_uid_is_gone:
            return None
        return heard.held._replace(may_be_replaced=heard.agreed or not noun.holds_data)

    def made(self, noun: Noun, urn: str | None, values: Mapping[str, Any], *, was_there: bool) -> None:
        """What a Create answered, and whether an earlier run had made it."""
        heard = self._heard[urn]
        heard.made_uid, heard.made_was_there = values.get(noun.uid_field), was_there

    def before_delete(self, noun: Noun, urn: str | None, outputs: Mapping[str, Any]) -> bool:
        """Whether to delete at all. Raises Conflict when it would destroy data that nobody agreed to lose."""
        heard = self._heard.get(urn) if urn else None
        uid = outputs.get(noun.uid_field)
        if uid is None:
            return True
        if heard is None:
            return self._before_delete_of_another(noun, urn, outputs, uid)
        named = self._named(noun, outputs)
        if heard.made_uid == uid:
            if not heard.made_was_there:
                return True
            raise Conflict(
                f"{named} was not replaced: the engine wanted another one before it deletes this one, and found this one. "
                f"It was kept as it is. {how_to_replace(noun, self._words)}"
            )
        if heard.held is not None and heard.held.uid == uid and not heard.anew:
            # What a replacement that was refused has left in the state: the same object a second time, "to be deleted".
            return False
        if heard.is_declared and noun.holds_data and not heard.agreed and (heard.anew or heard.made_uid is not None):
            raise Conflict(self._would_be_lost(noun, outputs))
        return True

    def _before_delete_of_another(self, noun: Noun, urn: str | None, outputs: Mapping[str, Any], uid: Any) -> bool:
        """A Delete whose declaration was checked by another process (its provider is replaced, too) or under another URN (an
        alias, whose old name the engine deletes by)."""
        declared = self.declarations.of(urn) if urn else None
        if declared is None and (human_id := _human_id(noun, outputs)) is not None:
            declared = self._by_name.get((noun.noun, human_id))
        if declared is not None and declared.uid == uid:
            # The state has it a second time, and that one stays. Before a replacement the last Check comes without old
            # outputs, so this is none, and the word for losing data in one does not count here.
            return False
        if declared is None or declared.agreed:
            return True
        raise Conflict(self._would_be_lost(noun, outputs))

    def _would_be_lost(self, noun: Noun, outputs: Mapping[str, Any]) -> str:
        return (
            f"{self._named(noun, outputs)} is still declared, and the engine wants to replace it by an empty one: its data would be "
            f"destroyed. It was kept. {how_to_replace(noun, self._words)}"
        )

    def deleted(self, noun: Noun, urn: str | None, outputs: Mapping[str, Any]) -> None:
        """A Delete that was carried out."""
        heard = self._heard[urn]
        if heard.held is not None and heard.held.uid in (None, outputs.get(noun.uid_field)):
            heard.held_uid_is_gone = True

    def _named(self, noun: Noun, outputs: Mapping[str, Any]) -> str:
        return f"The {noun.noun.replace('_', ' ')} '{_human_id(noun, outputs) or outputs.get(noun.uid_field)}'"


def _human_id(noun: Noun, values: Mapping[str, Any]) -> str | None:
    names = noun.id_fields()
    if any(values.get(name) is None or has_unknown(values[name]) for name in names):
        return None
    return noun.id_of(values)
