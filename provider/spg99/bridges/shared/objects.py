"""What an object is to a bridge: which one it is, what of it is secret, what a user would have to write to get it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from spg99.bridges.shared.values import canonical
from spg99.errors import BadRequest
from spg99.ids import new_id
from spg99.shapes import Noun

Values = dict[str, Any]
"""JSON values under our field names."""


class Held(NamedTuple):
    """The object that a tool's state holds for a declaration: a create of that declaration must not answer it as new."""

    uid: Any
    """None where the tool does not say."""
    human_id: str | None
    may_be_replaced: bool = True
    """It holds no data, or the user agreed to lose it."""


class Created(NamedTuple):
    """What a create has led to."""

    human_id: str
    values: Values
    was_there: bool
    """An earlier run of the same declaration had made it, and its answer was lost or is asked for again."""


def body_of(noun: Noun, inputs: Mapping[str, Any]) -> Values:
    """What a create sends, by field, in the one form of what means the same: a repetition must be the same request."""
    return {
        field.name: canonical(field.type, inputs[field.name])
        for field in noun.inputs
        if inputs.get(field.name) is not None
    }


def idempotency_key(declaration: str | None, noun: Noun, body: Mapping[str, Any], generation: int) -> str:
    """The key under which a declaration creates its object.

    `declaration` (Pulumi's URN, Terraform's kept token) makes two declarations different, the generation counts the lives
    of one that is deleted and created again. Where the human id comes from the inputs, the rest of the body does not
    count: a declaration that was edited after a lost answer still finds what it has made. Else (API keys) another body,
    secrets aside, is another object. Without a declaration there is nothing to recognise a repetition by.
    """
    if declaration is None:
        return new_id("idem")
    import hashlib  # start time: who only reads makes no key

    secrets = noun.secrets()
    names = noun.id_fields() if noun.has_name() else [name for name in body if name not in secrets]
    what = {name: body[name] for name in names}
    canonical = json.dumps([declaration, noun.noun, what, generation], sort_keys=True, separators=(",", ":"))
    return "up_" + hashlib.sha256(canonical.encode()).hexdigest()


def is_same(noun: Noun, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both are one object; when the first does not know its uid, the name decides."""
    uid = one.get(noun.uid_field)
    return uid is None or uid == other.get(noun.uid_field)


def is_going(noun: Noun, values: Mapping[str, Any]) -> bool:
    """Whether the object is on its way out."""
    return values.get("state") in noun.gone_states


def is_settled(noun: Noun, values: Mapping[str, Any]) -> bool:
    """Whether others may use the object as it is."""
    return not noun.settled_states or values["state"] in noun.settled_states


def words_of(noun: Noun) -> str:
    """What a sentence calls it: `api key`."""
    return noun.noun.replace("_", " ")


def reason_of(values: Mapping[str, Any]) -> str:
    """Why an object is in its state, to go behind the state; empty when it does not say."""
    return f" ({values['state_reason']})" if values.get("state_reason") else ""


def keep_secrets(noun: Noun, now: Mapping[str, Any], old: Mapping[str, Any]) -> Values:
    """`now`, with secrets as they were told: those which the system tells only once (an API key's token), and a connection
    string in the scheme that the state holds. One from before `postgresql://` is no change, and nothing that was made of it
    has to change.
    """
    return {**now} | {
        field.name: old[field.name]
        for field in noun.outputs
        if field.secret
        and old.get(field.name) is not None
        and (now.get(field.name) is None or _only_the_scheme_differs(old[field.name], now[field.name]))
    }


def _only_the_scheme_differs(one: Any, other: Any) -> bool:
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    (scheme, _, rest), (other_scheme, _, other_rest) = one.partition("://"), other.partition("://")
    return {scheme, other_scheme} == {"postgres", "postgresql"} and rest == other_rest


def inputs_of(
    noun: Noun, values: Mapping[str, Any], old: Mapping[str, Any], old_inputs: Mapping[str, Any] | None
) -> Values:
    """What a user would have to write: the fields he wrote, as they are now, and those somebody else has set since.

    A secret that the system never tells is as it was written last.
    """
    unread = {field.name for field in noun.write_only()}
    inputs: Values = {}
    for field in noun.inputs:
        name = field.name
        if name in unread:
            if old_inputs is not None and old_inputs.get(name) is not None:
                inputs[name] = old_inputs[name]
            continue
        value = values.get(name)
        wrote = old_inputs is None or old_inputs.get(name) is not None
        set_since = value is not None and old.get(name) is None
        if value is not None and (wrote or set_since):
            inputs[name] = value
    return inputs


def matches(noun: Noun, values: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Whether the filters let the object through: `<field>` by its value, `<field>_prefix` by how its text begins.

    The server was asked first; one that knows no such filter for this noun answers everything. A filter that names no
    field is the server's alone.
    """
    answered = {field.name for field in noun.outputs}
    for name, wanted in filters.items():
        if name in answered:
            if values.get(name) != wanted:
                return False
        elif (field := name.removesuffix("_prefix")) in answered and not str(values.get(field) or "").startswith(
            str(wanted)
        ):
            return False
    return True


def id_values_of(noun: Noun, human_id: str) -> dict[str, str]:
    """Field values from a human id. Raises BadRequest for one of another form."""
    try:
        return noun.id_values(human_id)
    except ValueError as error:
        raise BadRequest(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
