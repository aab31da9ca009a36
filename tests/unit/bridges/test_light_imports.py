"""What a bridge loads before it connects: a provider process starts several times in each plan, and each millisecond counts."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "pydantic",
    "pydantic_core",
    "httpx",
    "pulumi",
    "grpc",
    "google.protobuf",
    "spg99.resources",
    "fastapi",
    "yaml",
    "structlog",
)


def loaded_by(*modules: str) -> set[str]:
    code = f"import sys, {', '.join(modules)}; print(chr(10).join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "spg99.prepared",
        "spg99.rules",
        "spg99.dsn",
        "spg99.reach",
        "spg99.bridges.shared.inputs",
        "spg99.bridges.shared.changes",
        "spg99.bridges.pulumi.shared.naming",
        "spg99.bridges.shared.operations",
        "spg99.bridges.shared.ephemerals",
    ],
)
def test_nothing_heavy_before_it_must(module: str) -> None:
    assert loaded_by(module).isdisjoint(HEAVY)


def test_a_request_needs_neither_an_event_loop_nor_the_classes() -> None:
    """Each of these is ten milliseconds and more of every process that asks the Control Plane one thing."""
    found = loaded_by("spg99.client.sockets", "spg99.client.transport", "spg99.bridges.shared.connecting")
    assert found.isdisjoint({*HEAVY, "asyncio", "ssl", "socket", "email", "logging", "dataclasses", "random"})


def test_the_vocabulary_needs_no_event_loop() -> None:
    assert "asyncio" not in loaded_by(
        "spg99.prepared", "spg99.bridges.shared.inputs", "spg99.bridges.shared.changes", "spg99.dsn"
    )
