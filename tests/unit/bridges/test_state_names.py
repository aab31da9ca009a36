"""What a stack or state is called: stays from run to run and machine to machine, differs between states, and holds no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spg99.bridges.pulumi.shared.declarers import declarer_of, stack_in
from spg99.bridges.terraform.state_names import PLACES, state_name
from spg99.bridges.terraform.state_names import declarer_of as terraform_declarer

SECRET = "hunter2-and-more"


def module(folder: Path, kind: str | None = None, config: dict[str, Any] | None = None, workspace: str = "") -> Path:
    """A root module after `terraform init`."""
    data = folder / ".terraform"
    data.mkdir(parents=True)
    if kind is not None:
        backend = {"version": 3, "backend": {"type": kind, "config": config or {}, "hash": 1}}
        (data / "terraform.tfstate").write_text(json.dumps(backend))
    if workspace:
        (data / "environment").write_text(workspace)
    return folder


@pytest.mark.parametrize(
    ("kind", "config", "name"),
    [
        ("s3", {"bucket": "states", "key": "shop/prod", "secret_key": SECRET}, "s3:states/shop/prod@default"),
        ("gcs", {"bucket": "states", "prefix": "shop", "credentials": SECRET}, "gcs:states/shop@default"),
        ("azurerm", {"storage_account_name": "a", "container_name": "c", "key": "k", "access_key": SECRET}, "azurerm:a/c/k@default"),
        ("http", {"address": f"https://me:{SECRET}@s.example:8443/shop?token={SECRET}"}, "http:s.example:8443/shop@default"),
        ("pg", {"conn_str": f"postgres://u:{SECRET}@db.example/tf", "schema_name": "shop"}, "pg:db.example/tf/shop@default"),
        ("pg", {"conn_str": f"host=db.example password={SECRET} dbname=tf"}, "pg:db.example/tf@default"),
        ("consul", {"address": "c.example", "path": "shop", "access_token": SECRET}, "consul:c.example/shop@default"),
        ("kubernetes", {"namespace": "tf", "secret_suffix": "shop", "token": SECRET}, "kubernetes:tf/shop@default"),
        ("remote", {"organization": "org", "workspaces": [{"name": "shop"}], "token": SECRET}, "cloud:org/shop@default"),
        ("cloud", {"hostname": "tf.example", "organization": "org", "workspaces": {"tags": ["a", "b"]}}, "cloud:tf.example/org/a,b@default"),
    ],
)  # fmt: skip
def test_a_state_of_a_backend_is_named_by_its_place_on_every_machine(
    tmp_path: Path, kind: str, config: dict[str, Any], name: str
) -> None:
    found = {state_name("", {}, module(tmp_path / each / "infra", kind, config)) for each in ("laptop", "runner")}
    assert found == {f"terraform:{name}"}


@settings(deadline=None)  # it writes files
@given(
    kind=st.sampled_from([*PLACES, "remote", "cloud", "local", "plugin"]),
    config=st.dictionaries(st.sampled_from(["access_key", "token", "password", "credentials", "sas_token"]), st.just(SECRET)),
    address=st.sampled_from([f"https://{SECRET}@x/y", f"postgres://u:{SECRET}@h/d", f"password={SECRET}", f"x?k={SECRET}@", f"http://[{SECRET}"]),
)  # fmt: skip
def test_no_secret_of_a_backend_is_in_a_name(
    tmp_path_factory: pytest.TempPathFactory, kind: str, config: dict[str, Any], address: str
) -> None:
    folder = module(tmp_path_factory.mktemp("m") / "infra", kind, config | {"address": address, "conn_str": address})
    assert SECRET not in state_name("", {}, folder)


def test_a_state_in_a_file_is_named_by_its_folder(tmp_path: Path) -> None:
    here, there = module(tmp_path / "a" / "infra"), module(tmp_path / "b" / "infra")
    names = [state_name("", {}, folder) for folder in (here, here, there)]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("terraform:local:infra-")
    assert str(tmp_path) not in names[0]


def test_a_workspace_is_a_state_of_its_own(tmp_path: Path) -> None:
    selected = module(tmp_path / "infra", "s3", {"bucket": "b", "key": "k"}, workspace="prod")
    assert state_name("", {}, selected) == "terraform:s3:b/k@prod"
    assert state_name("", {"TF_WORKSPACE": "dev"}, selected) == "terraform:s3:b/k@dev"
    elsewhere = {"TF_DATA_DIR": str(tmp_path / "nowhere")}
    assert state_name("", elsewhere, selected).endswith("@default")


def test_a_given_name_wins_and_tools_never_share_one(tmp_path: Path) -> None:
    folder = module(tmp_path / "infra")
    given_name = {"SPG99_STATE_NAME": "shop"}
    assert state_name("", given_name, folder) == "terraform:shop"
    assert state_name("mine", given_name, folder) == "terraform:mine"
    pulumi = declarer_of("pulumi-native", "urn:pulumi:dev::shop::spg99:index:Tenant::acme", given_name)
    assert pulumi is not None and pulumi.state == "pulumi:shop"
    assert state_name("", {"TFC_WORKSPACE_SLUG": "org/shop"}, folder) == "terraform:cloud:org/shop"


@pytest.mark.parametrize(
    ("program", "tool"),
    [("terraform", "terraform"), ("tofu", "opentofu"), ("", "terraform"), ("tofu-1.10", "opentofu")],
)
def test_a_state_that_changes_between_terraform_and_opentofu_keeps_its_name(
    tmp_path: Path, program: str, tool: str
) -> None:
    found = terraform_declarer("shop", program, {}, str(tmp_path))
    assert (found.tool, found.state, found.resource) == (tool, "terraform:shop", "")


@pytest.mark.parametrize(
    ("urn", "found"),
    [
        ("urn:pulumi:dev::shop::a:b:Parent$spg99:index:Database::app", ("shop", "dev")),
        ("urn:pulumi:dev::shop::t::a::b", ("shop", "dev")),
        ("urn:pulumi:dev", None),
        ("nothing", None),
        ("urn:pulumi:::::t::n", None),
        ("urn:pulumi:dev::::t::n", None),
    ],
)
def test_a_urn_names_project_and_stack(urn: str, found: tuple[str, str] | None) -> None:
    assert stack_in(urn) == found
    declarer = declarer_of("pulumi-dynamic", urn, {})
    assert (declarer is None) == (found is None)
    if declarer is not None:
        assert declarer.state == "pulumi:shop/dev"
        assert declarer.resource == urn


def test_without_a_urn_nobody_declares() -> None:
    assert declarer_of("pulumi-dynamic", None, {}) is None
