"""The messages of Pulumi's provider protocol that we use, as a table. Here: names and field numbers. Not here: what they mean.

Written by hand because Pulumi's own classes come with the whole SDK, which takes longer to import than all else here. The
classes live in a descriptor pool of their own, so that a process may hold Pulumi's, too. Maps are written as the lists of
entries, and enumerations as the numbers, that they are on the wire.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pool, message_factory

_TABLE = """
Empty
Value!                    null_value=1 int32, number_value=2 double, string_value=3 string, bool_value=4 bool, struct_value=5 Struct, list_value=6 ListValue
ListValue                 values=1 Value*
Entry                     key=1 string, value=2 Value
Struct                    fields=1 Entry*
Packed                    type_url=1 string, value=2 bytes
Status                    code=1 int32, message=2 string, details=3 Packed*

ProviderHandshakeRequest  engine_address=1 string, root_directory=2 string, program_directory=3 string, invoke_with_preview=7 bool
ProviderHandshakeResponse accept_secrets=1 bool, accept_resources=2 bool, accept_outputs=3 bool, supports_autonaming_configuration=4 bool, accepts_outputs_in_invoke=7 bool, accepts_outputs_in_check=9 bool
PluginAttach              address=1 string
PluginInfo                version=1 string
GetSchemaRequest          version=1 int32, subpackage_name=2 string, subpackage_version=3 string
GetSchemaResponse         schema=1 string
GetMappingRequest         key=1 string, provider=2 string
GetMappingResponse        provider=1 string, data=2 bytes
GetMappingsRequest        key=1 string
GetMappingsResponse       providers=1 string*

TextEntry                 key=1 string, value=2 string
ConfigureRequest          variables=1 TextEntry*, args=2 Struct, id=7 string, urn=8 string
ConfigureResponse         acceptSecrets=1 bool, supportsPreview=2 bool, acceptResources=3 bool, acceptOutputs=4 bool, supports_autonaming_configuration=5 bool

AutonamingOptions         proposed_name=1 string, mode=2 int32
CheckRequest              urn=1 string, olds=2 Struct, news=3 Struct, randomSeed=5 bytes, name=6 string, type=7 string, autonaming=8 AutonamingOptions, old_outputs=9 Struct
CheckFailure              property=1 string, reason=2 string
CheckResponse             inputs=1 Struct, failures=2 CheckFailure*

DiffRequest               id=1 string, urn=2 string, olds=3 Struct, news=4 Struct, ignoreChanges=5 string*, old_inputs=6 Struct, name=7 string, type=8 string
PropertyDiff              kind=1 int32, inputDiff=2 bool
PropertyDiffEntry         key=1 string, value=2 PropertyDiff
DiffResponse              replaces=1 string*, stables=2 string*, deleteBeforeReplace=3 bool, changes=4 int32, diffs=5 string*, detailedDiff=6 PropertyDiffEntry*, hasDetailedDiff=7 bool

CreateRequest             urn=1 string, properties=2 Struct, timeout=3 double, preview=4 bool, name=5 string, type=6 string
CreateResponse            id=1 string, properties=2 Struct
ReadRequest               id=1 string, urn=2 string, properties=3 Struct, inputs=4 Struct, name=5 string, type=6 string, timeout=10 double
ReadResponse              id=1 string, properties=2 Struct, inputs=3 Struct
UpdateRequest             id=1 string, urn=2 string, olds=3 Struct, news=4 Struct, timeout=5 double, ignoreChanges=6 string*, preview=7 bool, old_inputs=8 Struct, name=9 string, type=10 string
UpdateResponse            properties=1 Struct
DeleteRequest             id=1 string, urn=2 string, properties=3 Struct, timeout=4 double, old_inputs=5 Struct, name=6 string, type=7 string
ErrorResourceInitFailed   id=1 string, properties=2 Struct, reasons=3 string*, inputs=4 Struct

ListRequest               token=1 string, query=2 Struct, limit=3 int64, page_size=4 int64, continuation_token=5 string
ListComputed
ListResult                id=1 string, name=2 string
ListContinuation          continuation_token=1 string
ListResponse!             computed=1 ListComputed, result=2 ListResult, continuation=3 ListContinuation

InvokeRequest             tok=1 string, args=2 Struct, preview=7 bool
InvokeResponse            return=1 Struct, failures=2 CheckFailure*

LogRequest                severity=1 int32, message=2 string, urn=3 string, streamId=4 int32, ephemeral=5 bool
"""
"""A message a line: its name (`!`: at most one of its fields is set), then `name=number type`, `*` for a list."""

_PACKAGE = "spg99.pulumirpc"
_KINDS = {"double": 1, "int64": 3, "int32": 5, "bool": 8, "string": 9, "bytes": 12}
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3

PROPOSE, ENFORCE, DISABLE = range(3)
"""Modes of AutonamingOptions: the name may be changed, must be taken as it is, or none may be made."""
ADD, ADD_REPLACE, DELETE, DELETE_REPLACE, UPDATE, UPDATE_REPLACE = range(6)
"""Kinds of PropertyDiff."""
DIFF_NONE, DIFF_SOME = 1, 2
"""Values of DiffResponse.changes."""
DEBUG, INFO, WARNING, ERROR = range(4)
"""Severities of LogRequest."""

METHODS = {
    "Handshake": ("ProviderHandshakeRequest", "ProviderHandshakeResponse"),
    "Attach": ("PluginAttach", "Empty"),
    "GetPluginInfo": ("Empty", "PluginInfo"),
    "GetSchema": ("GetSchemaRequest", "GetSchemaResponse"),
    "GetMapping": ("GetMappingRequest", "GetMappingResponse"),
    "GetMappings": ("GetMappingsRequest", "GetMappingsResponse"),
    "CheckConfig": ("CheckRequest", "CheckResponse"),
    "DiffConfig": ("DiffRequest", "DiffResponse"),
    "Configure": ("ConfigureRequest", "ConfigureResponse"),
    "Check": ("CheckRequest", "CheckResponse"),
    "Diff": ("DiffRequest", "DiffResponse"),
    "Create": ("CreateRequest", "CreateResponse"),
    "Read": ("ReadRequest", "ReadResponse"),
    "Update": ("UpdateRequest", "UpdateResponse"),
    "Delete": ("DeleteRequest", "Empty"),
    "Invoke": ("InvokeRequest", "InvokeResponse"),
    "Cancel": ("Empty", "Empty"),
}
"""Request and answer of each method that has one of each."""


@cache
def message(name: str) -> Any:
    """The class of a message. Raises KeyError for one that is not in the table."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_file())
    return pool


def _file() -> bytes:
    """The table as a FileDescriptorProto, written by hand: protobuf's own class for it costs milliseconds."""
    lines = [line.partition(" ") for line in _TABLE.splitlines() if line]
    found = _text(1, "spg99/pulumirpc.proto") + _text(2, _PACKAGE) + _text(12, "proto3")
    return found + b"".join(_part(4, _declaration(name, fields)) for name, _, fields in lines)


def _declaration(name: str, fields: str) -> bytes:
    one_of = name.endswith("!")
    found = _text(1, name.rstrip("!"))
    for field in filter(None, (field.strip() for field in fields.split(","))):
        found += _part(2, _field(field, one_of))
    return found + (_part(8, _text(1, "kind")) if one_of else b"")


def _field(field: str, one_of: bool) -> bytes:
    spelled, kind = field.split()
    name, number = spelled.split("=")
    many, kind = kind.endswith("*"), kind.rstrip("*")
    found = _text(1, name) + _number(3, int(number)) + _number(4, _REPEATED if many else _OPTIONAL)
    found += _number(5, _KINDS.get(kind, _MESSAGE))
    if kind not in _KINDS:
        found += _text(6, f".{_PACKAGE}.{kind}")
    return found + (_number(9, 0) if one_of else b"")


def _number(tag: int, value: int) -> bytes:
    return bytes([tag << 3, value])  # every number in the table is below 128


def _text(tag: int, text: str) -> bytes:
    return _part(tag, text.encode())


def _part(tag: int, raw: bytes) -> bytes:
    size, length = len(raw), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([tag << 3 | 2, *length, size]) + raw
