"""Provider functions: pure, without configuration. Here: types in and out, and whose fault it is. Not here: what they compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spg99.bridges.shared.unknown import has_unknown
from spg99.bridges.terraform.json_values import plain
from spg99.bridges.terraform.session import Session, decoded, encoded
from spg99.shapes import FunctionFault
from tfplugin.interface import function_error

if TYPE_CHECKING:
    from tfplugin.interface import Call, Message


class FunctionCalls(Session):
    """The calls on functions."""

    def get_functions(self, request: Message, call: Call) -> Message:
        """All signatures."""
        from spg99.bridges.terraform.schema_messages import function_of

        return {"functions": {name: function_of(each) for name, each in self.tables.functions.items()}}

    def call_function(self, request: Message, call: Call) -> Message:
        """The result of a function, or which argument is wrong."""
        signature = self.tables.functions.get(request["name"])
        if signature is None:
            return {"error": function_error(f"This provider has no function {request['name']}.")}
        types = signature.parameters
        if len(request["arguments"]) != len(types):
            return {"error": function_error(f"{request['name']} takes {len(types)} arguments.")}
        given = [plain(decoded(type_, value)) for type_, value in zip(types, request["arguments"], strict=True)]
        for place, (value, parameter) in enumerate(zip(given, signature.function.parameters, strict=True)):
            if has_unknown(value):
                return {"error": function_error(f"{parameter.name} is not known yet.", place)}
        module, _, name = signature.function.call.partition(":")
        from importlib import import_module

        function: Any = getattr(import_module(module), name)
        try:
            result = function(*given)
        except FunctionFault as fault:
            return {"error": function_error(_sentence(fault.reason), fault.argument)}
        return {"result": encoded(signature.returns, result)}


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}" if reason.endswith(".") else f"{reason[:1].upper()}{reason[1:]}."
