"""Module names of ours that stand in users' states and folders: each loads, wherever the code behind it lives."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from spg99.emit import pulumi_plugin

HELD = {
    "spg99.bridges.dynamic:Provider": "states of Pulumi, in `__provider` of every dynamic resource",
    "spg99.bridges.native.process:main": "`__main__.py` that `spg99 plugin install` wrote, and the script pulumi-resource-spg99",
    "spg99.bridges.terraform.launch:main": "launchers that `spg99 terraform install` wrote",
    "spg99.dynamic:Database": "programs",
}


@pytest.mark.parametrize("name", HELD)
def test_what_users_hold_loads(name: str) -> None:
    module, _, attribute = name.partition(":")
    assert callable(getattr(import_module(module), attribute))


def test_what_is_written_today_is_one_of_these(tmp_path: Path) -> None:
    written = (pulumi_plugin.install(tmp_path) / "__main__.py").read_text()
    assert "from spg99.bridges.native.process import main" in written
