"""An answer as an object of ours: a noun of resources/ or a message of protocol/. Not here: answers as plain values (shaped.py).

It brings pydantic along, which a bridge has no use for.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from spg99.errors import Internal

M = TypeVar("M", bound=BaseModel)


def understood(kind: type[M], what: str, value: Any) -> M:
    """The answer (`what`, for the user) as a `kind`. Raises Internal, which names fields and never values: some are secrets."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, e["loc"])) or "(all)" for e in error.errors(include_input=False)}))
        raise Internal(
            f"The Control Plane answered a {what} that this version does not understand (fields: {fields}). "
            "Client and Control Plane should have the same version."
        ) from None
