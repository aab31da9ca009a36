"""What a run tells of its steps: one that waits for its turn has not begun. Not here: how it looks (display.py), the steps themselves."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from spg99.engine.decide import Kind
from spg99.engine.display import summary
from spg99.engine.events import Event, StepEnded, StepStarted
from spg99.engine.failure import Skipped, StepFailed
from spg99.engine.run import Options, Run


def a_run(told: list[Event], *, parallel: int = 1) -> Run:
    nothing = cast(Any, None)
    return Run(nothing, "dev", Options(parallel=parallel), {}, {}, nothing, {}, told.append, Path())


def urn(number: int) -> str:
    return f"urn:pulumi:dev::p::spg99:index:Database::d{number}"


def test_an_interrupt_tells_nothing_of_what_waits_for_its_turn() -> None:
    told: list[Event] = []
    run = a_run(told)
    working, may_end = threading.Event(), threading.Event()

    def step(number: int) -> None:
        try:
            with run.step(Kind.CREATE, urn(number)), run.slot():
                working.set()
                assert may_end.wait(30)
        except Skipped:
            run.not_begun(urn(number))

    first = threading.Thread(target=step, args=[0])
    first.start()
    assert working.wait(30)
    others = [threading.Thread(target=step, args=[number]) for number in range(1, 6)]
    for thread in others:
        thread.start()
    assert told == [StepStarted(Kind.CREATE, urn(0))], "who waits for a place has not begun"
    run.cancel()
    may_end.set()
    for thread in (first, *others):
        thread.join(30)
    assert [event.urn for event in told if isinstance(event, StepEnded)] == [urn(0)]
    assert [event.error for event in run.result.steps] == [None]
    assert (run.result.not_begun, run.in_flight()) == (5, False)
    assert run.unusable == {urn(number) for number in range(1, 6)}
    assert ("", "yellow", "5 not begun") in summary(run.result, preview=False)


@pytest.mark.parametrize("error", [Skipped("The run is ending."), StepFailed("No.")])
def test_a_step_that_has_begun_is_told_however_it_ends(error: Exception) -> None:
    told: list[Event] = []
    run = a_run(told)

    def replace() -> None:
        with run.step(Kind.REPLACE, urn(0)):
            with run.step(Kind.DELETE_REPLACED, urn(0)), run.slot():
                pass
            raise error

    with pytest.raises(type(error)):
        replace()
    kinds = [(type(event).__name__, event.kind) for event in told if isinstance(event, StepStarted | StepEnded)]
    assert kinds == [
        ("StepStarted", Kind.REPLACE),
        ("StepStarted", Kind.DELETE_REPLACED),
        ("StepEnded", Kind.DELETE_REPLACED),
        ("StepEnded", Kind.REPLACE),
    ]
    assert run.result.steps[-1].error


def test_a_step_without_a_call_is_told_from_its_start_to_its_end() -> None:
    told: list[Event] = []
    with a_run(told).step(Kind.CREATE, urn(0)):
        pass
    assert [type(event) for event in told] == [StepStarted, StepEnded]
