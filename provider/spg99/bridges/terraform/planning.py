"""What will happen to a resource: the planned state, what needs another object, and what is refused. Pure.

Here: terraform-facts section 1.4 as rules. Not here: what is wrong with a value (bridges/shared/inputs.py), calls (resources.py).

Values are dicts of Terraform values with every attribute of the block; UNKNOWN stands for what is known after apply. The
order: what the user wrote -> defaults -> write-only null -> when something is to be sent, outputs that move with it unknown,
all others as they were -> what needs another object, by comparing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

from spg99.bridges.shared.unknown import UNKNOWN, Unknown, has_unknown
from spg99.bridges.terraform.json_values import Values, plain, to_terraform
from spg99.bridges.terraform.schema import VERSION, Attribute, Block
from spg99.shapes import ALLOW_REPLACEMENT, Field, Noun


class Refusal(NamedTuple):
    """Why a plan is refused, and the attribute to blame."""

    attribute: str
    summary: str
    detail: str


class Plan(NamedTuple):
    """What is planned."""

    state: Values
    replaces: tuple[str, ...] = ()
    """Attributes whose change needs another object."""
    refusals: tuple[Refusal, ...] = ()


def create(block: Block, config: Values, *, secrets_in_state: bool = True) -> Plan:
    """The plan of a new object."""
    state = {}
    for attribute in block.attributes:
        if attribute.role == "output":
            hidden = attribute.sensitive and not secrets_in_state
            state[attribute.name] = None if hidden else UNKNOWN
        else:
            state[attribute.name] = _written(attribute, config[attribute.name], None)
    state["id"] = _human_id(_noun(block), state)
    return Plan(state)


def change(block: Block, prior: Values, config: Values, *, secrets_in_state: bool = True) -> Plan:
    """The plan of an object that is there: as it was where nothing changes, else changed in place or replaced."""
    noun = _noun(block)
    state = {
        attribute.name: prior[attribute.name]
        if attribute.role in ("output", "id")
        else _written(attribute, config[attribute.name], prior[attribute.name])
        for attribute in block.attributes
    }
    hide_secrets(block, state, secrets_in_state=secrets_in_state)
    changed = sent(block, prior, state)
    agreed = not noun.holds_data or config.get(ALLOW_REPLACEMENT) is True
    replaces = tuple(name for name in changed if _needs_another(block, name, state[name], agreed=agreed))
    if replaces:
        # Core asks again with no prior state, for the new object.
        state = create(block, config, secrets_in_state=secrets_in_state).state
        return Plan(state, replaces, _refused(block, prior, state, replaces, agreed=agreed))
    for name in moving(block, changed):
        if state[name] is not None or secrets_in_state or not block.named[name].sensitive:
            state[name] = UNKNOWN
    return Plan(state)


def removal(block: Block, prior: Values) -> tuple[Refusal, ...]:
    """Why this object must not be deleted; empty when it may be."""
    noun = _noun(block)
    if not noun.is_protected(prior):
        return ()
    from spg99.bridges.shared import changes  # brings modules that no plan without a refusal needs

    before = {name: plain(value) for name, value in prior.items()}
    why = changes.refused_deletion(noun, before, spelling=lambda name: f"`{name}`")
    assert noun.protected_by is not None and why is not None
    return (Refusal(noun.protected_by, f"{prior['id']} is protected from deletion", why),)


def sent(block: Block, prior: Values, state: Values) -> tuple[str, ...]:
    """Names of attributes whose change has to be sent: inputs, and versions of what is write-only."""
    return tuple(
        attribute.name
        for attribute in block.attributes
        if attribute.role in ("input", "version") and prior[attribute.name] != state[attribute.name]
    )


def moving(block: Block, changed: Iterable[str]) -> tuple[str, ...]:
    """Outputs whose value after these changes nobody knows before."""
    inputs = {name.removesuffix(VERSION) for name in changed}
    return tuple(
        attribute.name
        for attribute in block.attributes
        if attribute.role == "output" and attribute.field is not None and inputs & set(attribute.field.moved_by)
    )


def answered(block: Block, planned: Values, values: Mapping[str, Any], *, secrets_in_state: bool = True) -> Values:
    """The state after an apply that went well: as planned, and what was unknown as the API answers it."""
    state = {}
    for attribute in block.attributes:
        hidden = attribute.role == "output" and attribute.sensitive and not secrets_in_state
        now = None if hidden else to_terraform(attribute, values.get(attribute.name))
        state[attribute.name] = _filled(planned[attribute.name], now)
    if isinstance(planned["id"], Unknown):
        state["id"] = _human_id(_noun(block), values)
    return state


def reached(block: Block, wanted: Values, values: Mapping[str, Any], *, secrets_in_state: bool = True) -> Values:
    """The state as the API tells it; `wanted` gives what the API does not know, and the user's form of what means the same.

    For a refresh, and for an apply that ended half way.
    """
    state = {}
    for attribute in block.attributes:
        was = wanted.get(attribute.name)
        known = None if has_unknown(was) else was
        if attribute.role in ("input", "output") and attribute.field is not None:
            now = to_terraform(attribute, values.get(attribute.name))
            state[attribute.name] = known if known is not None and _same(attribute.field, known, now) else now
        elif attribute.role == "write_only":
            state[attribute.name] = None
        else:
            state[attribute.name] = known
    state["id"] = _human_id(_noun(block), values)
    return hide_secrets(block, state, secrets_in_state=secrets_in_state)


def hide_secrets(block: Block, state: Values, *, secrets_in_state: bool) -> Values:
    """`state` without the secrets that the system made, where the user does not want them there."""
    if not secrets_in_state:
        for attribute in block.attributes:
            if attribute.role == "output" and attribute.sensitive:
                state[attribute.name] = None
    return state


def _written(attribute: Attribute, config: Any, prior: Any) -> Any:
    """The planned value of what a user may write."""
    if attribute.role == "write_only":
        return None
    if config is None:
        return _left_out(attribute, prior)
    if isinstance(config, Unknown):
        return UNKNOWN
    if attribute.nested is not None and attribute.role == "input":
        return _written_inside(attribute, config, prior)
    if attribute.field is not None and prior is not None and attribute.role == "input":
        return prior if not has_unknown(config) and _same(attribute.field, config, prior) else config
    return config


def _left_out(attribute: Attribute, prior: Any) -> Any:
    field = attribute.field
    if not attribute.computed or field is None:
        return None
    if field.default is not None:
        default = _written_default(attribute, field.default)
        return prior if prior is not None and _same(field, default, prior) else default
    return UNKNOWN if prior is None else prior


def with_defaults(block: Block, state: Values, known: Container[str]) -> Values:
    """A state in which inputs that its writer did not know (their names are not in `known`) have their defaults."""
    return {**state} | {
        attribute.name: _written_default(attribute, attribute.field.default)
        for attribute in block.attributes
        if attribute.role == "input"
        and attribute.name not in known
        and attribute.field is not None
        and attribute.field.default is not None
    }


def _written_default(attribute: Attribute, default: Any) -> Any:
    """A default as a state has it, with what is inside it: fields of an object that it does not name have defaults of their own."""
    value = to_terraform(attribute, default)
    return value if attribute.nested is None else _written_inside(attribute, value, None)


def _written_inside(attribute: Attribute, config: Any, prior: Any) -> Any:
    assert attribute.nested is not None
    inside, nesting = attribute.nested.attributes, attribute.nested.nesting

    def planned(item: Any, was: Any) -> Any:
        if item is None or isinstance(item, Unknown):
            return item
        known = was if isinstance(was, Mapping) else {}
        return {each.name: _written(each, item[each.name], known.get(each.name)) for each in inside}

    if nesting == "single":
        return planned(config, prior)
    if nesting == "map":
        before = prior if isinstance(prior, Mapping) else {}
        return {key: planned(item, before.get(key)) for key, item in config.items()}
    old = prior if isinstance(prior, list) else []
    return [planned(item, old[place] if place < len(old) else None) for place, item in enumerate(config)]


def _filled(planned: Any, now: Any) -> Any:
    """`planned` with every unknown in it as it is now; null where the API does not say."""
    if isinstance(planned, Unknown):
        return now
    if isinstance(planned, dict):
        known = now if isinstance(now, Mapping) else {}
        return {key: _filled(item, known.get(key)) for key, item in planned.items()}
    if isinstance(planned, list):
        items = now if isinstance(now, list) else []
        return [_filled(item, items[place] if place < len(items) else None) for place, item in enumerate(planned)]
    return planned


def _needs_another(block: Block, name: str, value: Any, *, agreed: bool) -> bool:
    """Whether this change needs another object.

    Nobody knows yet whether an unknown value is another one. Where the answer could destroy data that nobody agreed to
    lose, it is left open: the plan is asked again during the apply, with known values, and refuses then.
    """
    field = block.named[name].field
    if field is None or not field.immutable:
        return False
    return agreed or not has_unknown(value)


def _refused(
    block: Block, prior: Values, state: Values, replaces: tuple[str, ...], *, agreed: bool
) -> tuple[Refusal, ...]:
    protected = removal(block, prior)
    if protected or agreed:
        return protected
    from spg99.bridges.shared import changes  # brings modules that no plan without a replacement needs

    noun = _noun(block)
    found = [
        changes.Change(name.removesuffix(VERSION), plain(prior[name]), plain(state[name]), replaces=True)
        for name in replaces
    ]
    before = {name: plain(value) for name, value in prior.items()}
    why = changes.destroying(noun, found, before, agreed=agreed, agreement=f"set `{ALLOW_REPLACEMENT} = true`")
    summary = f"{prior['id']} would be replaced and its data destroyed"
    return tuple(
        Refusal(name, summary, f"`{name.removesuffix(VERSION)}` {why[name.removesuffix(VERSION)]}")
        for name in replaces
        if name.removesuffix(VERSION) in why
    )


def _human_id(noun: Noun, values: Mapping[str, Any]) -> Any:
    """The human id where what it is made of is known."""
    parts = [values.get(name) for name in noun.id_fields()]
    if not parts or any(part is None or isinstance(part, Unknown) for part in parts):
        return UNKNOWN
    return noun.id_of(values)


def _same(field: Field, one: Any, other: Any) -> bool:
    from spg99.bridges.shared.values import same  # brings modules that no plan of a new object needs

    return same(field.type, one, other)


def _noun(block: Block) -> Noun:
    assert block.noun is not None, "a resource is a noun"
    return block.noun
