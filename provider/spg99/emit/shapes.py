"""From the classes in resources/ to the plain tables of shapes.py, and to `spg99/prepared.py`, where they are written down.

Here: reading pydantic fields. Not here: what a tool makes of a shape (bridges/), any fact about a noun (resources/).
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from spg99.emit.names import plural
from spg99.resources import Mark, Resource, marks_of
from spg99.resources.fields import moved_by_of
from spg99.shapes import EnumValue, Field, Noun, Package, Seconds, Type

OUTPUT = Path(__file__).parent.parent / "prepared.py"

_BOUNDS = {
    "ge": "at_least",
    "le": "at_most",
    "gt": "above",
    "lt": "below",
    "min_length": "min_length",
    "max_length": "max_length",
    "pattern": "pattern",
}


def noun_of(cls: type[Resource]) -> Noun:
    """The shape of a noun. Raises TypeError for a field of a type that no bridge could carry."""
    inputs = getattr(cls, "SPEC", None)
    return Noun(
        noun=cls.NOUN,
        title=cls.__name__,
        plural=plural(cls.NOUN) if cls.LISTED else "",
        description=sentence(cls.__doc__),
        inputs=fields_of(inputs) if inputs is not None else (),
        outputs=fields_of(cls),
        collection_path=cls.COLLECTION_PATH,
        item_path=cls.ITEM_PATH,
        id_format=cls.ID_FORMAT,
        uid_field=cls.UID_FIELD,
        holds_data=cls.HOLDS_DATA,
        force_delete=cls.FORCE_DELETE,
        protected_by=cls.PROTECTED_BY,
        settled_states=frozenset(map(str, cls.SETTLED_STATES)),
        failed_states=frozenset(map(str, cls.FAILED_STATES)),
        gone_states=frozenset(map(str, cls.GONE_STATES)),
        filters=cls.FILTERS,
        seconds=Seconds(create=cls.CREATE_SECONDS, update=cls.CREATE_SECONDS, delete=cls.CREATE_SECONDS),
        rules=tuple(f"{rule.__module__}:{rule.__qualname__}" for rule in inputs.RULES) if inputs is not None else (),
        schema_version=cls.SCHEMA_VERSION,
    )


NO_ORDER = " Order and repetition have no meaning."


def fields_of(model: type[BaseModel]) -> tuple[Field, ...]:
    """The fields of a model, in its order."""
    return tuple(field_of(name, info) for name, info in model.model_fields.items() if not info.exclude)


def field_of(name: str, info: FieldInfo) -> Field:
    """One field."""
    type_, nullable = _type(info.annotation)
    marks = marks_of(info)
    default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
    deprecated = info.deprecated if isinstance(info.deprecated, str) else None
    return Field(
        name=name,
        type=type_._replace(**_bounds(info.metadata)),
        description=sentence(info.description) + (NO_ORDER if Mark.UNORDERED in marks else ""),
        required=info.is_required(),
        nullable=nullable,
        default=to_jsonable_python(default),
        immutable=Mark.IMMUTABLE in marks,
        secret=Mark.SECRET in marks,
        volatile=Mark.VOLATILE in marks,
        deprecated=deprecated,
        examples=tuple(to_jsonable_python(info.examples or [])),
        moved_by=moved_by_of(info),
    )


def sentence(doc: str | None) -> str:
    """A docstring as one paragraph a line."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(doc or "").split("\n\n"))


def _bounds(metadata: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in metadata:
        if item is Mark.UNORDERED:
            found["unordered"] = True
        for theirs, ours in _BOUNDS.items():
            value = getattr(item, theirs, None)
            if value is not None:
                found[ours] = value
    return found


def _type(annotation: Any) -> tuple[Type, bool]:
    """A type, and whether null belongs to it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        members = [argument for argument in arguments if argument is not NoneType]
        if len(members) != 1:
            raise TypeError(f"a field of several types ({annotation}) cannot be carried by every bridge")
        return _type(members[0])[0], NoneType in arguments
    if origin is Annotated:
        inner, nullable = _type(arguments[0])
        metadata: list[Any] = []
        for item in arguments[1:]:
            metadata += item.metadata if isinstance(item, FieldInfo) else [item]
        return inner._replace(**_bounds(metadata)), nullable
    if origin is list:
        return Type("list", of=_type(arguments[0])[0]), False
    if origin is dict:
        if arguments[0] is not str:
            raise TypeError(f"the keys of a map must be text ({annotation})")
        return Type("map", of=_type(arguments[1])[0]), False
    return _plain(annotation), False


def _plain(annotation: Any) -> Type:
    known: dict[Any, Type] = {
        str: Type("text"),
        bool: Type("flag"),
        int: Type("whole"),
        float: Type("number"),
        datetime: Type("time"),
    }
    if annotation in known:
        return known[annotation]
    name = getattr(annotation, "__name__", "")
    if name in ("AwareDatetime", "NaiveDatetime"):
        return Type("time")
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        docs = _docs_of_members(annotation)
        values = tuple(EnumValue(str(member.value), docs.get(member.name, "")) for member in annotation)
        return Type("enum", name=name, description=sentence(annotation.__doc__), values=values)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Type("object", name=name, description=sentence(annotation.__doc__), fields=fields_of(annotation))
    raise TypeError(f"no bridge can carry a value of type {annotation}")


def _docs_of_members(enum: type[Enum]) -> dict[str, str]:
    """The docstring under each member, from the source: Python itself throws them away."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(enum)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = getattr(tree.body[0], "body", [])
    found = {}
    for statement, below in itertools.pairwise(body):
        if (
            isinstance(statement, ast.Assign)
            and isinstance(statement.targets[0], ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            found[statement.targets[0].id] = sentence(str(below.value.value))
    return found


_HEAD = '''# Generated by `make generate` from spg99/resources. Edits are lost.
"""What bridges offer, written down so that it loads in a millisecond. Here: facts. Not here: where they come from (emit/shapes.py)."""

# fmt: off
# ruff: noqa
from spg99.shapes import Ephemeral, EnumValue, Field, Function, Noun, Package, Parameter, Seconds, Type

'''


def prepared(package: Any) -> str:
    """The text of a module that holds this Package as `PACKAGE`."""
    return f"{_HEAD}PACKAGE = {_written(package, 0)}\n"


def _written(value: Any, depth: int) -> str:
    """A value as Python source, without what equals its default; stable, so that a second run changes no byte."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        defaults: dict[str, Any] = getattr(value, "_field_defaults", {})
        given = [
            f"{name}={_written(item, depth + 1)}"
            for name, item in zip(value._fields, value, strict=True)
            if not (name in defaults and defaults[name] == item and type(defaults[name]) is type(item))
        ]
        name = type(value).__name__
        if not isinstance(value, Package | Noun):
            return f"{name}({', '.join(given)})"
        lead = "\n" + "  " * (depth + 1)
        return f"{name}({lead}{f',{lead}'.join(given)})"
    if isinstance(value, tuple):
        lead = "\n" + "  " * (depth + 1) if value and isinstance(value[0], tuple) else ""
        return "(" + "".join(f"{lead}{_written(item, depth + 1)}," for item in value) + ")"
    if isinstance(value, frozenset):
        return f"frozenset({sorted(value)!r})" if value else "frozenset()"
    return repr(value)
