"""What a deletion asks of the Control Plane: two requests an object where nothing is in the way, and never another object's end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

import pytest

from spg99.bridges.shared.operations import Interrupted, Operations
from spg99.client import Client
from spg99.emit.shapes import noun_of
from spg99.errors import Conflict, NotFound, Spg99Error, Unavailable
from spg99.resources import ApiKey, Database

DATABASE, KEY = noun_of(Database), noun_of(ApiKey)
STATE = {"tenant": "acme", "name": "app", "db_id": "db_1", "state": "stopped", "deletion_protection": False}
RUNNING = {"op_id": "op_1", "status": "running"}


class Plane:
    """A client whose answers are written down; an error among them is raised."""

    def __init__(self, *, delete: Any = RUNNING, operation: Any = None, reads: tuple[Any, ...] = ()) -> None:
        self.asked: list[str] = []
        self.queries: list[Any] = []
        self._delete, self._operation, self._reads = delete, operation, list(reads)

    def patient(self, *_: object) -> Any:
        return nullcontext()

    async def delete(self, noun: Any, values: Any, *, query: Any = None) -> Any:
        self.asked.append("DELETE")
        self.queries.append(query)
        return _told(self._delete)

    async def call(self, method: str, path: str, values: Any = None, *, params: Any = None) -> Any:
        assert (method, path, values) == ("GET", "/operations/{op_id}", {"op_id": "op_1"})
        self.asked.append("GET operation")
        return _told(self._operation)

    async def read(self, *_: object, **__: object) -> Any:
        self.asked.append("GET")
        return _told(self._reads.pop(0))

    def follow_events(self) -> Any:
        raise NotFound("no stream here")


def _told(answer: Any) -> Any:
    if isinstance(answer, Spg99Error):
        raise answer
    return answer


def operations_on(plane: Plane) -> Operations:
    return Operations(cast(Client, plane))


async def test_two_requests_end_a_database_that_is_gone_within_a_second() -> None:
    plane = Plane(operation=RUNNING | {"status": "succeeded"})
    await operations_on(plane).delete(DATABASE, "acme/app", old=STATE)
    assert plane.asked == ["DELETE", "GET operation"]
    assert plane.queries == [{"uid": "db_1", "force": True}]


async def test_one_request_ends_what_is_gone_with_its_answer() -> None:
    plane = Plane(delete=RUNNING | {"status": "succeeded"})
    await operations_on(plane).delete(DATABASE, "acme/app", old=STATE)
    assert plane.asked == ["DELETE"]
    keys = Plane(delete=None)
    await operations_on(keys).delete(KEY, "key_1", old={"key_id": "key_1"})
    assert (keys.asked, keys.queries) == (["DELETE"], [None])


async def test_an_object_that_is_gone_or_whose_name_another_has_is_deleted() -> None:
    plane = Plane(delete=NotFound("gone"))
    await operations_on(plane).delete(DATABASE, "acme/app", old=STATE)
    assert plane.asked == ["DELETE"]


@pytest.mark.parametrize(
    "operation",
    [RUNNING, RUNNING | {"status": "failed"}, NotFound("forgotten"), Unavailable("away"), "nonsense"],
    ids=lambda operation: str(operation)[:30],
)
async def test_an_operation_that_does_not_tell_is_no_end(operation: Any) -> None:
    plane = Plane(operation=operation, reads=(STATE | {"state": "deleting"}, NotFound("gone")))
    await operations_on(plane).delete(DATABASE, "acme/app", old=STATE)
    assert plane.asked == ["DELETE", "GET operation", "GET", "GET"], "the object itself is looked at until it is gone"


async def test_what_is_not_known_is_read_first() -> None:
    for old in ({}, STATE | {"db_id": None}, STATE | {"deletion_protection": True}, STATE | {"state": "deleting"}):
        plane = Plane(operation=RUNNING | {"status": "succeeded"}, reads=(STATE,))
        await operations_on(plane).delete(DATABASE, "acme/app", old=old)
        assert plane.asked == ["GET", "DELETE", "GET operation"]
        assert plane.queries == [{"uid": "db_1", "force": True}]
    another = Plane(reads=(STATE | {"db_id": "db_2"},))
    await operations_on(another).delete(DATABASE, "acme/app", old=STATE | {"deletion_protection": True})
    assert another.asked == ["GET"]


async def test_a_protection_that_the_tool_has_not_seen_is_told_in_its_own_sentence() -> None:
    protected = STATE | {"deletion_protection": True}
    plane = Plane(delete=Conflict("the server's sentence"), reads=(protected,))
    with pytest.raises(Conflict, match="'acme/app' is protected: deletion_protection is on"):
        await operations_on(plane).delete(DATABASE, "acme/app", old=STATE)
    told: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: STATE, "something else"), (lambda: NotFound("gone"), "something else"),
        (lambda: protected | {"db_id": "db_2"}, "something else"),
    )  # fmt: skip
    for now, sentence in told:
        plane = Plane(delete=Conflict("something else"), reads=(now(),))
        with pytest.raises(Conflict, match=sentence):
            await operations_on(plane).delete(DATABASE, "acme/app", old=STATE)


async def test_an_interrupted_run_begins_no_deletion() -> None:
    plane = Plane()
    operations = operations_on(plane)
    operations.interrupt()
    with pytest.raises(Interrupted):
        await operations.delete(DATABASE, "acme/app", old=STATE)
    assert plane.asked == []
