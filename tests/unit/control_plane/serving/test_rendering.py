"""What the API answers without making a model is what the model would answer: every noun, to the byte."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin

import pytest
from pydantic import AwareDatetime, BaseModel
from pydantic_core import to_json

from spg99.control_plane.identity import keys
from spg99.control_plane.serving import rendering
from spg99.control_plane.serving.answers import Answer
from spg99.control_plane.tenants.credential_routes import CredentialsAnswer
from spg99.resources import NOUNS, READS, ApiKey, Permission

SHAPES = (*NOUNS, *READS, CredentialsAnswer)
MOMENTS = (
    datetime(2026, 7, 1, 12, 30, 5, 120_000, tzinfo=UTC),
    datetime(2026, 7, 1, 12, 30, tzinfo=UTC),
    datetime(999, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 7, 1, 12, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
)
TEXTS = ("plain", 'quote " and \\ and / and \x7f', "äöü \u2028 \U0001f418 \n\t\x01", "")


def values_of(annotation: Any, round_: int) -> Any:
    """A value of this type, another in every round."""
    if get_origin(annotation) is list:
        return [values_of(get_args(annotation)[0], round_ + n) for n in range(round_ % 3)]
    inner = [a for a in get_args(annotation) if a is not NoneType]
    if inner:
        return values_of(inner[0], round_)
    if annotation in (datetime, AwareDatetime):
        return MOMENTS[round_ % len(MOMENTS)]
    if annotation is bool:
        return round_ % 2 == 0
    if annotation is int:
        return (0, -1, 2**63 - 1)[round_ % 3]
    if annotation is str:
        return TEXTS[round_ % len(TEXTS)]
    if issubclass(annotation, Enum):
        return list(annotation)[round_ % len(annotation)]
    raise AssertionError(f"no value for {annotation}: rendering.py has to know it too")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_a_noun_is_answered_as_its_model_would(shape: type[BaseModel]) -> None:
    for round_ in range(12):
        values = {name: values_of(field.annotation, round_) for name, field in shape.model_fields.items()}
        model = shape.model_construct(**values)
        shown = rendering.as_json(shape, {**values, "of no field": 1})
        assert to_json(shown) == model.model_dump_json().encode() == Answer(200, shown).body_bytes()
        assert list(shown) == list(shape.model_fields)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_what_has_a_default_may_be_missing_and_all_else_may_not(shape: type[BaseModel]) -> None:
    fields = shape.model_fields
    required = {name: values_of(field.annotation, 1) for name, field in fields.items() if field.is_required()}
    assert to_json(rendering.as_json(shape, required)) == shape.model_construct(**required).model_dump_json().encode()
    for name in required:
        with pytest.raises(KeyError, match=name):
            rendering.as_json(shape, {n: v for n, v in required.items() if n != name})


def test_rows_hold_texts_where_models_hold_members() -> None:
    row = keys.KeyRow(
        **dict.fromkeys(keys.KeyRow.__dataclass_fields__) | {"permissions": ["can_scale"], "scope": "account"}
    )
    moment = MOMENTS[0]
    shown = rendering.as_json(ApiKey, {**vars(row), "key_id": "key_1", "name": "ci", "created_at": moment})
    assert shown["permissions"] == [Permission.CAN_SCALE] and shown["scope"] == "account"
    assert shown == ApiKey.model_validate(shown).model_dump(mode="json")
