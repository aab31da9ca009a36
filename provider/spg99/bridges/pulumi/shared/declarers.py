"""Who declares an object in Pulumi: its stack, by the URN. Pure. Not here: how it is told (spg99/declarer.py), what `spg99 orphans` makes of it.

A URN names project and stack, not the organization or the backend: two stacks that are called the same and use one API key are
told apart by `SPG99_STATE_NAME` alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from spg99.declarer import STATE_VARIABLE, Declarer

FAMILY = "pulumi"


def declarer_of(tool: str, urn: str | None, environment: Mapping[str, str]) -> Declarer | None:
    """The declarer of a resource; None without a URN."""
    project_and_stack = None if urn is None else stack_in(urn)
    if urn is None or project_and_stack is None:
        return None
    return Declarer(tool, state_name(*project_and_stack, environment), urn)


def stack_in(urn: str) -> tuple[str, str] | None:
    """(project, stack) of `urn:pulumi:stack::project::type::name`; None when it is no URN."""
    head, *rest = urn.split("::")
    stack = head.removeprefix("urn:pulumi:")
    return (rest[0], stack) if len(rest) >= 3 and stack != head and stack and rest[0] else None


def state_name(project: str, stack: str, environment: Mapping[str, str]) -> str:
    """What a stack is called: `pulumi:shop/dev`, unless the environment names it."""
    return f"{FAMILY}:{environment.get(STATE_VARIABLE) or f'{project}/{stack}'}"
