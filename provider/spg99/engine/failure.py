"""Why a step failed. Here: from gRPC's errors to sentences. Not here: what happens next (run.py)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import grpc
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto import status_pb2

from spg99.engine.values import Props, from_struct, lower
from spg99.errors import Spg99Error

_LAST_EXCEPTION = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?\Z", re.DOTALL)
# Python's own words for "something went wrong"; the message says it better
_PLAIN = {"Exception", "RuntimeError"}


class StepFailed(Spg99Error):
    """A step on a resource could not be done."""

    code = "StepFailed"

    def __init__(self, message: str, *, detail: str = "") -> None:
        """`detail` is for those who develop the provider: its traceback, say."""
        super().__init__(message)
        self.detail = detail


class PartlyFailed(StepFailed):
    """The resource exists, but is not finished: recorded, and continued by the next `up`."""

    code = "PartlyFailed"

    def __init__(self, id_: str, properties: Props, inputs: Props, reasons: Sequence[str]) -> None:
        super().__init__("\n".join(reasons) or "The resource was made, but did not become ready.")
        self.id, self.properties, self.inputs, self.reasons = id_, properties, inputs, list(reasons)


class OutcomeUnknown(StepFailed):
    """The provider ended in the middle: whether it was done, nobody can say. The note that it had begun stays in the state."""

    code = "OutcomeUnknown"


class Skipped(Spg99Error):
    """Not done because something it needs failed, or because the run is ending."""

    code = "Skipped"


def from_rpc(error: grpc.RpcError, package: str) -> StepFailed:
    """What a provider's gRPC error means."""
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == "grpc-status-details-bin":
            status = status_pb2.Status()
            status.ParseFromString(value)
            for detail in status.details:
                partial = pb.ErrorResourceInitFailed()
                if detail.Unpack(partial):
                    return PartlyFailed(
                        partial.id,
                        lower(from_struct(partial.properties)),
                        lower(from_struct(partial.inputs)),
                        partial.reasons,
                    )
                missing = pb.ConfigureErrorMissingKeys()
                if detail.Unpack(missing):
                    keys = ", ".join(f"`{package}:{k.name}` ({k.description})" for k in missing.missingKeys)
                    return StepFailed(f"The provider '{package}' needs configuration: {keys}.")
    details = error.details() or ""
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        return OutcomeUnknown(f"The provider '{package}' does not answer.", detail=details)
    if error.code() == grpc.StatusCode.UNIMPLEMENTED:
        return StepFailed(f"The provider '{package}' does not do this: {details}", detail=details)
    return StepFailed(sentence(details), detail=details)


def sentence(text: str) -> str:
    """The message of the last exception when `text` is a Python traceback, else the text."""
    text = text.strip()
    if "Traceback (most recent call last):" not in text:
        return text or "The provider gave no reason."
    lines = text.splitlines()
    start = max((i for i, line in enumerate(lines) if line.startswith('  File "')), default=0) + 1
    while start < len(lines) and lines[start].startswith("    "):  # the frame's source and its markers
        start += 1
    match = _LAST_EXCEPTION.match("\n".join(lines[start:]).strip())
    if match is None:
        return lines[-1]
    name, message = match["name"], (match["message"] or "").strip()
    return message if message and (name in _PLAIN or "." in name) else f"{name}: {message}".rstrip(": ")
