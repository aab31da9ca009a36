"""What Terraform is told about a Package follows from its shapes alone."""

from __future__ import annotations

import json

import pytest

from spg99.bridges.terraform import schema
from spg99.bridges.terraform.schema_messages import schema_answer, schema_bytes
from spg99.prepared import PACKAGE as PRODUCT
from spg99.shapes import Field, Type
from tfplugin import messages
from unit.bridges.terraform.shop import BLOCK, GADGET, TABLES


def flags(name: str) -> str:
    each = BLOCK.named[name]
    return " ".join(
        flag for flag in ("required", "optional", "computed", "sensitive", "write_only") if getattr(each, flag)
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("id", "computed"),
        ("name", "required"),
        ("color", "optional computed"),
        ("labels", "optional computed"),
        ("note", "optional"),
        ("host", "optional computed"),
        ("pin", "optional sensitive"),
        ("passphrase_wo", "optional sensitive write_only"),
        ("passphrase_wo_version", "optional"),
        ("gadget_id", "computed"),
        ("token", "computed sensitive"),
        ("allow_replacement", "optional"),
        ("timeouts", "optional"),
    ],
)
def test_a_field_becomes_the_attribute_that_its_place_says(name: str, said: str) -> None:
    assert flags(name) == said
    assert "passphrase" not in BLOCK.named


def test_types_are_those_of_the_fields() -> None:
    types = {name: each.type for name, each in BLOCK.named.items()}
    assert (types["weight"], types["active"], types["until"]) == ("number", "bool", "string")
    assert types["tags"] == ("list", "string") and types["labels"] == ("map", "string")
    rule = ("object", {"host": "string", "port": "number", "note": "string"})
    assert types["rules"] == ("list", rule)
    nested = BLOCK.named["rules"].nested
    assert nested is not None and nested.nesting == "list"
    assert [(each.name, each.required, each.optional, each.computed) for each in nested.attributes] == [
        ("host", True, False, False),
        ("port", False, True, True),
        ("note", False, True, False),
    ]


def test_descriptions_tell_values_bounds_and_defaults() -> None:
    assert "`red` (Like a rose)" in BLOCK.named["color"].description
    assert "Default: `red`." in BLOCK.named["color"].description
    assert "Another value means another object." in BLOCK.named["name"].description
    assert "Deprecated: Use `name`." in BLOCK.named["old_name"].description
    bounded = Field("n", Type("whole", at_least=1, at_most=9), "A number.", default=3)
    assert schema.describe(bounded) == "A number. At least 1, at most 9. Default: `3`."
    limits = BLOCK.named["timeouts"].nested
    assert limits is not None and "Default: `11s`" in limits.attributes[0].description


def test_everything_has_a_description() -> None:
    found = schema.tables(PRODUCT)
    for kind in (found.resources, found.data, found.ephemerals, found.lists):
        for block in kind.values():
            for each in block.attributes:
                assert each.description, f"{block.name}.{each.name}"


def test_data_sources_ask_for_the_name_and_answer_the_rest() -> None:
    one = TABLES.data["shop_gadget"]
    assert {each.name for each in one.attributes if each.required} == {"shelf", "name"}
    assert "passphrase_wo" not in one.named and "timeouts" not in one.named
    many = TABLES.data["shop_gadgets"]
    assert [(each.name, each.required, each.computed) for each in many.attributes] == [
        ("shelf", True, False),
        ("state", False, False),
        ("name_prefix", False, False),
        ("gadgets", False, True),
    ]


def test_a_name_that_terraform_reserves_is_refused() -> None:
    bad = GADGET._replace(inputs=(*GADGET.inputs, Field("count", Type("whole"), "How many.", nullable=True)))
    with pytest.raises(TypeError, match="'count' of gadget"):
        schema.resource("shop_gadget", bad)


def test_the_message_is_what_terraform_reads() -> None:
    answer = messages.decode("GetProviderSchema.Response", schema_bytes(TABLES))
    assert set(answer["resource_schemas"]) == {"shop_gadget", "shop_ticket"}
    assert answer["resource_schemas"]["shop_gadget"]["version"] == 3
    assert set(answer["functions"]) == {"twice"} and set(answer["list_resource_schemas"]) == {
        "shop_gadget",
        "shop_ticket",
    }
    attributes = {each["name"]: each for each in answer["resource_schemas"]["shop_gadget"]["block"]["attributes"]}
    assert json.loads(attributes["tags"]["type"]) == ["list", "string"]
    assert attributes["old_name"]["deprecated"] and attributes["passphrase_wo"]["write_only"]
    assert not attributes["passphrase_wo"]["computed"], "Terraform refuses a computed write-only attribute"
    assert attributes["rules"]["nested_type"]["nesting"] == 2 and attributes["rules"]["type"] == b""
    assert answer["server_capabilities"]["plan_destroy"]


def test_the_product_has_what_it_promises() -> None:
    answer = schema_answer(schema.tables(PRODUCT))
    assert {
        "spg99_tenant",
        "spg99_database",
        "spg99_api_key",
        "spg99_tenant_credentials",
        "spg99_snapshot",
        "spg99_snapshot_schedule",
    } == set(answer["resource_schemas"])
    assert {"spg99_account", "spg99_databases", "spg99_tenants", "spg99_database"} <= set(answer["data_source_schemas"])
    assert {"parse_dsn", "build_dsn", "redact_dsn"} == set(answer["functions"])
    assert {"spg99_tenant_dsn", "spg99_api_key"} == set(answer["ephemeral_resource_schemas"])
    credentials = schema.tables(PRODUCT).resources["spg99_tenant_credentials"]
    assert {"pg_password_wo", "pg_password_wo_version"} <= set(
        credentials.named
    ) and "pg_password" not in credentials.named
