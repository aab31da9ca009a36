"""Spec and Resource, the two bases of every noun, and what can be asked of a noun without knowing which one it is.

Here: paths, ids, which fields are inputs, outputs, immutable, secret, volatile. Not here: HTTP, Pulumi or Terraform words.
"""

from __future__ import annotations

from string import Formatter
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from spg99.patterns import not_an_id
from spg99.resources.fields import Discreet, Mark, marks_of
from spg99.rules import Rule


class Spec(Discreet):
    """What a user writes. Unknown fields are refused; a docstring under a field is its description everywhere."""

    RULES: ClassVar[tuple[Rule, ...]] = ()
    """Rules across fields (rules.py)."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True, str_max_length=4096)

    @model_validator(mode="after")
    def _obeys_rules(self) -> Self:
        values = to_jsonable_python(dict(self)) if self.RULES else {}
        for rule in self.RULES:
            if complaint := rule(values):
                raise ValueError(complaint)
        return self


class Resource(Discreet):
    """What the system answers: a Spec's fields and what the system fills in. Unknown fields are kept out, not refused."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True, frozen=True)

    NOUN: ClassVar[str]
    """Name of the noun in snake case: `database`."""
    SPEC: ClassVar[type[Spec]]
    """The class of what a user writes."""
    COLLECTION_PATH: ClassVar[str]
    """Where the API lists and creates it, with fields in braces: `/tenants/{tenant}/dbs`."""
    ITEM_PATH: ClassVar[str]
    """Where the API reads, changes and deletes one: `/tenants/{tenant}/dbs/{name}`."""
    ID_FORMAT: ClassVar[str]
    """The human id which bridges use and import takes: `{tenant}/{name}`."""
    UID_FIELD: ClassVar[str]
    """The field with the system's own id: tells two objects of one name apart."""
    HOLDS_DATA: ClassVar[bool] = False
    """True where deleting destroys what a user cannot get back: bridges refuse an accidental replacement."""
    SETTLED_STATES: ClassVar[frozenset[str]] = frozenset()
    """Values of `state` in which a create or update is complete; empty: it is complete when the call answers."""
    FAILED_STATES: ClassVar[frozenset[str]] = frozenset()
    """Values of `state` which need a person's eye."""
    GONE_STATES: ClassVar[frozenset[str]] = frozenset()
    """Values of `state` which mean: on its way out, do not adopt."""
    FORCE_DELETE: ClassVar[bool] = False
    """True where DELETE takes `?force=true` to end what still uses the object; bridges always give it."""
    PROTECTED_BY: ClassVar[str | None] = None
    """Flag among the inputs that forbids deletion while true; bridges refuse it in the plan already."""
    LISTED: ClassVar[bool] = True
    """False where the API has no list of it."""
    FILTERS: ClassVar[tuple[str, ...]] = ()
    """Query parameters of its list beside the fields in the collection's path."""
    SCHEMA_VERSION: ClassVar[int] = 0
    """Grows when a state that an older version has written needs to be upgraded."""
    CREATE_SECONDS: ClassVar[int] = 120
    """Default time limit of a create, update or delete in a bridge."""

    @classmethod
    def id_fields(cls) -> tuple[str, ...]:
        """Fields that make up the human id, in order."""
        return tuple(name for _, name, _, _ in Formatter().parse(cls.ID_FORMAT) if name)

    @classmethod
    def id_of(cls, values: dict[str, Any]) -> str:
        """The human id (`acme/app`) of an object with these field values."""
        return cls.ID_FORMAT.format(**{name: values[name] for name in cls.id_fields()})

    @classmethod
    def id_values(cls, human_id: str) -> dict[str, str]:
        """Field values from a human id. Raises ValueError with a sentence when the shape is wrong."""
        names = cls.id_fields()
        parts = human_id.split("/")
        if len(parts) != len(names) or not all(parts):
            raise ValueError(not_an_id(cls.NOUN, names, human_id))
        return dict(zip(names, parts, strict=True))

    @classmethod
    def collection_path(cls, values: dict[str, Any]) -> str:
        """The API path (without `/v2`) of the collection for these field values."""
        return cls.COLLECTION_PATH.format(**values)

    @classmethod
    def path_fields(cls) -> frozenset[str]:
        """Spec fields that stand in the collection's path and therefore not in the body."""
        return frozenset(name for _, name, _, _ in Formatter().parse(cls.COLLECTION_PATH) if name)

    @classmethod
    def inputs(cls) -> dict[str, FieldInfo]:
        """The fields a user may write."""
        return cls.SPEC.model_fields

    @classmethod
    def outputs(cls) -> dict[str, FieldInfo]:
        """All fields the system answers."""
        return cls.model_fields

    @classmethod
    def marked(cls, mark: Mark) -> frozenset[str]:
        """Names of the fields with a mark."""
        return frozenset(name for name, field in cls.model_fields.items() if mark in marks_of(field))


R = TypeVar("R")


class Page(BaseModel, Generic[R]):
    """One page of a list, ordered by name (contract, section 3)."""

    items: list[R]
    next_cursor: str | None = None
