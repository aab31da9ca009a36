"""What the bridges' tests share: a small Control Plane and a running provider process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.bridges.engine_calls import PLUGIN, Bridge
from integration.bridges.host_driver import Host, running
from integration.bridges.plane_stub import API_KEY, Plane
from integration.native.plugin_driver import running as plugin_running


@pytest.fixture
def plane() -> Iterator[Plane]:
    with Plane().running() as plane:
        yield plane
    assert not plane.undeclared, "what a bridge makes and changes, it declares"


@pytest.fixture
def host(plane: Plane, tmp_path: Path) -> Iterator[Host]:
    with running(tmp_path, {"spg99:url": plane.url, "spg99:apiKey": API_KEY}) as host:
        yield host


@pytest.fixture(params=["dynamic", pytest.param("native", marks=pytest.mark.slow)])
def bridge(request: pytest.FixtureRequest, plane: Plane, tmp_path: Path) -> Bridge:
    if request.param == "dynamic":
        config = {"spg99:url": plane.url, "spg99:apiKey": API_KEY}
        return Bridge("dynamic", lambda engine="": running(tmp_path, config, engine_address=engine))
    settings = {"SPG99_CP_URL": plane.url, "SPG99_API_KEY": API_KEY}
    return Bridge(
        "native",
        lambda engine="": plugin_running(PLUGIN, cwd=tmp_path, url=None, environment=settings, engine_address=engine),
    )
