"""Policies: values an operator sets, from the most specific scope that has one: user, organization, plan, global, default.

Here: reading and setting within bounds. Not here: obeying them. A key is defined (type, default, bounds) by a migration
before a value can exist; a trigger of the catalogue is the second fence behind `set_value`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Literal

from spg99.control_plane.records import audit
from spg99.control_plane.records.actors import Actor
from spg99.control_plane.store import Deferred, Transaction
from spg99.errors import BadRequest, NotFound

Value = int | bool | str
Scope = Literal["global", "plan", "org", "user"]


@dataclass(frozen=True)
class Definition:
    """What a policy may be."""

    key: str
    value_type: str
    default_value: Any
    minimum: int | None
    maximum: int | None
    allowed: list[Any] | None
    description: str


@dataclass(frozen=True)
class _Value:
    key: str
    value: Any


_KEYS_AT_ONCE: Final = 4
"""As many as the statement takes."""


async def value(tx: Transaction, key: str, *, org_id: str | None = None, user_id: str | None = None) -> Any:
    """The value of a policy for an organization (or a user in it). An unknown key is a programmer's error (LookupError)."""
    found = await tx.value("policy_value", key=key, org_id=org_id, user_id=user_id)
    if found is None:
        raise LookupError(f"no policy is called {key}")
    return found


async def values(tx: Transaction, keys: list[str], *, org_id: str | None = None) -> dict[str, Any]:
    """The values of several policies for an organization, in one question."""
    return await (await ask(tx, keys, org_id=org_id)).values()


class Asked:
    """Policies that are asked with the next statement, and known after that."""

    def __init__(self, answers: list[Deferred]) -> None:
        self._answers = answers

    async def values(self) -> dict[str, Any]:
        """What they are, by key."""
        return {found.key: found.value for answer in self._answers for found in await answer.rows(_Value)}


async def ask(tx: Transaction, keys: list[str], *, org_id: str | None = None) -> Asked:
    """As `values`, asked with the next statement."""
    answers = []
    for begin in range(0, len(keys), _KEYS_AT_ONCE):
        asked = keys[begin : begin + _KEYS_AT_ONCE]
        padded = asked + [None] * (_KEYS_AT_ONCE - len(asked))
        named = {f"key_{number}": key for number, key in enumerate(padded, 1)}
        answers.append(await tx.defer("policy_values", org_id=org_id, **named))
    return Asked(answers)


async def definition(tx: Transaction, key: str) -> Definition:
    """What a policy may be. Raises NotFound for an unknown key."""
    found = await tx.one_or_none(Definition, "policy_definition", key=key)
    if found is None:
        raise NotFound(f"No policy is called '{key}'.")
    return found


async def set_value(
    tx: Transaction, key: str, new: Value, actor: Actor, *, scope: Scope = "global", scope_id: str = ""
) -> None:
    """Sets a policy for a scope; `scope_id` is the plan, organization or user. Raises BadRequest outside its bounds."""
    check(await definition(tx, key), new)
    if (scope == "global") != (scope_id == ""):
        raise BadRequest("A policy of scope global has no scope id; every other scope needs one.")
    await tx.execute("set_policy", key=key, scope=scope, scope_id=scope_id, value=json.dumps(new), updated_by=actor.id)
    await tx.notify("spg99_keys")  # rates are remembered with keys
    org_id = scope_id if scope == "org" else None
    await audit.record(tx, actor, "policy.set", scope_id or None, org_id=org_id, name=key, scope=scope)


def check(defined: Definition, new: Value) -> None:
    """Raises BadRequest unless `new` has the type and lies within the bounds of the definition."""
    kinds: dict[str, tuple[type, str]] = {
        "integer": (int, "a whole number"),
        "boolean": (bool, "true or false"),
        "text": (str, "a text"),
    }
    kind, words = kinds[defined.value_type]
    if not isinstance(new, kind) or (isinstance(new, bool) and kind is not bool):
        raise BadRequest(f"Policy {defined.key} takes {words}.", fields={"value": f"must be {words}"})
    if isinstance(new, int) and not isinstance(new, bool):
        low, high = defined.minimum, defined.maximum
        if (low is not None and new < low) or (high is not None and new > high):
            raise BadRequest(
                f"Policy {defined.key} must lie between {low} and {high}.",
                fields={"value": f"must lie between {low} and {high}"},
            )
    if defined.allowed is not None and new not in defined.allowed:
        choices = ", ".join(map(str, defined.allowed))
        raise BadRequest(
            f"Policy {defined.key} must be one of {choices}.", fields={"value": f"must be one of {choices}"}
        )
