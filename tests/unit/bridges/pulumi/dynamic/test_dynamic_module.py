"""The generated module `spg99.dynamic`: up to date, typed as the model says, and light to import."""

from __future__ import annotations

import subprocess
import sys

import pulumi
import pytest

import spg99.dynamic
from spg99.emit import dynamic as emitter
from spg99.prepared import PACKAGE
from spg99.shapes import Noun
from unit.bridges.shared.everything import THING


def test_the_file_is_what_the_model_says() -> None:
    assert emitter.OUTPUT.read_text() == emitter.module(), "run `make generate`"


def test_it_imports_neither_the_model_nor_http() -> None:
    heavy = ("pydantic", "httpx", "spg99.resources", "spg99.client")
    code = f"import sys, spg99.dynamic; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("noun", PACKAGE.nouns, ids=lambda noun: noun.noun)
def test_every_noun_has_a_class_with_every_output(noun: Noun) -> None:
    kind = getattr(spg99.dynamic, noun.title)
    assert issubclass(kind, pulumi.CustomResource)
    assert set(kind.OUTPUTS) == {field.name for field in noun.outputs}
    assert set(kind.SECRETS) == {field.name for field in noun.outputs if field.secret}
    assert set(kind.SECRET_INPUTS) == {field.name for field in noun.inputs if field.secret}
    assert f"pulumi-python:dynamic/spg99:{noun.title}" == kind.TYPE


@pytest.mark.parametrize(
    ("field", "as_input", "as_output"),
    [
        ("name", "str", "str"),
        ("count", "int", "int"),
        ("ratio", "float", "float"),
        ("is_on", "bool", "bool"),
        ("color", 'Union[Literal["red", "blue"], str]', "str"),
        ("tags", "Sequence[pulumi.Input[str]]", "List[str]"),
        ("labels", "Dict[str, pulumi.Input[str]]", "Dict[str, str]"),
        ("limits", "Dict[str, Any]", "Optional[Dict[str, Any]]"),
        ("pass_phrase", "str", "Optional[str]"),
        ("until", "str", "Optional[str]"),
    ],
)
def test_types_of_every_kind_of_field(field: str, as_input: str, as_output: str) -> None:
    assert emitter.input_type(THING.input_fields()[field].type) == as_input
    assert emitter.output_type(THING.output_fields()[field]) == as_output
