"""What the tests of the plugin server share: processes, reattached servers, workspaces; none is left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from integration.tfplugin import sample_provider
from integration.tfplugin.plugin_driver import UNLIMITED, Client, Plugin, Workspace
from tfplugin.serving import Attached


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Plugin]]:
    """Starts plugins, and leaves none behind."""
    started: list[Plugin] = []

    def begin(**environment: str) -> Plugin:
        started.append(Plugin(tmp_path, **environment))
        return started[-1]

    yield begin
    for plugin in started:
        plugin.kill()


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Attached, Client]]]:
    """Serves the sample provider from this process, reattached, with a client for it."""
    open_now: list[tuple[Attached, grpc.Channel]] = []
    monkeypatch.setenv("SAMPLE_STORE", str(tmp_path / "things.json"))

    def begin(breaks: str = "", load: Callable[[], Any] = sample_provider.load) -> tuple[Attached, Client]:
        monkeypatch.setenv("SAMPLE_BREAK", breaks)
        attached = Attached(load, sample_provider.ADDRESS).__enter__()
        channel = grpc.insecure_channel(attached.target, options=[("grpc.use_local_subchannel_pool", 1), *UNLIMITED])
        open_now.append((attached, channel))
        return attached, Client(channel)

    yield begin
    for attached, channel in open_now:
        channel.close()
        attached.__exit__()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    binary = shutil.which("terraform") or shutil.which("tofu")
    if binary is None:
        pytest.skip("neither terraform nor tofu is on PATH")
    return Workspace(tmp_path, binary)
