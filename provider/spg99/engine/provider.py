"""One provider process, spoken to over pulumirpc.ResourceProvider. Here: the protocol. Not here: which provider serves what
(providers.py), what its answers lead to (decide.py).

Values go in and come out as the engine has them, with secrets marked: what a provider does not understand (secrets,
references, preview) is taken off before and put back after.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc
from pulumi.runtime.proto import provider_pb2 as pb

from spg99 import pending
from spg99.engine.autonaming import Proposal
from spg99.engine.children import Attached, Child
from spg99.engine.decide import Change, Difference
from spg99.engine.failure import OutcomeUnknown, StepFailed, from_rpc
from spg99.engine.state import Resource
from spg99.engine.urns import DYNAMIC_PACKAGES, name_of, type_of
from spg99.engine.values import (
    Props,
    changed_keys,
    from_struct,
    has_unknown,
    keep_secrecy,
    lower,
    reveal,
    to_struct,
    without_references,
)
from spg99.exits import how_it_ended

MESSAGE_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_ENGINE_KEYS = {"version", "__internal"}  # in a provider's inputs, but meant for the engine
_KINDS = {
    pb.PropertyDiff.ADD: Change.ADD,
    pb.PropertyDiff.ADD_REPLACE: Change.ADD,
    pb.PropertyDiff.DELETE: Change.DELETE,
    pb.PropertyDiff.DELETE_REPLACE: Change.DELETE,
    pb.PropertyDiff.UPDATE: Change.UPDATE,
    pb.PropertyDiff.UPDATE_REPLACE: Change.UPDATE,
}
_REPLACING = {pb.PropertyDiff.ADD_REPLACE, pb.PropertyDiff.DELETE_REPLACE, pb.PropertyDiff.UPDATE_REPLACE}

Timing = Callable[[str, float], None]


class CannotSay(StepFailed):
    """The provider was asked what became of a create, and does not know such a question."""

    code = "CannotSay"


@dataclass(frozen=True)
class Made:
    """A create that happened although nobody saw its end."""

    id: str
    inputs: Props
    outputs: Props
    unfinished: str
    """what is missing until it is settled; empty: nothing"""


class Provider:
    """A running provider. Methods may be called from any thread."""

    def __init__(
        self, package: str, child: Child | Attached, engine_address: str, root: str, on_timing: Timing
    ) -> None:
        self.package = package
        self.configured = False
        self._child = child
        self._on_timing = on_timing
        port = child.first_line()
        if not port.isdigit():
            child.kill()
            raise StepFailed(
                f"The provider '{package}' did not start: {_last_words(child) or 'it ended without a word'}."
            )
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=MESSAGE_OPTIONS)
        self._stub: Any = provider_pb2_grpc.ResourceProviderStub(self._channel)
        self._secrets = self._references = self._previews = self._names = False
        try:
            self._shook_hands = self._handshake(engine_address, root)
        except BaseException:
            self.kill()  # nobody else knows of it yet
            raise

    def _handshake(self, engine_address: str, root: str) -> bool:
        # One that somebody else has started knows its folders itself, and learns afterwards who asks.
        attached = isinstance(self._child, Attached)
        folder = None if attached else root
        request = pb.ProviderHandshakeRequest(
            engine_address=engine_address,
            root_directory=folder,
            program_directory=folder,
            configure_with_urn=True,
            invoke_with_preview=True,
        )
        try:
            answer = self._stub.Handshake(request, wait_for_ready=True, timeout=30)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return False
            raise self._failed(error) from error
        self._secrets, self._references, self._previews = answer.accept_secrets, answer.accept_resources, True
        self._names = answer.supports_autonaming_configuration
        if attached:
            self._optional("Attach", plugin_pb2.PluginAttach(address=engine_address))
        return True

    def _call(self, method: str, request: Any) -> Any:
        began = time.perf_counter()
        try:
            return getattr(self._stub, method)(request)
        except grpc.RpcError as error:
            raise self._failed(error) from error
        finally:
            self._on_timing(method, time.perf_counter() - began)

    def _failed(self, error: grpc.RpcError) -> StepFailed:
        failure = from_rpc(error, self.package)
        code = self._child.exit_code(within_seconds=1) if error.code() == grpc.StatusCode.UNAVAILABLE else None
        if code is not None:
            words = _last_words(self._child)
            return OutcomeUnknown(
                f"The provider '{self.package}' ended unexpectedly ({how_it_ended(code)})"
                + (f": {words}" if words else ".")
            )
        return failure

    def _struct(self, props: Props) -> Any:
        shown = props if self._secrets else reveal(props)
        return to_struct(shown if self._references else without_references(shown))

    def check_config(self, urn: str, old: Props, new: Props) -> Props:
        """The provider's own inputs, completed by it. Raises StepFailed with all its complaints."""
        kept = {key: value for key, value in new.items() if key in _ENGINE_KEYS}
        asked = {key: value for key, value in new.items() if key not in _ENGINE_KEYS}
        request = pb.CheckRequest(
            urn=urn, name=name_of(urn), type=type_of(urn), olds=to_struct(reveal(old)), news=to_struct(reveal(asked))
        )
        answer = self._optional("CheckConfig", request)
        if answer is None:
            return new
        _raise_failures(answer.failures)
        return keep_secrecy(lower(from_struct(answer.inputs)), asked) | kept

    def diff_config(self, urn: str, old: Resource, new: Props) -> Difference | None:
        """How a changed configuration matters; None when the provider has no opinion."""
        answer = self._optional(
            "DiffConfig",
            pb.DiffRequest(
                id=old.id,
                urn=urn,
                name=name_of(urn),
                type=type_of(urn),
                olds=to_struct(reveal(old.outputs)),
                old_inputs=to_struct(reveal(old.inputs)),
                news=to_struct(reveal(new)),
            ),
        )
        return None if answer is None else _difference(answer)

    def _optional(self, method: str, request: Any) -> Any:
        try:
            return getattr(self._stub, method)(request)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return None
            raise self._failed(error) from error

    def configure(self, urn: str, id_: str, inputs: Props) -> None:
        """Hands the configuration over, unless part of it is not known yet."""
        args = {key: value for key, value in inputs.items() if key not in _ENGINE_KEYS}
        if has_unknown(args):
            return
        texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in reveal(args).items()}
        request = pb.ConfigureRequest(
            variables={f"{self.package}:config:{key}": value for key, value in texts.items()},
            args=to_struct(args),
            acceptSecrets=True,
            acceptResources=True,
            sends_old_inputs=True,
            sends_old_inputs_to_delete=True,
            urn=urn,
            id=id_,
            name=name_of(urn),
            type=type_of(urn),
        )
        answer = self._call("Configure", request)
        if not self._shook_hands:
            self._secrets, self._previews = answer.acceptSecrets, answer.supportsPreview
            self._references = answer.acceptResources
        self.configured = True

    def check(self, urn: str, old: Props, new: Props, seed: bytes, named: Proposal | None = None) -> Props:
        """The resource's inputs, completed by the provider. Raises StepFailed with all its complaints."""
        if not self.configured:
            return new
        options: Any = None
        if named is not None and self._names:
            options = pb.CheckRequest.AutonamingOptions(proposed_name=named.name)
            options.mode = int(named.mode)
        answer = self._call(
            "Check",
            pb.CheckRequest(
                urn=urn,
                name=name_of(urn),
                type=type_of(urn),
                olds=self._struct(old),
                news=self._struct(new),
                randomSeed=seed,
                autonaming=options,
            ),
        )
        _raise_failures(answer.failures)
        return self._marked(answer.inputs, new)

    def diff(self, old: Resource, new_inputs: Props, ignore_changes: Sequence[str], urn: str) -> Difference:
        """How the wanted differs from the actual."""
        if not self.configured:
            return Difference(changed=True, unavailable=True)
        answer = self._call(
            "Diff",
            pb.DiffRequest(
                id=old.id,
                urn=urn,
                name=name_of(urn),
                type=type_of(urn),
                olds=self._struct(old.outputs),
                old_inputs=self._struct(old.inputs),
                news=self._struct(new_inputs),
                ignoreChanges=ignore_changes,
            ),
        )
        return _difference(answer, old.inputs, new_inputs)

    def create(self, urn: str, inputs: Props, *, timeout: float, preview: bool) -> tuple[str, Props]:
        """Makes the resource; in a preview says what is known of it. Raises PartlyFailed or StepFailed."""
        if preview and not (self._previews and self.configured):
            return "", dict(inputs) if self.configured else {}
        request = pb.CreateRequest(
            urn=urn,
            name=name_of(urn),
            type=type_of(urn),
            properties=self._struct(inputs),
            timeout=timeout,
            preview=preview,
        )
        answer = self._call("Create", request)
        if not answer.id and not preview:
            raise StepFailed(f"The provider '{self.package}' made a resource without an id.")
        return answer.id, self._marked(answer.properties, inputs)

    def update(
        self, urn: str, old: Resource, inputs: Props, ignored: Sequence[str], *, timeout: float, preview: bool
    ) -> Props:
        """Changes the resource in place; in a preview says what is known. Raises PartlyFailed or StepFailed."""
        if preview and not (self._previews and self.configured):
            return dict(inputs)
        request = pb.UpdateRequest(
            id=old.id,
            urn=urn,
            name=name_of(urn),
            type=type_of(urn),
            olds=self._struct(old.outputs),
            old_inputs=self._struct(old.inputs),
            news=self._struct(inputs),
            timeout=timeout,
            ignoreChanges=ignored,
            preview=preview,
        )
        return self._marked(self._call("Update", request).properties, inputs)

    def read(
        self, urn: str, id_: str, inputs: Props | None, state: Props | None, *, timeout: float = 0
    ) -> tuple[str, Props | None, Props] | None:
        """(id, inputs if the provider gives them, outputs), or None when there is no such resource."""
        request = pb.ReadRequest(id=id_, urn=urn, name=name_of(urn), type=type_of(urn), timeout=timeout)
        if inputs is not None:
            request.inputs.CopyFrom(self._struct(inputs))
        if state is not None:
            request.properties.CopyFrom(self._struct(state))
        answer = self._call("Read", request)
        if not answer.id:
            return None
        new_inputs = self._marked(answer.inputs, inputs or {}) if answer.HasField("inputs") else None
        return answer.id, new_inputs, self._marked(answer.properties, state or inputs or {})

    def was_made(self, wanted: Resource, *, withdraw: bool) -> Made | None:
        """What became of a create whose end nobody saw; None: nothing, and with `withdraw` nothing will. Raises CannotSay when
        the provider does not know the question."""
        request = pb.ReadRequest(
            id=pending.WAS_IT_MADE_ELSE_NEVER if withdraw else pending.WAS_IT_MADE,
            urn=wanted.urn,
            name=name_of(wanted.urn),
            type=type_of(wanted.urn),
            inputs=self._struct(wanted.inputs),
        )
        answer = self._call("Read", request)
        properties = self._marked(answer.properties, wanted.inputs)
        verdict = reveal(properties.pop(pending.ANSWER, None))
        if not isinstance(verdict, dict):
            raise CannotSay(f"The provider '{self.package}' does not know the question.")
        if not verdict.get("made"):
            return None
        inputs = self._marked(answer.inputs, wanted.inputs) if answer.HasField("inputs") else wanted.inputs
        return Made(answer.id, inputs, properties, str(verdict.get("unfinished") or ""))

    def delete(self, old: Resource, *, timeout: float) -> None:
        """Deletes the resource; a missing one counts as deleted."""
        request = pb.DeleteRequest(
            id=old.id,
            urn=old.urn,
            name=name_of(old.urn),
            type=old.type,
            properties=self._struct(old.outputs),
            old_inputs=self._struct(old.inputs),
            timeout=timeout,
        )
        self._call("Delete", request)

    def invoke(self, token: str, args: Props, *, preview: bool) -> Any:
        """The answer of a function, as it came."""
        return self._call("Invoke", pb.InvokeRequest(tok=token, args=self._struct(args), preview=preview))

    def cancel(self) -> None:
        """Asks it to give up what it is waiting for."""
        try:
            self._stub.Cancel(empty_pb2.Empty(), timeout=2)
        except grpc.RpcError:
            return  # advisory: a provider that cannot is interrupted at the end anyway

    def close(self) -> None:
        """Ends the process."""
        self._channel.close()
        # A dynamic host keeps nothing: it holds no state and no sockets once nobody calls it.
        if self.package in DYNAMIC_PACKAGES:
            self._child.kill()
        else:
            self._child.stop(grace_seconds=5)

    def kill(self) -> None:
        """Ends the process at once."""
        self._child.kill()

    def _marked(self, struct: Any, sent: Props) -> Props:
        received: Props = lower(from_struct(struct))
        return received if self._secrets else keep_secrecy(received, sent)


def _difference(answer: Any, old_inputs: Props | None = None, new_inputs: Props | None = None) -> Difference:
    details = {path: _KINDS[item.kind] for path, item in answer.detailedDiff.items()}
    replaces = {*answer.replaces, *(p for p, item in answer.detailedDiff.items() if item.kind in _REPLACING)}
    keys = tuple(answer.diffs)
    changed = answer.changes == pb.DiffResponse.DIFF_SOME
    if answer.changes == pb.DiffResponse.DIFF_UNKNOWN and old_inputs is not None and new_inputs is not None:
        keys = tuple(changed_keys(old_inputs, new_inputs))
        changed = bool(keys)
    return Difference(
        changed=changed,
        keys=keys,
        replaces=tuple(sorted(replaces)),
        stables=tuple(answer.stables),
        delete_before_replace=answer.deleteBeforeReplace,
        details=details,
        input_details=frozenset(p for p, item in answer.detailedDiff.items() if item.inputDiff),
    )


def _raise_failures(failures: Sequence[Any]) -> None:
    if failures:
        lines = [f"{f.property}: {f.reason}" if f.property else f.reason for f in failures]
        raise StepFailed("\n".join(lines))


def _last_words(child: Child | Attached) -> str:
    lines = [line for line in child.last_lines if line.strip()]
    return lines[-1] if lines else ""
