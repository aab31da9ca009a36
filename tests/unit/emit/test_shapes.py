"""From classes to shapes, and from shapes to the file that bridges load: nothing is lost on the way."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import pytest
from pydantic import Field

from proof.gadget import GADGET, PACKAGE, Gadget
from spg99.emit.package import package
from spg99.emit.shapes import field_of, noun_of, prepared
from spg99.resources import NOUNS, READS, Mark, Resource, Spec, marks_of
from spg99.shapes import Noun, Package


def loaded(text: str) -> Package:
    space: dict[str, Any] = {}
    exec(compile(text, "prepared", "exec"), space)
    found: Package = space["PACKAGE"]
    return found


@pytest.mark.parametrize("which", [package(), PACKAGE], ids=["ours", "proof"])
def test_what_is_written_down_is_what_was_derived(which: Package) -> None:
    text = prepared(which)
    assert loaded(text) == which and prepared(loaded(text)) == text
    assert all(type(a) is type(b) for a, b in zip(loaded(text).nouns[0], which.nouns[0], strict=True))


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("name", "text", {"required": True, "immutable": True, "examples": ("lamp",)}),
        ("amount", "whole", {"required": False, "default": 3, "nullable": False}),
        ("ratio", "number", {"default": 0.5}),
        ("is_on", "flag", {"default": False}),
        ("color", "enum", {"default": "red"}),
        ("tags", "list", {"default": [], "nullable": False}),
        ("labels", "map", {"default": {}}),
        ("limits", "object", {"nullable": True, "default": None}),
        ("steps", "list", {"default": []}),
        ("by_zone", "map", {"default": {}}),
        ("note", "text", {"nullable": True, "secret": False}),
        ("until", "time", {"nullable": True}),
        ("material", "text", {"immutable": True, "default": "steel"}),
        ("old_mode", "text", {"deprecated": "Use `is_on` instead."}),
        ("pin", "text", {"secret": True, "nullable": True}),
    ],
)
def test_each_kind_of_field(name: str, kind: str, expected: dict[str, Any]) -> None:
    field = GADGET.input_fields()[name]
    assert field.type.kind == kind and field.description
    assert {key: getattr(field, key) for key in expected} == expected


def test_bounds_and_what_is_inside() -> None:
    fields = GADGET.input_fields()
    assert (fields["amount"].type.at_least, fields["amount"].type.at_most) == (0, 1000)
    assert (fields["ratio"].type.above, fields["ratio"].type.below) == (0, 10)
    assert (fields["note"].type.max_length, fields["tags"].type.max_length) == (200, 5)
    assert fields["name"].type.pattern == "^[a-z][a-z0-9-]{0,30}$"
    color = fields["color"].type
    assert [(member.value, member.description) for member in color.values] == [
        ("red", "Like a fire engine."),
        ("blue", "Like the sky."),
    ]
    limits = fields["limits"].type
    for held in (limits, fields["steps"].type.of, fields["by_zone"].type.of):
        assert held == limits and [field.name for field in held.fields] == ["max_items", "color"]
    assert limits.fields[0].required and limits.fields[0].type.at_least == 1 and limits.fields[1].default == "red"


def test_what_stands_where() -> None:
    assert [field.name for field in GADGET.write_only()] == ["pass_phrase"]
    assert GADGET.secrets() == {"pin", "pass_phrase", "token", "recovery_code"}
    outputs = GADGET.output_fields()
    assert "pass_phrase" not in outputs and outputs["pass_phrase_version"].moved_by == ("pass_phrase",)
    assert outputs["uses"].volatile and not outputs["created_at"].volatile
    assert (GADGET.protected_by, GADGET.holds_data, GADGET.has_name()) == ("deletion_protection", True, True)
    assert GADGET.settled_states == {"ready"} and GADGET.gone_states == {"deleting"}
    assert GADGET.rules == ("proof.gadget:red_gadgets_are_few", "proof.gadget:until_needs_a_note")
    assert GADGET.path_fields() == ("shelf",) and GADGET.id_values("top/lamp") == {"shelf": "top", "name": "lamp"}


@pytest.mark.parametrize("noun", [*NOUNS, Gadget], ids=lambda noun: noun.NOUN)
def test_a_shape_says_what_the_class_says(noun: type[Resource]) -> None:
    shape = noun_of(noun)
    assert [field.name for field in shape.inputs] == list(noun.inputs())
    assert [field.name for field in shape.outputs] == list(noun.outputs())
    for field in (*shape.inputs, *shape.outputs):
        info = noun.outputs().get(field.name) or noun.inputs()[field.name]
        marks = {
            Mark.IMMUTABLE: field.immutable,
            Mark.SECRET: field.secret,
            Mark.VOLATILE: field.volatile,
            Mark.UNORDERED: field.type.unordered,
        }
        assert {mark for mark, is_set in marks.items() if is_set} == marks_of(info), field.name
        assert field.description, f"{field.name} has no description"
    assert set(shape.id_fields()) <= {field.name for field in shape.outputs}
    assert shape.uid_field in shape.output_fields()
    assert shape.settled_states <= {member.value for member in _state(shape)}


def _state(shape: Noun) -> Any:
    field = shape.output_named("state")
    return () if field is None else field.type.values


def test_every_part_of_the_package_is_described_and_can_be_called() -> None:
    ours = package()
    assert [noun.title for noun in (*ours.nouns, *ours.reads)] == [cls.__name__ for cls in (*NOUNS, *READS)]
    for ephemeral in ours.ephemerals:
        for reference in filter(None, (ephemeral.open, ephemeral.close)):
            module, _, name = reference.partition(":")
            __import__(module)
            assert callable(getattr(sys.modules[module], name))
        assert {field.name for field in ephemeral.inputs} <= {field.name for field in ephemeral.outputs}
        assert all(field.description for field in (*ephemeral.inputs, *ephemeral.outputs)) and ephemeral.description
    for function in ours.functions:
        assert function.summary and function.description and all(each.description for each in function.parameters)


class _Odd(Spec):
    RULES: ClassVar[tuple[Any, ...]] = ()

    either: int | str = 1
    """Two types."""
    pairs: dict[int, str] = Field(default_factory=dict)
    """Keys that are no text."""
    raw: bytes = b""
    """No kind of ours."""


@pytest.mark.parametrize("name", list(_Odd.model_fields))
def test_what_no_bridge_could_carry_is_refused_when_files_are_made(name: str) -> None:
    with pytest.raises(TypeError, match="several types|must be text|no bridge can carry"):
        field_of(name, _Odd.model_fields[name])
