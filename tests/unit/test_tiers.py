"""`make test` wants no program that has to be built. Not here: which tests are slow (their marks)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kit import tiers


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
