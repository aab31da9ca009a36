"""What a value of a type may be, and when two values mean the same. Pure, over shapes. Not here: a whole declaration (inputs.py).

It takes and refuses what the API's own check (pydantic, from the same classes) does; a test compares the two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from spg99.bridges.shared.unknown import Unknown, has_unknown
from spg99.patterns import mismatch
from spg99.shapes import EXACT_WHOLE_NUMBER_MAX, TEXT_CHARACTERS_MAX, Field, Type

if TYPE_CHECKING:
    from datetime import datetime

SHOWN_CHARACTERS_MAX = 60

Path = tuple[str | int, ...]
Spelling = Callable[[str], str]


class Failure(NamedTuple):
    """One thing that is wrong with what the user wrote."""

    path: Path
    """Field, then keys and positions inside it; empty when no field is to blame."""
    reason: str
    """What is wrong, what is allowed, what was given; never a secret."""


def failures_in(type_: Type, value: Any, path: Path, *, secret: bool, spelling: Spelling) -> Iterator[Failure]:
    """All that is wrong with a value of this type. What is unknown in it, at any depth, is left for later."""
    if isinstance(value, Unknown):
        return
    kind = type_.kind
    if kind == "list" and isinstance(value, list):
        yield from _bad_size(type_, len(value), path)
        item = type_.of or Type("text")
        for at, held in enumerate(value):
            yield from failures_in(item, held, (*path, at), secret=secret, spelling=spelling)
    elif kind == "map" and isinstance(value, dict):
        yield from _bad_size(type_, len(value), path)
        item = type_.of or Type("text")
        for key, held in value.items():
            yield from failures_in(item, held, (*path, str(key)), secret=secret, spelling=spelling)
    elif kind == "object" and isinstance(value, dict):
        yield from _failures_in_object(type_, value, path, secret=secret, spelling=spelling)
    elif (reason := _bad_plain(type_, value)) is not None:
        yield Failure(path, reason if secret else reason + _given(value))


def _failures_in_object(
    type_: Type, value: dict[str, Any], path: Path, *, secret: bool, spelling: Spelling
) -> Iterator[Failure]:
    fields = {field.name: field for field in type_.fields}
    for name in value:
        if name not in fields:
            yield Failure((*path, name), f"there is no such field{suggestion(name, map(spelling, fields))}")
    for name, field in fields.items():
        held = value.get(name)
        if held is not None:
            inner = secret or field.secret
            yield from failures_in(field.type, held, (*path, name), secret=inner, spelling=spelling)
        elif field.required and not (field.nullable and name in value):
            yield Failure((*path, name), "is required")


def suggestion(name: str, known: Any) -> str:
    """What a misspelt name may have meant, or all that there is."""
    from difflib import get_close_matches  # start time: only a misspelt name needs it

    names = list(known)
    close = get_close_matches(name, names, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; there are: {', '.join(names)}"


def _bad_size(type_: Type, count: int, path: Path) -> Iterator[Failure]:
    what = "items" if type_.kind == "list" else "entries"
    if type_.min_length is not None and count < type_.min_length:
        yield Failure(path, f"must have at least {type_.min_length} {what}, not {count}")
    if type_.max_length is not None and count > type_.max_length:
        yield Failure(path, f"must have at most {type_.max_length} {what}, not {count}")


_WANTED = {
    "text": "must be text",
    "enum": "must be text",
    "whole": "must be a whole number",
    "number": "must be a number",
    "flag": "must be true or false",
    "time": "must be a time as text, such as 2026-01-31T12:00:00Z",
    "list": "must be a list",
    "map": "must be a map",
    "object": "must be an object",
}


def _bad_plain(type_: Type, value: Any) -> str | None:
    kind = type_.kind
    if kind == "flag":
        return None if isinstance(value, bool) else _WANTED[kind]
    if kind == "whole" or kind == "number":
        return _bad_number(type_, value)
    if not isinstance(value, str) or kind in ("list", "map", "object"):
        return _WANTED[kind]
    if kind == "enum":
        allowed = [member.value for member in type_.values]
        return None if value in allowed else f"must be one of {', '.join(allowed)}"
    if kind == "time":
        return None if moment(value) is not None else "must be a time with its zone, such as 2026-01-31T12:00:00Z"
    return _bad_text(type_, value)


def _bad_number(type_: Type, value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _WANTED[type_.kind]
    if isinstance(value, float):
        if type_.kind == "whole":
            return "must be a whole number" + (
                f" of at most {EXACT_WHOLE_NUMBER_MAX} (beyond that this tool's numbers are not exact)"
                if value.is_integer()
                else ""
            )
        if not math.isfinite(value):
            return "must be a finite number"
    if type_.at_least is not None and value < type_.at_least:
        return f"must be at least {type_.at_least}"
    if type_.at_most is not None and value > type_.at_most:
        return f"must be at most {type_.at_most}"
    if type_.above is not None and value <= type_.above:
        return f"must be more than {type_.above}"
    if type_.below is not None and value >= type_.below:
        return f"must be less than {type_.below}"
    return None


def _bad_text(type_: Type, value: str) -> str | None:
    longest = TEXT_CHARACTERS_MAX if type_.max_length is None else type_.max_length
    if type_.min_length is not None and len(value) < type_.min_length:
        return "must not be empty" if type_.min_length == 1 else f"must have at least {type_.min_length} characters"
    if len(value) > longest:
        return f"must have at most {longest} characters"
    if type_.pattern is not None and _compiled(type_.pattern).search(value) is None:
        return mismatch(type_.pattern, value)
    return None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    # The API's engine takes $ for the very end; Python's would let a line break follow.
    if pattern.endswith("$") and not pattern.endswith("\\$"):
        pattern = pattern[:-1] + r"\Z"
    return re.compile(pattern)


def _given(value: Any) -> str:
    """What was given, to go behind what is allowed; nothing when that would be long."""
    if isinstance(value, bool | int | float | str):
        import json  # with datetime below, two milliseconds of a start, for what most declarations never come to

        text = json.dumps(value, ensure_ascii=False)
        return f", not {text}" if len(text) <= SHOWN_CHARACTERS_MAX else ""
    if value is None:
        return ", not null"
    kinds: dict[type, str] = {list: "a list", dict: "a map"}
    return f", not {kinds[type(value)]}" if type(value) in kinds else ", not a file or another kind of value"


@cache
def _time() -> re.Pattern[str]:
    return re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]([01]\d|2[0-3]):?[0-5]\d)", re.ASCII)


def moment(text: Any) -> datetime | None:
    """The instant that an RFC 3339 time means; None when it is none or has no zone."""
    if not isinstance(text, str) or _time().fullmatch(text) is None:
        return None
    from datetime import datetime  # start time, as json above

    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None


def whole(value: Any) -> Any:
    """`value` with 300.0 as 300, at every depth: the wire of some tools knows only doubles."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_WHOLE_NUMBER_MAX:
        return int(value)
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [whole(item) for item in value]
    return value


def without_nulls(type_: Type, value: Any) -> Any:
    """`value` with the fields of its objects left out that are null: a tool's word for "not written"."""
    if type_.kind == "object" and isinstance(value, dict):
        kinds = {field.name: field.type for field in type_.fields}
        return {
            name: without_nulls(kinds[name], item) if name in kinds else item
            for name, item in value.items()
            if item is not None
        }
    if type_.of is not None and type_.of.kind in ("object", "list", "map"):
        if isinstance(value, list):
            return [without_nulls(type_.of, item) for item in value]
        if isinstance(value, dict):
            return {key: without_nulls(type_.of, item) for key, item in value.items()}
    return value


def same(type_: Type, one: Any, other: Any) -> bool:
    """Whether two values of this type mean the same: 2026-01-01T00:00:00Z is 2026-01-01T01:00:00+01:00.

    Null and empty differ; a field of an object that is left out equals its default.
    """
    if one is None or other is None:
        return one is other
    if has_unknown(one) or has_unknown(other):
        return False
    kind = type_.kind
    if kind == "time":
        first, second = moment(one), moment(other)
        return bool(one == other) if first is None or second is None else first == second
    if kind == "list" and isinstance(one, list) and isinstance(other, list):
        item = type_.of or Type("text")
        if type_.unordered:
            return _all_in(item, one, other) and _all_in(item, other, one)
        return len(one) == len(other) and all(same(item, a, b) for a, b in zip(one, other, strict=True))
    if kind == "map" and isinstance(one, dict) and isinstance(other, dict):
        item = type_.of or Type("text")
        return one.keys() == other.keys() and all(same(item, one[key], other[key]) for key in one)
    if kind == "object" and isinstance(one, dict) and isinstance(other, dict):
        return _same_objects(type_.fields, one, other)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _all_in(item: Type, some: list[Any], others: list[Any]) -> bool:
    return all(any(same(item, one, other) for other in others) for one in some)


def canonical(type_: Type, value: Any) -> Any:
    """The one form of what means the same, as it is sent: a list that is a set sorted and without repetitions."""
    if type_.kind == "list" and isinstance(value, list):
        items = [canonical(type_.of or Type("text"), item) for item in value]
        if not type_.unordered:
            return items
        once: list[Any] = []
        for item in items:
            if not any(same(type_.of or Type("text"), item, known) for known in once):
                once.append(item)
        return sorted(once, key=repr)
    if type_.kind == "map" and isinstance(value, dict):
        return {key: canonical(type_.of or Type("text"), item) for key, item in value.items()}
    if type_.kind == "object" and isinstance(value, dict):
        fields = {field.name: field.type for field in type_.fields}
        return {key: canonical(fields[key], item) if key in fields else item for key, item in value.items()}
    return value


def _same_objects(fields: tuple[Field, ...], one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    def held(values: Mapping[str, Any], field: Field) -> Any:
        found = values.get(field.name)
        return field.default if found is None else found

    return all(field.volatile or same(field.type, held(one, field), held(other, field)) for field in fields)
