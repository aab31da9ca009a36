"""Our table of messages says what Pulumi's own descriptors say, and the plugin starts without Pulumi's SDK."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
from google.protobuf import struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from pulumi.runtime.proto import engine_pb2, plugin_pb2, provider_pb2, status_pb2

from spg99.bridges.pulumi.native import messages
from spg99.bridges.pulumi.native.messages import METHODS
from spg99.bridges.pulumi.native.service import REFUSED

NAMES = [line.split()[0].rstrip("!") for line in messages._TABLE.splitlines() if line]
NESTED = {
    "AutonamingOptions": provider_pb2.CheckRequest.AutonamingOptions,
    "ListComputed": provider_pb2.ListResponse.Computed,
    "ListResult": provider_pb2.ListResponse.Result,
    "ListContinuation": provider_pb2.ListResponse.Continuation,
    "PropertyDiffEntry": provider_pb2.DiffResponse.DetailedDiffEntry,
    "TextEntry": provider_pb2.ConfigureRequest.VariablesEntry,
    "Entry": struct_pb2.Struct.FieldsEntry,
    "Status": status_pb2.Status,
}


def original(name: str) -> object:
    if name in NESTED:
        return NESTED[name]
    for module in (provider_pb2, plugin_pb2, engine_pb2, struct_pb2):
        if hasattr(module, name):
            return getattr(module, name)
    return None


def repeated(field: FieldDescriptor) -> bool:
    """Newer releases of protobuf drop `label`, older ones have no `is_repeated`."""
    return field.is_repeated if hasattr(field, "is_repeated") else field.label == FieldDescriptor.LABEL_REPEATED


# An SDK that is allowed (make bounds), but does not have all that the plugin says to a newer engine.
OLDER_SDK = tuple(map(int, version("pulumi").split(".")[:2])) < (3, 270)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("Empty", "Packed")])
def test_names_numbers_and_types_are_pulumis(name: str) -> None:
    theirs = original(name)
    assert theirs is not None, "the table names a message that Pulumi does not have"
    for field in messages.message(name).DESCRIPTOR.fields:
        if OLDER_SDK and field.number not in theirs.DESCRIPTOR.fields_by_number:  # type: ignore[attr-defined]
            continue
        there = theirs.DESCRIPTOR.fields_by_number[field.number]  # type: ignore[attr-defined]
        enum = there.type == FieldDescriptor.TYPE_ENUM
        assert (field.name, repeated(field)) == (there.name, repeated(there))
        assert field.type == (FieldDescriptor.TYPE_INT32 if enum else there.type)


def test_numbers_of_enumerations_are_pulumis() -> None:
    kinds = provider_pb2.PropertyDiff
    ours = (messages.ADD, messages.ADD_REPLACE, messages.DELETE, messages.DELETE_REPLACE, messages.UPDATE)
    assert ours == (kinds.ADD, kinds.ADD_REPLACE, kinds.DELETE, kinds.DELETE_REPLACE, kinds.UPDATE)
    assert messages.UPDATE_REPLACE == kinds.UPDATE_REPLACE
    modes = provider_pb2.CheckRequest.AutonamingOptions
    assert (messages.PROPOSE, messages.ENFORCE, messages.DISABLE) == (modes.PROPOSE, modes.ENFORCE, modes.DISABLE)
    assert (messages.DIFF_NONE, messages.DIFF_SOME) == (
        provider_pb2.DiffResponse.DIFF_NONE,
        provider_pb2.DiffResponse.DIFF_SOME,
    )
    severities = (engine_pb2.DEBUG, engine_pb2.INFO, engine_pb2.WARNING, engine_pb2.ERROR)
    assert severities == (messages.DEBUG, messages.INFO, messages.WARNING, messages.ERROR)


def test_every_method_of_the_protocol_has_an_answer() -> None:
    service = provider_pb2.DESCRIPTOR.services_by_name["ResourceProvider"]
    assert {method.name for method in service.methods} == METHODS.keys() | REFUSED.keys() | {"List"}
    for method in service.methods:
        if method.name in METHODS:
            request, answer = METHODS[method.name]
            assert (method.input_type.name, method.output_type.name) == (request, answer)


def test_nothing_heavy_is_imported_at_start() -> None:
    code = (
        "import sys; import spg99.bridges.pulumi.native.process, spg99.bridges.pulumi.native.service, spg99.prepared, grpc.aio;"
        "heavy = {'pulumi', 'pydantic', 'httpx', 'spg99.resources', 'spg99.emit.pulumi_schema'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
