"""Texts of YAML programs: what they declare, and how every mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from spg99.engine.values import SECRET, SIG, secret
from spg99.engine.yaml_program.document import Program, load
from spg99.engine.yaml_program.settings import value_of
from spg99.engine.yaml_program.source import Problem, read
from spg99.errors import BadRequest

HEAD = "name: p\nruntime: yaml\n"


def program(tmp_path: Path, text: str) -> Program:
    (tmp_path / "Pulumi.yaml").write_text(HEAD + text)
    return load(tmp_path / "Pulumi.yaml", tmp_path)


def test_plain_words_are_read_as_pulumi_reads_them() -> None:
    text = "{a: yes, b: on, c: 2020-01-02, d: 010, e: 0x10, f: 1e3, g: ~, h: 'true', i: True, j: 1_000, k: 0o7, l: -5}"
    value = read(text, "f").value
    assert isinstance(value, dict)
    assert {k: n.value for k, n in value.items()} == {
        "a": "yes",
        "b": "on",
        "c": "2020-01-02",
        "d": 10,
        "e": 16,
        "f": 1000.0,
        "g": None,
        "h": "true",
        "i": True,
        "j": "1_000",
        "k": 7,
        "l": -5,
    }


def test_anchors_and_merges() -> None:
    value = read("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a", "f").value
    assert isinstance(value, dict)
    b, c = value["b"].value, value["c"].value
    assert isinstance(b, dict) and isinstance(c, dict)
    assert {k: n.value for k, n in b.items()} == {"x": 1, "y": 3} and {k: n.value for k, n in c.items()} == {
        "x": 1,
        "y": 2,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "f:1:6: This is no YAML"),
        ("a: 1\nb: 2\na: 3", "f:3:1: The key `a` stands here twice; first in line 1."),
        ("a: !env HOME", "f:1:4: The tag `!env` has no meaning here."),
        ("a: &x [*x]", "contains itself"),
        ("? [a]\n: 1", "A key must be text."),
        ("a: {<<: 1}", "`<<` takes a mapping"),
    ],
)
def test_what_is_no_document(text: str, said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(text, "f")
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("resource: {}", "Pulumi.yaml:3:1: `resource` is not known in a program. Did you mean `resources`?"),
        ("resources:\n  a: {typ: x:Y}", "4:7: `typ` is not known in the resource `a`. Did you mean `type`?"),
        ("resources:\n  a: {properties: {}}", "4:6: The resource `a` needs a `type` such as"),
        ("resources:\n  a: {type: Box}", "4:13: `Box` is no type"),
        (
            "resources:\n  a: {type: x:Y, options: {protct: true}}",
            "`protct` is not known in the options of `a`. Did you mean",
        ),
        ("resources:\n  a: {type: x:Y, options: {hooks: {}}}", "The embedded engine does not do the option `hooks`"),
        ("resources:\n  a: {type: x:Y, options: {customTimeouts: {creat: 5m}}}", "Did you mean `create`?"),
        ("resources:\n  a: {type: x:Y, get: {state: {}}}", "`get` needs an `id`"),
        ("resources:\n  a: {type: x:Y, get: {id: b}, properties: {}}", "has no `properties`"),
        ("resources:\n  a: {type: x:Y, defaultProvider: true}", "Only a provider"),
        ("outputs: {o: '${bax}'}\nvariables: {bar: 1}", "3:14: ${bax}: nothing is called `bax`. Did you mean `bar`?"),
        ("outputs: {o: '${pulumi.stck}'}", "${pulumi.stck} is not known. Did you mean `stack`?"),
        ("outputs: {o: '${pulumi}'}", "${pulumi} is not known."),
        ("outputs: {o: '${a.b'}", "does not end as it should"),
        ("outputs: {o: '${}'}", "names nothing"),
        ("variables: {pulumi: 1}", "is the language's own name"),
        ("variables: {a: 1}\nresources: {a: {type: x:Y}}", "4:13: `a` is declared twice; first in line 3."),
        ("variables: {a: '${b}', b: '${c}', c: '${a}'}", "`a` needs itself: a -> b -> c -> a."),
        ("variables: {a: {fn::jon: []}}", "There is no function `fn::jon`. Did you mean `fn::join`?"),
        ("variables: {a: {Fn::Join: []}}", "There is no function `Fn::Join`. Did you mean `fn::join`?"),
        ("variables: {a: {fn::stringAsset: x}}", "does not do `fn::stringAsset` (assets)"),
        ("variables: {a: {fn::join: [], b: 1}}", "must be the only key"),
        (
            "variables: {a: {fn::invoke: {functon: f}}}",
            "`functon` is not known in `fn::invoke`. Did you mean `function`?",
        ),
        ("variables: {a: {fn::invoke: {arguments: {}}}}", "needs the name of a `function`"),
        ("variables: [1]", "`variables` must be a mapping"),
        ("components: {c: {}}", "does not do components"),
        ("packages: {c: d}", "does not do parameterized packages"),
        ("config: {size: {typ: integer}}", "`typ` is not known in the configuration `size`. Did you mean `type`?"),
        ("config: {size: {type: intger}}", "`intger` is no type of a configuration. Did you mean `integer`?"),
        ("config: {size: {type: integer, default: big}}", "The default of `size` must be a whole number."),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        program(tmp_path, text)
    assert said in caught.value.message and "\n" not in caught.value.message


def test_all_mistakes_are_told_at_once_in_order(tmp_path: Path) -> None:
    with pytest.raises(BadRequest) as caught:
        program(tmp_path, "outputs: {o: '${x}'}\nresources:\n  a: {type: x:Y, b: 1}\n  c: {}\nvarables: {}")
    places = [line.split(": ")[0] for line in caught.value.message.splitlines()]
    assert places == ["Pulumi.yaml:3:14", "Pulumi.yaml:5:18", "Pulumi.yaml:6:6", "Pulumi.yaml:7:1"]


def test_what_needs_what(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        """
config: {size: 5}
variables:
  v: {fn::join: ["-", ["${a.id}", "${size}"]]}
  w: {fn::shelf:find: {text: x}}
resources:
  prov: {type: "pulumi:providers:shelf", defaultProvider: true}
  a: {type: shelf:Box, options: {parent: "${b}"}}
  b: {type: shelf:index:Box, properties: {text: "$${not} ${v2}"}}
  c: {type: other:Box, get: {id: "${w.names[0]}"}, options: {dependsOn: ["${b}"]}}
  d: {type: shelf:Box, options: {provider: "${other}"}}
  other: {type: "pulumi:providers:shelf"}
  v2: {type: "x:y:Z", name: another}
""",
    )
    assert {n: found.needs(n) for n in (*found.variables, *found.resources)} == {
        "v": {"a"},
        "w": {"prov"},
        "prov": set(),
        "a": {"b", "prov"},
        "b": {"v2", "prov"},
        "c": {"w", "b"},
        "d": {"other"},
        "other": set(),
        "v2": set(),
    }
    assert found.resources["a"].type == "shelf:index:Box" and found.resources["v2"].name == "another"


def test_the_program_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text(HEAD)
    (tmp_path / "Main.yaml").write_text("outputs: {o: 1, p: '${nobody}'}")
    with pytest.raises(BadRequest, match=r"Main.yaml:1:20"):
        load(tmp_path / "Pulumi.yaml", tmp_path)


def test_configuration_has_types_defaults_and_secrets(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        """
config:
  text: {type: string, default: d}
  whole: {type: integer}
  ratio: {type: number, default: 1}
  flag: {type: boolean}
  many: {type: array, items: {type: string}}
  shape: {type: object, default: {a: [1]}}
  hidden: {type: string, secret: true}
  plain: 7
  aws:region: north
configuration:
  old: {type: List<String>, default: []}
""",
    ).settings
    config = {
        "p:whole": "5",
        "p:flag": "true",
        "p:many": '["a"]',
        "p:hidden": "h",
        "aws:region": "north",
        "p:text": secret("t"),
        "p:plain": "8",
    }
    values = {name: value_of(setting, config, "p") for name, setting in found.items()}
    assert values == {
        "text": secret("t"),
        "whole": 5,
        "ratio": 1,
        "flag": True,
        "many": ["a"],
        "shape": {"a": [1]},
        "hidden": {SIG: SECRET, "value": "h"},
        "plain": 8,
        "old": [],
    }
    with pytest.raises(Problem, match="`whole` has no value. Set it: `spg99 config set whole VALUE`"):
        value_of(found["whole"], {}, "p")
    with pytest.raises(Problem, match="config set --secret hidden"):
        value_of(found["hidden"], {}, "p")
    for name, text in (("whole", "x1"), ("flag", "yes"), ("many", "{}"), ("ratio", "a lot")):
        with pytest.raises(Problem) as caught:
            value_of(found[name], {f"p:{name}": secret(text)}, "p")
        assert f"`{name}` must be" in caught.value.message and text not in caught.value.message.partition("must be")[2]
