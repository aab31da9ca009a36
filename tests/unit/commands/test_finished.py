"""A command says that an operation succeeded only when that was said. Here: every way in which waiting for one can end."""

from __future__ import annotations

from typing import Any, cast

import pytest

from spg99.client import Client
from spg99.commands.verbs import OPERATION_SECONDS_MAX, WAIT_SECONDS, finished
from spg99.errors import NotFound, Spg99Error, Unavailable

RUNNING = {"op_id": "op_7", "status": "running"}
DONE = {"op_id": "op_7", "status": "succeeded", "result": {"a": 1}}


class ControlPlane:
    """Answers one after the other; each takes as long as it was asked to wait."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.seconds = 0.0
        self.waits: list[int] = []

    async def call(self, method: str, path: str, values: Any, *, params: dict[str, int]) -> dict[str, Any]:
        assert (method, path, values["op_id"]) == ("GET", "/operations/{op_id}", "op_7")
        self.waits.append(params["wait"])
        answer = self.answers.pop(0) if self.answers else RUNNING
        if answer is RUNNING:
            self.seconds += params["wait"]
        if isinstance(answer, Exception):
            raise answer
        return cast(dict[str, Any], answer)

    async def finished(self, **how: Any) -> dict[str, Any]:
        return await finished(cast(Client, self), RUNNING, monotonic=lambda: self.seconds, **how)


@pytest.mark.parametrize("before", [0, 3])
async def test_what_succeeded_is_answered(before: int) -> None:
    assert await ControlPlane(*[RUNNING] * before, DONE).finished() == DONE


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (NotFound("No operation 'op_7'.", request_id="req_1"), ["not known", "op_7", "get`"]),
        (
            {"op_id": "op_7", "status": "failed", "error": {"message": "The disk is full."}},
            ["The disk is full.", "op_7"],
        ),
        ({"op_id": "op_7", "status": "failed"}, ["op_7"]),
        (Unavailable("It restarts."), ["It restarts.", "accepted before", "spg99 operations get op_7"]),
    ],
    ids=["forgotten", "failed", "failed without a word", "away"],
)
@pytest.mark.parametrize("before", [0, 2])
async def test_anything_else_is_an_error_that_names_it(before: int, answer: Any, words: list[str]) -> None:
    with pytest.raises(Spg99Error) as caught:
        await ControlPlane(*[RUNNING] * before, answer).finished()
    assert all(word in caught.value.message for word in words)
    assert not isinstance(caught.value, NotFound), "whoever deletes takes that for deleted"


@pytest.mark.parametrize("seconds_max", [OPERATION_SECONDS_MAX, 70.5, 0.5])
async def test_the_wait_has_an_end_and_says_that_the_operation_has_not(seconds_max: float) -> None:
    plane = ControlPlane()
    with pytest.raises(Unavailable, match=r"op_7 has not ended within \d+ s.*goes on.*operations get op_7"):
        await plane.finished(seconds_max=seconds_max)
    assert seconds_max <= plane.seconds <= seconds_max + 1 and max(plane.waits) <= WAIT_SECONDS
