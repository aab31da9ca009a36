"""The schema says of the running plugin what it does: it is the one that is served, and what it says is replaced is replaced."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2 as pb

from integration.native.plugin_driver import Plugin, running, write_proof_plugin
from proof import gadget
from proof import server as proof_server
from spg99.emit.names import camel
from spg99.emit.pulumi_schema import schema

BASE: dict[str, Any] = {
    "shelf": "top",
    "name": "lamp",
    "note": "why",
    "passPhrase": "first phrase",
    "allowReplacement": True,
}
OTHER: dict[str, Any] = {
    "shelf": "low",
    "name": "torch",
    "note": "because",
    "passPhrase": "second phrase",
    "allowReplacement": False,
    "color": "blue",
    "isOn": True,
    "tags": ["a"],
    "labels": {"a": "b"},
    "limits": {"maxItems": 3},
    "steps": [{"maxItems": 3}],
    "byZone": {"z": {"maxItems": 3}},
    "until": "2030-01-01T00:00:00Z",
    "material": "wood",
    "oldMode": "x",
    "pin": "12345",
    "deletionProtection": True,
    "ratio": 2.5,
    "bigNumber": 7,
}


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Plugin]:
    with proof_server.running(gadget.PACKAGE, also=gadget.MOUNTED) as server:
        command = [sys.executable, str(write_proof_plugin(tmp_path / "plugin"))]
        with running(command, cwd=tmp_path, url=server.url) as plugin:
            yield plugin


def test_the_plugin_serves_the_schema(plugin: Plugin) -> None:
    served = plugin.stub.GetSchema(pb.GetSchemaRequest(version=0))
    assert json.loads(served.schema) == schema(gadget.PACKAGE)
    assert plugin.stub.GetPluginInfo(empty_pb2.Empty()).version == gadget.PACKAGE.version


def test_what_replaces_is_what_the_schema_says(plugin: Plugin) -> None:
    told = schema(gadget.PACKAGE)["resources"]["spg99:index:Gadget"]["inputProperties"]
    wanted = plugin.inputs("lamp", BASE)
    made = plugin.create("lamp", wanted)
    seen = {}
    for name in told:
        value = OTHER.get(name, 9)  # the rest are whole numbers
        answer = plugin.diff(
            made, wanted, plugin.inputs("lamp", BASE | {"allowReplacement": True, name: value}, wanted)
        )
        seen[name] = list(answer.replaces)
    says = {name: [name] if item.get("willReplaceOnChanges") else [] for name, item in told.items()}
    assert seen == says
    assert {camel(name) for name in ("shelf", "name", "material")} <= {name for name, found in seen.items() if found}
