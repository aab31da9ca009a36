"""The tricks of host.py: there with Pulumi's host of today, silent with one that is written otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pulumi.dynamic
from pulumi.runtime.proto import status_pb2

from spg99.bridges.pulumi.dynamic import host


class Context:
    def __init__(self) -> None:
        self.sent: Any = None
        self.trailing: Any = None

    def abort(self, code: str, details: str) -> None:
        self.sent = (code, details)

    def set_trailing_metadata(self, metadata: Any) -> None:
        self.trailing = metadata


class Request:
    urn = "urn:pulumi:dev::p::t::n"
    timeout = 420.0


class Servicer:
    def Create(self, request: Any, context: Any) -> host.Call:
        return self.deeper()

    def deeper(self) -> host.Call:
        return host.current_call()

    def Cancel(self, request: Any, context: Any) -> str:
        return "nothing"


def test_the_call_is_found_in_the_frames() -> None:
    call = Servicer().Create(Request(), Context())
    assert call.urn == Request.urn and call.seconds_max == 420.0 and isinstance(call.servicer, Servicer)


def test_without_such_frames_there_is_less_and_no_error() -> None:
    call = host.current_call()
    assert call.urn is None and call.seconds_max is None and call.struct("old_inputs") is None
    host.explain(call, "x")
    host.partial_failure(call, human_id="a", properties=None, inputs=None, message="x")
    host.prepare(lambda: None)
    log = host.EngineLog()
    log.connect()
    log.status("urn", "x")


def test_the_user_reads_our_sentence_instead_of_a_traceback() -> None:
    context = Context()
    call = Servicer().Create(Request(), context)
    host.explain(call, "It is taken.")
    context.abort("UNKNOWN", "Traceback ...")
    assert context.sent == ("UNKNOWN", "It is taken.")


def test_a_partial_failure_of_any_length_is_a_status_that_pulumi_reads() -> None:
    for length in (1, 127, 128, 20_000):
        context, message = Context(), "x" * length
        call = Servicer().Create(Request(), context)
        host.partial_failure(call, human_id="acme/app", properties=None, inputs=None, message=message)
        ((key, raw),) = context.trailing
        status = status_pb2.Status.FromString(raw)
        assert key == "grpc-status-details-bin" and (status.code, status.message) == (2, message)
        assert status.details[0].type_url.endswith("pulumirpc.ErrorResourceInitFailed")


def test_cancel_of_a_bound_servicer_reaches_us() -> None:
    heard: list[str] = []
    bound = Servicer().Cancel

    def configure(self: Any, request: Any, context: Any) -> None:
        host.prepare(lambda: heard.append("cancel"))

    configure(Servicer(), Request(), Context())
    assert bound(None, None) != "nothing" and heard == ["cancel"]


def test_pulumis_host_is_still_written_as_host_py_believes() -> None:
    text = Path(pulumi.dynamic.__file__).with_name("__main__.py").read_text()
    for needed in ("def Create(self, request, context)", "context.abort(", "server = grpc.server(", "server.stop(0)"):
        assert needed in text, f"pulumi.dynamic changed: {needed}"
