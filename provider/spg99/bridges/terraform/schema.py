"""What Terraform is told about a Package: resources, data sources, ephemeral resources and functions as plain tables. Pure.

Here: which attribute a field becomes, and what its page says. Not here: how a schema travels (tfplugin), what a plan does
with it (planning.py).

    a field of the noun is ...                            | the attribute is
    ------------------------------------------------------+----------------------------------
    an input that must be written                         | required
    an input with a default                               | optional + computed (the plan shows the default)
    an input that may be null                             | optional (leaving it out clears it)
    an input that may be left out, whose output never is  | optional + computed (the server fills it in)
    a secret input that is never told (write only)        | `<name>_wo` (write-only) and `<name>_wo_version`
    an output only                                        | computed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from spg99.bridges.terraform.descriptions import describe
from spg99.shapes import ALLOW_REPLACEMENT, Ephemeral, Field, Function, Noun, Package, Type

Role = Literal["input", "output", "id", "timeouts", "allow_replacement", "write_only", "version", "argument"]
"""Why an attribute is there: a field of the noun, or one of those that every resource of ours has."""

TIMEOUTS = "timeouts"
WRITE_ONLY, VERSION = "_wo", "_wo_version"
SECRETS_IN_STATE = "secrets_in_state"
STATE_NAME = "state_name"
CALLS = ("create", "read", "update", "delete")
RESERVED = frozenset({"count", "for_each", "depends_on", "lifecycle", "provider", "provisioner", "connection"})
"""Words that Terraform keeps for itself in a resource block."""

CTY = {"text": "string", "enum": "string", "time": "string", "whole": "number", "number": "number", "flag": "bool"}

Cty = Any
"""A cty type as tfplugin/values.py writes it: `"string"`, `("list", "string")`, `("object", {"a": "number"})`."""


class Nested(NamedTuple):
    """The attributes inside an attribute."""

    nesting: Literal["single", "list", "map"]
    attributes: tuple[Attribute, ...]


class Attribute(NamedTuple):
    """One attribute of a block."""

    name: str
    type: Cty
    """The whole type, nested attributes included."""
    role: Role
    description: str = ""
    required: bool = False
    optional: bool = False
    computed: bool = False
    sensitive: bool = False
    write_only: bool = False
    deprecated: str | None = None
    nested: Nested | None = None
    field: Field | None = None
    """The field it carries; None for what every resource has."""


class Block:
    """A schema: its attributes by name, in order, and the type of the whole block's value."""

    __slots__ = ("attributes", "description", "many", "name", "named", "noun", "type", "version")

    def __init__(
        self,
        name: str,
        attributes: tuple[Attribute, ...],
        description: str,
        version: int = 0,
        noun: Noun | None = None,
        many: bool = False,
    ) -> None:
        self.name = name
        """Type name, `spg99_database`; empty for the provider's own configuration."""
        self.attributes = attributes
        self.description = description
        self.version = version
        self.noun = noun
        self.many = many
        """A data source that answers a list."""
        self.type: Cty = ("object", {attribute.name: attribute.type for attribute in attributes})
        self.named: dict[str, Attribute] = {attribute.name: attribute for attribute in attributes}


class Signature(NamedTuple):
    """A provider function."""

    function: Function
    parameters: tuple[Cty, ...]
    returns: Cty


class Tables(NamedTuple):
    """All schemas of a Package, by type name."""

    provider: Block
    resources: Mapping[str, Block]
    data: Mapping[str, Block]
    ephemerals: Mapping[str, Block]
    functions: Mapping[str, Signature]
    identities: Mapping[str, Block]
    """Identity of each resource that has a name of its own: the fields of its human id."""
    lists: Mapping[str, Block]
    """Configuration of list resources (Terraform 1.14 and newer)."""


def tables(package: Package) -> Tables:
    """The schemas of a Package. Raises TypeError for a field whose name Terraform reserves."""
    prefix = f"{package.name}_"
    nouns = {prefix + noun.noun: noun for noun in package.nouns}
    data = {name: one(name, noun) for name, noun in nouns.items()}
    data |= {prefix + noun.noun: one(prefix + noun.noun, noun) for noun in package.reads}
    data |= {
        prefix + noun.plural: many(prefix + noun.plural, noun)
        for noun in (*package.nouns, *package.reads)
        if noun.plural
    }
    return Tables(
        provider=Block("", _configuration(package), package.description),
        resources={name: resource(name, noun) for name, noun in nouns.items()},
        data=data,
        ephemerals={prefix + each.name: ephemeral(prefix + each.name, each) for each in package.ephemerals},
        functions={each.name: signature(each) for each in package.functions},
        identities={name: identity(name, noun) for name, noun in nouns.items()},
        lists={name: listing(name, noun) for name, noun in nouns.items() if noun.plural},
    )


def resource(name: str, noun: Noun) -> Block:
    """A noun that may be declared."""
    unwritten = {field.name for field in noun.write_only()}
    attributes = [_id(noun)]
    for field in noun.inputs:
        if field.name in unwritten:
            attributes += _write_only(field)
        else:
            attributes.append(_input(noun, field))
    inputs = {field.name for field in noun.inputs}
    attributes += [_output(field) for field in noun.outputs if field.name not in inputs]
    if noun.holds_data:
        attributes.append(_allow_replacement(noun))
    attributes.append(_timeouts(noun))
    for attribute in attributes:
        if attribute.name in RESERVED or (attribute.name == "id" and attribute.role != "id"):
            raise TypeError(f"the field '{attribute.name}' of {noun.noun} has a name that Terraform reserves")
    return Block(name, tuple(attributes), noun.description, noun.schema_version, noun)


def one(name: str, noun: Noun) -> Block:
    """The data source that looks up one object by the fields of its human id."""
    keys = noun.id_fields()
    attributes = [_id(noun)] + [
        attribute_of(field, required=True) if field.name in keys else _output(field) for field in noun.outputs
    ]
    return Block(name, tuple(attributes), noun.description, 0, noun)


def many(name: str, noun: Noun) -> Block:
    """The data source that answers all objects of a collection which its filters let through."""
    arguments = _arguments(noun)
    inside = (_id(noun), *(_output(field) for field in noun.outputs))
    nested = Nested("list", inside)
    found = Attribute(
        noun.plural,
        _nested_type(nested),
        "output",
        f"What was found, ordered by name. {noun.description}",
        computed=True,
        nested=nested,
    )
    return Block(name, (*arguments, found), f"All objects of a kind: {noun.description}", 0, noun, many=True)


def listing(name: str, noun: Noun) -> Block:
    """The configuration of the list resource of a noun."""
    return Block(name, _arguments(noun), noun.description, 0, noun, many=True)


def identity(name: str, noun: Noun) -> Block:
    """The identity of a resource: what its import names."""
    outputs = noun.output_fields()
    keys = tuple(attribute_of(outputs[key], required=True) for key in noun.id_fields())
    return Block(name, keys, f"Which {noun.noun} it is.", 0, noun)


def ephemeral(name: str, each: Ephemeral) -> Block:
    """What is opened for one run."""
    inputs = {field.name: field for field in each.inputs}
    attributes = [
        attribute_of(field, required=field.required, optional=not field.required, computed=_is_filled(field))
        for field in each.inputs
    ]
    attributes += [_output(field) for field in each.outputs if field.name not in inputs]
    return Block(name, tuple(attributes), each.description)


def signature(each: Function) -> Signature:
    """A function's types."""
    return Signature(each, tuple(cty(parameter.type) for parameter in each.parameters), cty(each.returns))


def cty(type_: Type) -> Cty:
    """The cty type of a value."""
    if type_.kind == "list":
        return ("list", cty(_inner(type_)))
    if type_.kind == "map":
        return ("map", cty(_inner(type_)))
    if type_.kind == "object":
        return ("object", {field.name: cty(field.type) for field in type_.fields})
    return CTY[type_.kind]


def attribute_of(
    field: Field, *, required: bool = False, optional: bool = False, computed: bool = False, is_input: bool = True
) -> Attribute:
    """A field as an attribute; objects, and lists and maps of objects, become nested attributes."""
    nested = _nested(field.type, is_input=is_input)
    return Attribute(
        field.name,
        cty(field.type) if nested is None else _nested_type(nested),
        "input" if is_input else "output",
        describe(field, is_input=is_input),
        required,
        optional,
        computed,
        field.secret,
        deprecated=field.deprecated,
        nested=nested,
        field=field,
    )


def _input(noun: Noun, field: Field) -> Attribute:
    output = noun.output_named(field.name)
    computed = field.default is not None or (output is not None and not output.nullable and not field.required)
    return attribute_of(field, required=field.required, optional=not field.required, computed=computed)


def _output(field: Field) -> Attribute:
    return attribute_of(field, computed=True, is_input=False)


def _is_filled(field: Field) -> bool:
    """An input that may be left out and has a default is told with it."""
    return not field.required and field.default is not None


def _id(noun: Noun) -> Attribute:
    form = "/".join(f"<{name}>" for name in noun.id_fields()) or noun.uid_field
    return Attribute("id", "string", "id", f"Id for people and for imports: `{form}`.", computed=True)


def _write_only(field: Field) -> list[Attribute]:
    description = (
        f"{describe(field)} It is sent and never stored: not in the plan, not in the state. "
        f"It is sent again when `{field.name}{VERSION}` changes. Needs Terraform 1.11, OpenTofu 1.11 or newer."
    )
    return [
        Attribute(
            field.name + WRITE_ONLY,
            cty(field.type),
            "write_only",
            description,
            required=field.required,
            optional=not field.required,
            sensitive=True,
            write_only=True,
            deprecated=field.deprecated,
            field=field,
        ),
        Attribute(
            field.name + VERSION,
            "number",
            "version",
            f"A whole number of your own; with another one `{field.name}{WRITE_ONLY}` is sent again.",
            optional=True,
            field=field,
        ),
    ]


def _allow_replacement(noun: Noun) -> Attribute:
    return Attribute(
        ALLOW_REPLACEMENT,
        "bool",
        "allow_replacement",
        f"True agrees that a change which cannot be made in place replaces the {noun.noun} by an empty one and destroys "
        "its data. Default: `false`. It is a setting of this provider and never sent.",
        optional=True,
    )


def _timeouts(noun: Noun) -> Attribute:
    inside = tuple(
        Attribute(
            call,
            "string",
            "timeouts",
            f"Longest time for {call}, like `90s`, `10m` or `1h30m`. Default: `{getattr(noun.seconds, call)}s`.",
            optional=True,
        )
        for call in CALLS
    )
    nested = Nested("single", inside)
    return Attribute(
        TIMEOUTS, _nested_type(nested), "timeouts", "Time limits of this resource.", optional=True, nested=nested
    )


def _arguments(noun: Noun) -> tuple[Attribute, ...]:
    """Where a list is looked for, and its filters."""
    outputs = noun.output_fields()
    fixed = tuple(
        attribute_of(outputs[name]._replace(default=None, immutable=False), required=True)._replace(role="argument")
        for name in noun.path_fields()
    )
    filters = tuple(
        Attribute(name, "string", "argument", _filter_text(name, outputs.get(name)), optional=True)
        for name in noun.filters
        if name not in noun.path_fields()
    )
    return (*fixed, *filters)


def _filter_text(name: str, field: Field | None) -> str:
    if field is not None:
        return f"Only those with this `{name}`. {describe(field, is_input=False)}"
    return f"Only those whose {name.removesuffix('_prefix')} begins so." if name.endswith("_prefix") else "A filter."


def _configuration(package: Package) -> tuple[Attribute, ...]:
    settings = [
        attribute_of(field, optional=True)._replace(
            role="argument", description=f"{describe(field)} {_environment_text(field)}".strip()
        )
        for field in package.configuration
        if field.name not in (SECRETS_IN_STATE, STATE_NAME)
    ]
    in_state = Attribute(
        SECRETS_IN_STATE,
        "bool",
        "argument",
        "Whether secrets that the system makes (passwords, connection strings, tokens) are kept in the state. With `false` "
        "they are null there; use ephemeral resources and write-only arguments instead. Default: `true`. "
        f"Environment: `{package.name.upper()}_{SECRETS_IN_STATE.upper()}`.",
        optional=True,
    )
    state_name = Attribute(
        STATE_NAME,
        "string",
        "argument",
        "What this state is called for `spg99 orphans`, which finds objects that it made and does not hold. It is no secret, stays "
        "from run to run, and is no other state's. Default: where the backend keeps the state, and the workspace (a given name holds "
        'in every workspace: `"shop-${terraform.workspace}"`). '
        "Needed for a state in a local file that is not always in the same folder. Environment: `SPG99_STATE_NAME`.",
        optional=True,
    )
    return (*settings, in_state, state_name)


def _environment_text(field: Field) -> str:
    return f"Environment: {', '.join(f'`{name}`' for name in field.environment)}." if field.environment else ""


def _nested(type_: Type, *, is_input: bool) -> Nested | None:
    """The nested attributes of an object, or of a list or map of objects; None for every other type."""
    if type_.kind == "object":
        return Nested("single", tuple(_inside(type_.fields, is_input=is_input)))
    if type_.kind in ("list", "map") and type_.of is not None and type_.of.kind == "object":
        inside = tuple(_inside(type_.of.fields, is_input=is_input))
        return Nested("list" if type_.kind == "list" else "map", inside)
    return None


def _inside(fields: Iterable[Field], *, is_input: bool) -> list[Attribute]:
    if not is_input:
        return [_output(field) for field in fields]
    return [
        attribute_of(field, required=field.required, optional=not field.required, computed=_is_filled(field))
        for field in fields
    ]


def _nested_type(nested: Nested) -> Cty:
    inner = ("object", {attribute.name: attribute.type for attribute in nested.attributes})
    return inner if nested.nesting == "single" else (nested.nesting, inner)


def _inner(type_: Type) -> Type:
    assert type_.of is not None, "a list or map says what it holds"
    return type_.of
