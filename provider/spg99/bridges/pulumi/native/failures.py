"""How a failed call is told: a sentence, and the object that it left behind. Not here: what went wrong (spg99/errors.py)."""

from __future__ import annotations

import os
import sys
from typing import Any

import grpc

from spg99.bridges.pulumi.native.messages import message
from spg99.bridges.pulumi.native.properties import Properties
from spg99.bridges.pulumi.native.wire import encode
from spg99.errors import kind_and_place


class Partial(Exception):
    """An object that exists but is not finished: to be kept in the state, so that the next run goes on with it."""

    def __init__(self, reason: str, human_id: str, outputs: Properties, inputs: Properties) -> None:
        super().__init__(reason)
        self._human_id, self._outputs, self._inputs = human_id, outputs, inputs

    def status(self) -> bytes:
        """The error as Pulumi's engine reads it: a google.rpc.Status with the object inside."""
        detail = message("ErrorResourceInitFailed")(
            id=self._human_id, properties=encode(self._outputs), inputs=encode(self._inputs), reasons=[str(self)]
        )
        packed = message("Packed")(
            type_url="type.googleapis.com/pulumirpc.ErrorResourceInitFailed", value=detail.SerializeToString()
        )
        # Its code must be the call's, or the whole is taken for a broken answer.
        status = message("Status")(code=grpc.StatusCode.UNKNOWN.value[0], message=str(self), details=[packed])
        raw: bytes = status.SerializeToString()
        return raw


def unexpected(error: Exception) -> str:
    """Only where and which kind: the text of an unexpected error may hold a value that is secret."""
    if os.environ.get("SPG99_DEBUG"):
        sys.excepthook(type(error), error, error.__traceback__)
    return f"The spg99 provider failed unexpectedly ({kind_and_place(error)}). This is a bug."


def check_response(inputs: Properties, failures: list[tuple[str, str]]) -> Any:
    """The answer to Check and CheckConfig."""
    answer = message("CheckResponse")(inputs=encode(inputs))
    add_failures(answer, failures)
    return answer


def add_failures(answer: Any, failures: list[tuple[str, str]]) -> None:
    """Adds to an answer what is wrong with properties."""
    for path, reason in failures:
        answer.failures.add(property=path, reason=reason)
