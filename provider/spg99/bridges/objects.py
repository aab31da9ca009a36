"""What an object is to a bridge: which one it is, what of it is secret, what a user would have to write to get it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from spg99.ids import new_id
from spg99.resources import Mark, Resource

Values = dict[str, Any]
"""JSON values under our field names."""


def idempotency_key(urn: str | None, noun: type[Resource], body: Values, generation: int) -> str:
    """The key under which a declaration creates its object.

    The URN makes two declarations different, the generation counts the lives of one that is deleted and created again.
    Where the human id comes from the inputs, the rest of the body does not count: a declaration that was edited after a
    lost answer still finds what it has made. Else (API keys) another body is another object. Without a URN there is
    nothing to recognise a repetition by.
    """
    if urn is None:
        return new_id("idem")
    what: Values = {name: body[name] for name in noun.id_fields()} if has_name(noun) else body
    canonical = json.dumps([urn, noun.NOUN, what, generation], sort_keys=True, separators=(",", ":"))
    return "up_" + hashlib.sha256(canonical.encode()).hexdigest()


def has_name(noun: type[Resource]) -> bool:
    """Whether the human id is made of inputs, so that a declaration says which object it means."""
    return set(noun.id_fields()) <= set(noun.inputs())


def values_of(resource: Resource) -> Values:
    """The fields of a resource."""
    return resource.model_dump(mode="json")


def is_same(noun: type[Resource], one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both are one object; when one side does not know its uid, the name decides."""
    uid = one.get(noun.UID_FIELD)
    return uid is None or uid == other.get(noun.UID_FIELD)


def is_going(noun: type[Resource], values: Values) -> bool:
    """Whether the object is on its way out."""
    return values.get("state") in noun.GONE_STATES


def reason_of(values: Values) -> str:
    """Why an object is in its state, to go behind the state; empty when it does not say."""
    return f" ({values['state_reason']})" if values.get("state_reason") else ""


def keep_secrets(noun: type[Resource], now: Values, old: Mapping[str, Any]) -> Values:
    """`now`, with the secrets which the system tells only once (an API key's token) as they were told."""
    return now | {
        name: old[name] for name in noun.marked(Mark.SECRET) if now.get(name) is None and old.get(name) is not None
    }


def inputs_of(
    noun: type[Resource], values: Values, old: Mapping[str, Any], old_inputs: Mapping[str, Any] | None
) -> Values:
    """What a user would have to write: the fields he wrote, as they are now, and those somebody else has set since."""
    inputs = {}
    for name in noun.inputs():
        wrote = old_inputs is None or old_inputs.get(name) is not None
        set_since = values[name] is not None and old.get(name) is None
        if values[name] is not None and (wrote or set_since):
            inputs[name] = values[name]
    return inputs


def matches(values: Values, filters: Mapping[str, str]) -> bool:
    """Whether the filters `state` and `name_prefix` let the object through.

    The server was asked first; one that knows no such filter for this noun answers everything.
    """
    if not str(values.get("name", "")).startswith(filters.get("name_prefix", "")):
        return False
    return "state" not in filters or filters["state"] == values.get("state")
