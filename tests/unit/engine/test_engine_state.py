"""State files: format, secrets, order and atomic writes, without any process."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spg99 import pids
from spg99.engine import graph, lock
from spg99.engine.backend import Backend, StackFile, backend_url
from spg99.engine.crypt import Crypter, find_passphrase
from spg99.engine.decide import Kind
from spg99.engine.display import duration, shown, summary
from spg99.engine.events import Failure, Result, StepEnded
from spg99.engine.importing import parse as parse_import_file
from spg99.engine.project import (
    StackSettings,
    check_stack_name,
    config_environment,
    find_project,
    full_key,
    package_config,
)
from spg99.engine.snapshot import Snapshot
from spg99.engine.state import Deployment, Resource, copy, dump_resource, load_deployment, load_resource
from spg99.engine.values import UNKNOWN, secret
from spg99.errors import BadRequest, Conflict, NotFound, Unauthorized, Unavailable

# made with `openssl kdf` and AES-GCM by hand from passphrase "p", as Pulumi would write it
SALT = base64.b64encode(b"12345678").decode()


def _vector(plaintext: str, rounds: int) -> str:
    import hashlib

    key = hashlib.pbkdf2_hmac("sha256", b"p", b"12345678", rounds, 32)
    nonce = bytes(range(12))
    sealed = AESGCM(key).encrypt(nonce, plaintext.encode(), None)
    return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"


@pytest.fixture
def stack(tmp_path: Path) -> StackFile:
    backend = Backend(f"file://{tmp_path}", cwd=tmp_path)
    backend.open()
    return backend.stack("proj", "dev")


def quick(passphrase: str | None = "p", salt: str | None = None) -> Crypter:
    return Crypter(passphrase, salt, rounds=1000)


def resource(name: str, **fields: Any) -> Resource:
    return Resource(f"urn:pulumi:dev::proj::a:b:C::{name}", "a:b:C", id=name, **fields)


def urn(name: str) -> str:
    return resource(name).urn


def test_pulumis_own_format_is_read_with_its_million_rounds() -> None:
    crypter = Crypter("p", f"v1:{SALT}:{_vector('pulumi', 1_000_000)}")
    crypter.check()
    assert crypter.decrypt(_vector('"hush"', 1_000_000)) == '"hush"'


def test_what_is_written_can_be_read_by_another_and_stays_the_same() -> None:
    crypter = quick()
    sealed = crypter.encrypt('"hush"')
    assert sealed.startswith("v1:") and "hush" not in sealed and crypter.encrypt('"hush"') == sealed
    other = quick(salt=crypter.salt_text())
    assert other.decrypt(sealed) == '"hush"' and other.encrypt('"hush"') == sealed
    assert other.salt_text() == crypter.salt_text()


def test_wrong_missing_and_damaged() -> None:
    salt, sealed = (crypter := quick()).salt_text(), crypter.encrypt("1")
    with pytest.raises(Unauthorized, match="PULUMI_CONFIG_PASSPHRASE"):
        quick(None).encrypt("1")
    for broken in (quick("q", salt), quick(None, salt)):
        with pytest.raises(Unauthorized, match="PULUMI_CONFIG_PASSPHRASE"):
            broken.decrypt(sealed)
        with pytest.raises(Unauthorized, match="PULUMI_CONFIG_PASSPHRASE"):
            broken.encrypt("2")
    with pytest.raises(Unauthorized, match="cannot be decrypted"):
        quick(salt=salt).decrypt(sealed[:-6] + "AAAA==")
    for text in ("v2:x:y", "v1:!!:v1:a:b", "nonsense"):
        with pytest.raises(BadRequest, match="salt is damaged .* Put it back"):
            quick(salt=text)


def test_passphrases_come_from_variable_or_file(tmp_path: Path) -> None:
    file = tmp_path / "pass"
    file.write_text("p\n")
    assert find_passphrase({"PULUMI_CONFIG_PASSPHRASE_FILE": str(file)}) == "p"
    assert find_passphrase({"PULUMI_CONFIG_PASSPHRASE": "", "PULUMI_CONFIG_PASSPHRASE_FILE": str(file)}) == ""
    assert find_passphrase({}) is None
    with pytest.raises(BadRequest, match="cannot be read"):
        find_passphrase({"PULUMI_CONFIG_PASSPHRASE_FILE": str(tmp_path / "none")})


FULL = {
    "urn": urn("full"),
    "custom": True,
    "delete": True,
    "id": "i",
    "type": "a:b:C",
    "inputs": {"n": 5, "list": [1, None, {"x": True}]},
    "outputs": {
        "inf": {"4dabf18193072939515e22adb298388d": "8ad145fe-0d11-4827-bfd7-1abcbf086f5c", "value": "7ff0000000000000"}
    },
    "parent": urn("mum"),
    "protect": True,
    "external": True,
    "dependencies": [urn("mum")],
    "initErrors": ["x"],
    "provider": "p::1",
    "propertyDependencies": {"n": [urn("mum")], "list": []},
    "pendingReplacement": True,
    "additionalSecretOutputs": ["inf"],
    "customTimeouts": {"create": 420},
    "importID": "j",
    "retainOnDelete": True,
    "deletedWith": urn("mum"),
    "created": "2026-01-02T03:04:05Z",
    "modified": "2026-01-02T03:04:05Z",
    "ignoreChanges": ["a"],
    "replaceOnChanges": ["b"],
    "replacementTrigger": 0,
    "sourcePosition": "project:///x#1,2",
    "viewOf": "",
}


def test_a_resource_survives_the_round_trip_with_what_is_not_known() -> None:
    back = dump_resource(load_resource(FULL, str), str)
    assert back == FULL
    lean = {"urn": urn("lean"), "custom": False, "type": "a:b:C"}
    assert dump_resource(load_resource(lean | {"inputs": None, "propertyDependencies": {"a": None}}, str), str) == (
        lean | {"propertyDependencies": {"a": []}}
    )
    with pytest.raises(BadRequest, match="damaged"):
        load_resource({"urn": "", "type": "x"}, str)


def test_secrets_are_sealed_as_json_text_also_inside_lists() -> None:
    crypter = quick()
    raw = dump_resource(resource("a", inputs={"l": [secret({"x": [1, secret("y")]})]}), crypter.encrypt)
    assert set(raw["inputs"]["l"][0]) == {"4dabf18193072939515e22adb298388d", "ciphertext"}
    assert json.loads(crypter.decrypt(raw["inputs"]["l"][0]["ciphertext"]))["x"][0] == 1
    assert load_resource(raw, crypter.decrypt).inputs["l"][0]["value"]["x"][0] == 1


def test_the_layout_is_pulumis(stack: StackFile, tmp_path: Path) -> None:
    assert not stack.exists()
    with pytest.raises(NotFound, match="No stack named 'dev' in project 'proj'"):
        stack.read()
    stack.create()
    assert stack.read() is None
    with pytest.raises(Conflict):
        stack.create()
    file = tmp_path / ".pulumi/stacks/proj/dev.json"
    assert json.loads(file.read_text()) == {"version": 3, "checkpoint": {"stack": "organization/proj/dev"}}
    assert (tmp_path / ".pulumi/meta.yaml").read_text() == "version: 1\n"
    assert list(stack.backend.stacks("proj")) == [("proj", "dev")]
    stack.write(b'{"resources":[]}')
    stack.back_up()
    assert stack.read() == {"resources": []} and file.with_name("dev.json.bak").exists()
    file.write_bytes(b"")
    with pytest.raises(
        BadRequest, match=r"dev\.json\.bak beside it is the one of before the last run: copy it over dev\.json"
    ):
        stack.read()
    file.unlink()
    with pytest.raises(NotFound, match=r"dev\.json\.bak beside it is the one before the last run"):
        stack.read()
    stack.remove()
    assert not list(tmp_path.rglob("dev*"))


@pytest.mark.parametrize("damaged", [b"", b'{"version":3,"check', b"null", b"[]", b"\xff\xfe"])
@pytest.mark.parametrize("backup", [None, b"", b'{"version":3,"checkpoint":{}}'])
def test_a_damaged_state_is_said_with_what_to_do(stack: StackFile, damaged: bytes, backup: bytes | None) -> None:
    stack.create()
    stack.file.write_bytes(damaged)
    if backup is not None:
        stack.file.with_name("dev.json.bak").write_bytes(backup)
    with pytest.raises(BadRequest, match=r"is damaged \(.*\)\. ") as raised:
        stack.read()
    said = raised.value.message
    assert ("copy it over dev.json and run `spg99 up`" in said) == bool(backup), said
    assert ("`spg99 stack init dev`" in said and "`spg99 orphans --import`" in said) == (not backup), said
    assert stack.file.read_bytes() == damaged


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda d: (d / ".pulumi/meta.yaml").write_text("version: 2"), "layout version 2"),
        (lambda d: (d / ".pulumi/meta.yaml").write_text("version: 0"), "pulumi state upgrade"),
        (lambda d: ((d / ".pulumi/stacks").mkdir(), (d / ".pulumi/stacks/dev.json").touch()), "old layout"),
    ],
)
def test_layouts_it_does_not_know_are_refused(tmp_path: Path, prepare: Callable[[Path], Any], said: str) -> None:
    (tmp_path / ".pulumi").mkdir()
    prepare(tmp_path)
    with pytest.raises(BadRequest, match=said):
        Backend(f"file://{tmp_path}", cwd=tmp_path).open()


def test_where_the_backend_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    home = {"PULUMI_HOME": str(tmp_path / "ph")}
    assert backend_url(None, home, None) == "file://~"
    assert backend_url(None, home | {"PULUMI_BACKEND_URL": "file:///b"}, None) == "file:///b"
    assert backend_url("file:///a", home | {"PULUMI_BACKEND_URL": "file:///b"}, None) == "file:///a"
    (tmp_path / "ph").mkdir()
    (tmp_path / "ph/credentials.json").write_text('{"current": "https://api.pulumi.com"}')
    with pytest.raises(BadRequest, match=r"keeps state in files only"):
        Backend(backend_url(None, home, None), cwd=tmp_path)
    assert Backend("file://~", cwd=tmp_path).folder == tmp_path
    assert Backend("file://./x?no_tmp_dir=true", cwd=tmp_path).folder == tmp_path / "x"
    assert Backend("file:///abs%20olute", cwd=tmp_path).folder == Path("/abs olute")


def test_done_resources_come_first_and_old_ones_keep_their_order(stack: StackFile) -> None:
    a, b, c = resource("a"), resource("b", dependencies=[urn("a")]), resource("c", dependencies=[urn("b")])
    snapshot = Snapshot(Deployment([a, b, c]), quick(), stack)
    new_a = copy(a, outputs={"x": 1})
    snapshot.begin("updating", new_a)
    assert [o["type"] for o in (stack.read() or {})["pending_operations"]] == ["updating"]
    snapshot.end(new_a, done=new_a, instead_of=a)
    extra = resource("extra")
    snapshot.end(done=extra)
    latest = stack.read() or {}
    assert [r["id"] for r in latest["resources"]] == ["a", "extra", "b", "c"]
    assert latest["resources"][0]["outputs"] == {"x": 1} and "pending_operations" not in latest
    assert "secrets_providers" not in latest, "no secret, no passphrase needed"
    leaving = copy(b, delete=True)
    snapshot.end(marked=(b, leaving), write=False)
    snapshot.end(leaving, instead_of=leaving)
    assert [r.id for r in snapshot.resources()] == ["a", "extra", "c"]


def test_a_kept_resource_that_changes_is_there_once(stack: StackFile) -> None:
    root = resource("root")
    snapshot = Snapshot(Deployment([root]), quick(), stack)
    snapshot.end(done=root, instead_of=root, write=False)
    snapshot.end(marked=(root, copy(root, outputs={"x": 1})), write=False)
    assert [(r.id, r.outputs) for r in snapshot.resources()] == [("root", {"x": 1})]


def test_old_references_follow_a_renamed_resource(stack: StackFile) -> None:
    parent = Resource("urn:pulumi:dev::proj::a:b:P::old", "a:b:P", custom=False)
    child = Resource("urn:pulumi:dev::proj::a:b:P$a:b:C::kid", "a:b:C", id="1", parent=parent.urn)
    needs = resource("needs", dependencies=[parent.urn], property_dependencies={"x": [child.urn]})
    snapshot = Snapshot(Deployment([parent, child, needs]), quick(), stack)
    moved = copy(parent, urn="urn:pulumi:dev::proj::x:y:P::new", type="x:y:P")
    snapshot.end(done=moved, instead_of=parent)
    written = (stack.read() or {})["resources"]
    assert written[1]["urn"] == "urn:pulumi:dev::proj::x:y:P$a:b:C::kid" and written[1]["parent"] == moved.urn
    assert written[2]["dependencies"] == [moved.urn]
    assert written[2]["propertyDependencies"] == {"x": [written[1]["urn"]]}


def test_an_interrupted_create_is_remembered_until_it_is_made(stack: StackFile) -> None:
    first = Snapshot(Deployment(), quick(), stack)
    first.begin("creating", resource("a"))
    again = load_deployment(stack.read(), str)
    assert [(o.type, o.resource.id) for o in again.operations] == [("creating", "a")]
    second = Snapshot(again, quick(), stack)
    second.end(done=resource("b"))
    assert len((stack.read() or {})["pending_operations"]) == 1
    second.end(done=resource("a"))
    assert "pending_operations" not in (stack.read() or {})


def test_many_that_wait_share_one_write(stack: StackFile, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = []
    real = stack.write

    def slow(content: bytes | None) -> None:
        writes.append(content)
        time.sleep(0.05)
        real(content)

    monkeypatch.setattr(stack, "write", slow)
    snapshot = Snapshot(Deployment(), quick(), stack)

    def make(name: str) -> None:
        new = resource(name)
        snapshot.begin("creating", new)
        assert urn(name) in stack.file.read_text(), "on disk before the create begins"
        snapshot.end(new, done=new)

    threads = [threading.Thread(target=make, args=(f"r{n}",)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len((stack.read() or {})["resources"]) == 40 and "pending_operations" not in (stack.read() or {})
    assert len(writes) <= 8, "80 notes of 40 resources"


def test_a_failed_write_is_told_to_all_who_waited_and_tried_again(
    stack: StackFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = stack.write, [True]

    def flaky(content: bytes | None) -> None:
        if broken[0]:
            raise Unavailable("the disk is full")
        real(content)

    monkeypatch.setattr(stack, "write", flaky)
    snapshot = Snapshot(Deployment(), quick(), stack)
    new = resource("a")
    with pytest.raises(Unavailable, match="the disk is full"):
        snapshot.begin("creating", new)
    broken[0] = False
    snapshot.end(new, done=new)
    assert [r["id"] for r in (stack.read() or {})["resources"]] == ["a"]


def test_a_preview_writes_nothing(tmp_path: Path) -> None:
    snapshot = Snapshot(Deployment(), quick(None), None)
    new = resource("a", inputs={"s": secret(1)})
    snapshot.begin("creating", new)
    snapshot.end(new, done=new)
    assert snapshot.resources() == [new] and not list(tmp_path.iterdir())


def test_locks_of_the_dead_go_and_of_the_living_stay(stack: StackFile) -> None:
    import socket
    import subprocess

    dead = subprocess.Popen(["true"])
    dead.wait()
    stack.lock_folder.mkdir(parents=True)
    there = {"username": "u", "hostname": socket.gethostname(), "timestamp": "2026-01-02T03:04:05.123456789Z"}
    (stack.lock_folder / "1.json").write_text(json.dumps(there | {"pid": dead.pid}))
    with lock.held(stack) as notes:
        assert len(notes) == 1 and f"(pid {dead.pid})" in notes[0]
        with pytest.raises(Conflict, match=r"is locked by .* for \d+ s"), lock.held(stack):
            pass
        assert len(lock.locks(stack)) == 1, "who steps back leaves nothing"
    assert not stack.lock_folder.exists()
    stack.lock_folder.mkdir(parents=True)
    (stack.lock_folder / "2.json").write_text("not json")
    with pytest.raises(Conflict), lock.held(stack):
        pass
    assert lock.break_locks(stack) == 1


LIVING, ELSEWHERE = os.getpid(), 1 << 30
STARTED = pids.started(os.getpid())


@pytest.mark.parametrize("clock", ["2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "now", "no time at all", None])
@pytest.mark.parametrize(
    ("owner", "dead"),
    [
        ({"pid": "ours", "spg99Started": "ours"}, False),
        ({"pid": "ours"}, False),  # Pulumi's own
        ({"pid": "ours", "spg99Started": 7}, False),
        ({"pid": "ours", "spg99Started": "1"}, True),  # a later process of its number
        ({"pid": ELSEWHERE, "spg99Started": "ours"}, True),
        ({"pid": ELSEWHERE}, True),
        ({"pid": ELSEWHERE, "hostname": "another"}, False),
        ({"pid": 0}, False),
        ({"pid": "12"}, False),
    ],
    ids=str,
)
def test_whether_a_lock_is_of_the_dead_hangs_on_no_wall_clock(
    clock: str | None, owner: dict[str, Any], dead: bool
) -> None:
    # "ours" is put in here: in a parameter it would be another name of the test in every process.
    ours = {"pid": LIVING, "spg99Started": STARTED}
    owner = {name: ours[name] if value == "ours" else value for name, value in owner.items()}
    stamp = datetime.now(UTC).isoformat() if clock == "now" else clock
    assert lock._is_dead({"hostname": socket.gethostname(), "timestamp": stamp} | owner) is dead


def test_a_lock_of_ours_holds_through_a_step_of_the_clock(stack: StackFile) -> None:
    with lock.held(stack):
        ((file, content),) = lock.locks(stack)
        file.write_text(json.dumps(content | {"timestamp": "2001-01-01T00:00:00+00:00"}))
        with pytest.raises(Conflict, match="is locked by"), lock.held(stack):
            pass


def test_a_dead_process_that_nobody_has_buried_is_dead() -> None:
    child = subprocess.Popen(["true"])
    since = pids.started(child.pid)
    deadline = time.monotonic() + 30
    while pids.started(child.pid):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert not pids.lives(child.pid, since) and not pids.lives(child.pid, "")
    child.wait()


def test_where_the_system_hides_processes_a_living_one_counts_as_living(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", hidden)
    assert pids.lives(os.getpid(), STARTED) and pids.lives(1, "5") and not pids.lives(ELSEWHERE, "5")


def test_deletion_order() -> None:
    provider = Resource("urn:pulumi:dev::proj::pulumi:providers:a::p", "pulumi:providers:a", id="1")
    a = resource("a", provider=provider.reference)
    b = resource("b", dependencies=[a.urn], provider=provider.reference)
    replaced = resource("a", delete=True, provider=provider.reference)
    c = resource("c", parent=b.urn, deleted_with=a.urn)
    waits = graph.deletion_waits([provider, a, b, replaced, c])
    assert waits == {0: {1, 2, 3}, 1: {2, 4}, 2: {4}, 3: {4}, 4: set()}
    assert graph.dependents({a.urn}, [provider, a, b, c]) == {b.urn, c.urn}
    kept = graph.without([b, c], {a.urn})
    assert kept[0].dependencies == [] and kept[1].deleted_with == "" and kept[1].parent == b.urn


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (urn("a"), {urn("a")}),
        ("**::a", {urn("a")}),
        ("urn:pulumi:dev::proj::a:b:C::*", {urn("a"), urn("b")}),
        ("urn:pulumi:*::proj::**", {urn("a"), urn("b")}),
        ("a", set()),
        ("urn.pulumi:dev::proj::a:b:C::a", set()),
    ],
)
def test_targets(pattern: str, matches: set[str]) -> None:
    chosen = graph.matcher([pattern])
    assert {u for u in (urn("a"), urn("b")) if chosen(u)} == matches


def project_in(folder: Path, text: str = "name: proj\nruntime: python\n") -> Any:
    (folder / "Pulumi.yaml").write_text(text)
    return find_project(folder)


def test_projects(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    with pytest.raises(NotFound, match=r"No Pulumi.yaml"):
        find_project(tmp_path / "deep")
    text = "name: proj\nruntime: {name: python, options: {virtualenv: venv}}\nmain: deep\nconfig: {size: {type: integer, default: 5}, 'o:x': 1}"
    project = project_in(tmp_path, text)
    assert find_project(tmp_path / "deep/er").root == tmp_path
    assert project.program == tmp_path / "deep" and project.runtime_options == {"virtualenv": "venv"}
    assert project.defaults == {"proj:size": "5", "o:x": "1"}
    for bad, said in [
        ("runtime: python", "needs a `name`"),
        ("name: p\nruntime: go", "runs Python, Node.js and YAML programs only"),
        ("[", "cannot be read"),
        ("- a", "must hold a mapping"),
        ("name: p\nruntime: python\nmain: nowhere", "which does not exist"),
    ]:
        with pytest.raises(BadRequest, match=said):
            project_in(tmp_path, bad)


def test_configuration(tmp_path: Path) -> None:
    project, crypter = project_in(tmp_path), quick()
    settings = StackSettings(project, "dev")
    settings.set("size", "5")
    settings.set("other:key", "v")
    settings.set("token", "hush", crypter=crypter)
    raw = settings.raw
    raw["config"] |= {
        "proj:flag": True,
        "proj:old:config": 1,
        "proj:tree": {"a": [1, {"secure": crypter.encrypt("deep")}]},
    }
    raw["config"]["p2:config:legacy"] = "l"
    settings.save()
    again = StackSettings(project, "dev")
    assert "hush" not in again.file.read_text() and again.salt_text == crypter.salt_text()
    config = again.config(quick(salt=again.salt_text))
    assert config["proj:size"] == "5" and config["other:key"] == "v" and config["proj:flag"] == "true"
    assert config["proj:token"] == secret("hush") and config["p2:legacy"] == "l"
    assert config["proj:tree"] == secret('{"a":[1,"deep"]}')
    sent = config_environment(config)
    assert json.loads(sent["PULUMI_CONFIG"])["proj:token"] == "hush"
    assert set(json.loads(sent["PULUMI_CONFIG_SECRET_KEYS"])) == {"proj:token", "proj:tree"}
    assert package_config(config, "other") == {"key": "v"}
    assert package_config(config, "pulumi-python") == config
    again.remove("size")
    with pytest.raises(NotFound):
        again.remove("size")
    assert full_key("a", "p") == "p:a"


@pytest.mark.parametrize(
    ("text", "said"),
    [("environment: [x]", "Pulumi ESC"), ("secretsprovider: awskms://k", "only knows passphrases")],
)
def test_settings_it_cannot_honour_are_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    project = project_in(tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text(text)
    with pytest.raises(BadRequest, match=said):
        StackSettings(project, "dev")


def test_stack_names() -> None:
    assert check_stack_name("dev") == check_stack_name("organization/proj/dev") == "dev"
    for name in ("", "a b", "me/proj/dev", "a" * 101):
        with pytest.raises(BadRequest):
            check_stack_name(name)


def test_the_summary_uses_pulumis_words() -> None:
    kinds = [Kind.CREATE, Kind.CREATE, Kind.UPDATE, Kind.REPLACE, Kind.DELETE_REPLACED, Kind.SAME, Kind.READ]
    result = Result(steps=[StepEnded(kind, "u") for kind in kinds], failures=[Failure("x", "u")])
    done = ["+ 2 created", "~ 1 updated", "+-1 replaced", "4 changes. 1 unchanged", "1 errored"]
    assert [sign + text for sign, _, text in summary(result, preview=False)] == done
    planned = [sign + text for sign, _, text in summary(result, preview=True)]
    assert planned[:3] == ["+ 2 to create", "~ 1 to update", "+-1 to replace"]
    assert [duration(s) for s in (0.2, 59.5, 61, 3600)] == ["1s", "1m0s", "1m1s", "1h0m0s"]
    assert shown(secret("x")) == "[secret]" and shown(UNKNOWN) == "output<string>" and shown("ä") == '"ä"'


@pytest.mark.parametrize("depth", [300, 100_000])
def test_what_is_nested_without_end_is_refused_by_a_sentence(stack: StackFile, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    text = (
        f'{{"version":3,"checkpoint":{{"latest":{{"resources":[{{"urn":"u","type":"t","inputs":{{"a":{deep}}}}}]}}}}}}'
    )
    stack.file.parent.mkdir(parents=True, exist_ok=True)
    stack.file.write_text(text)
    with pytest.raises(BadRequest, match=r"damaged.*no whole dev\.json\.bak"):
        stack.read()
    with pytest.raises(BadRequest, match="nested more than|JSON object"):
        parse_import_file(f'{{"resources": [{{"type": "t", "name": "n", "id": "1", "inputs": {{"a": {deep}}}}}]}}')


def test_entries_of_an_object_are_those_of_the_merged_state_in_its_order(tmp_path: Path) -> None:
    def entry(name: str, id_: str) -> Resource:
        return Resource(f"urn:pulumi:dev::p::t::{name}", "t", id=id_)

    a, b, c = entry("a", "1"), entry("b", "2"), entry("c", "1")
    snapshot = Snapshot(Deployment([a, b, c]), quick(), None)

    def agrees() -> list[Resource]:
        for id_ in ("1", "2", "3"):
            expected = [r for r in snapshot.resources() if (r.type, r.id) == ("t", id_)]
            assert [id(r) for r in snapshot.entries_of("t", id_)] == [id(r) for r in expected]
        return snapshot.entries_of("t", "1")

    assert agrees() == [a, c]
    new = entry("new", "1")
    snapshot.end(done=new)
    assert agrees() == [new, a, c], "what this run has done stands first"
    going = copy(a, delete=True)
    snapshot.end(marked=(a, going))
    assert agrees() == [new, going, c]
    snapshot.end(done=(moved := copy(c, id="3")), instead_of=c)
    snapshot.end(new, instead_of=new)
    assert agrees() == [going] and snapshot.entries_of("t", "3") == [moved]
    snapshot.rewrite([b])
    assert agrees() == [] and snapshot.before.of("t", "1") == [a, c]
