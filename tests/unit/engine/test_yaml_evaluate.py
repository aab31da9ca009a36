"""What expressions of YAML programs are worth, with secrets and unknowns on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spg99.engine.values import REFERENCE, SIG, UNKNOWN, secret
from spg99.engine.yaml_program.evaluate import evaluate
from spg99.engine.yaml_program.expressions import Invoke, parse
from spg99.engine.yaml_program.source import Problem, read


class World:
    """Two resources, one of them not all known, and some values."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[Any] = []

    def named(self, name: str) -> Any:
        return {
            "box": {SIG: REFERENCE, "urn": "urn:box", "id": "b-1"},
            "later": {SIG: REFERENCE, "urn": "urn:later", "id": UNKNOWN},
            "whole": 5,
            "ratio": 2.5,
            "flag": True,
            "nothing": None,
            "list": ["a", "b", secret("c"), UNKNOWN],
            "map": {"a.b": {"c": 1}},
            "code": secret("rosebud"),
            "unknown": UNKNOWN,
            "deep": secret({"user": {"name": "ada"}}),
        }[name]

    def outputs(self, urn: str) -> tuple[dict[str, Any], bool]:
        if urn == "urn:box":
            known = {"text": "t", "password": secret("p"), "tags": ["x"], "big": 1e20, "connectionString": "dsn"}
            return known | {"id": "b-1", "urn": urn}, True
        return {"text": "t", "id": UNKNOWN, "urn": urn}, False

    def invoke(self, call: Invoke, arguments: dict[str, Any], options: dict[str, Any]) -> Any:
        self.asked.append((call.token, arguments, options))
        return UNKNOWN if call.token == "a:index:unknown" else secret({"n": 1}) if "secret" in call.token else {"n": 1}


def worth(text: str, folder: Path = Path()) -> Any:
    return evaluate(parse(read(text, "f")), World(folder))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'${whole}'", 5),
        ("'${whole} of ${ratio}, ${flag}'", "5 of 2.5, true"),
        ("'a $${whole} $$ $'", "a ${whole} $$ $"),
        ("'${box.text}-${box.tags[0]}'", "t-x"),
        ("'${box.id} ${box.urn}'", "b-1 urn:box"),
        ("'${box}'", {SIG: REFERENCE, "urn": "urn:box", "id": "b-1"}),
        ("'${map[\"a.b\"].c}'", 1),
        ("'${list[1]}'", "b"),
        ("'${box.password}'", secret("p")),
        ("'x${box.password}'", secret("xp")),
        ("'${deep.user.name}'", secret("ada")),
        ("'${later.text}'", "t"),
        ("'${later.path}'", UNKNOWN),
        ("'${later.path.deeper[3]}'", UNKNOWN),
        ("'at ${later.path}'", UNKNOWN),
        ("'${later.path} ${code}'", secret(UNKNOWN)),
        ("'${box.left_out_by_the_provider}'", None),
        ("[1, '${flag}', {a: '${nothing}'}]", [1, True, {"a": None}]),
        ("{fn::join: ['-', [a, '${whole}', 1.0]]}", "a-5-1"),
        ("{fn::join: ['-', [a, '${code}']]}", secret("a-rosebud")),
        ("{fn::join: ['-', [a, '${unknown}']]}", UNKNOWN),
        ("{fn::split: [',', 'a,b']}", ["a", "b"]),
        ("{fn::select: [1, '${list}']}", "b"),
        ("{fn::select: [2, '${list}']}", secret("c")),
        ("{fn::select: [3, '${list}']}", UNKNOWN),
        ("{fn::toJSON: {a: ['${whole}', null, 'ü', true]}}", '{"a":[5,null,"ü",true]}'),
        ("{fn::toJSON: ['${code}']}", secret('["rosebud"]')),
        ("{fn::toJSON: ['${later.path}']}", UNKNOWN),
        ("{fn::secret: {a: '${whole}'}}", secret({"a": 5})),
        ("{fn::secret: '${code}'}", secret("rosebud")),
        ("{fn::toBase64: 'hé'}", "aMOp"),
        ("{fn::fromBase64: 'aMOp'}", "hé"),
        ("{fn::split: ['-', {fn::join: ['-', [a, b]]}]}", ["a", "b"]),
        ("{fn::invoke: {function: 'a:get', arguments: {x: '${whole}'}}}", {"n": 1}),
        ("{fn::invoke: {function: 'a:get', return: n}}", 1),
        ("{fn::invoke: {function: 'a:secret', return: n}}", secret(1)),
        ("{fn::invoke: {function: 'a:unknown', return: n}}", UNKNOWN),
        ("{fn::a:b:get: {}}", {"n": 1}),
    ],
)
def test_worth(text: str, value: Any) -> None:
    assert worth(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'x ${box}'", "f:1:1: ${box} is a resource; name one of its properties"),
        ("'x ${map}'", "is a mapping and cannot stand inside text. Use `fn::toJSON`."),
        ("'x ${nothing}'", "is null"),
        ("'${list[9]}'", "the list has 4 items"),
        ("'${list.a}'", "write an index like `[0]`"),
        ("'${whole.a}'", "`a` is asked of a number"),
        ("'${map.b}'", "there is no `b`. There are: a.b."),
        ("'${box.conectionString}'", "has no property `conectionString`. Did you mean `connectionString`?"),
        ("{fn::join: [a]}", "`fn::join` takes a list of two"),
        ("{fn::join: ['-', x]}", "takes a list of parts, not text"),
        ("{fn::select: [7, [1]]}", "has the index 7, and the list has 1 items"),
        ("{fn::select: [a, [1]]}", "takes a whole number as index"),
        ("{fn::toJSON: ['${box}']}", "takes values, not a whole resource"),
        ("{fn::fromBase64: '???'}", "takes text in base 64"),
        ("{fn::readFile: nowhere.txt}", "cannot read"),
        ("{fn::invoke: {function: 'a:get', arguments: [1]}}", "must be a mapping"),
        ("{fn::invoke: {function: 'a:get', return: m}}", "answers no `m`. There are: n."),
    ],
)
def test_what_has_no_worth(text: str, said: str) -> None:
    with pytest.raises(Problem) as caught:
        worth(text)
    assert said in caught.value.message


def test_a_secret_never_stands_in_a_message() -> None:
    with pytest.raises(Problem) as caught:
        worth("{fn::fromBase64: '${code}-?'}")
    assert "rosebud" not in caught.value.message


def test_files_are_read_from_the_programs_folder(tmp_path: Path) -> None:
    (tmp_path / "greeting.txt").write_text("hello")
    assert worth("{fn::readFile: greeting.txt}", tmp_path) == "hello"


def test_only_a_constant_path_leads_out_of_the_program(tmp_path: Path) -> None:
    program = tmp_path / "program"
    (program / "deep").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("hello")
    (program / "deep" / "inside.txt").write_text("hi")
    (program / "link.txt").symlink_to(tmp_path / "outside.txt")
    (program / "near.txt").symlink_to(program / "deep" / "inside.txt")
    for constant in ("../outside.txt", str(tmp_path / "outside.txt"), "link.txt"):
        assert worth(f"{{fn::readFile: '{constant}'}}", program) == "hello"
    for path in ("deep/inside.txt", "deep/../near.txt", str(program / "near.txt")):
        assert worth(f"{{fn::readFile: {{fn::join: ['', ['{path}']]}}}}", program) == "hi"
    for path in ("../outside.txt", str(tmp_path / "outside.txt"), "link.txt", "..", "deep/../../outside.txt"):
        with pytest.raises(Problem, match="constant, or lead to a file inside the program's folder"):
            worth(f"{{fn::readFile: {{fn::join: ['', ['{path}']]}}}}", program)


def test_a_secret_path_stands_in_no_message(tmp_path: Path) -> None:
    for path in ("'${code}.txt'", "'../${code}'", "'${code}\\0'"):
        with pytest.raises(Problem) as caught:
            worth(f"{{fn::readFile: {path}}}", tmp_path)
        assert "rosebud" not in caught.value.message and "fn::readFile" in caught.value.message
