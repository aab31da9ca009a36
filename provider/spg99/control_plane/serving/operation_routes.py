"""`/operations`: what is under way. Here: HTTP. Not here: their rows (records/operations.py), the changes they stand for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from spg99.control_plane.records import operations
from spg99.control_plane.records.operations import OperationRow
from spg99.control_plane.serving import answers, waits
from spg99.control_plane.serving.answers import Operation
from spg99.control_plane.serving.call import Caller, is_id
from spg99.control_plane.serving.openapi import documented
from spg99.errors import NotFound

router = APIRouter(prefix="/v2", tags=["account"])


@router.get(
    "/operations/{op_id}",
    **documented("operation.read", 200, Operation, "The operation"),
    tags=["operations"],
)
async def read_operation(
    call: Caller,
    op_id: str,
    wait: Annotated[
        int, Query(ge=0, le=waits.WAIT_SECONDS_MAX, description="Seconds to wait at most until it is over.")
    ] = 0,
) -> Response:
    """Reads an operation, at once or when it is over."""

    async def read_now() -> OperationRow:
        async with call.plane.store.reading() as tx:
            row = await operations.find(tx, op_id) if is_id(op_id) else None
        if row is None or not call.sees(org_id=row.org_id, tenant_id=row.tenant_id):
            raise NotFound(f"There is no operation '{op_id[:100]}', or this API key may not see it.")
        return row

    row = await waits.until(
        call, read_now, lambda found: found.status != "running", ("spg99_operation", op_id), seconds=wait
    )
    return answers.of_model(200, answers.operation(row)).response()
