"""A small Control Plane with the proof noun, and Terraform attached to the provider inside this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proof.gadget import MOUNTED, PACKAGE
from proof.server import API_KEY, Server, running
from terraform_cli import Workspace, attached, block, settings_of


@pytest.fixture
def server() -> Iterator[Server]:
    with running(PACKAGE, also=MOUNTED) as plane:
        yield plane


@pytest.fixture
def work(server: Server, tmp_path: Path) -> Iterator[Workspace]:
    folder = tmp_path / "configuration"
    with attached(PACKAGE, environment={"TF_DATA_DIR": str(folder / ".terraform")}) as environment:
        yield Workspace(folder, environment=environment, settings=settings_of(server.url, API_KEY))


@pytest.fixture
def lamp() -> Callable[..., str]:
    """The text of a gadget `it` with these arguments."""

    def text(label: str = "it", *, extra: str = "", **arguments: Any) -> str:
        return block("resource", "spg99_gadget", label, {"shelf": "top", "name": "lamp"} | arguments, extra=extra)

    return text
