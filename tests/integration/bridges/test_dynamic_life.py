"""The dynamic provider in Pulumi's real host process: create, change, refresh, get, delete, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from integration.bridges.host_driver import UNKNOWN_TEXT, Failed, Host, Stored, running
from integration.bridges.plane_stub import API_KEY, Plane
from spg99.resources import ApiKey, Database, Tenant

DIFF_NONE, DIFF_SOME = 1, 2


@pytest.fixture
def database(host: Host, plane: Plane) -> Stored:
    host.create(Stored(Tenant, "acme"), name="acme")
    return host.create(Stored(Database, "app"), tenant="acme", name="app", idle_timeout_seconds=60)


def test_a_create_answers_everything_and_a_second_up_changes_nothing(
    host: Host, plane: Plane, database: Stored
) -> None:
    assert database.id == "acme/app"
    assert database.outputs["dbId"] == plane.objects["database", "acme/app"]["db_id"]
    assert database.outputs["idleTimeoutSeconds"] == 60 and database.outputs["size"] == "L1"
    again, failures = host.check(database, tenant="acme", name="app", idle_timeout_seconds=60)
    assert failures == {} and again == database.inputs
    assert host.diff(database, again).changes == DIFF_NONE


def test_secrets_are_marked_on_the_wire_and_nowhere_plain(host: Host, database: Stored) -> None:
    secret = database.outputs["connectionString"]
    assert secret.startswith("topsecret")
    marked = dict(database.raw_outputs)
    assert marked.pop("connectionString")["value"] == secret
    assert secret not in json.dumps(marked)
    assert API_KEY not in json.dumps(database.raw_outputs)


def test_a_change_is_one_patch_with_that_field_only(host: Host, plane: Plane, database: Stored) -> None:
    news, _ = host.check(database, tenant="acme", name="app", idle_timeout_seconds=0)
    answer = host.diff(database, news)
    assert answer.changes == DIFF_SOME and not answer.replaces
    host.update(database, tenant="acme", name="app", idle_timeout_seconds=0)
    assert database.outputs["idleTimeoutSeconds"] == 0
    assert plane.count("PATCH", "/dbs/app$") == 1 and plane.count("POST", "/dbs$") == 1


def test_a_field_left_out_goes_back_to_its_default(host: Host, database: Stored) -> None:
    news, _ = host.check(database, tenant="acme", name="app")
    assert host.diff(database, news).changes == DIFF_SOME
    assert host.update(database, tenant="acme", name="app").outputs["idleTimeoutSeconds"] == 300


def test_a_field_without_default_can_be_unset(host: Host, plane: Plane, database: Stored) -> None:
    host.update(database, tenant="acme", name="app", idle_timeout_seconds=60, max_size="L3")
    assert plane.objects["database", "acme/app"]["max_size"] == "L3"
    news, _ = host.check(database, tenant="acme", name="app", idle_timeout_seconds=60)
    assert host.diff(database, news).changes == DIFF_SOME
    host.update(database, tenant="acme", name="app", idle_timeout_seconds=60)
    assert plane.objects["database", "acme/app"]["max_size"] is None
    assert host.diff(database, news).changes == DIFF_NONE


def test_a_replacement_that_loses_data_is_refused_in_the_preview(host: Host, database: Stored) -> None:
    _, failures = host.check(database, tenant="acme", name="bills", idle_timeout_seconds=60)
    assert set(failures) == {"name"}
    assert '"app"' in failures["name"] and '"bills"' in failures["name"] and "allow_replacement" in failures["name"]
    news = dict(database.inputs, name="bills")
    answer = host.diff(database, news)
    assert answer.changes == DIFF_SOME and not answer.replaces, "a Diff that raised would fail a refresh too"
    with pytest.raises(Failed, match="data destroyed"):
        host.change(database, news)


def test_a_replacement_the_program_agrees_to_is_one(host: Host, plane: Plane, database: Stored) -> None:
    news, failures = host.check(database, tenant="acme", name="bills", idle_timeout_seconds=60, allow_replacement=True)
    answer = host.diff(database, news)
    assert failures == {} and list(answer.replaces) == ["name"] and not answer.deleteBeforeReplace
    host.create(Stored(Database, "app"), tenant="acme", name="bills", allow_replacement=True)
    assert "allowReplacement" not in plane.objects["database", "acme/bills"]


def test_the_same_name_in_another_project_goes_first(host: Host, database: Stored) -> None:
    tenant = host.create(Stored(Tenant, "t2"), name="other")
    news, _ = host.check(tenant, name="other", project="x", allow_replacement=True)
    answer = host.diff(tenant, news)
    assert list(answer.replaces) == ["project"] and answer.deleteBeforeReplace


def test_what_an_old_key_was_made_of_is_replaced_without_asking(host: Host) -> None:
    key = host.create(Stored(ApiKey, "ci"), name="ci", permissions=["can_scale"])
    news, failures = host.check(key, name="ci", permissions=["can_scale", "can_delete"])
    assert failures == {} and list(host.diff(key, news).replaces) == ["permissions"]


def test_a_token_told_once_survives_refresh_and_update(host: Host, plane: Plane) -> None:
    key = host.create(Stored(ApiKey, "ci"), name="ci")
    token = key.outputs["token"]
    assert plane.objects["api_key", key.id]["token"] is None and token.startswith("topsecret")
    assert host.refresh(key) and key.outputs["token"] == token
    assert host.update(key, name="ci2").outputs["token"] == token
    assert "value" in key.raw_outputs["token"]


def test_refresh_shows_drift_per_property_and_an_up_takes_it_back(host: Host, plane: Plane, database: Stored) -> None:
    wrote = dict(database.inputs)
    plane.change_outside("database", "acme/app", size="L3", deletion_protection=True)
    assert host.refresh(database)
    assert database.inputs["size"] == "L3" and database.inputs["deletionProtection"] is True
    assert host.diff(database, wrote).changes == DIFF_SOME
    host.update(database, tenant="acme", name="app", idle_timeout_seconds=60)
    assert plane.objects["database", "acme/app"]["size"] == "L1"


def test_what_was_set_outside_and_never_written_is_drift_too(host: Host, plane: Plane, database: Stored) -> None:
    plane.change_outside("database", "acme/app", max_size="L4")
    assert host.refresh(database) and database.inputs["maxSize"] == "L4"
    host.update(database, tenant="acme", name="app", idle_timeout_seconds=60)
    assert plane.objects["database", "acme/app"]["max_size"] is None


def test_what_moves_by_itself_is_no_drift(host: Host, plane: Plane, database: Stored) -> None:
    wrote = dict(database.inputs)
    plane.change_outside("database", "acme/app", state="ready", status="ready", current_scale=1, storage_bytes=7)
    assert host.refresh(database)
    assert database.inputs == wrote and database.outputs["storageBytes"] == 7
    assert host.diff(database, wrote).changes == DIFF_NONE


def test_deleted_outside_is_noticed(host: Host, plane: Plane, database: Stored) -> None:
    plane.delete_outside("database", "acme/app")
    assert host.refresh(database) is False
    with pytest.raises(Failed, match="was deleted outside. Run `pulumi refresh`"):
        host.update(database, tenant="acme", name="app", idle_timeout_seconds=1)


def test_another_object_under_the_same_name_is_not_ours(host: Host, plane: Plane, database: Stored) -> None:
    plane.change_outside("database", "acme/app", db_id="db_somebody_elses")
    assert host.refresh(database) is False
    host.delete(database)
    assert ("database", "acme/app") in plane.objects


def test_get_reads_what_others_manage(host: Host, plane: Plane, database: Stored) -> None:
    found = host.get(Stored(Database, "look"), "acme/app")
    assert found.outputs["dbId"] == database.outputs["dbId"]
    assert found.inputs["idleTimeoutSeconds"] == 60
    with pytest.raises(Failed, match="There is no database 'acme/none'"):
        host.get(Stored(Database, "look"), "acme/none")
    with pytest.raises(Failed, match="id of a database has the form <tenant>/<name>, not 'acme'"):
        host.get(Stored(Database, "look"), "acme")


def test_delete_waits_until_it_is_gone_and_a_second_one_is_fine(host: Host, plane: Plane, database: Stored) -> None:
    plane.delete_seconds = 0.3
    host.delete(database)
    assert ("database", "acme/app") not in plane.objects
    host.delete(database)


def test_delete_ends_connections_but_not_protection(host: Host, plane: Plane, database: Stored) -> None:
    plane.change_outside("database", "acme/app", active_connections=3, deletion_protection=True)
    with pytest.raises(Failed, match="deletion_protection is on"):
        host.delete(database)
    plane.change_outside("database", "acme/app", deletion_protection=False)
    host.delete(database)
    assert ("database", "acme/app") not in plane.objects


def test_unknown_values_are_taken_anywhere(host: Host, plane: Plane) -> None:
    res = Stored(Database, "later")
    inputs, failures = host.check(res, tenant=UNKNOWN_TEXT, name="app", size=UNKNOWN_TEXT, idle_timeout_seconds=-1)
    assert set(failures) == {"idleTimeoutSeconds"}
    assert inputs["tenant"] == UNKNOWN_TEXT and inputs["size"] == UNKNOWN_TEXT
    key, failures = host.check(Stored(ApiKey, "k"), name="k", permissions=["can_scale", UNKNOWN_TEXT])
    assert failures == {} and key["permissions"] == ["can_scale", UNKNOWN_TEXT]
    assert not plane.log, "a preview talks to nobody"


def test_an_unknown_name_is_a_change_and_not_yet_a_replacement(host: Host, database: Stored) -> None:
    news, failures = host.check(database, tenant="acme", name=UNKNOWN_TEXT, idle_timeout_seconds=60)
    answer = host.diff(database, news)
    assert failures == {} and answer.changes == DIFF_SOME and not answer.replaces


def test_all_failures_come_at_once_on_their_property(host: Host) -> None:
    _, failures = host.check(
        Stored(Database, "bad"), tenant="ac me", size="XL", idleTimoutSeconds=5, idle_timeout_seconds=1.5, db_id="db_1"
    )
    assert set(failures) == {"tenant", "name", "size", "idleTimoutSeconds", "idleTimeoutSeconds", "dbId"}
    assert failures["name"] == "is required"
    assert "did you mean 'idleTimeoutSeconds'?" in failures["idleTimoutSeconds"]
    assert "cannot be set" in failures["dbId"]


def test_missing_configuration_is_one_sentence_in_the_preview(tmp_path: Path) -> None:
    with running(tmp_path, {}) as host, pytest.raises(Failed) as caught:
        host.check(Stored(Tenant, "t"), name="acme")
    message = caught.value.message
    assert "spg99:apiKey" in message and "SPG99_CP_URL" in message and "explicit provider" in message
    assert "Traceback" not in message and "\n" not in message


@pytest.mark.parametrize("explicit", [True, False])
def test_an_explicit_provider_and_the_environment_configure_too(plane: Plane, tmp_path: Path, explicit: bool) -> None:
    config = {"url": plane.url, "apiKey": API_KEY} if explicit else {}
    environment = {} if explicit else {"SPG99_CP_URL": plane.url, "SPG99_API_KEY": API_KEY}
    with running(tmp_path, config, **environment) as host:
        assert host.create(Stored(Tenant, "t"), name="acme").id == "acme"


def test_a_wrong_key_is_a_sentence_without_the_key(plane: Plane, tmp_path: Path) -> None:
    with running(tmp_path, {"spg99:url": plane.url, "spg99:apiKey": "spg99_key_x_wrong"}) as host:
        with pytest.raises(Failed, match="The API key is wrong") as caught:
            host.create(Stored(Tenant, "t"), name="acme")
    assert "Traceback" not in caught.value.message and "spg99_key_x_wrong" not in caught.value.message
    assert "request id req_" in caught.value.message
