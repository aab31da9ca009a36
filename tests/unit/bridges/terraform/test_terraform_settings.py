"""Provider configuration, durations, create tokens, moves and launchers: pure parts with no plan in them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spg99 import pids
from spg99.bridges.shared.unknown import UNKNOWN
from spg99.bridges.terraform import installation, launch
from spg99.bridges.terraform.configuration import configured, user_agent
from spg99.bridges.terraform.create_tokens import _lives, data_folder, token_for
from spg99.bridges.terraform.durations import seconds_of
from spg99.bridges.terraform.handed_over import FOLDER, HandedOver
from spg99.bridges.terraform.moves import MOVES, Immovable, moved
from spg99.bridges.terraform.provider import load
from spg99.errors import BadRequest, Conflict, TooManyRequests, Unauthorized, Unreachable
from spg99.prepared import PACKAGE as PRODUCT
from tfplugin.interface import Call
from unit.bridges.terraform.shop import GADGET, PACKAGE, TABLES

EMPTY = dict.fromkeys(TABLES.provider.named)
BLOCK = EMPTY | {"url": "https://a.example/v2", "api_key": "block"}


def test_the_block_wins_over_the_environment_and_empty_counts_as_not_set() -> None:
    found, wrong = configured(PACKAGE, BLOCK, {"SHOP_URL": "https://b.example/v2", "SHOP_KEY": "environment"})
    assert (found.url, found.api_key, wrong) == ("https://a.example/v2", "block", ())
    found, wrong = configured(
        PACKAGE, EMPTY | {"url": ""}, {"SHOP_URL": "https://b.example/v2/", "SHOP_KEY": "", "SHOP_OLD_KEY": "old"}
    )
    assert (found.url, found.api_key, wrong) == ("https://b.example/v2", "old", ())


def test_what_is_missing_is_one_complaint_that_names_all_ways() -> None:
    _, wrong = configured(PACKAGE, EMPTY, {})
    assert len(wrong) == 1
    for way in ("`url`", "`api_key`", "SHOP_URL", "SHOP_KEY or SHOP_OLD_KEY", "provider block"):
        assert way in wrong[0].summary + wrong[0].detail
    _, wrong = configured(PACKAGE, BLOCK | {"api_key": None}, {})
    assert "`api_key` is missing" in wrong[0].summary and "SHOP_URL" not in wrong[0].detail


def test_unknown_arguments_are_waited_for() -> None:
    found, wrong = configured(PACKAGE, BLOCK | {"url": UNKNOWN}, {})
    assert (found.unknown, wrong) == (("url",), ())


def test_while_nobody_knows_whether_secrets_may_be_kept_they_are_not() -> None:
    found, wrong = configured(PACKAGE, BLOCK | {"secrets_in_state": UNKNOWN}, {"SHOP_SECRETS_IN_STATE": "true"})
    assert (found.secrets_in_state, wrong) == (False, ())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://a/v2", "must begin with https://"),
        ("http://a.example/v2", "readable for everybody"),
        ("https://u:p@a.example/v2", "must not hold a user"),
        ("https://a.example", "must end in /v2"),
        ("https://[", "no URL"),
    ],
)
def test_addresses_that_cannot_be_used(url: str, said: str) -> None:
    _, wrong = configured(PACKAGE, BLOCK | {"url": url}, {})
    assert said in wrong[0].detail and wrong[0].attribute == "url"
    assert "u:p" not in wrong[0].detail


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8099/v2", "http://localhost/v2", "http://[::1]:1/v2", "https://a.example/v2"]
)
def test_addresses_that_can(url: str) -> None:
    assert configured(PACKAGE, BLOCK | {"url": url}, {})[1] == ()


def test_the_older_variable_has_no_version() -> None:
    found, _ = configured(PRODUCT, EMPTY, {"CP_URL": "http://localhost:1/", "SPG99_TOKEN": "t"})
    assert (found.url, found.api_key) == ("http://localhost:1/v2", "t")


@pytest.mark.parametrize(("text", "kept"), [("", True), ("false", False), ("0", False), ("TRUE", True)])
def test_secrets_in_state_from_block_or_environment(text: str, kept: bool) -> None:
    assert configured(PACKAGE, BLOCK, {"SHOP_SECRETS_IN_STATE": text})[0].secrets_in_state is kept
    assert (
        configured(PACKAGE, BLOCK | {"secrets_in_state": False}, {"SHOP_SECRETS_IN_STATE": "true"})[0].secrets_in_state
        is False
    )
    assert configured(PACKAGE, BLOCK, {"SHOP_SECRETS_IN_STATE": "maybe"})[1][0].summary.startswith(
        "SHOP_SECRETS_IN_STATE"
    )


def test_the_user_agent_is_in_hashicorps_form() -> None:
    assert (
        user_agent("1.2.3", "1.11.4", {})
        == "Terraform/1.11.4 (+https://www.terraform.io) terraform-provider-spg99/1.2.3"
    )
    assert user_agent("1", "2", {"TF_APPEND_USER_AGENT": "ci/7"}).endswith("/1 ci/7")
    assert "\n" not in user_agent("1", "2", {"TF_APPEND_USER_AGENT": "a\r\nX-Evil: 1"})


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("250ms", 0.25)]
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "10 m", "-5s", "0s", "1d", "5s!"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        seconds_of(text)


LAMP = {"shelf": "top", "name": "one"}
AT = "http://a/v2"


def uid_of(path: Path) -> str:
    """The uid that a token file names; empty when it names none."""
    return "".join(path.name.split(".")[3:])


def terraform_ends(folder: Path) -> None:
    """As if the Terraform of all tokens were dead."""
    for path in folder.iterdir():
        prefix, token, _, *uid = path.name.split(".")
        path.rename(path.with_name(".".join((prefix, token, f"{os.getpid()}-1", *uid))))


def test_a_token_stays_until_the_state_is_seen_to_hold_the_object(tmp_path: Path) -> None:
    folder, environment = tmp_path / FOLDER, {"TF_DATA_DIR": str(tmp_path)}
    for uid in ("gad_1", "gad_2"):
        with token_for(folder, AT, GADGET, LAMP) as create:
            create.made(uid)
    assert sorted(map(uid_of, folder.iterdir())) == ["gad_1", "gad_2"]
    seen = HandedOver(environment)
    for uid in (None, "gad_3", "gad_1", "gad_1"):
        seen.is_held(uid)
    assert list(map(uid_of, folder.iterdir())) == ["gad_2"]
    os.utime(next(folder.iterdir()), (time.time() - 90_000,) * 2)
    HandedOver(environment).is_held("gad_1")
    assert list(folder.iterdir()) == [], "a day is over"


def test_a_state_that_was_never_written_makes_no_second_object(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    with token_for(folder, AT, GADGET, LAMP) as told:
        told.made("gad_1")
    with token_for(folder, AT, GADGET, LAMP) as neighbour:
        assert neighbour.token != told.token, "another declaration of the same run"
        neighbour.made("gad_2")
    terraform_ends(folder)
    with token_for(folder, AT, GADGET, LAMP) as again, token_for(folder, AT, GADGET, LAMP) as second:
        assert {again.token, second.token} == {told.token, neighbour.token}


@pytest.mark.parametrize("problem", [Unreachable, Unauthorized, TooManyRequests, BadRequest, Conflict, OSError])
def test_a_create_without_an_answer_is_taken_up_once(tmp_path: Path, problem: type[Exception]) -> None:
    folder = tmp_path / FOLDER
    with pytest.raises(problem), token_for(folder, AT, GADGET, LAMP) as lost:
        raise problem
    with (
        token_for(folder, AT, GADGET, LAMP | {"name": "two"}) as other,
        token_for(folder, "http://b/v2", GADGET, LAMP) as elsewhere,
    ):
        assert lost.token not in (other.token, elsewhere.token)
    with (
        token_for(folder, AT, GADGET, LAMP | {"color": "blue"}) as again,
        token_for(folder, AT, GADGET, LAMP) as second,
    ):
        assert again.token == lost.token and second.token != lost.token


def test_an_object_that_is_not_as_wanted_yet_is_known_by_its_uid(tmp_path: Path) -> None:
    folder, made = tmp_path / FOLDER, list[str]()

    def unfinished() -> None:
        with token_for(folder, AT, GADGET, LAMP) as create:
            made.append(create.token)
            create.made("gad_1")
            raise Unreachable

    with pytest.raises(Unreachable):
        unfinished()
    assert [path.name.split(".")[1] for path in folder.iterdir()] == made
    assert list(map(uid_of, folder.iterdir())) == ["gad_1"]


def test_workspaces_and_backends_have_tokens_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER

    def token(**environment: str) -> str:
        with token_for(folder, AT, GADGET, LAMP, lambda: True, environment) as create:
            return create.token

    first = token()
    assert token(TF_WORKSPACE="prod") != first
    (tmp_path / "environment").write_text("prod")
    assert token() != first
    (tmp_path / "environment").unlink()
    (tmp_path / "terraform.tfstate").write_text('{"version": 3, "backend": {"type": "s3", "config": {"key": "prod"}}}')
    assert token() != first
    (tmp_path / "terraform.tfstate").unlink()
    assert token(TF_WORKSPACE="default") == token() == first


def test_a_create_whose_result_nobody_hears_is_taken_up(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    with token_for(folder, AT, GADGET, LAMP, lambda: True) as unheard:
        unheard.made("gad_1")
    with pytest.raises(Conflict), token_for(folder, AT, GADGET, LAMP, lambda: True) as again:
        raise Conflict
    with token_for(folder, AT, GADGET, LAMP) as heard:
        heard.made("gad_1")
    assert unheard.token == again.token == heard.token
    assert list(map(uid_of, folder.iterdir())) == ["gad_1"]


def test_a_token_of_a_dead_process_is_taken_up_and_of_a_living_one_not(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    with token_for(folder, AT, GADGET, LAMP) as held:
        path = next(folder.iterdir())
        with token_for(folder, AT, GADGET, LAMP) as other:
            assert other.token != held.token
            other.made("gad_1")
        path = path.rename(path.with_name(path.name.rpartition(".")[0] + f".{os.getpid()}-1"))
        with token_for(folder, AT, GADGET, LAMP) as taken:
            assert taken.token == held.token
            taken.made("gad_1")
    with pytest.raises(Unreachable), token_for(folder, AT, GADGET, LAMP) as old:
        raise Unreachable
    left = next(each for each in folder.iterdir() if old.token in each.name)
    os.utime(left, (time.time() - 90_000,) * 2)
    with token_for(folder, AT, GADGET, LAMP) as fresh:
        assert fresh.token != old.token, "the Control Plane has forgotten it"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_dead_process_that_nobody_has_buried_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        started = pids.started(child.pid)
        assert started and _lives(f"{child.pid}-{started}") and not _lives(f"{child.pid}-{int(started) + 1}")
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not _lives(f"{child.pid}-{started}")
    finally:
        child.kill()
        child.communicate()


def test_without_a_data_folder_a_token_lives_as_long_as_its_process(tmp_path: Path) -> None:
    assert data_folder({"TF_DATA_DIR": str(tmp_path / "none")}) is None
    assert data_folder({"TF_DATA_DIR": str(tmp_path)}) == tmp_path / FOLDER
    with token_for(None, AT, GADGET, LAMP) as one, token_for(None, AT, GADGET, LAMP) as other:
        assert one.token != other.token


def test_token_files_hold_no_value(tmp_path: Path) -> None:
    with token_for(tmp_path / FOLDER, AT, GADGET, LAMP | {"passphrase": "geheim"}):
        path = next((tmp_path / FOLDER).iterdir())
        assert path.read_bytes() == b"" and "top" not in path.name and path.stat().st_mode & 0o077 == 0


DATABASE = PRODUCT.noun_named("database")
TENANT = PRODUCT.noun_named("tenant")


def test_other_providers_resources_become_ours_by_name() -> None:
    assert DATABASE is not None and TENANT is not None
    source = {"id": "p/b/app", "name": "app", "owner_name": "acme", "branch_id": "b"}
    assert moved(DATABASE, "registry.terraform.io/kislerdm/neon", "neon_database", source) == {
        "tenant": "acme",
        "name": "app",
    }
    assert moved(DATABASE, "", "postgresql_database", {"name": "app", "owner": "acme"}) == {
        "tenant": "acme",
        "name": "app",
    }
    assert moved(TENANT, "", "postgresql_role", {"name": "acme"}) == {"name": "acme"}


def test_what_cannot_be_moved_says_why_and_what_else() -> None:
    assert DATABASE is not None and TENANT is not None
    with pytest.raises(Immovable, match=r"no way from aws_db_instance .*neon_database, postgresql_database.*import \{"):
        moved(DATABASE, "registry.terraform.io/hashicorp/aws", "aws_db_instance", {"name": "x"})
    with pytest.raises(Immovable, match="has no owner, which would become `tenant`"):
        moved(DATABASE, "", "postgresql_database", {"name": "app", "owner": None})
    with pytest.raises(Immovable, match="'my app' of neon_project cannot be a `name` here"):
        moved(TENANT, "", "neon_project", {"name": "my app"})


def test_every_move_fills_the_human_id_of_a_noun_that_exists() -> None:
    for targets in MOVES.values():
        for name, fields in targets.items():
            noun = PRODUCT.noun_named(name)
            assert noun is not None and set(fields) == set(noun.id_fields())


def test_a_launcher_starts_the_python_that_wrote_it(tmp_path: Path) -> None:
    assert installation.launcher(Path("/opt/py/bin/python"), ["/opt/lib"]).startswith("#!/opt/py/bin/python -IS\n")
    for python in (Path("/a b/python"), Path("/" + "x" * 200)):
        text = installation.launcher(python, [])
        assert text.startswith("#!/bin/sh\n") and str(python) in text
        compile(text, "launcher", "exec")
    assert installation.platform_name("linux", "x86_64") == "linux_amd64"
    assert installation.platform_name("darwin", "arm64") == "darwin_arm64"


def test_an_installation_is_written_once(tmp_path: Path) -> None:
    first = installation.install(tmp_path, "1.0.0")
    times = [path.stat().st_mtime_ns for path in first]
    assert [path.name for path in first] == ["terraform-provider-spg99_v1.0.0"] * 2
    assert installation.install(tmp_path, "1.0.0") == first
    assert [path.stat().st_mtime_ns for path in first] == times
    assert all(os.access(path, os.X_OK) for path in first)
    assert {path.parts[len(tmp_path.parts)] for path in first} == {"registry.terraform.io", "registry.opentofu.org"}


def test_a_prepared_schema_counts_only_while_its_sources_are_the_same(tmp_path: Path) -> None:
    fresh = load().schema_bytes()
    path = tmp_path / "schema.bin"
    path.write_bytes(installation.schema_file(launch.sources_now()))
    assert launch.prepared_schema(str(path)) == fresh
    path.write_bytes(installation.schema_file(launch.FOR_EVER))
    assert launch.prepared_schema(str(path)) == fresh
    path.write_bytes(b"1.2,3.4\nold")
    assert launch.prepared_schema(str(path)) == b""
    assert launch.ProviderOnDemand(str(path)).schema_bytes() == fresh
    assert (
        launch.ProviderOnDemand("").schema_bytes()
        == fresh
        == launch.ProviderOnDemand(str(tmp_path / "none")).schema_bytes()
    )


def test_a_process_that_is_asked_for_the_schema_alone_loads_none_of_our_rooms(tmp_path: Path) -> None:
    path = tmp_path / "schema.bin"
    path.write_bytes(installation.schema_file(launch.sources_now()))
    code = f"""
import sys
sys.path[:0] = {[str(Path(launch.__file__).parents[3])]!r}
from spg99.bridges.terraform.launch import ProviderOnDemand
assert len(ProviderOnDemand({str(path)!r}).schema_bytes()) > 10_000
print(*sorted(name for name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"spg99.shapes", "spg99.bridges.terraform.provider", "typing", "json", "re"}


def test_a_damaged_installation_is_told_in_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = launch.ProviderOnDemand("")
    monkeypatch.setattr(provider, "_loaded", lambda: (_ for _ in ()).throw(ImportError("No module named 'x'")))
    said = provider.plan_resource_change({}, Call("PlanResourceChange"))
    assert (
        said["diagnostics"][0].summary == "Provider failed to start"
        and "install the provider again" in said["diagnostics"][0].detail
    )
    assert "No module named" in provider.call_function({}, Call("CallFunction"))["error"]["text"]
