"""The marks a field may carry. Position (Spec or Resource) says input or output; there is no other mark."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo

T = TypeVar("T")


class Mark(Enum):
    """What a field is, beyond its type."""

    IMMUTABLE = "immutable"
    """Another value means another object: Pulumi replaces, the API refuses to change it."""
    SECRET = "secret"
    """Never in a log, encrypted in a state file, shown only to keys that may read credentials."""
    VOLATILE = "volatile"
    """Moves by itself; a difference is never drift."""
    UNORDERED = "unordered"
    """A list that is a set: another order, or an item a second time, is the same value."""


Immutable = Annotated[T, Mark.IMMUTABLE]
Secret = Annotated[T, Mark.SECRET]
Volatile = Annotated[T, Mark.VOLATILE]
Unordered = Annotated[T, Mark.UNORDERED]


class Discreet(BaseModel):
    """A model whose repr leaves out what is marked as secret: a repr ends in logs and in texts of errors."""

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """As pydantic's, without secrets."""
        fields = type(self).model_fields
        for name, value in super().__repr_args__():
            if name not in fields or Mark.SECRET not in marks_of(fields[name]):
                yield name, value


class MovedBy(tuple[str, ...]):
    """Beside the marks: the inputs whose change gives an output another value. `Annotated[str, MovedBy(("trigger",))]`."""


def moved_by_of(field: FieldInfo) -> tuple[str, ...]:
    """The inputs that move this output."""
    return next((tuple(item) for item in field.metadata if isinstance(item, MovedBy)), ())


def marks_of(field: FieldInfo) -> frozenset[Mark]:
    """The marks of a pydantic field."""
    return frozenset(item for item in field.metadata if isinstance(item, Mark))
