"""Ephemeral resources: opened for one run, given back at its end, in no state and no plan. Not here: what opening does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spg99.bridges.terraform.json_values import from_terraform, to_terraform
from spg99.bridges.terraform.schema import Block
from spg99.bridges.terraform.session import Session, decoded, encoded
from spg99.errors import NotFound
from spg99.shapes import Ephemeral

if TYPE_CHECKING:
    from tfplugin.interface import Call, Message


class EphemeralCalls(Session):
    """The calls on ephemeral resources."""

    def validate_ephemeral_resource_config(self, request: Message, call: Call) -> Message:
        """All that is wrong with the arguments that are known."""
        from spg99.bridges.shared import inputs
        from spg99.bridges.terraform import diagnostics

        block, each = self._ephemeral(request["type_name"])
        config = decoded(block.type, request["config"])
        checked = inputs.check_fields(each.inputs, _given(block, config), what=each.name.replace("_", " "))
        return {
            "diagnostics": diagnostics.of_failures(block, checked.failures)
            + diagnostics.of_warnings(block, checked.warnings)
        }

    def open_ephemeral_resource(self, request: Message, call: Call) -> Message:
        """Opens it; `private` says how to give it back.

        Terraform opens in the plan what it knows all arguments of, and puts off to the apply what it does not.
        """
        block, each = self._ephemeral(request["type_name"])
        config = decoded(block.type, request["config"])
        inputs = {field.name: field.default for field in each.inputs if field.default is not None} | _given(
            block, config
        )
        opened: Any = _named(each.open)
        try:
            outputs, private = self.reach().run_client(lambda client: opened(client, inputs))
        except NotFound as missing:
            raise NotFound(
                f"{missing.message}{self._how_to_wait(each)}", request_id=missing.request_id, details=missing.details
            ) from missing
        result = {
            field.name: config[field.name]
            if config[field.name] is not None
            else to_terraform(field, outputs.get(field.name))
            for field in block.attributes
        }
        import json

        return {"result": encoded(block.type, result), "private": json.dumps(private).encode()}

    def renew_ephemeral_resource(self, request: Message, call: Call) -> Message:
        """Nothing of ours has to be renewed: what is opened lives longer than a run."""
        return {"private": request["private"]}

    def close_ephemeral_resource(self, request: Message, call: Call) -> Message:
        """Gives it back."""
        _, each = self._ephemeral(request["type_name"])
        if each.close and request["private"]:
            closed: Any = _named(each.close)
            import json

            private = json.loads(request["private"])
            self.reach().run_client(lambda client: closed(client, private))
        return {}

    def _how_to_wait(self, each: Ephemeral) -> str:
        """How what this run makes itself is opened after it was made; empty where there is no way."""
        ways = [
            f"`{field.name} = {self.package.name}_{noun.noun}.<name>.{noun.uid_field}`"
            for field in each.inputs
            if (noun := self.package.noun_named(field.name)) is not None
        ]
        if not ways:
            return ""
        return (
            "\n\nTerraform opens an ephemeral resource while it plans, as soon as all arguments are known. If this configuration "
            f"makes what is missing, refer to its id, which is known only after apply: {' or '.join(ways)}. Terraform then opens "
            "it when it is there."
        )

    def _ephemeral(self, name: str) -> tuple[Block, Ephemeral]:
        block = self.block_of(self.tables.ephemerals, name)
        plain_name = name.removeprefix(f"{self.package.name}_")
        return block, next(each for each in self.package.ephemerals if each.name == plain_name)


def _given(block: Block, config: dict[str, Any]) -> dict[str, Any]:
    return {
        each.name: from_terraform(each, config[each.name])
        for each in block.attributes
        if each.role == "input" and config[each.name] is not None
    }


def _named(reference: str) -> Any:
    module, _, name = reference.partition(":")
    from importlib import import_module

    return getattr(import_module(module), name)
