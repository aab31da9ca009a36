"""What the embedded engine asks about an interrupted create, as a Read (spg99/pending.py). Not here: finding the answer
(shared/interrupted.py)."""

from __future__ import annotations

from typing import Any

from spg99 import pending
from spg99.bridges.pulumi.native.messages import message
from spg99.bridges.pulumi.native.properties import inputs_from, inputs_to, outputs_to
from spg99.bridges.pulumi.native.wire import decode, encode
from spg99.bridges.shared.changes import own_inputs
from spg99.bridges.shared.interrupted import was_made
from spg99.bridges.shared.operations import Operations
from spg99.shapes import Noun


async def answer(operations: Operations, noun: Noun, request: Any) -> Any:
    """The answer to one of the two questions, a ReadResponse."""
    properties = decode(request.inputs)
    wanted = inputs_from(noun, properties)
    found = await was_made(
        operations,
        noun,
        wanted,
        declaration=request.urn,
        withdraw=request.id == pending.WAS_IT_MADE_ELSE_NEVER,
    )
    if found is None:
        return message("ReadResponse")(properties=encode({pending.ANSWER: {"made": False}}))
    made, missing = found
    hidden = {key: value for key, value in properties.items() if key.startswith("__")}
    own = {name: wanted[name] for name in own_inputs(noun) if name in wanted}
    outputs = outputs_to(noun, made.values, like=properties) | {pending.ANSWER: {"made": True, "unfinished": missing}}
    inputs = inputs_to(noun, made.inputs | own, like=properties) | hidden
    return message("ReadResponse")(id=made.human_id, properties=encode(outputs), inputs=encode(inputs))
