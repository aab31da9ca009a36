"""The folder and the archive of the Pulumi plugin: what the file for the CLI says of its Python."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import pytest

from spg99.emit import pulumi_plugin


def test_a_folder_names_its_virtual_environment_wherever_that_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/var/lib/pulumi/bin/python")
    said = (pulumi_plugin.install(tmp_path) / "PulumiPlugin.yaml").read_text()
    assert f"virtualenv: {sys.prefix}\n" in said


def test_an_archive_names_none() -> None:
    with tarfile.open(fileobj=io.BytesIO(pulumi_plugin._packed({}, ["3.12"]))) as archive:
        member = archive.extractfile("PulumiPlugin.yaml")
        assert member is not None
        said = member.read().decode()
    assert "virtualenv" not in said and "runtime: python\n" in said
