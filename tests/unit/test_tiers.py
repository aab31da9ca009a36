"""`make test` keeps its budget by what was measured, and wants no program that has to be built. Not here: which tests are slow (their marks)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kit import order, tiers


@pytest.fixture
def first() -> dict[str, int]:
    """Seconds of each file in the last measured `make test`."""
    if order.SECONDS.read_text().startswith(order.BEFORE_THE_TIERS):
        pytest.skip(
            "seconds.txt is older than the tiers: run both, then `python -m tests.kit.order build/tests.xml build/tests-slow.xml`"
        )
    return {name: seconds for name, (seconds, _) in order.measured().items()}


def test_what_make_test_runs_fits_into_its_budget(first: dict[str, int]) -> None:
    assert sum(first.values()) <= tiers.BUDGET_SECONDS, "mark what repeats or breaks `slow` (tests/kit/tiers.py)"


def test_a_file_that_takes_long_in_make_test_has_its_reason(first: dict[str, int]) -> None:
    without = {name: taken for name, taken in first.items() if taken > tiers.FILE_SECONDS and name not in tiers.LONGER}
    assert without == {}, "split it by marks until it fits, or say in LONGER why it may take longer"


def test_every_file_that_may_take_longer_is_there() -> None:
    assert [name for name in tiers.LONGER if not (order.TESTS.parent / name).is_file()] == []


@pytest.mark.parametrize(
    ("marks", "refused"), [((), True), (("timeout",), True), (("slow",), False), (("long",), False)]
)
def test_who_wants_a_program_that_has_to_be_built_is_slow(
    monkeypatch: pytest.MonkeyPatch, marks: tuple[str, ...], refused: bool
) -> None:
    item: Any = SimpleNamespace(nodeid="test_it", get_closest_marker=lambda name: name if name in marks else None)
    monkeypatch.setattr(tiers, "_running", item)
    if refused:
        with pytest.raises(pytest.fail.Exception, match="test_it wants OpenTofu.*mark it `slow`"):
            tiers.only_when_slow("OpenTofu")
    else:
        tiers.only_when_slow("OpenTofu")


def test_outside_of_a_test_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "_running", None)
    tiers.only_when_slow("OpenTofu")


def test_of_other_cases_the_first_ones_stay() -> None:
    one, two, three = tiers.others_slow(["a", ("b", 2), None], first=1)
    assert one == "a" and (two.values, three.values) == (("b", 2), (None,))
    assert [mark.name for case in (two, three) for mark in case.marks] == ["slow", "slow"]
