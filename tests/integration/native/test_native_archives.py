"""The plugin where Pulumi looks for it: installed, packed, and fetched from a Control Plane."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2 as pb

from integration.native.plugin_driver import running, struct, urn
from kit.archives import unpack
from proof import server as proof_server
from spg99.bridges.pulumi.dynamic import reference
from spg99.commands.plugin import plugin as command
from spg99.config import ControlPlaneSettings
from spg99.control_plane.server import create_app
from spg99.control_plane.store import Store
from spg99.emit import pulumi_plugin
from spg99.prepared import PACKAGE

HERE = pulumi_plugin.this_platform()
TENANT = "spg99:index:Tenant"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pulumi_plugin.archive(tmp_path_factory.mktemp("dist"))


def test_install_honours_pulumis_home_and_replaces_an_older_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "my home"))
    folder = tmp_path / "my home/plugins" / f"resource-spg99-v{PACKAGE.version}"
    for _ in range(2):
        done = CliRunner().invoke(command, ["install"])
        assert done.exit_code == 0 and str(folder) in done.output
    assert sorted(each.name for each in folder.iterdir()) == [
        "PulumiPlugin.yaml",
        "__main__.py",
        folder.name and "pulumi-resource-spg99",
    ]
    assert [each.name for each in folder.parent.iterdir()] == [folder.name], "nothing half-made is left"
    (tmp_path / "spg99.py").write_text("raise SystemExit('a file of the project was imported')")
    with running([str(folder / "pulumi-resource-spg99")], cwd=tmp_path) as plugin:
        assert plugin.stub.GetPluginInfo(empty_pb2.Empty()).version == PACKAGE.version


def test_an_archive_runs_on_a_machine_without_spg99(archive: Path, tmp_path: Path) -> None:
    assert archive.name == f"pulumi-resource-spg99-v{PACKAGE.version}-{HERE}.tar.gz"
    folder = tmp_path / "unpacked"
    unpack(archive, folder)
    # The interpreter that this environment was made from: it has none of our packages.
    bare = Path(sys.base_prefix) / "bin"
    environment = {"PATH": f"{bare}:/usr/bin:/bin"}
    missing = subprocess.run([bare / "python3", "-I", "-c", "import spg99"], capture_output=True, check=False)
    assert missing.returncode == 1
    with (
        proof_server.running(PACKAGE) as server,
        running(
            [str(folder / "pulumi-resource-spg99")], cwd=tmp_path, url=server.url, environment=environment
        ) as plugin,
    ):
        loaded = Path(f"/proc/{plugin.process.pid}/maps")
        if loaded.exists():
            assert str(Path(sys.prefix) / "lib") not in loaded.read_text(), "its libraries are those of the archive"
        request = pb.CheckRequest(urn=urn("acme", TENANT), news=struct({"name": "acme"}))
        inputs = plugin.stub.Check(request).inputs
        made = plugin.stub.Create(pb.CreateRequest(urn=urn("acme", TENANT), properties=inputs))
        assert made.id == "acme" and ("tenant", "acme") in server.objects
        assert len(plugin.stub.GetSchema(pb.GetSchemaRequest()).schema) > 1000


def test_an_archive_says_which_python_it_wants(archive: Path, tmp_path: Path) -> None:
    unpack(archive, tmp_path, "pulumi-resource-spg99")
    done = subprocess.run(
        ["/bin/sh", tmp_path / "pulumi-resource-spg99"], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    version = "{}.{}".format(*sys.version_info[:2])
    assert done.returncode == 1 and f"needs CPython {version} on PATH" in done.stderr and done.stdout == ""


def test_an_archive_holds_nothing_of_this_machine(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        texts = [tar.extractfile(name).read().decode() for name in names if "/" not in name]  # type: ignore[union-attr]
    assert not any(str(Path(sys.prefix)) in text or str(Path.home()) + os.sep in text for text in texts)
    assert not any("control_plane" in name or "psycopg" in name for name in names)
    assert not any(name.split("/")[2:3] == ["pulumi"] for name in names), "Pulumi's SDK takes long to load"


def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    for arguments, words in (
        (["--platform", "plan9-mips"], "there are: darwin-amd64, darwin-arm64, linux-amd64, linux-arm64"),
        (["--python", "2.7"], "no version of Python from 3.11 on"),
    ):
        done = CliRunner().invoke(command, ["package", "-o", str(tmp_path), *arguments])
        assert done.exit_code != 0 and words in str(done.exception)


async def test_a_control_plane_serves_the_archive_to_everybody(archive: Path, tmp_path: Path) -> None:
    app = create_app(ControlPlaneSettings(data_dir=tmp_path), Store("postgresql://nowhere"))
    name = pulumi_plugin.archive_name(HERE)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://plane/v2/downloads/") as client:
        first = await client.get(name)
        assert first.status_code == 200 and first.headers["content-type"] == "application/gzip"
        digest = hashlib.sha256(first.content).hexdigest()
        assert digest == pulumi_plugin.checksum(archive), "made twice, the same"
        assert first.headers["etag"] == f'"{digest}"'
        again = await client.get(name, headers={"if-none-match": f'"{digest}"'})
        assert (again.status_code, again.content) == (304, b"")
        other = pulumi_plugin.archive_name("darwin-arm64", "0.0.1")
        missing = await client.get(other)
        assert missing.status_code == 404 and name in missing.json()["message"]
        (tmp_path / "downloads" / other).write_bytes(b"put there by an operator")
        assert (await client.get(other)).content == b"put there by an operator"
        assert other in (await client.get("x.tar.gz")).json()["message"]
        for outside in ("..%2Fsecrets%2Fcatalogue.key", "%2e%2e/secrets", "pulumi-resource-spg99-v1-..-x.tar.gz"):
            assert (await client.get(outside)).status_code == 404


@contextlib.asynccontextmanager
async def downloads(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(ControlPlaneSettings(data_dir=folder), Store("postgresql://nowhere"))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://plane/v2/downloads/") as client:
        yield client


async def test_what_has_changed_is_served_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = pulumi_plugin.archive_name(HERE)
    source = tmp_path / "more.py"

    def make(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(source.read_bytes())
        return folder / name

    monkeypatch.setattr(pulumi_plugin, "archive", make)
    monkeypatch.setattr(pulumi_plugin, "_our_package", lambda: [("spg99/more.py", source)])
    async with downloads(tmp_path) as client:
        for content in (b"before an upgrade of the same version", b"after it"):
            source.write_bytes(content)
            assert (await client.get(name)).content == content
        assert len(list((tmp_path / "downloads" / "made").iterdir())) == 1, "the old one is not kept"
        (tmp_path / "downloads" / name).write_bytes(b"put there by an operator")
        assert (await client.get(name)).content == b"put there by an operator"


async def test_an_archive_that_cannot_be_made_is_not_tried_for_each_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, tries = pulumi_plugin.archive_name(HERE), []

    def fails(folder: Path) -> Path:
        tries.append(folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pulumi_plugin, "archive", fails)
    async with downloads(tmp_path) as client:
        for _ in range(3):
            answer = await client.get(name)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
            assert "spg99 plugin package" in answer.json()["message"]
        assert len(tries) == 1
        monkeypatch.setattr("spg99.control_plane.serving.downloads.FAILURE_KEPT_SECONDS", 0.0)
        await client.get(name)
        assert len(tries) == 2


async def test_an_address_that_asks_too_often_has_to_wait(tmp_path: Path) -> None:
    async with downloads(tmp_path) as client:
        statuses = [(await client.get("x.tar.gz")).status_code for _ in range(60)]
        assert statuses == [404] * 60
        # More than one a second: a slow machine gives some of them back meanwhile.
        while statuses[-1] == 404 and len(statuses) < 1000:
            statuses.append((await client.get("x.tar.gz")).status_code)
        assert statuses[-1] == 429
        refused = await client.get(pulumi_plugin.archive_name(HERE))
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    assert not (tmp_path / "downloads").exists(), "nothing was made for it"


def test_the_dynamic_type_is_the_one_that_the_schema_takes_over() -> None:
    from spg99.emit.pulumi_schema import schema

    aliases = schema(PACKAGE)["resources"][TENANT]["aliases"]
    assert aliases == [{"type": reference.type_token("Tenant")}]
