"""A small Terraform provider for the tests of the plugin server: things, kept in a JSON file. Run it as a program.

SAMPLE_STORE names the file. SAMPLE_BREAK makes it misbehave: "load" fails at start, "print" writes to stdout, "raise:<rpc>"
raises in that call.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

from tfplugin import messages, values
from tfplugin.interface import Call, Diagnostic, error, function_error
from tfplugin.values import UNKNOWN, Unknown

ADDRESS = "registry.terraform.io/tests/sample"
THING = (
    "object",
    {
        "id": "string",
        "name": "string",
        "size": "number",
        "tags": ("list", "string"),
        "labels": ("map", "string"),
        "settings": ("object", {"cpu": "number", "fast": "bool"}),
        "extra": "dynamic",
        "seconds": "number",
        "password_wo": "string",
    },
)
FLAGS = {"id": {"computed": True}, "name": {"required": True}, "password_wo": {"optional": True, "write_only": True}}
TOKEN = ("object", {"length": "number", "value": "string"})


def attribute(name: str, kind: Any) -> dict[str, Any]:
    flags = FLAGS.get(name, {"optional": True})
    return {"name": name, "type": values.type_json(kind), "description": f"The {name}.", **flags}


def block(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"version": 0, "block": {"attributes": attributes}}


SCHEMA = {
    "provider": block([]),
    "resource_schemas": {"sample_thing": block([attribute(name, kind) for name, kind in THING[1].items()])},
    "data_source_schemas": {
        "sample_thing": block([attribute(name, kind) | {"write_only": False} for name, kind in THING[1].items()])
    },
    "ephemeral_resource_schemas": {
        "sample_token": block(
            [
                {"name": "length", "type": b'"number"', "required": True},
                {"name": "value", "type": b'"string"', "computed": True, "sensitive": True},
            ]
        )
    },
    "functions": {
        "shout": {
            "parameters": [{"name": "text", "type": b'"string"'}],
            "return": {"type": b'"string"'},
            "summary": "Upper case.",
        }
    },
    "server_capabilities": {"plan_destroy": True},
}


class Store:
    """Things by id, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def change(self, key: str, value: Any = ()) -> Any:
        """Read a thing; write it if a value is given; forget it if that is None."""
        with self._lock:
            things = json.loads(self._path.read_text()) if self._path.exists() else {}
            if value is None:
                things.pop(key, None)
            elif value != ():
                things[key] = value
            if value != ():
                # In one step: the tests read the file while it is written.
                written = self._path.with_suffix(".new")
                written.write_text(json.dumps(things))
                written.replace(self._path)
            return things.get(key)


class SampleProvider:
    """What the server wants of a provider, with one resource."""

    def __init__(self) -> None:
        self.store = Store(Path(os.environ["SAMPLE_STORE"]))
        self.breaks = os.environ.get("SAMPLE_BREAK", "")

    def schema_bytes(self) -> bytes:
        return messages.encode("GetProviderSchema.Response", SCHEMA)

    def stop(self) -> None:
        (self.store._path.parent / "stopped").touch()

    def diagnose(self, error: Exception, request: dict[str, Any], call: Call) -> list[Diagnostic] | None:
        return None

    def _maybe_break(self, call: Call) -> None:
        if self.breaks == f"raise:{call.rpc}":
            raise RuntimeError("secret-in-an-exception")

    def validate_provider_config(self, request: dict[str, Any], call: Call) -> dict[str, Any]:
        return {}

    configure_provider = validate_provider_config
    validate_data_resource_config = validate_provider_config
    validate_ephemeral_resource_config = validate_provider_config

    def validate_resource_config(self, request: dict[str, Any], call: Call) -> dict[str, Any]:
        self._maybe_break(call)
        config = values.decode(THING, request["config"])
        if config["name"] == "forbidden":
            return {"diagnostics": [error("Wrong name", "It may not be forbidden.", path=("name",))]}
        return {}

    def upgrade_resource_state(self, request: dict[str, Any], call: Call) -> dict[str, Any]:
        state = values.from_json(THING, request["raw_state"]["json"], lenient=True)
        return {"upgraded_state": values.encode(THING, state)}

    def read_resource(self, request: dict[str, Any], call: Call) -> dict[str, Any]:
        self._maybe_break(call)
        state = values.decode(THING, request["current_state"])
        there = self.store.change(state["id"])
        return {"new_state": values.encode(THING, state if there else None), "private": request["private"]}

    def plan_resource_change(self, request: dict[str, Any], call: Call) -> dict[str, Any]:
        self._maybe_break(call)
        planned = values.decode(THING, request["proposed_new_state"])
        prior = values.decode(THING, request["prior_state"])
        if planned is None:
            return {"planned_state": values.encode(THING, None)}
        planned["password_wo"] = None
        if prior is None:
            planned["id"] = UNKNOWN
        replaced = prior is not None and prior["name"] != planned["name"]
        return {
            "planned_state": values.encode(THING, planned),
            "requires_replace": [{"steps": [{"attribute_name": "name"}]}] if replaced else [],
            "planned_private": b"planned",
        }

    def apply_resource_change(self, request: dict[str, Any], call: Call) -> dict[str, Any]:
        planned = values.decode(THING, request["planned_state"])
        prior = values.decode(THING, request["prior_state"])
        if planned is None:
            self.store.change(prior["id"], None)
            return {"new_state": values.encode(THING, None)}
        if isinstance(planned["id"], Unknown):
            planned["id"] = uuid.uuid4().hex
        self.store.change(planned["id"], {"name": planned["name"]})
        call.partial["new_state"] = values.encode(THING, planned)
        self._maybe_break(call)
        if self.breaks == "exit":
            raise SystemExit(3)
        if planned["seconds"] and call.wait(float(planned["seconds"])):
            return {**call.partial, "diagnostics": [error("Interrupted", "The thing was not ready yet.")]}
        return {**call.partial, "private": request["planned_private"]}

    def import_resource_state(self, request: dict[str, Any], call: Call) -> dict[str, Any]:
        there = self.store.change(request["id"])
        if there is None:
            return {"diagnostics": [error("No such thing", request["id"])]}
        state = values.encode(THING, {"id": request["id"], "name": there["name"]})
        return {"imported_resources": [{"type_name": "sample_thing", "state": state}]}

    def read_data_source(self, request: dict[str, Any], call: Call) -> dict[str, Any]:
        config = values.decode(THING, request["config"])
        return {"state": values.encode(THING, {**config, "id": f"data-{config['name']}"})}

    def call_function(self, request: dict[str, Any], call: Call) -> dict[str, Any]:
        self._maybe_break(call)
        text = values.decode("string", request["arguments"][0])
        if text == "":
            return {"error": function_error("there is nothing to shout", 0)}
        return {"result": values.encode("dynamic" if request["name"] == "?" else "string", text.upper())}

    def open_ephemeral_resource(self, request: dict[str, Any], call: Call) -> dict[str, Any]:
        config = values.decode(TOKEN, request["config"])
        return {"result": values.encode(TOKEN, {**config, "value": "x" * config["length"]}), "private": b"open"}

    def close_ephemeral_resource(self, request: dict[str, Any], call: Call) -> dict[str, Any]:
        (self.store._path.parent / "closed").write_bytes(request["private"])
        return {}


def load() -> SampleProvider:
    if os.environ.get("SAMPLE_BREAK") == "load":
        import a_module_that_is_not_installed  # type: ignore[import-not-found] # noqa: F401
    if os.environ.get("SAMPLE_BREAK") == "print":
        print("hello from a library", flush=True)
    return SampleProvider()


if __name__ == "__main__":
    from tfplugin.server import serve

    if os.environ.get("SAMPLE_BREAK") == "print":
        print("not flushed before the handshake", end="")
    serve(load, attach=ADDRESS if "--attach" in sys.argv else "", tcp=bool(os.environ.get("SAMPLE_TCP")))
