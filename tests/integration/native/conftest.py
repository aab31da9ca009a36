"""What the native plugin's tests share: the small Control Plane of the proof noun and a running plugin, emptied for each test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.native.native_project import Project
from integration.native.plugin_driver import Plugin, running, write_proof_plugin
from proof import server as proof_server
from proof.gadget import MOUNTED, PACKAGE
from spg99.emit import pulumi_plugin


@pytest.fixture(scope="session")
def shared_server() -> Iterator[proof_server.Server]:
    with proof_server.running(PACKAGE, also=MOUNTED) as server:
        yield server


@pytest.fixture(scope="session")
def shared_plugin(shared_server: proof_server.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugin]:
    with _plugin(shared_server, tmp_path_factory.mktemp("native")) as plugin:
        yield plugin


def _plugin(server: proof_server.Server, folder: Path):  # type: ignore[no-untyped-def]
    command = [sys.executable, str(write_proof_plugin(folder / "plugin"))]
    return running(command, cwd=folder, url=server.url)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[proof_server.Server]:
    """It holds nothing, has heard nothing, and works: one's own, or the one that the shared plugin speaks with.

    What a test leaves under way (a create that nobody waits for, a settling object) arrives at its own server.
    """
    if "plugin" in request.fixturenames:
        shared: proof_server.Server = request.getfixturevalue("shared_server")
        shared.reset()
        yield shared
        return
    with proof_server.running(PACKAGE, also=MOUNTED) as own:
        yield own


@pytest.fixture
def plugin(server: proof_server.Server, shared_plugin: Plugin) -> Plugin:
    """It serves other tests, too: it must not be ended or cancelled."""
    shared_plugin.lines.clear()
    return shared_plugin


@pytest.fixture
def own_plugin(server: proof_server.Server, tmp_path: Path) -> Iterator[Plugin]:
    """One that the test may end."""
    with _plugin(server, tmp_path) as plugin:
        yield plugin


@pytest.fixture
def project(server: proof_server.Server, tmp_path: Path) -> Project:
    """An empty project with the proof plugin installed where Pulumi looks."""
    (tmp_path / "Pulumi.yaml").write_text("name: proj\nruntime: python\n")
    write_proof_plugin(tmp_path / "home/plugins" / pulumi_plugin.version_folder())
    return Project(tmp_path, server.url)
