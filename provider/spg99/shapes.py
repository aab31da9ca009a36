"""What is known of a noun without its classes: plain tables that load in a millisecond. Not here: how they are made (emit/shapes.py).

The classes in resources/ are the truth; these are derived from them and written down (`spg99/prepared.py`), because a
provider process starts several times in each `plan` and pydantic alone would take longer than all the rest of its start.
Only the standard library's cheapest modules may be imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Any, Literal, NamedTuple

from spg99.patterns import not_an_id

Kind = Literal["text", "whole", "number", "flag", "enum", "time", "list", "map", "object"]
"""What a value is: text, a whole number, any number, true or false, one of a few texts, an RFC 3339 time, and what holds others."""


TEXT_CHARACTERS_MAX = 4096
"""Longest text where a field sets no bound of its own."""

EXACT_WHOLE_NUMBER_MAX = 2**53
"""Some tools send every number as a double; beyond this a whole number is no longer the one the user wrote."""

ALLOW_REPLACEMENT = "allow_replacement"
"""Input of every noun that holds data, in every bridge: the user agrees that data is destroyed. Never sent to the API."""


class EnumValue(NamedTuple):
    """One text that an enumeration allows."""

    value: str
    description: str = ""


class Type(NamedTuple):
    """The type of a value, with its bounds. What does not apply is None or empty."""

    kind: Kind
    of: Type | None = None
    """What a list or a map holds; a map's keys are text."""
    fields: tuple[Field, ...] = ()
    """What an object holds."""
    name: str = ""
    """Class of an enumeration or object: `Size`."""
    description: str = ""
    """What an enumeration or object means."""
    values: tuple[EnumValue, ...] = ()
    at_least: int | float | None = None
    at_most: int | float | None = None
    above: int | float | None = None
    below: int | float | None = None
    min_length: int | None = None
    """Of a text in characters, of a list or map in items."""
    max_length: int | None = None
    pattern: str | None = None
    """Regular expression that a text must match somewhere (anchors are written out)."""
    unordered: bool = False
    """The list is a set: another order, or an item a second time, is the same value."""


class Field(NamedTuple):
    """One field of a noun, a nested object, a function's or an ephemeral's."""

    name: str
    """In snake case."""
    type: Type
    description: str = ""
    required: bool = False
    """A user must write it (inputs only)."""
    nullable: bool = False
    """Null is a value of its own."""
    default: Any = None
    """JSON value that stands in when an optional input is left out; None: none, or null."""
    immutable: bool = False
    secret: bool = False
    volatile: bool = False
    deprecated: str | None = None
    """What to use instead, in a sentence."""
    examples: tuple[Any, ...] = ()
    environment: tuple[str, ...] = ()
    """Variables that stand in for it, first found wins (provider configuration only)."""
    moved_by: tuple[str, ...] = ()
    """Inputs whose change gives this output another value; every other output stays known in the plan of an update."""


class Seconds(NamedTuple):
    """Default time limits of one noun."""

    create: int = 120
    read: int = 60
    update: int = 120
    delete: int = 120


class Noun(NamedTuple):
    """A noun: what a user may declare, or only read. The upper-case attributes of resources/noun.py, in lower case."""

    noun: str
    """In snake case: `api_key`."""
    title: str
    """Class name: `ApiKey`."""
    plural: str
    """In snake case: `api_keys`; empty where there is no list."""
    description: str
    inputs: tuple[Field, ...]
    """What a user writes; empty for what can only be read."""
    outputs: tuple[Field, ...]
    """Everything the system answers: the inputs it tells again, and what it fills in."""
    collection_path: str
    item_path: str
    id_format: str
    uid_field: str
    holds_data: bool = False
    force_delete: bool = False
    protected_by: str | None = None
    """Flag among the inputs that forbids deletion while true."""
    settled_states: frozenset[str] = frozenset()
    failed_states: frozenset[str] = frozenset()
    gone_states: frozenset[str] = frozenset()
    filters: tuple[str, ...] = ()
    """Query parameters of its list beside those of the collection's path."""
    seconds: Seconds = Seconds()
    rules: tuple[str, ...] = ()
    """Rules across fields, as `module:function`; each takes JSON values by field name and answers `field: sentence` or None."""
    schema_version: int = 0
    """Grows when a state written by an older version has to be upgraded."""

    def is_protected(self, values: Mapping[str, Any]) -> bool:
        """Whether an object with these values must not be deleted now."""
        return self.protected_by is not None and values.get(self.protected_by) is True

    def input_fields(self) -> dict[str, Field]:
        """The inputs by name."""
        return {field.name: field for field in self.inputs}

    def output_fields(self) -> dict[str, Field]:
        """The outputs by name."""
        return {field.name: field for field in self.outputs}

    def input_named(self, name: str) -> Field | None:
        """The input of this name."""
        return next((field for field in self.inputs if field.name == name), None)

    def output_named(self, name: str) -> Field | None:
        """The output of this name."""
        return next((field for field in self.outputs if field.name == name), None)

    def secrets(self) -> frozenset[str]:
        """Names of all secret fields."""
        return frozenset(field.name for field in (*self.inputs, *self.outputs) if field.secret)

    def write_only(self) -> tuple[Field, ...]:
        """Secrets a user brings: inputs that the system never answers."""
        answered = {field.name for field in self.outputs}
        return tuple(field for field in self.inputs if field.secret and field.name not in answered)

    def id_fields(self) -> tuple[str, ...]:
        """Fields that make up the human id, in order."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.id_format) if name)

    def has_name(self) -> bool:
        """Whether the human id is made of inputs, so that a declaration says which object it means."""
        return set(self.id_fields()) <= {field.name for field in self.inputs}

    def id_of(self, values: Mapping[str, Any]) -> str:
        """The human id (`acme/app`) of an object with these field values."""
        return self.id_format.format(**{name: values[name] for name in self.id_fields()})

    def id_values(self, human_id: str) -> dict[str, str]:
        """Field values from a human id. Raises ValueError with a sentence when the shape is wrong."""
        names = self.id_fields()
        if not names and not human_id:
            return {}  # there is only one
        parts = human_id.split("/")
        if len(parts) != len(names) or not all(parts):
            raise ValueError(not_an_id(self.noun, names, human_id))
        return dict(zip(names, parts, strict=True))

    def path_fields(self) -> tuple[str, ...]:
        """Inputs that stand in the collection's path and therefore not in the body, in order."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.collection_path) if name)


class Parameter(NamedTuple):
    """One parameter of a function."""

    name: str
    type: Type
    description: str
    nullable: bool = False


class Function(NamedTuple):
    """A pure function that programs may call; it needs no configuration and no network."""

    name: str
    """In snake case: `parse_dsn`."""
    summary: str
    description: str
    parameters: tuple[Parameter, ...]
    returns: Type
    call: str
    """`module:function`. It takes the parameters by position and raises FunctionFault."""
    returns_secret: bool = False


class Ephemeral(NamedTuple):
    """Something that is opened for one run and never kept: it is in no state and no plan."""

    name: str
    """In snake case: `tenant_dsn`."""
    title: str
    description: str
    inputs: tuple[Field, ...]
    """One that is called like a noun takes the object's name or its uid (which is known only once the object is made)."""
    outputs: tuple[Field, ...]
    """What is answered, the inputs again included."""
    open: str
    """`module:function`: async (client, inputs) -> (outputs, private); `private` is a JSON value for close."""
    close: str = ""
    """`module:function`: async (client, private) -> None; empty where there is nothing to give back."""


class Package(NamedTuple):
    """All that a bridge offers. The product's is `spg99.prepared.PACKAGE`; tests make their own."""

    name: str
    version: str
    description: str
    configuration: tuple[Field, ...]
    """Settings of the provider itself: `url`, `api_key`."""
    nouns: tuple[Noun, ...]
    """What may be declared."""
    reads: tuple[Noun, ...]
    """What may only be read (it has no inputs). Every noun may be read, too."""
    functions: tuple[Function, ...]
    ephemerals: tuple[Ephemeral, ...]

    def noun_named(self, name: str) -> Noun | None:
        """The declarable noun of this name (`database`)."""
        return next((noun for noun in self.nouns if noun.noun == name), None)


class FunctionFault(Exception):
    """What a function was given is wrong: which argument (from 0), and why, in a sentence."""

    def __init__(self, argument: int, reason: str) -> None:
        super().__init__(reason)
        self.argument = argument
        self.reason = reason
