"""Bodies of requests: JSON in, a checked Spec or changes out, every complaint on its field. Not here: what is done with them.

What may stand in a body derives from resources/: create = the Spec without the fields in the path; PATCH = its fields that
may change. Types are strict: "5" is no number and 1 is not true.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from spg99.errors import BadRequest
from spg99.patterns import mismatch
from spg99.resources import Mark, Resource, Spec

M = TypeVar("M", bound=BaseModel)
DEPTH_MAX = 32


async def json_object(request: Request, *, optional: bool = False) -> dict[str, Any]:
    """The body as a JSON object; with `optional` an empty body is `{}`. Raises BadRequest with what is wrong."""
    raw = await request.body()
    if optional and not raw.strip():
        return {}
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise BadRequest("The body must be JSON: send it with the header Content-Type: application/json.")
    return parse_object(raw)


async def nothing(request: Request) -> dict[str, Any]:
    """The body of a call that takes none: empty or `{}`. Raises BadRequest when it names anything."""
    body = await json_object(request, optional=True)
    if body:
        raise BadRequest("This call takes no fields.", fields=dict.fromkeys(body, "unknown field"))
    return body


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object from bytes. Whole numbers stay whole (`5.0` is 5). Raises BadRequest."""
    try:
        value = json.loads(
            raw.decode(), parse_float=_number, parse_constant=_no_constant, object_pairs_hook=_no_repeats
        )
    except UnicodeDecodeError:
        raise BadRequest("The body is not valid UTF-8.") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    except ValueError as error:
        raise BadRequest(f"The body is not valid JSON: {_short(error)}.") from None
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object: {...}.")
    _check_texts(value, "", 0)
    return value


def spec_of(noun: type[Resource], body: Mapping[str, Any], path_values: Mapping[str, str]) -> Spec:
    """The checked Spec of a create. Raises BadRequest with every bad field at once."""
    allowed = frozenset(noun.inputs()) - noun.path_fields()
    return _checked(noun, {**body, **path_values}, _refused(body, allowed, noun))


def changes_of(
    noun: type[Resource], body: Mapping[str, Any], current: Mapping[str, Any]
) -> tuple[Spec, dict[str, Any]]:
    """The whole Spec after a PATCH, and only what the body names. Raises BadRequest with every bad field at once."""
    refused = _refused(body, changeable(noun), noun)
    accepted = {name: value for name, value in body.items() if name not in refused}
    spec = _checked(noun, {**current, **accepted}, refused)
    return spec, {name: getattr(spec, name) for name in accepted}


def shape_of(kind: type[M], body: Mapping[str, Any]) -> M:
    """A body that is no resource, checked. Raises BadRequest with every bad field at once."""
    unknown = {name: suggestion(name, kind.model_fields) for name in body if name not in kind.model_fields}
    if unknown:
        raise BadRequest("The request names fields that do not exist.", fields=unknown)
    return _validated(kind, body)


def changeable(noun: type[Resource]) -> frozenset[str]:
    """Fields a PATCH may name."""
    return frozenset(noun.inputs()) - noun.marked(Mark.IMMUTABLE) - noun.path_fields()


def _refused(body: Mapping[str, Any], allowed: frozenset[str], noun: type[Resource]) -> dict[str, str]:
    refused = {}
    for name in body.keys() - allowed:
        if name in noun.path_fields():
            refused[name] = "stands in the path, not in the body"
        elif name in noun.inputs():
            refused[name] = f"cannot be changed: a {noun.NOUN} with another value is another {noun.NOUN}"
        elif name in noun.outputs():
            refused[name] = "is set by the system"
        else:
            refused[name] = suggestion(name, allowed)
    return refused


def _checked(noun: type[Resource], values: Mapping[str, Any], refused: dict[str, str]) -> Spec:
    """The Spec of these values; what was refused already and what is not valid are told together."""
    known = {name: value for name, value in values.items() if name in noun.inputs()}
    try:
        spec: Spec = _validated(noun.SPEC, known)
    except BadRequest as error:
        raise BadRequest(error.message, fields=refused | error.fields) from None
    if refused:
        raise BadRequest("The request names fields that it must not set.", fields=refused)
    return spec


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """What to say of a field that does not exist."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f"unknown field; did you mean '{close[0]}'?" if close else "unknown field"


def _validated(kind: type[M], values: Mapping[str, Any]) -> M:
    try:
        # As JSON, because only there strict means: a string may be an enum's value or a time, but not a number.
        return kind.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise BadRequest("A field has a value that is not allowed.", fields=_fields_of(error)) from None


def _fields_of(error: ValidationError) -> dict[str, str]:
    fields: dict[str, str] = {}
    for one in error.errors(include_url=False):
        path = ".".join(map(str, one["loc"]))
        message = said(one)
        if one["type"] == "value_error" and not path:
            # A rule over several fields names its field itself: "size: must lie between ...".
            path, _, message = str(one.get("ctx", {}).get("error", message)).partition(": ")
        fields.setdefault(path or "body", message or one["msg"])
    return fields


def said(complaint: Mapping[str, Any]) -> str:
    """What a model complains of, for people: the sentence of a pattern in place of the pattern."""
    if complaint["type"] == "string_pattern_mismatch":
        return mismatch(str(complaint["ctx"]["pattern"]), str(complaint["input"]))
    return str(complaint["msg"])


def _check_texts(value: Any, path: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise BadRequest("The body is nested too deeply.")
    if isinstance(value, str):
        if "\x00" in value:
            raise BadRequest("A field has a value that is not allowed.", fields={path: "must not hold a NUL character"})
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise BadRequest("A field has a value that is not allowed.", fields={path: "is not valid Unicode"})
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_texts(name, path or "body", depth + 1)
            _check_texts(inner, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_texts(inner, f"{path}.{index}", depth + 1)


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name '{next(n for n in names if names.count(n) > 1)[:100]}' stands twice")
    return found


def _short(error: ValueError) -> str:
    return str(error)[:200].rstrip(".")
