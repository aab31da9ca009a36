"""The dynamic provider: Pulumi's calls to operations, for any noun. Runs in Pulumi's host process, in many threads.

Here: which call means what. Not here: what the host hides (host.py), property values (wire.py), the work (operations.py).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    UpdateResult,
)
from pulumi.runtime import rpc

from spg99 import pending
from spg99.bridges.pulumi.dynamic import connection, host, wire
from spg99.bridges.pulumi.dynamic.reference import PROVIDER_KEY
from spg99.bridges.pulumi.shared.declarers import declarer_of
from spg99.bridges.pulumi.shared.naming import error_text, wire_path
from spg99.bridges.pulumi.shared.replacements import Replacements
from spg99.bridges.shared import background, changes, inputs
from spg99.bridges.shared.interrupted import was_made
from spg99.bridges.shared.objects import Values
from spg99.bridges.shared.operations import Operations, Progress, Unfinished
from spg99.bridges.shared.unknown import UNKNOWN
from spg99.bridges.shared.words import PULUMI_DYNAMIC
from spg99.declarer import Declarer
from spg99.emit.names import camel
from spg99.errors import BadRequest, Conflict, NotFound, Spg99Error, kind_and_place
from spg99.prepared import PACKAGE
from spg99.shapes import Noun, Package

T = TypeVar("T")

_log = host.EngineLog()
_prepared = threading.Lock()
_replacements = Replacements(PULUMI_DYNAMIC)
"""Of this process: every noun has a Provider of its own, and one explicit provider a process of its own."""


class Provider:
    """What `__provider` in a state file stands for; one instance per noun and process."""

    PACKAGE: ClassVar[Package] = PACKAGE

    def __init__(self, noun: str) -> None:
        found = self.PACKAGE.noun_named(noun)
        if found is None:
            raise BadRequest(f"This version of spg99 knows no '{noun}'; the state was written by another one.")
        self.noun: Noun = found
        self._config: Mapping[str, Any] = {}

    def configure(self, request: ConfigureRequest) -> None:
        """Keeps the configuration. Connects to nothing."""
        self._config = getattr(request.config, "_props", None) or {}
        if _prepared.acquire(blocking=False):
            _log.connect()
            _replacements.declarations.meet(host.engine_address())
            host.prepare(connection.interrupt)

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """All that is wrong with the inputs at once, and whether data would be lost."""
        return _answer(self.noun, lambda call: self._check(call, olds, news))

    def diff(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """What differs from what the Control Plane last answered."""
        return _answer(self.noun, lambda call: self._diff(call, olds, news))

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Creates the object and waits until it is settled."""
        return _answer(self.noun, lambda call: self._create(call, props))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """The object as it is now, for refresh and `.get()`."""
        return _answer(self.noun, lambda call: self._read(call, id_, props))

    def update(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Changes the object in place and waits until it is settled."""
        return _answer(self.noun, lambda call: self._update(call, id_, olds, news))

    def delete(self, id_: str, props: dict[str, Any]) -> None:
        """Deletes the object and waits until it is gone."""
        _answer(self.noun, lambda call: self._delete(call, id_, props))

    def _operations(self) -> Operations:
        return connection.operations(connection.settings_from(self._config))

    def _check(self, call: host.Call, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        connection.settings_from(self._config)  # missing settings are told in the preview, not half-way through
        wanted = wire.inputs_from(self.noun, news)
        own = {name: wanted.pop(name) for name in changes.own_inputs(self.noun) if name in wanted}
        checked = inputs.check(self.noun, wanted, spelling=camel)
        failures = [
            CheckFailure(wire_path(failure.path, self.noun.inputs), failure.reason) for failure in checked.failures
        ]
        for warning in checked.warnings:
            _log.warn(call.urn, f"{wire_path(warning.path, self.noun.inputs)} {warning.reason}")
        failures += [
            CheckFailure(camel(name), "must be true or false")
            for name, value in own.items()
            if not isinstance(value, bool) and value is not UNKNOWN
        ]
        old_inputs, old_outputs = wire.inputs_from(self.noun, olds), self._old_outputs(call)
        _replacements.checked(
            self.noun, call.urn, old_inputs=old_inputs, old_outputs=old_outputs, new_inputs=checked.inputs | own
        )
        refused = changes.refused_replacements(
            self.noun, old_inputs=old_inputs, new_inputs=checked.inputs | own, old_outputs=old_outputs
        )
        failures += [CheckFailure(camel(name), sentence) for name, sentence in refused.items()]
        known = {field.name for field in self.noun.inputs}
        strangers = {name: value for name, value in wanted.items() if name not in known}
        return CheckResult(wire.inputs_to(self.noun, checked.inputs | strangers | own), failures)

    def _diff(self, call: host.Call, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        wanted = wire.inputs_from(self.noun, news)
        wrote = self._old_inputs(call, "old_inputs")
        is_now = wire.outputs_from(self.noun, olds)
        found = changes.diff(self.noun, old_outputs=is_now, new_inputs=wanted, old_inputs=wrote)
        # A refused replacement is told as an update, which is refused: an error here would fail a refresh too.
        refused = changes.refused_update(self.noun, found, is_now, wanted)
        return DiffResult(
            changes=bool(found),
            replaces=[] if refused else [camel(change.field) for change in found if change.replaces],
            stables=[],
            delete_before_replace=changes.deletes_before_replace(self.noun, found),
        )

    def _create(self, call: host.Call, props: dict[str, Any]) -> CreateResult:
        wanted = wire.inputs_from(self.noun, props)
        work = self._operations().create(
            self.noun,
            wanted,
            declaration=call.urn,
            declarer=_declarer(call),
            held=_replacements.before_create(self.noun, call.urn),
            seconds_max=call.seconds_max,
            progress=_progress(call),
        )
        made = self._finished(call, lambda: connection.run(work), props)
        _replacements.made(self.noun, call.urn, made.values, was_there=made.was_there)
        return CreateResult(made.human_id, wire.outputs_to(self.noun, made.values))

    def _update(self, call: host.Call, human_id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        old, wanted = wire.outputs_from(self.noun, olds), wire.inputs_from(self.noun, news)
        wrote = self._old_inputs(call, "old_inputs")
        found = changes.diff(self.noun, old_outputs=old, new_inputs=wanted, old_inputs=wrote)
        if (sentence := changes.refused_update(self.noun, found, old, wanted)) is not None:
            raise Conflict(sentence)
        work = self._operations().update(
            self.noun,
            human_id,
            old=old,
            new_inputs=wanted,
            old_inputs=wrote,
            declarer=_declarer(call),
            seconds_max=call.seconds_max,
            progress=_progress(call),
        )
        values = self._finished(call, lambda: connection.run(work), news)
        return UpdateResult(wire.outputs_to(self.noun, values))

    def _was_made(self, call: host.Call, question: str, props: dict[str, Any]) -> ReadResult:
        """What the embedded engine asks about an interrupted create (spg99/pending.py)."""
        wanted = wire.inputs_from(self.noun, props)
        own = {name: wanted[name] for name in changes.own_inputs(self.noun) if name in wanted}
        answer = connection.run(
            was_made(
                self._operations(),
                self.noun,
                wanted,
                declaration=call.urn or "",
                withdraw=question == pending.WAS_IT_MADE_ELSE_NEVER,
            )
        )
        if answer is None:
            return ReadResult("", {pending.ANSWER: {"made": False}}, {})
        found, missing = answer
        marked = wire.outputs_to(self.noun, found.values) | {pending.ANSWER: {"made": True, "unfinished": missing}}
        return ReadResult(found.human_id, marked, wire.inputs_to(self.noun, found.inputs | own))

    def _read(self, call: host.Call, human_id: str, props: dict[str, Any]) -> ReadResult:
        if human_id in pending.QUESTIONS:
            return self._was_made(call, human_id, props)
        old = wire.outputs_from(self.noun, props)
        is_refresh = self.noun.uid_field in old
        wrote = self._old_inputs(call, "inputs") if is_refresh else None
        found = connection.run(
            self._operations().read(
                self.noun, human_id, old=old if is_refresh else {}, old_inputs=wrote, declarer=_declarer(call)
            )
        )
        if found is None:
            if is_refresh:
                return ReadResult("", {}, {})
            raise NotFound(f"There is no {self.noun.noun} '{human_id}', or this API key may not see it.")
        own = {name: (wrote or {})[name] for name in changes.own_inputs(self.noun) if name in (wrote or {})}
        return ReadResult(
            found.human_id, wire.outputs_to(self.noun, found.values), wire.inputs_to(self.noun, found.inputs | own)
        )

    def _delete(self, call: host.Call, human_id: str, props: dict[str, Any]) -> None:
        old = wire.outputs_from(self.noun, props)
        if not _replacements.before_delete(self.noun, call.urn, old):
            _log.warn(
                call.urn, f"'{human_id}' stood in the state twice; the second entry is dropped, nothing is deleted."
            )
            return
        work = self._operations().delete(
            self.noun,
            human_id,
            old=old,
            seconds_max=call.seconds_max,
            progress=_progress(call),
        )
        connection.run(work)
        _replacements.deleted(self.noun, call.urn, old)

    def _old_outputs(self, call: host.Call) -> Values:
        """What the state holds of the object, where the engine tells a Check (Pulumi 3.25x and newer)."""
        struct = call.struct("old_outputs")
        return {} if struct is None else wire.outputs_from(self.noun, rpc.deserialize_properties(struct, True))

    def _old_inputs(self, call: host.Call, name: str) -> Values | None:
        struct = call.struct(name)
        if struct is None:
            return None
        found: Values = inputs.whole(wire.inputs_from(self.noun, rpc.deserialize_properties(struct, True)))
        return found

    def _finished(self, call: host.Call, work: Callable[[], T], wanted: dict[str, Any]) -> T:
        """The result of `work`; an object that exists but is not settled stays in the state."""
        try:
            return work()
        except Unfinished as unfinished:
            reference = {PROVIDER_KEY: wanted[PROVIDER_KEY]}
            outputs = wire.outputs_to(self.noun, unfinished.values) | reference
            kept = wire.inputs_to(self.noun, wire.inputs_from(self.noun, wanted)) | reference
            host.partial_failure(
                call,
                human_id=unfinished.human_id,
                properties=background.run(rpc.serialize_properties(outputs, {})),
                inputs=background.run(rpc.serialize_properties(kept, {})),
                message=str(unfinished),
            )
            raise


def _declarer(call: host.Call) -> Declarer | None:
    return declarer_of("pulumi-dynamic", call.urn, os.environ)


def _progress(call: host.Call) -> Progress:
    return lambda sentence: _log.status(call.urn, sentence)


def _answer(noun: Noun, work: Callable[[host.Call], T]) -> T:
    """Carries out a call of Pulumi's; what fails is told as a sentence, not as a traceback."""
    call = host.current_call()
    try:
        return work(call)
    except Unfinished:
        raise
    except Spg99Error as error:
        host.explain(call, error_text(noun.inputs, error))
        raise
    except Exception as error:
        # Only where and which kind: the text of an unexpected error may hold a value that is secret.
        host.explain(call, f"The spg99 provider failed unexpectedly ({kind_and_place(error)}). This is a bug.")
        if os.environ.get("SPG99_DEBUG"):
            sys.excepthook(type(error), error, error.__traceback__)
        raise
