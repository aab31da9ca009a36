"""Values of Terraform: MessagePack against the library of that name, types, unknowns, exact numbers, and broken bytes."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgpack as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfplugin import msgpack, values
from tfplugin.msgpack import BadValue, Extension
from tfplugin.values import UNKNOWN, Dynamic, Unknown

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner, max_size=20),
    max_leaves=30,
)


@given(plain)
def test_msgpack_is_that_of_the_library(value: Any) -> None:
    ours = msgpack.pack(value)
    assert ours == oracle.packb(value)
    assert msgpack.unpack(ours) == value
    assert msgpack.unpack(oracle.packb(value, use_single_float=False)) == value


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 8, 15, 16, 17, 31, 32, 255, 256, 65535, 65536])
def test_every_length_has_its_head(size: int) -> None:
    for value in ("x" * size, b"x" * size, [None] * size, {f"{n}": None for n in range(size)}):
        assert msgpack.pack(value) == oracle.packb(value)
        assert msgpack.unpack(oracle.packb(value)) == value
    assert msgpack.pack(Extension(12, b"x" * size)) == oracle.packb(oracle.ExtType(12, b"x" * size))
    assert msgpack.unpack(oracle.packb(oracle.ExtType(5, b"x" * size))) == Extension(5, b"x" * size)


@given(st.binary(max_size=80))
def test_random_bytes_are_a_value_or_a_clean_error(data: bytes) -> None:
    try:
        theirs = repr(
            oracle.unpackb(data, strict_map_key=False, ext_hook=lambda code, data: Extension(code, data).data)
        )
    except ValueError:
        theirs = ""
    try:
        ours = repr(msgpack.unpack(data))
    except BadValue:
        ours = ""
    # Ours alone knows extensions below 0, theirs alone takes any kind of key; what both read is the same.
    if ours and theirs and "Extension" not in ours:
        assert ours == theirs


@given(plain, st.data())
def test_every_cut_and_every_tail_is_a_clean_error(value: Any, data: st.DataObject) -> None:
    packed = msgpack.pack(value)
    with pytest.raises(BadValue):
        msgpack.unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])
    with pytest.raises(BadValue):
        msgpack.unpack(packed + b"\xc0")


def test_depth_and_size_are_limited() -> None:
    for head in (b"\x91", b"\x81\xa0"):
        with pytest.raises(BadValue, match="deeply"):
            msgpack.unpack(head * 100_000)
    for head in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"):
        with pytest.raises(BadValue):
            msgpack.unpack(head)


types = st.recursive(
    st.sampled_from(["string", "number", "bool"]),
    lambda inner: (
        st.tuples(st.sampled_from(["list", "set", "map"]), inner)
        | st.lists(inner, max_size=3).map(lambda each: ("tuple", tuple(each)))
        | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3).map(lambda each: ("object", each))
    ),
    max_leaves=8,
)
numbers = st.integers(-(10**40), 10**40) | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9
).map(lambda number: int(number) if number == number.to_integral_value() else number)


def value_of(type: Any) -> st.SearchStrategy[Any]:
    if isinstance(type, str):
        one = {"string": st.text(max_size=5), "number": numbers, "bool": st.booleans()}[type]
    elif type[0] in ("list", "set"):
        one = st.lists(value_of(type[1]), max_size=3)
    elif type[0] == "map":
        one = st.dictionaries(st.text(max_size=3), value_of(type[1]), max_size=3)
    elif type[0] == "tuple":
        one = st.tuples(*map(value_of, type[1])).map(list)
    else:
        one = st.fixed_dictionaries({name: value_of(each) for name, each in type[1].items()})
    return st.none() | st.just(UNKNOWN) | one


@given(types.flatmap(lambda type: st.tuples(st.just(type), value_of(type))))
def test_a_value_comes_back_as_it_went(pair: tuple[Any, Any]) -> None:
    type, value = pair
    assert values.decode(type, values.encode(type, value)) == value
    dynamic = values.decode("dynamic", values.encode("dynamic", Dynamic(type, value)))
    assert dynamic == Dynamic(type, value)
    assert values.type_of_json(values.type_json(type)) == type


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"\xa30.1", Decimal("0.1")),
        (b"\xa41e30", 10**30),
        (b"\xb418446744073709551616", 2**64),
        (b"\xcb" + bytes.fromhex("3fe0000000000000"), Decimal("0.5")),
        (b"\xcb" + bytes.fromhex("43e0000000000000"), 2**63),
        (b"\xcf" + b"\xff" * 8, 2**64 - 1),
        (b"\xd3\x80" + b"\0" * 7, -(2**63)),
        (b"\xa5-2.50", Decimal("-2.50")),
    ],
)
def test_numbers_are_exact_in_every_form_terraform_sends(sent: bytes, read: Any) -> None:
    got = values.decode("number", {"msgpack": sent, "json": b""})
    assert got == read and type(got) is type(read)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (5, b"\x05"),
        (0.1, b"\xa30.1"),
        (10**30, b"\xbf1" + b"0" * 30),
        (2**63, b"\xb39223372036854775808"),
        (Decimal("1.50"), b"\xa41.50"),
        (2.0, b"\x02"),
    ],
)
def test_numbers_are_sent_exactly(value: Any, sent: bytes) -> None:
    assert values.encode("number", value) == {"msgpack": sent}


@pytest.mark.parametrize("text", [b"\xa31e9", b"\xa2-1"])
def test_whole_numbers_in_text_are_whole(text: bytes) -> None:
    assert isinstance(values.decode("number", {"msgpack": text}), int)


@pytest.mark.parametrize(
    ("type", "sent"),
    [
        ("number", b"\xa3abc"), ("number", b"\xabe" + b"9" * 10), ("number", b"\xc3"), ("number", b"\xa3nan"), ("number", b"\x90"),
        ("number", b"\xcb" + bytes.fromhex("7ff0000000000000")), ("number", b"\xa91e9999999"), ("number", b"\xda\x40\x00" + b"9" * 0x4000),
        ("string", b"\x01"), ("string", b"\xc4\x01a"), ("bool", b"\x01"), (("list", "string"), b"\x80"), (("map", "string"), b"\x90"),
        (("object", {"a": "string"}), b"\x81\xa1b\xa1x"), (("tuple", ("string",)), b"\x90"), ("dynamic", b"\x90"),
        ("dynamic", b"\x92\xc4\x03{{{\xc0"), ("dynamic", b"\x92\xc4\x05\"foo\"\xc0"), (("list", "string"), b"\x91\x81"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_a_clean_error(type: Any, sent: bytes) -> None:
    with pytest.raises(BadValue):
        values.decode(type, {"msgpack": sent})


def test_an_error_says_where_and_not_what() -> None:
    type = ("object", {"users": ("list", ("object", {"password": "string"}))})
    with pytest.raises(BadValue, match=r"users\.1\.password: a string is expected") as caught:
        values.decode(type, {"msgpack": oracle.packb({"users": [{"password": "a"}, {"password": 12345}]})})
    assert "12345" not in str(caught.value)
    with pytest.raises(BadValue, match="users.0.password: a string is expected, not int") as caught:
        values.encode(type, {"users": [{"password": 12345}]})
    assert "12345" not in str(caught.value)


def test_unknowns_in_every_form() -> None:
    for sent in (b"\xd4\x00\x00", b"\xc7\x03\x0c\x81\x01\xc2", b"\xc7\x00\x63", b"\xd5\x07\x00\x00"):
        assert isinstance(values.decode("string", {"msgpack": sent}), Unknown)
    prefixed = values.decode(
        "string", {"msgpack": oracle.packb(oracle.ExtType(12, oracle.packb({1: False, 2: "prefix-"})))}
    )
    assert prefixed.refinements == {"is_null": False, "prefix": "prefix-"}
    # A refinement that we were told is a promise that we could break: it is never sent back.
    assert values.encode("string", prefixed) == {"msgpack": b"\xd4\x00\x00"}
    mark = object()
    assert values.decode("string", {"msgpack": b"\xd4\x00\x00"}, unknown=mark) is mark
    assert values.encode(("list", "string"), [mark], unknown=mark) == {"msgpack": b"\x91\xd4\x00\x00"}


def test_nothing_is_null_and_attributes_left_out_too() -> None:
    type = ("object", {"a": "string", "b": "number"})
    assert values.decode(type, None) is None
    assert values.decode(type, {"msgpack": b"", "json": b""}) is None
    assert values.decode(type, {"msgpack": b"\xc0", "json": b""}) is None
    assert values.decode(type, values.encode(type, {"a": "x"})) == {"a": "x", "b": None}
    assert values.encode(type, None) == {"msgpack": b"\xc0"}
    with pytest.raises(BadValue, match="no .'c'"):
        values.encode(type, {"c": 1})


def test_json_is_taken_too_and_old_states_leniently() -> None:
    type = ("object", {"a": "number", "b": ("set", "string"), "d": "dynamic"})
    sent = b'{"a": 0.1, "b": ["x"], "d": {"type": ["list", "number"], "value": [1]}}'
    expected = {"a": Decimal("0.1"), "b": ["x"], "d": Dynamic(("list", "number"), [1])}
    assert values.decode(type, {"msgpack": b"", "json": sent}) == expected
    old = b'{"a": 123456789012345678901234567890, "gone": true}'
    assert values.from_json(type, old, lenient=True) == {"a": 123456789012345678901234567890, "b": None, "d": None}
    with pytest.raises(BadValue):
        values.from_json(type, old)
    for broken in (b"{", b"[NaN]", b"\xff", b'{"a": 1e99999}', b"[" * 100_000, b'{"a": "x"}', b'{"b": 3}', b"9" * 5000):
        with pytest.raises(BadValue):
            values.from_json(type, broken, lenient=True)


def test_types_are_written_as_cty_wants_them() -> None:
    type = ("object", {"a": ("list", "string"), "b": ("tuple", ("bool", "dynamic"))})
    assert json.loads(values.type_json(type)) == [
        "object",
        {"a": ["list", "string"], "b": ["tuple", ["bool", "dynamic"]]},
    ]
    assert values.type_of_json(b'["object",{"a":"string"},["a"]]') == ("object", {"a": "string"})


def test_a_dynamic_value_without_a_type_gets_one() -> None:
    sent = values.encode("dynamic", {"a": [1, "x", None, True]})
    assert values.decode("dynamic", sent) == Dynamic(
        ("object", {"a": ("tuple", ("number", "string", "dynamic", "bool"))}), {"a": [1, "x", None, True]}
    )
