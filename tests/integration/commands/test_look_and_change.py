"""The commands that look and change, against a real installation, as a person types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kit.platform import BIN, Platform, wait_for

Done = subprocess.CompletedProcess[str]


def spg99(platform: Platform, *arguments: str, stdin: str = "", **environment: str) -> Done:
    """One command in the environment that `eval "$(spg99 env)"` makes."""
    return subprocess.run(
        [BIN / "spg99", *arguments],
        env={**os.environ, **platform.env, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def answer(platform: Platform, *arguments: str) -> Any:
    """The JSON that a command answers."""
    done = spg99(platform, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_tenant_from_create_to_delete(platform: Platform) -> None:
    made = answer(platform, "tenants", "create", "alpha")
    assert made["name"] == "alpha" and made["state"] == "active"
    assert made["pg_password"] == "[secret]"
    shown = answer(platform, "tenants", "get", "alpha", "--show-secrets")
    assert shown["pg_user"] == made["pg_user"] and shown["pg_password"] not in (None, "[secret]")
    rotated = answer(platform, "tenants", "rotate-credentials", "alpha", "--show-secrets")
    assert rotated["pg_password"] not in (None, "[secret]", shown["pg_password"])
    assert answer(platform, "tenants", "credentials", "alpha")["pg_password"] == "[secret]"
    assert "alpha" in [tenant["name"] for tenant in answer(platform, "tenants", "list")]
    assert answer(platform, "tenants", "delete", "alpha", "--yes") is not None
    gone = spg99(platform, "tenants", "get", "alpha")
    assert gone.returncode == 1
    assert gone.stderr.startswith("error: ") and "request id: req_" in gone.stderr


@pytest.mark.slow  # again
def test_credentials_are_managed_rotated_and_left(platform: Platform, tmp_path: Path) -> None:
    answer(platform, "tenants", "create", "rho")
    (tmp_path / "password").write_text("a password of my own\n")
    made = answer(platform, "credentials", "create", "rho", "--pg-password-file", str(tmp_path / "password"))
    assert (made["state"], made["password"]) == ("managed", "[secret]")
    assert "a password of my own" not in json.dumps(made)
    assert answer(platform, "credentials", "get", "rho", "--show-secrets")["password"] == "a password of my own"
    piped = spg99(platform, "credentials", "update", "rho", "--pg-password-file", "-", stdin="another of my own\n")
    assert piped.returncode == 0, piped.stderr
    assert answer(platform, "tenants", "credentials", "rho", "--show-secrets")["pg_password"] == "another of my own"
    rotated = answer(platform, "credentials", "update", "rho", "--rotation-trigger", "1", "--show-secrets")
    assert rotated["password"] not in ("another of my own", "a password of my own", "[secret]")
    short = spg99(platform, "credentials", "update", "rho", "--pg-password-file", "-", stdin="short\n")
    assert short.returncode == 1 and "  pg-password: " in short.stderr
    assert spg99(platform, "credentials", "delete", "rho", stdin="n\n").stderr.startswith("End the management of")
    assert spg99(platform, "credentials", "delete", "rho", "--yes").returncode == 0
    assert answer(platform, "credentials", "get", "rho")["state"] == "unmanaged"


def test_a_database_from_create_to_delete(platform: Platform) -> None:
    answer(platform, "tenants", "create", "beta")
    made = answer(platform, "dbs", "create", "beta/app", "--size", "L2", "--idle-timeout-seconds", "600")
    assert (made["state"], made["size"], made["idle_timeout_seconds"]) == ("stopped", "L2", 600)
    assert made["connection_string"] == "[secret]"
    table = spg99(platform, "dbs", "list", "beta").stdout.splitlines()
    assert table[0].split()[:2] == ["TENANT", "NAME"]
    assert table[1].split()[:2] == ["beta", "app"]
    changed = answer(platform, "dbs", "update", "beta/app", "--idle-timeout-seconds", "0", "--deletion-protection")
    assert (changed["idle_timeout_seconds"], changed["deletion_protection"]) == (0, True)
    assert spg99(platform, "dbs", "start", "beta/app").returncode == 0
    wait_for("it to run", lambda: answer(platform, "dbs", "get", "beta/app")["state"] in ("ready", "idle"))
    assert spg99(platform, "dbs", "stop", "beta/app").returncode == 0
    wait_for("it to sleep", lambda: answer(platform, "dbs", "get", "beta/app")["state"] == "stopped")
    refused = spg99(platform, "dbs", "delete", "beta/app", "--yes")
    assert refused.returncode == 1 and "protect" in refused.stderr
    answer(platform, "dbs", "update", "beta/app", "--no-deletion-protection")
    assert spg99(platform, "dbs", "delete", "beta/app", "--yes").stdout == "beta/app is deleted.\n"
    assert spg99(platform, "dbs", "get", "beta/app").returncode == 1
    assert spg99(platform, "dbs", "list", "beta").stdout == ""


def test_delete_asks_first(platform: Platform) -> None:
    answer(platform, "tenants", "create", "gamma")
    for stdin in ("n\n", ""):
        done = spg99(platform, "tenants", "delete", "gamma", stdin=stdin)
        assert done.returncode == 1 and "Nothing was done." in done.stderr
    assert answer(platform, "tenants", "get", "gamma")["name"] == "gamma"
    assert spg99(platform, "tenants", "delete", "gamma", stdin="y\n").returncode == 0


def test_a_bad_field_is_told_as_the_api_tells_it(platform: Platform) -> None:
    answer(platform, "tenants", "create", "delta")
    done = spg99(platform, "dbs", "create", "delta/app", "--idle-timeout-seconds", "-1")
    assert done.returncode == 1
    assert "  idle-timeout-seconds: " in done.stderr
    nothing = spg99(platform, "dbs", "update", "delta/app")
    assert nothing.returncode == 2 and "Nothing to change" in nothing.stderr


def test_a_key_is_shown_once_at_creation_and_at_rotation(platform: Platform) -> None:
    made = answer(
        platform, "keys", "create", "--name", "ci", "--permissions", "can_scale", "--permissions", "can_delete"
    )
    assert set(made["permissions"]) == {"can_scale", "can_delete"}
    token = made["token"]
    assert spg99(platform, "tenants", "list", SPG99_API_KEY=token).returncode == 0
    rotated = answer(platform, "keys", "rotate", made["key_id"], "--grace-seconds", "0")["token"]
    assert rotated not in (None, "[secret]", token)
    admin = platform.data_dir / "secrets" / "admin.key"
    assert str(admin) not in spg99(platform, "keys", "rotate", made["key_id"]).stderr, "no key of the dev"
    old = spg99(platform, "tenants", "list", SPG99_API_KEY=token)
    assert old.returncode == 1 and "key" in old.stderr and token not in old.stderr
    assert answer(platform, "keys", "get", made["key_id"])["token"] is None
    assert spg99(platform, "keys", "delete", made["key_id"], "--yes").returncode == 0


@pytest.mark.slow  # again
def test_account_and_its_contact(platform: Platform) -> None:
    assert answer(platform, "account", "get")["account_id"]
    contact = ("account", "contact", "--email", "ops@example.org", "--name", "Ops", "--company", "Example")
    assert spg99(platform, *contact).returncode == 0
    assert answer(platform, "account", "get")["email"] == "ops@example.org"


def test_a_running_dev_is_found_without_any_variable(platform: Platform) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "CP_URL"))}
    done = subprocess.run(
        [BIN / "spg99", "tenants", "list"],
        env=bare | {"SPG99_DATA_DIR": str(platform.data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_events_and_watch_tell_what_happens(platform: Platform) -> None:
    answer(platform, "tenants", "create", "epsilon")
    answer(platform, "dbs", "create", "epsilon/app")
    watching = subprocess.Popen(
        [BIN / "spg99", "dbs", "watch", "epsilon/app", "--json"],
        env={**os.environ, **platform.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    first = json.loads(watching.stdout.readline())
    assert first["state"] == "stopped"
    assert spg99(platform, "dbs", "delete", "epsilon/app", "--yes").returncode == 0
    out, err = watching.communicate(timeout=30)
    assert watching.returncode == 0, err
    assert "epsilon/app is deleted." in err
    assert [json.loads(line)["state"] for line in out.splitlines()][-1:] in (["deleting"], [])
    seen = spg99(platform, "events", "watch", "--last-event-id", "0", "--count", "2", "--tenant", "epsilon", "--json")
    assert seen.returncode == 0, seen.stderr
    events = [json.loads(line) for line in seen.stdout.splitlines()]
    assert events[0]["type"].startswith("tenant.") and events[1]["type"].startswith("database.")


@pytest.mark.skipif(shutil.which("psql") is None, reason="needs the machine's psql")
def test_psql_opens_a_database_and_shows_no_password_to_others(platform: Platform) -> None:
    answer(platform, "tenants", "create", "zeta")
    answer(platform, "dbs", "create", "zeta/app")
    one = spg99(platform, "psql", "zeta/app", "-At", "-c", "select current_database(), 6 * 7")
    assert one.stdout == "app|42\n", one.stderr
    sslinfo = spg99(platform, "psql", "zeta/app", "-c", "\\conninfo")
    assert "SSL connection" in sslinfo.stdout
    password = answer(platform, "tenants", "get", "zeta", "--show-secrets")["pg_password"]
    waiting = subprocess.Popen(
        [BIN / "spg99", "psql", "zeta/app", "-c", "select pg_sleep(20)"],
        env={**os.environ, **platform.env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:

        def is_psql() -> str:
            with open(f"/proc/{waiting.pid}/cmdline") as file:
                line = file.read()
            return line if "pg_sleep" in line and "spg99" not in line.split("\0")[0] else ""

        if os.path.exists("/proc"):
            assert password not in wait_for("psql to take over", is_psql)
    finally:
        waiting.kill()
        waiting.wait()


def test_import_file_names_what_exists_and_holds_no_secret(platform: Platform, tmp_path: Path) -> None:
    answer(platform, "tenants", "create", "eta")
    answer(platform, "dbs", "create", "eta/app")
    password = answer(platform, "tenants", "get", "eta", "--show-secrets")["pg_password"]
    file = tmp_path / "import.json"
    done = spg99(platform, "import-file", "tenants:eta", "dbs:eta/app", "-o", str(file))
    assert done.returncode == 0, done.stderr
    assert [entry["id"] for entry in json.loads(file.read_text())["resources"]] == ["eta", "eta/app"]
    everything = spg99(platform, "import-file", "--all")
    assert {"eta", "eta/app"} <= {entry["id"] for entry in json.loads(everything.stdout)["resources"]}
    assert password not in file.read_text() + everything.stdout
    for wrong in ([], ["--all", "dbs:eta/app"], ["eta/app"], ["dbs:eta"]):
        assert spg99(platform, "import-file", *wrong).returncode == 2


@pytest.mark.slow  # again
def test_what_follows_the_database_goes_to_psql_with_and_without_a_separator(
    platform: Platform, tmp_path: Path
) -> None:
    program = tmp_path / "psql"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    answer(platform, "tenants", "create", "theta")
    answer(platform, "dbs", "create", "theta/app")
    for before, given in (
        ([], ["-At", "-c", "select 1"]),
        (["--"], ["-At", "-c", "select 1"]),
        (["--"], ["--", "other"]),  # whoever wants psql to see one writes two
        (["--"], []),
        ([], ["--help"]),
    ):
        done = spg99(platform, "psql", "--psql", str(program), "theta/app", *before, *given)
        assert done.stdout.splitlines() == (given or [""]), done.stderr


def test_psql_that_is_missing_is_told_with_what_to_do(platform: Platform) -> None:
    done = spg99(platform, "psql", "--psql", "no-such-psql", "zeta/app")
    assert done.returncode == 1
    assert "Install PostgreSQL's client" in done.stderr


@pytest.mark.slow  # again
def test_doctor_finds_everything_well(platform: Platform) -> None:
    done = spg99(platform, "doctor", "--data-dir", str(platform.data_dir), "--json")
    found = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, [finding for finding in found.values() if finding["verdict"] == "fail"]
    for subject in ("Python", "PostgreSQL", "Account", "Data folder", "Control Plane", "Gateway"):
        assert found[subject]["verdict"] == "ok", found[subject]


@pytest.mark.slow  # again
def test_doctor_names_what_is_wrong_and_what_to_do(platform: Platform) -> None:
    wrong_key = spg99(platform, "doctor", "--json", SPG99_API_KEY="spg99_key_wrong")
    assert wrong_key.returncode == 1
    found = {finding["subject"]: finding for finding in json.loads(wrong_key.stdout)}
    assert found["Control Plane"]["verdict"] == "fail" and found["Control Plane"]["advice"]
    no_ca = spg99(platform, "doctor", PGSSLROOTCERT="")
    assert no_ca.returncode == 1
    assert "Set PGSSLROOTCERT" in no_ca.stdout
