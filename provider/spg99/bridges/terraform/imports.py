"""Taking over objects that exist: import by human name, uid or identity, and moves from other providers' resources.

Not here: reading them (resources.py reads after each of these), which types can be moved (moves.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spg99.bridges.terraform.json_values import Values, whole_block
from spg99.bridges.terraform.moves import Immovable, moved
from spg99.bridges.terraform.reads import ReadCalls
from spg99.bridges.terraform.session import decoded, encoded, noun_of
from spg99.errors import BadRequest, NotFound
from spg99.shapes import Noun
from tfplugin.interface import error
from tfplugin.values import from_json, parse_json

if TYPE_CHECKING:
    from tfplugin.interface import Call, Message


class ImportCalls(ReadCalls):
    """The calls that bring objects into a state."""

    def get_resource_identity_schemas(self, request: Message, call: Call) -> Message:
        """What identifies each resource."""
        from spg99.bridges.terraform.schema_messages import identities_answer

        return identities_answer(self.tables)

    def upgrade_resource_identity(self, request: Message, call: Call) -> Message:
        """An identity that this or an older version wrote."""
        block = self.block_of(self.tables.identities, request["type_name"])
        raw = (request["raw_identity"] or {}).get("json")
        values = from_json(block.type, raw, lenient=True) if raw else None
        return {"upgraded_identity": {"identity_data": encoded(block.type, values)}}

    def import_resource_state(self, request: Message, call: Call) -> Message:
        """The state of an object that exists. One that does not is left to Terraform's own words."""
        name = request["type_name"]
        block = self.block_of(self.tables.resources, name)
        noun = noun_of(block)
        wanted = request["id"] or self._id_of_identity(name, request.get("identity"))
        values = self._found_by_any_id(noun, wanted)
        if values is not None:
            state = self.state_of(block, values)
        else:
            state = whole_block(block, {"id": wanted, **self._id_values(noun, wanted)})
        imported = {"type_name": name, "state": encoded(block.type, state), "identity": self.identity(block, state)}
        return {"imported_resources": [imported]}

    def move_resource_state(self, request: Message, call: Call) -> Message:
        """The state of another provider's resource as one of ours, by its attributes' names; the next read fills it in."""
        name = request["target_type_name"]
        block = self.block_of(self.tables.resources, name)
        source: Any = parse_json((request["source_state"] or {}).get("json") or b"{}")
        try:
            values = moved(noun_of(block), request["source_provider_address"], request["source_type_name"], source)
        except Immovable as reason:
            return {"diagnostics": [error(f"Moving to {name} failed", str(reason))]}
        state = whole_block(block, {"id": noun_of(block).id_of(values), **values})
        return {"target_state": encoded(block.type, state), "target_identity": self.identity(block, state)}

    def _id_of_identity(self, name: str, identity: Message | None) -> str:
        found = self.block_of(self.tables.identities, name)
        values: Values | None = decoded(found.type, (identity or {}).get("identity_data"))
        if values is None or any(value is None for value in values.values()):
            names = ", ".join(each.name for each in found.attributes)
            raise BadRequest(f"An import names an id, or an identity with {names}.")
        return noun_of(found).id_of(values)

    def _found_by_any_id(self, noun: Noun, wanted: str) -> dict[str, Any] | None:
        """By the human id, else by the system's own id."""
        try:
            noun.id_values(wanted)
        except ValueError as reason:
            found = self._found_by_uid(noun, wanted)
            if found is None:
                example = f", or its {noun.uid_field}" if not _uid_is_name(noun) else ""
                raise BadRequest(f"{str(reason)[:1].upper()}{str(reason)[1:]}{example}.") from None
            return found
        one = self.reach().run(lambda operations: operations.read(noun, wanted, old={}))
        return one.values if one is not None else self._found_by_uid(noun, wanted)

    def _found_by_uid(self, noun: Noun, uid: str) -> dict[str, Any] | None:
        if _uid_is_name(noun) or "/" in uid:
            return None
        try:
            return self.reach().run_client(lambda client: client.read_by_uid(noun, uid))
        except (NotFound, BadRequest):
            pass
        if not noun.plural or noun.path_fields():
            return None
        # A collection without a path for uids is looked through: an import is rare and waits for a person.
        everything = self.reach().run(lambda operations: operations.find_all(noun, {}, {}))
        return next((each for each in everything if each.get(noun.uid_field) == uid), None)

    def _id_values(self, noun: Noun, wanted: str) -> dict[str, str]:
        return noun.id_values(wanted)


def _uid_is_name(noun: Noun) -> bool:
    return noun.id_fields() == (noun.uid_field,)
