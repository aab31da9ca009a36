"""Which tests `make test` runs, and which `make test-slow`: the rule, and what keeps it.

A test is marked `slow` when it shows once more, or in a way that takes long, what a test of `make test` shows:

    again    by another implementation: Pulumi's real CLI beside the embedded engine, OpenTofu beside Terraform, the native plugin
             beside the dynamic provider where the bridge is not the subject, PostgreSQL 16 beside 18, a third language beside two;
             or another case of the same rule by whole processes
    built    by a program that `make cli-tools` builds
    broken   something is killed, cut off, filled up or left to time out, and the decision that mends it has its unit test
    released what an earlier version wrote is opened by this one

`make test` wants no program that has to be built: who asks for one (`only_when_slow`) is `slow`, or fails. It has a budget: what its
files took in the last measured run (seconds.txt) is at most BUDGET_SECONDS, and a file that takes more than FILE_SECONDS there
gives its reason in LONGER. tests/unit/test_tiers.py checks it. CI runs both.

Here: the rule. Not here: the order in which they run (order.py), what takes hours (`long`: `make faults`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

WORKERS = 2
BUDGET_SECONDS = 12 * 60 * WORKERS - 120
"""Of all workers: twelve minutes less what linting and collecting take."""
FILE_SECONDS = 30
LONGER: dict[str, str] = {
    "tests/conformance/test_every_noun_dynamic.py": "The suite, once a bridge: forty commands of an engine.",
    "tests/conformance/test_every_noun_native.py": "The suite, once a bridge: forty commands of an engine.",
    "tests/conformance/test_dynamic_provider.py": "A user's walks through the dynamic provider on the real platform.",
    "tests/integration/commands/test_dev.py": "Starts the whole platform for each of three tests.",
    "tests/integration/commands/test_look_and_change.py": "Every command that a user types once, each a process.",
    "tests/integration/control_plane/serving/test_keys_and_rights.py": "Who may do what: each route with and without its right.",
    "tests/integration/engine/test_engine_stacks.py": "Every command on stacks once, each a process.",
    "tests/integration/gateway/test_gateway_life.py": "A gateway for each test, with real computes behind it.",
    "tests/integration/node/test_agent.py": "An agent for each test, with real PostgreSQL.",
}
"""Files of `make test` that take longer, and why they may."""

_running: pytest.Item | None = None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Notes which test is about to run."""
    global _running
    _running = item


def only_when_slow(program: str) -> None:
    """Fails a test that asks for a program which has to be built and is not marked for it. Outside of a test: nothing."""
    if _running is not None and not is_slow(_running):
        pytest.fail(f"{_running.nodeid} wants {program}, which has to be built: mark it `slow` (tests/kit/tiers.py)")


def is_slow(item: pytest.Item) -> bool:
    """Whether `make test` leaves this one out."""
    return any(item.get_closest_marker(name) is not None for name in ("slow", "long"))


def others_slow(cases: Iterable[Any], *, first: int = 1) -> list[Any]:
    """Cases for `parametrize` of which `make test` runs the first ones: the same rule by the same whole processes."""
    return [
        case
        if number < first
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for number, case in enumerate(cases)
    ]
