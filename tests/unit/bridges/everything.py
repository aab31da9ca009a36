"""A noun with every kind of field. It exists in tests only: what works for it works for a noun nobody has thought of yet."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from spg99.resources import Immutable, Resource, Secret, Spec, Volatile


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Limits(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    max_items: int = Field(ge=1)
    color: Color = Color.RED


class ThingSpec(Spec):
    """A thing as a user declares it."""

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

    @model_validator(mode="after")
    def _red_things_are_few(self) -> Self:
        if self.color is Color.RED and self.count > 10:
            raise ValueError("count: must be at most 10 for red things")
        return self

    @model_validator(mode="after")
    def _a_note_needs_a_tag(self) -> Self:
        if self.note is not None and not self.tags:
            raise ValueError("a note needs at least one tag")
        return self


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
