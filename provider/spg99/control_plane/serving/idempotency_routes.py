"""`/idempotency-keys`: a client tells that answers arrived. Here: HTTP. Not here: what a key does (idempotency.py), rows (records/kept_answers.py).

An answer is kept in case it was lost. Who knows that it was not (its tool has written it into its state) says so, and then a
create of the same declaration is told that its object exists, instead of being handed it as a new one.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from spg99.control_plane.records import kept_answers
from spg99.control_plane.serving import bodies
from spg99.control_plane.serving.call import Caller
from spg99.control_plane.serving.idempotency import KEY_LENGTH_MAX
from spg99.control_plane.serving.openapi import documented, takes

router = APIRouter(prefix="/v2", tags=["account"])

KEYS_MAX = 1000


class Acknowledgement(BaseModel):
    """Keys whose answers arrived."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    keys: list[Annotated[str, Field(min_length=1, max_length=KEY_LENGTH_MAX)]] = Field(
        min_length=1, max_length=KEYS_MAX
    )
    """Idempotency keys that this API key has sent."""


@router.put(
    "/idempotency-keys/acknowledged",
    **documented("idempotency.acknowledge", 204, None, "Noted", body=takes(Acknowledgement), errors=(413,)),
)
async def acknowledge(call: Caller) -> Response:
    """Tells that the answers under these keys arrived: the same key is answered 409 from now on, with the ids of the object."""
    keys = bodies.shape_of(Acknowledgement, await bodies.json_object(call.request)).keys
    async with call.plane.store.transaction() as tx:
        for key in sorted(set(keys)):  # everybody locks in one order
            await kept_answers.acknowledge(tx, call.key.key_id, key, call.plane.clock)
    return Response(None, 204)
