"""What the bridges' tests share: a small Control Plane and a running provider process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.bridges.host_driver import Host, running
from integration.bridges.plane_stub import API_KEY, Plane


@pytest.fixture
def plane() -> Iterator[Plane]:
    with Plane().running() as plane:
        yield plane


@pytest.fixture
def host(plane: Plane, tmp_path: Path) -> Iterator[Host]:
    with running(tmp_path, {"spg99:url": plane.url, "spg99:apiKey": API_KEY}) as host:
        yield host
