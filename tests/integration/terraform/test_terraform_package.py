"""The provider as it is installed: from `spg99 terraform install`, from `make dist`, packed and unpacked, and what a failed start says."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kit.platform import BIN
from proof.server import API_KEY, running
from spg99 import __version__
from spg99.bridges.terraform.installation import executable_name, platform_name
from spg99.prepared import PACKAGE
from terraform_cli import Workspace, settings_of, tofu

ROOT = Path(__file__).resolve().parents[3]
TENANT = 'resource "spg99_tenant" "it" {\n  name = "acme"\n}\n'
NOWHERE = settings_of("http://127.0.0.1:9/v2", "spg99_key_none")


def h1(folder: Path) -> str:
    """Terraform's hash of an unpacked package (terraform-facts 1.6)."""
    lines = sorted(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n"
        for path in folder.rglob("*")
        if path.is_file()
    )
    # Go sorts by path, not by line.
    lines.sort(key=lambda line: line.split("  ", 1)[1])
    return "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    done = subprocess.run(
        [BIN / "spg99", "terraform", "install", "--dir", folder], capture_output=True, text=True, check=True
    )
    said = done.stdout + done.stderr
    assert "filesystem_mirror" in said and 'source  = "spg99/spg99"' in said and "registry.opentofu.org" in said
    return folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, ROOT / "scripts/dist.py", "--output", folder, "--platform", platform_name()]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_what_is_installed_plans_and_never_changes(mirror: Path, tmp_path: Path) -> None:
    work = Workspace(tmp_path, mirror=mirror, settings=NOWHERE).write(TENANT)
    package = next((mirror / "registry.terraform.io").rglob("terraform-provider-spg99_*")).parent
    before = h1(package)
    assert work.plan().changes["spg99_tenant.it"].actions == ["create"]
    assert work.plan().changes["spg99_tenant.it"].actions == ["create"]
    assert before == h1(package) and before in (tmp_path / ".terraform.lock.hcl").read_text()
    subprocess.run([BIN / "spg99", "terraform", "install", "--dir", mirror], check=True, capture_output=True)
    assert h1(package) == before, "installed again, the same"


def test_two_accounts_by_alias(mirror: Path, tmp_path: Path) -> None:
    with running(PACKAGE) as here, running(PACKAGE) as there:
        work = Workspace(tmp_path, mirror=mirror)
        (tmp_path / "provider.tf").write_text(
            f'provider "spg99" {{\n  url = "{here.url}"\n  api_key = "{API_KEY}"\n}}\n'
            f'provider "spg99" {{\n  alias = "other"\n  url = "{there.url}"\n  api_key = "{API_KEY}"\n}}\n'
        )
        work.write(TENANT + 'resource "spg99_tenant" "there" {\n  provider = spg99.other\n  name = "bolt"\n}\n').apply()
        assert [list(each.objects) for each in (here, there)] == [[("tenant", "acme")], [("tenant", "bolt")]]


def test_a_start_that_fails_says_why(mirror: Path, tmp_path: Path) -> None:
    broken = tmp_path / "mirror"
    shutil.copytree(mirror, broken)
    launcher = next((broken / "registry.terraform.io").rglob("terraform-provider-spg99_*"))
    launcher.write_text(re.sub(r"^sys.path\[:0\] = .*$", "", launcher.read_text(), flags=re.MULTILINE))
    work = Workspace(tmp_path / "work", mirror=broken, settings=NOWHERE).write(TENANT)
    said = work.run("plan", check=False)
    assert said.code == 1
    assert "the spg99 provider cannot start: No module named 'spg99'" in said.text
    assert "spg99 terraform install" in said.text and "Failed to read any lines" not in said.text


@pytest.mark.slow  # again
def test_opentofu_takes_the_same_provider(mirror: Path, tmp_path: Path) -> None:
    work = Workspace(tmp_path, binary=tofu(), mirror=mirror, settings=NOWHERE).write(TENANT)
    assert work.plan().changes["spg99_tenant.it"].actions == ["create"]


@pytest.mark.long
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
def test_a_zip_works_from_a_mirror_and_its_hash_agrees(dist: Path, tmp_path: Path, packed: bool) -> None:
    archive = next(dist.glob("*.zip"))
    folder = tmp_path / "mirror" / "registry.terraform.io" / "spg99" / "spg99"
    folder.mkdir(parents=True)
    unpacked = folder / __version__ / platform_name()
    if packed:
        shutil.copy(archive, folder)
    else:
        unpacked.mkdir(parents=True)
        subprocess.run([shutil.which("unzip") or "unzip", "-q", archive, "-d", unpacked], check=True)
    work = Workspace(tmp_path / "work", mirror=tmp_path / "mirror", settings=NOWHERE).write(TENANT)
    # No Python environment of the user's reaches the provider: neither this one nor any other.
    only = tmp_path / "bin"
    only.mkdir()
    (only / "python3.11").symlink_to(os.path.realpath(sys.executable))
    (only / "sh").symlink_to("/bin/sh")
    work.environment["PATH"] = str(only)
    work.environment["HOME"] = str(tmp_path)
    assert work.plan().changes["spg99_tenant.it"].actions == ["create"]
    lock = (tmp_path / "work" / ".terraform.lock.hcl").read_text()
    found = (
        next((tmp_path / "work" / ".terraform" / "providers").rglob(executable_name(__version__))) if packed else None
    )
    package = (found or unpacked / "x").parent
    assert h1(package) in lock, "nothing was written into it"
    work.run("providers", "lock", f"-fs-mirror={tmp_path / 'mirror'}", f"-platform={platform_name()}")
    assert set(re.findall(r"h1:\S+=", lock)) <= set(
        re.findall(r"h1:\S+=", (tmp_path / "work" / ".terraform.lock.hcl").read_text())
    )
    work.init()
    assert work.plan().changes["spg99_tenant.it"].actions == ["create"]


@pytest.mark.long
def test_a_machine_without_python_is_told_so(dist: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mirror" / "registry.terraform.io" / "spg99" / "spg99"
    folder.mkdir(parents=True)
    shutil.copy(next(dist.glob("*.zip")), folder)
    work = Workspace(tmp_path / "work", mirror=tmp_path / "mirror", settings=NOWHERE).write(TENANT)
    (tmp_path / "bin").mkdir()
    work.environment["PATH"] = str(tmp_path / "bin")
    said = work.run("plan", check=False)
    assert "needs Python 3.11 or newer" in said.text and "Failed to read any lines" not in said.text


@pytest.mark.long
def test_the_registry_finds_checksums_and_manifest(dist: Path, tmp_path: Path) -> None:
    sums = dict(reversed(line.split("  ")) for line in next(dist.glob("*_SHA256SUMS")).read_text().splitlines())
    names = {path.name for path in dist.iterdir()} - {f"terraform-provider-spg99_{__version__}_SHA256SUMS"}
    assert set(sums) == names
    for name, digest in sums.items():
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest
    manifest = json.loads((dist / f"terraform-provider-spg99_{__version__}_manifest.json").read_text())
    assert manifest["metadata"]["protocol_versions"] == ["6.0"]
    with zipfile.ZipFile(next(dist.glob("*.zip"))) as archive:
        entry = archive.getinfo(executable_name(__version__))
        assert entry.external_attr >> 16 & 0o111 and archive.getinfo("LICENSE")
    again = tmp_path / "again"
    command = [sys.executable, ROOT / "scripts/dist.py", "--output", again, "--platform", platform_name()]
    subprocess.run(command, check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in dist.iterdir()
    }
