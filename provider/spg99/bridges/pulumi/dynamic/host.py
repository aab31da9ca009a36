"""What Pulumi's host of dynamic providers does not offer and we need, taken from its call frames.

Here: everything that leans on how `pulumi/dynamic/__main__.py` is written. Each function works without it too, only with
less: no time limits of the user's, no readable errors, four calls at once. tests/unit/bridges/test_host.py says what is there.

The host runs `Create(self, request, context)` in a worker thread and calls our provider from it, so the frame of that method
has the request (URN, time limit, old inputs) and the gRPC context (which can carry details of an error).
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

CALLS_AT_ONCE = 64
STOP_SECONDS = 4.0
"""Pulumi kills a provider 5 s after it asked it to stop."""


@dataclass(frozen=True)
class Call:
    """What is known of the call that is being answered; empty where the host does not say."""

    request: Any = None
    context: Any = None
    servicer: Any = None
    """The host's object whose method this is."""

    @property
    def urn(self) -> str | None:
        """The declaration's URN."""
        return getattr(self.request, "urn", None) or None

    @property
    def seconds_max(self) -> float | None:
        """The time limit the user gave (`custom_timeouts`)."""
        return getattr(self.request, "timeout", None) or None

    def struct(self, name: str) -> Any:
        """A field of the request that holds properties; None when it is not there or empty."""
        found = getattr(self.request, name, None)
        return found if found is not None and len(found) else None


def current_call() -> Call:
    """The call that this thread is answering."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        seen = frame.f_locals
        if "request" in seen and hasattr(seen.get("context"), "abort"):
            return Call(seen["request"], seen["context"], seen.get("self"))
        frame = frame.f_back
    return Call()


def explain(call: Call, message: str) -> None:
    """Makes `message` what the user reads when this call fails; the host would send its traceback."""
    with contextlib.suppress(AttributeError):
        abort = call.context.abort
        call.context.abort = lambda code, _traceback: abort(code, message)


def partial_failure(call: Call, *, human_id: str, properties: Any, inputs: Any, message: str) -> None:
    """Makes the failure of this call one that keeps the object in the state, so that the next `up` goes on with it."""
    explain(call, message)
    with contextlib.suppress(AttributeError, ImportError):
        from google.protobuf.any_pb2 import Any as Packed
        from pulumi.runtime.proto import provider_pb2

        packed = Packed()
        packed.Pack(
            provider_pb2.ErrorResourceInitFailed(id=human_id, properties=properties, inputs=inputs, reasons=[message])
        )
        details = _status(message.encode(), packed.SerializeToString())
        call.context.set_trailing_metadata((("grpc-status-details-bin", details),))


def _status(message: bytes, detail: bytes) -> bytes:
    """A google.rpc.Status by hand: Pulumi's SDK brings that type and so do others, and one process bears only one.

    Its code is UNKNOWN (2), with which the host aborts: the two must agree.
    """
    return b"\x08\x02" + b"\x12" + _length(message) + message + b"\x1a" + _length(detail) + detail


def _length(raw: bytes) -> bytes:
    size, encoded = len(raw), bytearray()
    while size > 0x7F:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*encoded, size])


def prepare(on_cancel: Callable[[], None]) -> None:
    """Once per process: many calls at once, and `on_cancel` when Pulumi or Ctrl-C ends the run."""
    global _on_cancel
    _on_cancel = on_cancel
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        _hear_cancel(type(current_call().servicer))
    server = _server()
    with contextlib.suppress(AttributeError):
        server._state.thread_pool._max_workers = max(CALLS_AT_ONCE, server._state.thread_pool._max_workers)
    with contextlib.suppress(AttributeError):
        _stop_gently(server)


_on_cancel: Callable[[], None] = lambda: None  # noqa: E731


def cancelled() -> None:
    """Pulumi wants to stop."""
    _on_cancel()


def _hear_cancel(servicer: Any) -> None:
    """The host's Cancel does nothing and is already bound into the server, so its body is what has to change."""

    def Cancel(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        from google.protobuf import empty_pb2

        from spg99.bridges.pulumi.dynamic import host

        host.cancelled()
        return empty_pb2.Empty()

    servicer.Cancel.__code__ = Cancel.__code__


def _server() -> Any:
    """The host's gRPC server: a local variable of its main function."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "main" and hasattr(frame.f_locals.get("server"), "_state"):
            return frame.f_locals["server"]
        frame = frame.f_back
    return None


def _stop_gently(server: Any) -> None:
    """On SIGINT the host stops its server at once and the answers under way are lost; they get a moment."""
    stop = server.stop

    def ends_waits_first(_grace: float | None) -> Any:
        cancelled()
        return stop(STOP_SECONDS)

    server.stop = ends_waits_first


def engine_address() -> str:
    """Where the engine listens: the host's first argument; empty where that is something else."""
    address = sys.argv[1] if len(sys.argv) > 1 else ""
    return address if ":" in address else ""


class EngineLog:
    """Lines on a resource in Pulumi's display. Lines are lost, never errors, when the engine does not take them."""

    def __init__(self) -> None:
        self._stub: Any = None
        self._severity: Any = None
        self._under_way: set[Any] = set()

    def connect(self) -> None:
        """To the engine that has started this process."""
        address = engine_address()
        if self._stub is not None or not address:
            return
        with contextlib.suppress(ImportError, ValueError):
            import grpc
            from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

            self._severity = engine_pb2
            self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    def status(self, urn: str | None, message: str) -> None:
        """Shows what a resource waits for; replaced by the next line."""
        self._log("INFO", urn, message, ephemeral=True)

    def warn(self, urn: str | None, message: str) -> None:
        """Warns on a resource."""
        self._log("WARNING", urn, message, ephemeral=False)

    def _log(self, severity: str, urn: str | None, message: str, *, ephemeral: bool) -> None:
        if self._stub is None or urn is None:
            return
        pb = self._severity
        request = pb.LogRequest(severity=getattr(pb, severity), message=message, urn=urn, ephemeral=ephemeral)
        line = self._stub.Log.future(request, timeout=5)
        self._under_way.add(line)  # a call that nobody holds is cancelled
        line.add_done_callback(self._under_way.discard)
