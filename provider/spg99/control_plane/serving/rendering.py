"""A noun's values as JSON, as its model would answer them, without making the model: lists and reads are asked for often.

Here: what follows from the noun's fields: their order, their defaults, which are moments. Not here: the values (each domain's
rows). They come from the catalogue, whose checks hold them; a model would look at each of them once more. A test renders every
noun in both ways and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, Final, get_args

from pydantic import AwareDatetime, BaseModel

_UTC: Final = "+00:00"
_MOMENTS: Final = (datetime, AwareDatetime)


def as_json(shape: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """What `shape` answers for these values, ready for JSON: its fields alone, in its order. Raises KeyError for a value that
    is missing and has no default."""
    names, defaults, moments, pick = _known(shape)
    try:
        picked = pick(values)
    except KeyError:
        # One that has a default. Rare, and to put all of them below every row of a list takes as long as the rest.
        picked = pick({**defaults, **values})
    shown = dict(zip(names, picked, strict=True))
    for name in moments:
        if (moment := shown[name]) is not None:
            shown[name] = text_of(moment)
    return shown


def text_of(moment: datetime) -> str:
    """A moment as every answer tells it: ISO 8601, `Z` for UTC."""
    text = moment.isoformat()
    return text[: -len(_UTC)] + "Z" if text.endswith(_UTC) else text


@cache
def _known(
    shape: type[BaseModel],
) -> tuple[tuple[str, ...], dict[str, Any], tuple[str, ...], Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    """Names of the fields in order, defaults of those that have one, names of those that are moments, and all values of a mapping."""
    fields = shape.model_fields
    defaults = {
        name: field.get_default(call_default_factory=True) for name, field in fields.items() if not field.is_required()
    }
    moments = tuple(name for name, field in fields.items() if _types(field.annotation) & set(_MOMENTS))
    return tuple(fields), defaults, moments, itemgetter(*fields)


def _types(annotation: Any) -> set[Any]:
    inner = get_args(annotation)
    return set().union(*map(_types, inner)) if inner else {annotation}
