"""The table-driven codec against Google's: the same bytes, the same messages, and a clean error for every broken byte."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from tfplugin import interface, messages
from tfplugin.protobuf import BadMessage, Codec

_F = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"string": _F.TYPE_STRING, "bytes": _F.TYPE_BYTES, "bool": _F.TYPE_BOOL, "int64": _F.TYPE_INT64}


def flat(name: str) -> str:
    return name.replace(".", "_")


def oracle() -> dict[str, type[Message]]:
    """Every table as a class of google.protobuf, from descriptors built of the same tables."""
    file = descriptor_pb2.FileDescriptorProto(name="oracle.proto", package="oracle", syntax="proto3")
    for name in messages.TABLES:
        made = file.message_type.add(name=flat(name))
        for field in messages.CODEC.fields(name).values():
            added = made.field.add(name=field.name, number=field.number)
            added.label = _F.LABEL_REPEATED if field.label in ("*", "%") else _F.LABEL_OPTIONAL
            kind, type_name = _SCALARS.get(field.kind, _F.TYPE_MESSAGE), f".oracle.{flat(field.kind)}"
            if field.label == "%":
                entry = made.nested_type.add(name="".join(part.title() for part in field.name.split("_")) + "Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, type=_F.TYPE_STRING, label=_F.LABEL_OPTIONAL)
                value = entry.field.add(name="value", number=2, type=kind, label=_F.LABEL_OPTIONAL)
                if kind == _F.TYPE_MESSAGE:
                    value.type_name = type_name
                kind, type_name = _F.TYPE_MESSAGE, f".oracle.{flat(name)}.{entry.name}"
            added.type = kind
            if kind == _F.TYPE_MESSAGE:
                added.type_name = type_name
            elif field.label == "?":
                added.proto3_optional = True
                added.oneof_index = len(made.oneof_decl)
                made.oneof_decl.add(name=f"_{field.name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"oracle.{flat(name)}"))
        for name in messages.TABLES
    }


ORACLE = oracle()


def as_dict(name: str, message: Any) -> dict[str, Any]:
    """A message of the oracle in the form that our codec reads."""
    made: dict[str, Any] = {}
    for field in messages.CODEC.fields(name).values():
        value = getattr(message, field.name)
        if field.label == "%":
            made[field.name] = {
                key: as_dict(field.kind, each) if field.message else each for key, each in value.items()
            }
        elif field.label == "*":
            made[field.name] = [as_dict(field.kind, each) if field.message else each for each in value]
        elif field.message:
            made[field.name] = as_dict(field.kind, value) if message.HasField(field.name) else None
        else:
            made[field.name] = None if field.label == "?" and not message.HasField(field.name) else value
    return made


def fill(name: str, message: Any, values: dict[str, Any]) -> None:
    for field in messages.CODEC.fields(name).values():
        value = values.get(field.name)
        if value is None:
            continue
        target = getattr(message, field.name)
        if field.label == "%":
            for key, each in value.items():
                if field.message:
                    target[key].SetInParent()
                    fill(field.kind, target[key], each)
                else:
                    target[key] = each
        elif field.label == "*":
            for each in value:
                if field.message:
                    fill(field.kind, target.add(), each)
                else:
                    target.append(each)
        elif field.message:
            target.SetInParent()
            fill(field.kind, target, value)
        else:
            setattr(message, field.name, value)


_VALUES = {
    "string": st.text(max_size=8),
    "bytes": st.binary(max_size=8),
    "bool": st.booleans(),
    "int64": st.integers(-(1 << 63), (1 << 63) - 1),
}


def message_of(name: str, depth: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    fields = {}
    for field in messages.CODEC.fields(name).values():
        if field.message and depth == 0:
            continue
        one = message_of(field.kind, depth - 1) if field.message else _VALUES[field.kind]
        if field.label == "%":
            one = st.dictionaries(st.text(max_size=4), one, max_size=2)
        elif field.label == "*":
            one = st.lists(one, max_size=2)
        fields[field.name] = one
    return st.fixed_dictionaries({}, optional=fields)


# One of each shape; the others differ by names and numbers alone, and those are tried by `test_every_table`.
SHAPES = [
    "GetProviderSchema.Response",
    "PlanResourceChange.Response",
    "OpenEphemeralResource.Response",
    "UpgradeResourceState.Request",
]


@pytest.mark.parametrize("name", SHAPES)
def test_writes_and_reads_what_googles_codec_does(name: str) -> None:
    @given(message_of(name))
    def check(values: dict[str, Any]) -> None:
        theirs = ORACLE[name]()
        fill(name, theirs, values)
        ours = messages.encode(name, values)
        assert ORACLE[name].FromString(ours) == theirs
        assert messages.decode(name, theirs.SerializeToString()) == as_dict(name, theirs)

    check()


@pytest.mark.parametrize("name", sorted(messages.TABLES))
def test_every_table_is_understood_by_googles_codec(name: str) -> None:
    """Every field set once, by hand: no table has a wrong line that nobody meets."""

    def sample(kind: str, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for field in messages.CODEC.fields(kind).values():
            if field.message and not depth:
                continue
            one = (
                sample(field.kind, depth - 1)
                if field.message
                else {"string": "é", "bytes": b"\0\xff", "bool": True, "int64": -5}[field.kind]
            )
            made[field.name] = {"key": one} if field.label == "%" else [one, one] if field.label == "*" else one
        return made

    values = sample(name, 3)
    theirs = ORACLE[name].FromString(messages.encode(name, values))
    expected = ORACLE[name]()
    fill(name, expected, values)
    assert theirs == expected
    assert messages.decode(name, expected.SerializeToString()) == as_dict(name, expected)


@given(st.sampled_from(SHAPES), st.binary(max_size=60))
def test_random_bytes_are_read_as_googles_codec_reads_them_or_refused(name: str, data: bytes) -> None:
    try:
        theirs = as_dict(name, ORACLE[name].FromString(data))
    except (DecodeError, UnicodeDecodeError):
        theirs = None
    try:
        ours = messages.decode(name, data)
    except BadMessage:
        ours = None
    # Ours may be stricter or kinder where a tag is broken; where both read, they read the same.
    if ours is not None and theirs is not None:
        assert ours == theirs


def test_every_cut_is_a_clean_error() -> None:
    whole = messages.encode(
        "PlanResourceChange.Request", {"type_name": "a_b", "config": {"msgpack": b"\x80"}, "prior_private": b"xyz"}
    )
    whole_at = set()
    for size in range(len(whole)):
        try:
            messages.decode("PlanResourceChange.Request", whole[:size])
            whole_at.add(size)
        except BadMessage:
            pass
    # Between two fields a cut cannot be seen; anywhere else it must be.
    assert whole_at == {0, 5, 10}


def test_a_message_nested_without_end_is_refused() -> None:
    name = "Schema.Block"
    data = b""
    for _ in range(400):
        data = b"\x12" + _size(data) + data
        data = b"\x1a" + _size(data) + data
    with pytest.raises(BadMessage, match="deeply"):
        messages.decode(name, data)
    with pytest.raises(BadMessage, match="deeply"):
        messages.decode(name, b"\x7b" * 100_000)


def _size(data: bytes) -> bytes:
    from tfplugin.protobuf import varint

    return varint(len(data))


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"new_stat": None}, "no field .'new_stat'"),
        ({"new_state": {"msgpack": "text"}}, "DynamicValue.msgpack is bytes, not str"),
        ({"diagnostics": [{"summary": b"x"}]}, "Diagnostic.summary is text, not bytes"),
        ({"diagnostics": [{"severity": 1 << 63}]}, "Diagnostic.severity is a whole number"),
    ],
)
def test_a_wrong_answer_names_its_field(message: dict[str, Any], said: str) -> None:
    with pytest.raises(BadMessage, match=said):
        messages.encode("ReadResource.Response", message)


def test_a_diagnostic_is_written_with_its_path() -> None:
    told = interface.error("Wrong", "Not so.", path=("settings", 3, interface.Key("a")))
    read = ORACLE["ReadResource.Response"].FromString(messages.encode("ReadResource.Response", {"diagnostics": [told]}))
    (diagnostic,) = read.diagnostics
    assert (diagnostic.severity, diagnostic.summary, diagnostic.detail) == (1, "Wrong", "Not so.")
    steps = [as_dict("AttributePath.Step", step) for step in diagnostic.attribute.steps]
    assert steps == [
        {"attribute_name": "settings", "element_key_string": None, "element_key_int": None},
        {"attribute_name": None, "element_key_string": None, "element_key_int": 3},
        {"attribute_name": None, "element_key_string": "a", "element_key_int": None},
    ]


def test_a_singular_message_in_two_pieces_is_one() -> None:
    codec = Codec({"Outer": "1 inner Inner", "Inner": "1 a int64, 2 b int64"})
    assert codec.decode("Outer", b"\x0a\x02\x08\x01" + b"\x0a\x02\x10\x02") == {"inner": {"a": 1, "b": 2}}
