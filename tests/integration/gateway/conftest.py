"""The gateway as its users see it: its process, real computes behind it, clients in front of it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.gateway.fake_control_plane import Database, FakeControlPlane, Tenant
from integration.gateway.gateway_process import Gateway


def fresh_folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix="spg99-"))
    path.chmod(0o711)
    return path


@pytest.fixture(scope="session")
def seed() -> Iterator[tuple[FakeControlPlane, Database]]:
    """A stopped cluster that all others are copied from."""
    folder = fresh_folder()
    plane = FakeControlPlane(folder)
    try:
        yield plane, plane.add_database(plane.add_tenant("acme", "unused"), "app")
    finally:
        plane.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running_plane(seed: tuple[FakeControlPlane, Database]) -> Iterator[FakeControlPlane]:
    folder = fresh_folder()
    plane = FakeControlPlane(folder)
    try:
        plane.start()
        tenant = plane.add_tenant("acme", "corréct hörse ①")
        plane.add_database(tenant, "app", template=seed[1])
        yield plane
    finally:
        plane.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shared_plane(seed: tuple[FakeControlPlane, Database]) -> Iterator[FakeControlPlane]:
    with running_plane(seed) as plane:
        yield plane


@pytest.fixture(scope="module")
def shared_gateway(shared_plane: FakeControlPlane) -> Iterator[Gateway]:
    """For tests that break nothing: one per file."""
    gateway = Gateway(shared_plane, shared_plane.data_dir / "gw")
    try:
        yield gateway.start()
    finally:
        gateway.close()


@pytest.fixture
def plane(seed: tuple[FakeControlPlane, Database]) -> Iterator[FakeControlPlane]:
    """For tests that break something."""
    with running_plane(seed) as plane:
        yield plane


@pytest.fixture
def start_gateway(plane: FakeControlPlane) -> Iterator[Callable[..., Gateway]]:
    started: list[Gateway] = []

    def start(folder: str = "gw", **settings: Any) -> Gateway:
        started.append(Gateway(plane, plane.data_dir / folder, **settings))
        return started[-1].start()

    try:
        yield start
    finally:
        for gateway in started:
            gateway.close()


@pytest.fixture
def tenant(request: pytest.FixtureRequest) -> Tenant:
    """The tenant `acme`, whose database is `app`."""
    name = "plane" if "plane" in request.fixturenames else "shared_plane"
    plane: FakeControlPlane = request.getfixturevalue(name)
    return plane.tenants["tnt_acme"]
