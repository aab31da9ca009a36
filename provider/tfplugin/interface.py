"""What a provider implements for the plugin server, and what the server hands to it. Not here: bytes, sockets, threads.

A provider is an object with one method per call of protocol 6, named in snake case, all of one form:

    def plan_resource_change(self, request: Message, call: Call) -> Message

`request` and the answer are dicts keyed by the field names of tfplugin6.proto. A request has every field: texts "", numbers 0,
flags False, lists [], maps {}, absent messages and absent optional fields None. An answer may leave out what it does not set.
A DynamicValue is `{"msgpack": bytes, "json": bytes}`: `values.decode(type, it)` reads it, `values.encode(type, value)` makes
it. Diagnostics are `Diagnostic`s, attribute paths come from `attribute_path("settings", 0, Key("a"))`.

    validate_provider_config      configure_provider            validate_resource_config     upgrade_resource_state
    upgrade_resource_identity     get_resource_identity_schemas read_resource                plan_resource_change
    apply_resource_change         import_resource_state         move_resource_state          generate_resource_config
    validate_data_resource_config read_data_source              get_functions                call_function
    validate_ephemeral_resource_config  open_ephemeral_resource renew_ephemeral_resource     close_ephemeral_resource
    validate_list_resource_config get_metadata                  validate_action_config       plan_action
    list_resource, invoke_action: these two are generators of event dicts

A method which is not there is answered UNIMPLEMENTED. A method runs in a thread of its own, many at the same time. One which
raises is answered with an error diagnostic and the state of before (prior state for plan and apply, current state for read),
updated by what the method had put into `call.partial` (so a create which is half done keeps its id):

    call.partial["new_state"] = values.encode(type, state_with_id)
"""

from __future__ import annotations

import _thread
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    Message = dict[str, Any]
    Step = str | int
else:
    Protocol = object

ERROR, WARNING = 1, 2


class Key(str):
    """A step of an attribute path which is a key of a map (a plain text step is an attribute's name)."""

    __slots__ = ()


def attribute_path(*steps: Step) -> Message:
    """AttributePath of attribute names (text), places in a list (whole numbers) and keys of a map (`Key`)."""
    made: list[Message] = []
    for step in steps:
        if isinstance(step, Key):
            made.append({"element_key_string": str(step)})
        elif isinstance(step, str):
            made.append({"attribute_name": step})
        else:
            made.append({"element_key_int": step})
    return {"steps": made}


class Diagnostic:
    """A sentence for the user: `severity` ERROR or WARNING, a short `summary`, a `detail` and where it belongs (`path`)."""

    __slots__ = ("detail", "path", "severity", "summary")

    def __init__(self, severity: int, summary: str, detail: str = "", path: Sequence[Step] = ()) -> None:
        self.severity = severity
        self.summary = summary
        self.detail = detail
        self.path = tuple(path)

    def as_message(self) -> Message:
        """The Diagnostic message of the protocol."""
        made: Message = {"severity": self.severity, "summary": self.summary, "detail": self.detail}
        if self.path:
            made["attribute"] = attribute_path(*self.path)
        return made

    def __repr__(self) -> str:
        kind = "Error" if self.severity == ERROR else "Warning"
        return f"{kind}({self.summary!r}, {self.detail!r}, path={self.path!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Diagnostic) and self.as_message() == other.as_message()

    def __hash__(self) -> int:
        return hash((self.severity, self.summary, self.detail, self.path))


def error(summary: str, detail: str = "", path: Sequence[Step] = ()) -> Diagnostic:
    """An error diagnostic."""
    return Diagnostic(ERROR, summary, detail, path)


def warning(summary: str, detail: str = "", path: Sequence[Step] = ()) -> Diagnostic:
    """A warning diagnostic."""
    return Diagnostic(WARNING, summary, detail, path)


def function_error(text: str, argument: int | None = None) -> Message:
    """FunctionError for CallFunction's `error`; `argument` counts from 0."""
    return {"text": text, "function_argument": argument}


class Call:
    """One call under way: is anybody still waiting for the answer, and until when.

    `rpc` is its name ("ApplyResourceChange"), `deadline` the end on `time.monotonic()`'s clock or None (Terraform sets none),
    `partial` the answer so far (see above). `stopping` turns true when the user asked to stop (Ctrl-C): answer soon, with the
    state reached. `cancelled` turns true when the answer can no longer arrive, or the deadline passed.
    """

    __slots__ = ("_callbacks", "_cancelled", "_ended", "_lock", "deadline", "partial", "rpc", "stopping")

    def __init__(self, rpc: str, deadline: float | None = None) -> None:
        self.rpc = rpc
        self.deadline = deadline
        self.partial: Message = {}
        self.stopping = False
        self._cancelled = False
        self._ended = False
        self._lock = _thread.allocate_lock()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """Whether the answer can no longer arrive, or comes too late."""
        return self._cancelled or (self.deadline is not None and time.monotonic() >= self.deadline)

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until a stop, a cancel or the deadline; true if one of them is there."""
        if self.deadline is not None:
            seconds = min(seconds, self.deadline - time.monotonic())
        gate = _thread.allocate_lock()
        gate.acquire()
        self.when_ended(gate.release)
        gate.acquire(timeout=max(0.0, seconds))
        with self._lock:
            if gate.release in self._callbacks:
                self._callbacks.remove(gate.release)
        return self._ended or self.cancelled

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once, at a stop or a cancel (at once if that was before). It must return at once."""
        with self._lock:
            if not self._ended:
                self._callbacks.append(callback)
                return
        callback()

    def stop(self) -> None:
        """The server's: the user wants the call to end soon."""
        self.stopping = True
        self._end()

    def cancel(self) -> None:
        """The server's: nobody waits for the answer any more."""
        self._cancelled = True
        self._end()

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class Provider(Protocol):
    """What every provider has; the methods of the module's list come by name, where they exist."""

    def schema_bytes(self) -> bytes:
        """GetProviderSchema.Response as bytes, prepared ahead (`messages.encode("GetProviderSchema.Response", {...})`)."""

    def stop(self) -> None:
        """The user asked to stop. Called on the thread that reads the connection: must return at once."""

    def diagnose(self, error: Exception, request: Message, call: Call) -> Sequence[Diagnostic] | None:
        """Diagnostics for an exception that a method raised; None for the server's own words (which hold no message text)."""
