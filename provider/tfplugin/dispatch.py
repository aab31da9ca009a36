"""Which call goes where, and what is answered when the provider fails. Not here: the wire (grpc.py), the process (serving.py).

StopProvider and Shutdown are done at once, on the thread that reads: they must come through while every worker is busy.
"""

from __future__ import annotations

import _thread
import os
import time

from tfplugin import grpc, messages
from tfplugin.interface import Diagnostic, error
from tfplugin.logging import DEBUG, ERROR, log
from tfplugin.protobuf import BadMessage
from tfplugin.workers import Workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tfplugin.grpc import Exchange
    from tfplugin.interface import Call, Message, Provider

PROVIDER = "/tfplugin6.Provider/"
HEALTHY = b"\x08\x01"
REINSTALL = "Its installation is damaged or not complete: install the provider again, then run `terraform init`."


class Dispatch:
    """Answers the calls of all connections with one provider, which is loaded when the first call needs it."""

    def __init__(self, load_provider: Callable[[], Provider], on_shutdown: Callable[[], None]) -> None:
        self._load_provider = load_provider
        self._on_shutdown = on_shutdown
        self._provider: Provider | None = None
        self._refused: Diagnostic | None = None
        self._loading = _thread.allocate_lock()
        self._running: set[Call] = set()
        self._lock = _thread.allocate_lock()
        self._workers = Workers()

    def take(self, exchange: Exchange) -> None:
        """Answer one call, now or soon. On the reading thread."""
        path = exchange.path
        name = path.removeprefix(PROVIDER)
        if path == PROVIDER + "StopProvider":
            self.stop()
            exchange.reply(b"")
        elif path == "/plugin.GRPCController/Shutdown":
            exchange.reply(b"")
            self._on_shutdown()
        elif path == "/grpc.health.v1.Health/Check":
            exchange.reply(HEALTHY)
        elif path.startswith(PROVIDER) and f"{name}.Request" in messages.TABLES:
            with self._lock:
                self._running.add(exchange.call)
            self._workers.submit(lambda: self._work(exchange, name))
        else:
            exchange.fail(grpc.UNIMPLEMENTED, f"unknown method {path}")

    def stop(self) -> None:
        """Ask everything that runs to end soon. Calls that come later are not touched."""
        with self._lock:
            running = list(self._running)
        for call in running:
            _quietly(call.stop)
        if self._provider is not None:
            _quietly(self._provider.stop)

    def cancel(self, seconds: float) -> None:
        """Nobody waits any more: cancel everything and give it `seconds` to end."""
        with self._lock:
            running = list(self._running)
        for call in running:
            _quietly(call.cancel)
        end = time.monotonic() + seconds
        while self._running and time.monotonic() < end:
            time.sleep(0.01)

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return bool(self._running)

    def provider(self) -> Provider | None:
        """The provider; None if it cannot be loaded, and then `_refused` says why."""
        with self._loading:
            if self._provider is None and self._refused is None:
                try:
                    self._provider = self._load_provider()
                except BaseException as failed:  # noqa: BLE001 - a failed start has to reach the user, whatever it was
                    _log_failure("Provider failed to start", failed)
                    what = f"{type(failed).__name__}: {failed}"
                    self._refused = error("Provider failed to start", f"{what}\n\n{REINSTALL}")
            return self._provider

    def _work(self, exchange: Exchange, name: str) -> None:
        try:
            self._answer(exchange, name)
        except BaseException as failed:  # noqa: BLE001 - the last net: the caller must get an answer, the thread must live on
            _log_failure(f"{name} could not be answered", failed)
            exchange.fail(grpc.INTERNAL, f"{name} could not be answered: {type(failed).__name__}")
        finally:
            with self._lock:
                self._running.discard(exchange.call)

    def _answer(self, exchange: Exchange, name: str) -> None:
        provider = self.provider()
        if provider is None:
            assert self._refused is not None
            self._refuse(exchange, name, self._refused)
            return
        if name == "GetProviderSchema":
            try:
                schema = provider.schema_bytes()
            except Exception as failed:  # noqa: BLE001 - becomes the answer's diagnostic
                self._refuse(exchange, name, _default(failed, name, {}))
            else:
                exchange.reply(schema)
            return
        method = getattr(provider, method_name(name), None)
        if method is None:
            exchange.fail(grpc.UNIMPLEMENTED, f"{name} is not offered by this provider")
            return
        try:
            request = messages.decode(f"{name}.Request", exchange.message)
        except BadMessage as bad:
            exchange.fail(grpc.INVALID_ARGUMENT, f"the request cannot be read: {bad}")
            return
        exchange.message = b""
        if name in messages.STREAMS:
            self._stream(exchange, name, method, request)
            return
        try:
            answer = messages.encode(f"{name}.Response", method(request, exchange.call))
        except BaseException as failed:  # noqa: BLE001 - becomes the answer's diagnostic
            answer = self._failed(name, request, exchange.call, failed)
        exchange.reply(answer)

    def _stream(self, exchange: Exchange, name: str, method: Callable[..., object], request: Message) -> None:
        exchange.begin()
        try:
            for event in method(request, exchange.call):  # type: ignore[attr-defined]
                if not exchange.send(messages.encode(f"{name}.Event", event)):
                    return
        except BaseException as failed:  # noqa: BLE001 - becomes the last event's diagnostic
            diagnostics = self._diagnose(name, request, exchange.call, failed)
            exchange.send(messages.encode(f"{name}.Event", event_of(name, diagnostics)))
        exchange.end()

    def _failed(self, name: str, request: Message, call: Call, failed: BaseException) -> bytes:
        """The answer to a call in which the provider raised: what it had reached, else what was before."""
        diagnostics = self._diagnose(name, request, call, failed)
        if name == "CallFunction":
            return messages.encode("CallFunction.Response", {"error": {"text": _sentence(diagnostics)}})
        before = {mine: request[theirs] for mine, theirs in messages.STATE_OF_BEFORE.get(name, ())}
        said = [*call.partial.pop("diagnostics", ()), *diagnostics]
        try:
            return messages.encode(f"{name}.Response", {**before, **call.partial, "diagnostics": said})
        except BadMessage as bad:
            _log_failure(f"{name}: the partial answer does not fit", bad)
            return messages.encode(f"{name}.Response", {**before, "diagnostics": diagnostics})

    def _diagnose(self, name: str, request: Message, call: Call, failed: BaseException) -> Sequence[Diagnostic]:
        if isinstance(failed, Exception) and self._provider is not None:
            try:
                said = self._provider.diagnose(failed, request, call)
            except Exception as worse:  # noqa: BLE001 - the first failure is the one to tell
                _log_failure("diagnose failed", worse)
            else:
                if said is not None:
                    return said
        _log_failure(f"{name} failed", failed)
        return [_default(failed, name, request)]

    def _refuse(self, exchange: Exchange, name: str, why: Diagnostic) -> None:
        if name in messages.STREAMS:
            exchange.begin()
            exchange.send(messages.encode(f"{name}.Event", event_of(name, [why])))
            exchange.end()
        elif name == "CallFunction":
            exchange.reply(messages.encode("CallFunction.Response", {"error": {"text": _sentence([why])}}))
        else:
            exchange.reply(messages.encode(f"{name}.Response", {"diagnostics": [why]}))


def method_name(rpc: str) -> str:
    """The provider's method for a call: `PlanResourceChange` -> `plan_resource_change`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in rpc).removeprefix("_")


def event_of(name: str, diagnostics: Sequence[Diagnostic]) -> Message:
    """The event of a stream that tells diagnostics."""
    return {"diagnostic": diagnostics} if name == "ListResource" else {"completed": {"diagnostics": diagnostics}}


def _sentence(diagnostics: Sequence[Diagnostic]) -> str:
    return "\n".join(f"{each.summary}: {each.detail}" if each.detail else each.summary for each in diagnostics)


def _place(failed: BaseException) -> str:
    trace = failed.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    code = trace.tb_frame.f_code
    return f"{os.path.basename(code.co_filename)}:{trace.tb_lineno} in {code.co_name}"


def _default(failed: BaseException, name: str, request: Message) -> Diagnostic:
    """What is said of an exception nobody has words for. Not its message: that may hold anything, a password too."""
    about = request.get("type_name") or request.get("name") or request.get("action_type") or ""
    return error(
        f"The provider failed in {name}",
        f"{about + ': ' if about else ''}{type(failed).__name__} at {_place(failed)}. "
        "This is a mistake in the provider, not in your configuration: please report it with these lines. "
        "What was reached until then is kept in the state.",
    )


def _log_failure(what: str, failed: BaseException) -> None:
    log(ERROR, what, error=type(failed).__name__, at=_place(failed))
    if failed.__traceback__ is not None:
        import traceback

        log(DEBUG, what, trace="".join(traceback.format_tb(failed.__traceback__)))


def _quietly(act: Callable[[], None]) -> None:
    """Run what others wrote on the reading thread: it may fail, the thread may not."""
    try:
        act()
    except Exception as failed:  # noqa: BLE001 - logged; a failed stop must not end the connection
        _log_failure("stop failed", failed)
