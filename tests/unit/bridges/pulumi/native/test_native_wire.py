"""Property values on the wire: every form comes in, and goes out as Pulumi writes it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as some

from kit.examples import examples
from spg99.bridges.pulumi.native.messages import message
from spg99.bridges.pulumi.native.wire import (
    OUTPUT,
    REFERENCE,
    SECRET,
    SIGNATURE,
    UNKNOWN_TEXT,
    UNKNOWN_TEXTS,
    Asset,
    Secret,
    as_secret_as,
    decode,
    encode,
    has_secret,
    revealed,
)
from spg99.bridges.shared.unknown import UNKNOWN


def decoded(values: dict[str, Any]) -> dict[str, Any]:
    theirs = struct_pb2.Struct()
    theirs.update(values)
    return decode(message("Struct").FromString(theirs.SerializeToString()))


def encoded(values: dict[str, Any]) -> struct_pb2.Struct:
    return struct_pb2.Struct.FromString(encode(values).SerializeToString())


@pytest.mark.parametrize("text", sorted(UNKNOWN_TEXTS))
def test_each_of_the_seven_unknown_texts_is_unknown(text: str) -> None:
    assert len(UNKNOWN_TEXTS) == 7
    found = decoded({"a": text, "b": [text], "c": {"d": {SIGNATURE: SECRET, "value": text}}})
    assert found == {"a": UNKNOWN, "b": [UNKNOWN], "c": {"d": Secret(UNKNOWN)}}


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        ({SIGNATURE: OUTPUT, "value": "x"}, "x"),
        ({SIGNATURE: OUTPUT}, UNKNOWN),
        ({SIGNATURE: OUTPUT, "secret": True}, Secret(UNKNOWN)),
        ({SIGNATURE: OUTPUT, "value": "x", "secret": True, "dependencies": ["urn"]}, Secret("x")),
        ({SIGNATURE: OUTPUT, "value": {SIGNATURE: SECRET, "value": "x"}, "secret": True}, Secret("x")),
        ({SIGNATURE: SECRET, "value": {SIGNATURE: SECRET, "value": "x"}}, Secret("x")),
        ({SIGNATURE: REFERENCE, "urn": "u", "id": "top/lamp"}, "top/lamp"),
        ({SIGNATURE: REFERENCE, "urn": "u", "id": ""}, UNKNOWN),
        ({SIGNATURE: REFERENCE, "urn": "u", "id": UNKNOWN_TEXT}, UNKNOWN),
        ({SIGNATURE: REFERENCE, "urn": "u"}, "u"),
        ({SIGNATURE: "c44067f5952c0a294b673a41bacd8c17", "path": "/x"}, Asset("file asset")),
        (5, 5),
        (2**53, 2**53),
        (1.5, 1.5),
        (None, None),
        ({}, {}),
        ([], []),
    ],
)
def test_every_form_of_a_value_is_understood(wire: Any, value: Any) -> None:
    found = decoded({"a": wire})["a"]
    assert found == value and type(found) is type(value)


plain = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**53), 2**53) | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
)


@settings(max_examples=examples(40), deadline=None)
@given(some.dictionaries(some.text(), plain))
def test_what_goes_out_comes_back(values: dict[str, Any]) -> None:
    assert decoded(dict(encoded(values))) == values == decode(encode(values))


def test_secrets_and_unknowns_go_out_as_pulumi_writes_them() -> None:
    theirs = struct_pb2.Struct()
    theirs.update({"a": {SIGNATURE: SECRET, "value": [UNKNOWN_TEXT]}, "b": UNKNOWN_TEXT})
    assert encoded({"a": Secret([UNKNOWN]), "b": UNKNOWN}) == theirs
    with pytest.raises(TypeError):
        encode({"a": object()})


def test_secrecy_is_put_back_where_it_was() -> None:
    pattern = {"a": Secret("x"), "b": {"c": Secret(1), "d": 2}, "e": [1, Secret(2)]}
    marked = as_secret_as({"a": "y", "b": {"c": 5, "d": 6, "f": 7}, "e": [3, 4]}, pattern)
    assert marked == {"a": Secret("y"), "b": {"c": Secret(5), "d": 6, "f": 7}, "e": [3, Secret(4)]}
    assert as_secret_as([1], [1, Secret(2)]) == Secret([1]), "another shape: the whole is secret"
    assert revealed(marked) == {"a": "y", "b": {"c": 5, "d": 6, "f": 7}, "e": [3, 4]}
    assert has_secret(marked) and not has_secret(revealed(marked))
    assert "x" not in repr(Secret("x"))
