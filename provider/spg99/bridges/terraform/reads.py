"""Data sources and list resources: one object by its name, or all of a collection that filters let through. For any noun.

Not here: managed resources (resources.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from spg99.bridges.shared.unknown import Unknown
from spg99.bridges.terraform import planning
from spg99.bridges.terraform.json_values import Values, plain, to_terraform
from spg99.bridges.terraform.resources import ResourceCalls
from spg99.bridges.terraform.schema import Attribute, Block
from spg99.bridges.terraform.session import decoded, encoded, noun_of
from spg99.errors import BadRequest, NotFound
from spg99.shapes import Noun
from tfplugin.interface import error

if TYPE_CHECKING:
    from tfplugin.interface import Call, Message


SHOWN_MAX = 100
"""How many objects a list resource tells when nobody says how many."""


class ReadCalls(ResourceCalls):
    """The calls on data sources and list resources."""

    def validate_data_resource_config(self, request: Message, call: Call) -> Message:
        """What is wrong with the arguments that are known."""
        block = self.block_of(self.tables.data, request["type_name"])
        return {"diagnostics": _bad_arguments(block, decoded(block.type, request["config"]))}

    def read_data_source(self, request: Message, call: Call) -> Message:
        """What there is now. Raises NotFound where one object was asked for and is not there."""
        block = self.block_of(self.tables.data, request["type_name"])
        config = decoded(block.type, request["config"])
        noun = noun_of(block)
        if block.many:
            found = self._found(noun, config)
            inside = block.named[noun.plural].nested
            assert inside is not None
            objects = [self._object(inside.attributes, noun, each) for each in found]
            return {"state": encoded(block.type, config | {noun.plural: objects})}
        human_id = noun.id_of(config)
        one = self.reach().run(lambda operations: operations.read_if_there(noun, human_id))
        if one is None:
            raise NotFound(
                f"There is no {noun.noun.replace('_', ' ')} '{human_id}', or this API key may not see it."
                if human_id
                else f"There is no {noun.noun}."
            )
        values = self._object(block.attributes, noun, one)
        return {"state": encoded(block.type, values | {name: config[name] for name in noun.id_fields()})}

    def validate_list_resource_config(self, request: Message, call: Call) -> Message:
        """What is wrong with the arguments that are known."""
        block = self.block_of(self.tables.lists, request["type_name"])
        return {"diagnostics": _bad_arguments(block, decoded(block.type, request["config"]))}

    def list_resource(self, request: Message, call: Call) -> Iterator[Message]:
        """An event for each object of a collection, with its identity, and the whole object where it is asked for."""
        block = self.block_of(self.tables.lists, request["type_name"])
        resource = self.block_of(self.tables.resources, request["type_name"])
        config = decoded(block.type, request["config"])
        limit = request.get("limit") or SHOWN_MAX
        for values in self._found(noun_of(block), config)[:limit]:
            state = self.state_of(resource, values)
            event: Message = {"identity": self.identity(resource, state), "display_name": str(state["id"])}
            if request.get("include_resource_object"):
                event["resource_object"] = encoded(resource.type, state)
            yield event

    def state_of(self, block: Block, values: Mapping[str, Any]) -> Values:
        """The state of an object that no configuration knows yet."""
        return planning.reached(block, {}, values, secrets_in_state=self.secrets_in_state)

    def _found(self, noun: Noun, config: Values) -> list[dict[str, Any]]:
        arguments = {name: plain(config[name]) for name in (*noun.path_fields(), *noun.filters)}
        path = {name: arguments[name] for name in noun.path_fields()}
        filters = {name: value for name, value in arguments.items() if name not in path}
        return self.reach().run(lambda operations: operations.find_all(noun, path, filters))

    def _object(self, attributes: tuple[Attribute, ...], noun: Noun, values: Mapping[str, Any]) -> Values:
        """An object as attributes, `id` included, secrets only where they may be kept."""
        found = {
            each.name: None
            if each.sensitive and not self.secrets_in_state
            else to_terraform(each, values.get(each.name))
            for each in attributes
        }
        found["id"] = noun.id_of(values) or values.get(noun.uid_field)
        return found


def _bad_arguments(block: Block, config: Values) -> list[Any]:
    from spg99.bridges.shared.values import failures_in

    noun = noun_of(block)
    outputs = noun.output_fields()
    found = []
    for each in block.attributes:
        value = config[each.name]
        field = outputs.get(each.name)
        if value is None or isinstance(value, Unknown) or not (each.required or each.optional) or field is None:
            continue
        for failure in failures_in(field.type, plain(value), (each.name,), secret=field.secret, spelling=str):
            reason = f"{failure.reason[:1].upper()}{failure.reason[1:]}."
            found.append(error(f"Invalid value for {each.name}", reason, (each.name,)))
    return found


def parsed(noun: Noun, human_id: str) -> dict[str, str]:
    """Field values of a human id. Raises BadRequest with the form."""
    try:
        return noun.id_values(human_id)
    except ValueError as reason:
        raise BadRequest(f"{str(reason)[:1].upper()}{str(reason)[1:]}.") from None
