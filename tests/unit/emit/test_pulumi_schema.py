"""The package schema: what Pulumi's metaschema says of it, and that it tells the truth about the shapes it is made of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from proof.gadget import GADGET
from proof.gadget import PACKAGE as PROOF
from spg99.bridges.shared.inputs import check
from spg99.emit import pulumi_examples
from spg99.emit.names import camel, snake
from spg99.emit.pulumi_schema import OUTPUT, auto_named, schema, text
from spg99.emit.schema_lint import lint
from spg99.emit.sdk_types import example
from spg99.prepared import PACKAGE as PRODUCT
from spg99.shapes import EnumValue, Field, Function, Noun, Package, Parameter, Type

METASCHEMA = Path(__file__).resolve().parents[4] / "shared" / "data" / "pulumi-package-metaschema.json"
PACKAGES = pytest.mark.parametrize("package", [PRODUCT, PROOF], ids=["product", "proof"])
LANGUAGES = ["typescript", "python", "go", "csharp", "java", "yaml"]


def resource(package: Package, noun: Noun) -> dict[str, Any]:
    found: dict[str, Any] = schema(package)["resources"][f"{package.name}:index:{noun.title}"]
    return found


@pytest.fixture(scope="module")
def metaschema() -> jsonschema_rs.Draft202012Validator:
    if not METASCHEMA.is_file():
        pytest.skip("Pulumi's metaschema is not beside the repository (../shared/data/pulumi-package-metaschema.json)")
    return jsonschema_rs.Draft202012Validator(json.loads(METASCHEMA.read_text()))


@PACKAGES
def test_pulumis_metaschema_takes_it(metaschema: jsonschema_rs.Draft202012Validator, package: Package) -> None:
    assert [str(error) for error in metaschema.iter_errors(schema(package))] == []


@pytest.mark.parametrize(
    "broken",
    [
        {"version": "1"},
        {"resources": {"spg99:index": {}}},
        {"nonsense": True},
        {"resources": {"spg99:index:A": {"inputProperties": {"a": {"type": "text"}}}}},
    ],
    ids=["version", "token", "key", "type"],
)
def test_the_metaschema_would_refuse_what_is_wrong(
    metaschema: jsonschema_rs.Draft202012Validator, broken: dict[str, Any]
) -> None:
    assert not metaschema.is_valid(schema(PRODUCT) | broken)


@PACKAGES
def test_our_own_lint_finds_nothing(package: Package) -> None:
    assert lint(schema(package)) == []


def test_the_file_is_the_schema_and_stable() -> None:
    assert text(PRODUCT) == text(PRODUCT) == OUTPUT.read_text()
    assert text(PRODUCT).endswith("}\n")


@PACKAGES
def test_inputs_and_outputs_are_those_of_the_shapes(package: Package) -> None:
    for noun in package.nouns:
        found = resource(package, noun)
        own = ["allow_replacement"] if noun.holds_data else []
        assert list(found["inputProperties"]) == [camel(name) for name in (*noun.input_fields(), *own)]
        assert list(found["properties"]) == [camel(name) for name in noun.output_fields()]
        required = {field.name for field in noun.inputs if field.required} - {auto_named(noun)}
        assert {snake(name) for name in found["requiredInputs"]} == required
        assert {snake(name) for name in found["required"]} == {
            field.name for field in noun.outputs if not field.nullable
        }


@PACKAGES
def test_what_replaces_and_what_is_secret_is_marked(package: Package) -> None:
    for noun in package.nouns:
        found = resource(package, noun)
        assert {snake(name) for name, item in found["inputProperties"].items() if item.get("willReplaceOnChanges")} == {
            field.name for field in noun.inputs if field.immutable
        }
        for group, fields in (("inputProperties", noun.inputs), ("properties", noun.outputs)):
            secret = {snake(name) for name, item in found[group].items() if item.get("secret")}
            assert secret == {field.name for field in fields if field.secret}


def test_every_kind_of_field_has_its_type() -> None:
    found = resource(PROOF, GADGET)
    enum = {"type": "string", "oneOf": [{"type": "string"}, {"$ref": "#/types/spg99:index:Color"}]}
    limits = {"$ref": "#/types/spg99:index:Limits"}
    wanted = {
        "shelf": {"type": "string"},
        "ratio": {"type": "number"},
        "isOn": {"type": "boolean"},
        "color": enum,
        "tags": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "limits": limits,
        "steps": {"type": "array", "items": limits},
        "byZone": {"type": "object", "additionalProperties": limits},
        "until": {"type": "string"},
        "bigNumber": {"type": "integer"},
        "passPhrase": {"type": "string"},
        "allowReplacement": {"type": "boolean"},
    }
    kinds = ("type", "items", "additionalProperties", "oneOf", "$ref")
    inputs = found["inputProperties"]
    assert {name: {key: inputs[name][key] for key in kinds if key in inputs[name]} for name in wanted} == wanted
    # An output is text: a newer Control Plane may know values that an older SDK does not. Its description lists them.
    assert found["properties"]["color"]["type"] == "string"
    assert "- `red`: Like a fire engine." in found["properties"]["color"]["description"]
    assert "passPhrase" not in found["properties"]
    assert inputs["oldMode"]["deprecationMessage"] == "Use `is_on` instead."
    assert schema(PROOF)["types"]["spg99:index:Limits"]["required"] == ["maxItems"]


def test_what_generators_would_count_in_32_bits_is_a_number_where_it_is_bytes() -> None:
    found = schema(PRODUCT)["resources"]["spg99:index:Database"]["properties"]
    assert found["storageBytes"]["type"] == "number"
    assert found["idleTimeoutSeconds"]["type"] == "integer"


def test_settings_are_told_twice_with_their_environment() -> None:
    found = schema(PRODUCT)
    assert found["config"]["variables"] == found["provider"]["inputProperties"]
    key, url = found["config"]["variables"]["apiKey"], found["config"]["variables"]["url"]
    assert key["secret"] is True and "secret" not in url
    assert key["defaultInfo"] == {"environment": ["SPG99_API_KEY"]}
    assert url["defaultInfo"] == {"environment": ["SPG99_CP_URL"]}  # CP_URL means another thing: it has no /v2
    assert "`CP_URL`" in url["description"]
    assert "defaults" not in found["config"]  # Pulumi reads it as "required"


@PACKAGES
def test_functions_read_one_and_all(package: Package) -> None:
    functions = schema(package)["functions"]
    for noun in (*package.nouns, *package.reads):
        one = functions[f"{package.name}:index:{camel('get_' + noun.noun)}"]
        assert [snake(name) for name in one.get("inputs", {}).get("required", [])] == list(noun.id_fields())
        assert [snake(name) for name in one["outputs"]["properties"]] == list(noun.output_fields())
        if noun.plural:
            all_ = functions[f"{package.name}:index:{camel('get_' + noun.plural)}"]
            given = all_.get("inputs", {"properties": {}})
            assert [snake(name) for name in given["properties"]] == [*noun.path_fields(), *noun.filters]
            assert given.get("required", []) == [camel(name) for name in noun.path_fields()]
            assert all_["outputs"]["properties"][camel(noun.plural)]["type"] == "array"
            listed = schema(package)["resources"].get(f"{package.name}:index:{noun.title}", {}).get("listInputs")
            assert listed is None or listed["properties"] == given["properties"]


def test_pure_functions_take_and_answer_objects() -> None:
    functions = schema(PRODUCT)["functions"]
    parse, build = functions["spg99:index:parseDsn"], functions["spg99:index:buildDsn"]
    assert list(parse["inputs"]["properties"]) == ["dsn"] and "host" in parse["outputs"]["properties"]
    assert build["inputs"]["required"] == ["host"] and build["outputs"]["properties"]["result"]["secret"] is True


def test_every_language_keeps_the_schemas_version() -> None:
    languages = schema(PRODUCT)["language"]
    assert sorted(languages) == ["csharp", "go", "java", "nodejs", "python"]
    assert all(words["respectSchemaVersion"] is True for words in languages.values())
    assert languages["python"]["pyproject"] == {"enabled": True}


def test_the_logo_is_in_the_repository() -> None:
    repository, logo = schema(PRODUCT)["repository"], schema(PRODUCT)["logoUrl"]
    assert (OUTPUT.parent / logo.removeprefix(f"{repository}/raw/main/")).is_file()


def test_moving_from_the_dynamic_provider_is_an_alias() -> None:
    found = resource(PRODUCT, PRODUCT.nouns[0])
    assert found["aliases"] == [{"type": f"pulumi-python:dynamic/spg99:{PRODUCT.nouns[0].title}"}]


@PACKAGES
def test_every_noun_has_an_example_in_every_language(package: Package) -> None:
    for noun in package.nouns:
        description = resource(package, noun)["description"]
        blocks = re.findall(r"^```(\w+)\n(.*?)^```$", description, re.DOTALL | re.MULTILINE)
        assert [name for name, _ in blocks] == [*LANGUAGES, "sh"]
        for name, block in blocks:
            assert noun.title in block
            for left, right in ("()", "[]", "{}"):
                assert block.count(left) == block.count(right), f"{name}: {block}"
        assert f"pulumi import {package.name}:index:{noun.title}" in description


@PACKAGES
def test_examples_declare_what_the_check_takes(package: Package) -> None:
    for noun in package.nouns:
        declared = pulumi_examples.example_of(package, noun).resources[-1]
        assert declared.noun.noun == noun.noun
        values = {
            name: "acme" if isinstance(value, pulumi_examples.Reference) else value
            for name, value in declared.values.items()
        }
        assert check(noun, values).failures == []


@PACKAGES
def test_yaml_examples_say_the_same_as_the_declaration(package: Package) -> None:
    for noun in package.nouns:
        program = yaml.safe_load(example(resource(package, noun)["description"], "yaml"))
        declared = pulumi_examples.example_of(package, noun).resources
        for item in declared:
            written = program["resources"][camel(item.variable)]
            assert written["type"] == f"{package.name}:{item.noun.title}"
            for name, value in item.values.items():
                if isinstance(value, pulumi_examples.Reference):
                    assert written["properties"][camel(name)] == f"${{{camel(value.variable)}.{camel(value.field)}}}"
                else:
                    assert written["properties"][camel(name)] == value


def test_examples_write_nested_values_in_every_language() -> None:
    nested = Type("object", name="Bounds", fields=(Field("max_items", Type("whole"), required=True, examples=(3,)),))
    inputs = (
        Field("name", Type("text"), required=True, examples=("lamp",)),
        Field("bounds", nested, required=True),
        Field("by_zone", Type("map", of=nested), required=True),
        Field("labels", Type("map", of=Type("text")), required=True),
        Field("tags", Type("list", of=Type("text")), required=True, examples=(["a", "b"],)),
    )
    noun = PROOF.nouns[0]._replace(inputs=inputs, holds_data=False)
    found = resource(PROOF._replace(nouns=(noun,)), noun)["description"]
    assert "bounds: { maxItems: 3 }" in example(found, "typescript")
    assert 'byZone: { "key": { maxItems: 3 } }' in example(found, "typescript")
    assert 'bounds={"max_items": 3}' in example(found, "python")
    assert "Bounds: &spg99.BoundsArgs{MaxItems: pulumi.Int(3)}" in example(found, "go")
    assert 'ByZone: spg99.BoundsMap{"key": &spg99.BoundsArgs{MaxItems: pulumi.Int(3)}}' in example(found, "go")
    assert "Bounds = new Spg99.Inputs.BoundsArgs { MaxItems = 3 }" in example(found, "csharp")
    assert 'Tags = new[] { "a", "b" }' in example(found, "csharp")
    assert ".bounds(BoundsArgs.builder().maxItems(3).build())" in example(found, "java")
    assert "import com.pulumi.spg99.inputs.BoundsArgs;" in example(found, "java")
    assert yaml.safe_load(example(found, "yaml"))["resources"]["lamp"]["properties"]["byZone"] == {
        "key": {"maxItems": 3}
    }


def test_two_types_of_one_name_are_refused() -> None:
    other = Type("enum", name="Color", values=(EnumValue("green"),))
    noun = GADGET._replace(inputs=(*GADGET.inputs, Field("other", other)))
    with pytest.raises(ValueError, match="two different types are named Color"):
        schema(PROOF._replace(nouns=(noun,)))


def test_a_name_that_would_not_come_back_is_refused() -> None:
    with pytest.raises(ValueError, match="size_2_max would be size2_max in an SDK"):
        schema(PROOF._replace(nouns=(GADGET._replace(inputs=(Field("size_2_max", Type("whole"), "Size."),)),)))


def test_types_inside_functions_are_written_down() -> None:
    inner = Type(
        "object", name="Part", description="A part.", fields=(Field("size", Type("whole"), "Size.", required=True),)
    )
    takes = Function(
        "join", "Joins.", "Joins parts.", (Parameter("parts", Type("list", of=inner), "Parts."),), Type("text"), "a:b"
    )
    found = schema(PROOF._replace(functions=(takes,)))
    assert found["types"]["spg99:index:Part"]["required"] == ["size"]
    assert lint(found) == []
