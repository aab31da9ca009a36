"""How a process ended, in words."""

from __future__ import annotations

import pytest

from spg99.exits import how_it_ended


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-15, "SIGTERM"),
        (-9, "SIGKILL"),
        (143, "exit code 143 (as after SIGTERM)"),
        (-99, "signal 99"),
        (255, "exit code 255"),
    ],
)
def test_the_signal_is_named(code: int, words: str) -> None:
    assert how_it_ended(code) == words
