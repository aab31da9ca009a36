"""A noun with every kind of field. It exists in tests only: what works for it works for a noun nobody has thought of yet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from spg99.emit.shapes import noun_of
from spg99.resources import Immutable, Resource, Secret, Spec, Volatile
from spg99.rules import Rule


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Limits(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    max_items: int = Field(ge=1)
    color: Color = Color.RED


def red_things_are_few(values: Mapping[str, Any]) -> str | None:
    """Only blue things may be many."""
    return "count: must be at most 10 for red things" if values["color"] == "red" and values["count"] > 10 else None


def a_note_needs_a_tag(values: Mapping[str, Any]) -> str | None:
    """A rule that blames no field."""
    return "a note needs at least one tag" if values["note"] is not None and not values["tags"] else None


class ThingSpec(Spec):
    """A thing as a user declares it."""

    RULES: ClassVar[tuple[Rule, ...]] = (red_things_are_few, a_note_needs_a_tag)

    name: Immutable[str] = Field(pattern="^[a-z]+$")
    """Name of the thing."""
    count: int = Field(default=3, ge=0)
    """A whole number."""
    ratio: float = 0.5
    """A number."""
    is_on: bool = False
    """A flag."""
    color: Color = Color.RED
    """An enum."""
    tags: list[str] = Field(default_factory=list)
    """A list."""
    labels: dict[str, str] = Field(default_factory=dict)
    """A map whose keys are the user's."""
    limits: Limits | None = None
    """A nested object."""
    steps: list[Limits] = Field(default_factory=list)
    """A list of objects."""
    by_zone: dict[str, Limits] = Field(default_factory=dict)
    """A map of objects."""
    pass_phrase: Secret[str | None] = None
    """A secret the user brings; never told again."""
    note: str | None = None
    """Nullable."""
    until: AwareDatetime | None = None
    """A moment."""
    last_seen: Volatile[str] = "never"
    """Moves by itself, although a user may write it."""


class Thing(ThingSpec, Resource):
    """A thing."""

    NOUN: ClassVar[str] = "thing"
    SPEC: ClassVar[type[Spec]] = ThingSpec
    COLLECTION_PATH: ClassVar[str] = "/things"
    ITEM_PATH: ClassVar[str] = "/things/{name}"
    ID_FORMAT: ClassVar[str] = "{name}"
    UID_FIELD: ClassVar[str] = "thing_id"
    HOLDS_DATA: ClassVar[bool] = True

    model_config = Resource.model_config

    thing_id: str
    """Id of the thing."""
    made_at: datetime
    """When it was made."""


THING = noun_of(Thing)
