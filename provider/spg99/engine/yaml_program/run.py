"""Carrying out a YAML program: everything as soon as what it needs is there. Here: order, and requests to the monitor. Not here:
what the monitor does about them (monitor.py), values (evaluate.py)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from pulumi.runtime.proto import resource_pb2, resource_pb2_grpc

from spg99.engine.provider import MESSAGE_OPTIONS
from spg99.engine.run import Run
from spg99.engine.urns import STACK_TYPE, package_of
from spg99.engine.values import REFERENCE, SIG, UNKNOWN, Props, Value, from_struct, has_secret, lower, secret, to_struct
from spg99.engine.yaml_program.document import Declared, Program, load
from spg99.engine.yaml_program.evaluate import evaluate
from spg99.engine.yaml_program.expressions import Expression, Fields, Invoke, references
from spg99.engine.yaml_program.options import Options, options_of, provider_of
from spg99.engine.yaml_program.settings import value_of
from spg99.engine.yaml_program.source import Problem
from spg99.errors import BadRequest, Spg99Error


class _Failed(Exception):
    """The engine has already said why."""


@dataclass(frozen=True)
class _Settled:
    """A resource that is there."""

    urn: str
    id: str
    outputs: Props
    complete: bool
    """False in a preview, where what is missing is only not known yet"""
    type: str
    provider: str
    protect: bool


def run(run: Run, address: str) -> bool:
    """Runs the project's program against the monitor at `address`; answers whether all went well. Raises BadRequest when the
    program's text has mistakes."""
    if run.project.runtime_options.get("compiler"):
        raise BadRequest(
            f"{run.project.file} names a `compiler`, which the embedded engine does not run. Use the Pulumi CLI."
        )
    program = load(run.project.file, run.project.program_folder)
    with grpc.insecure_channel(address, options=MESSAGE_OPTIONS) as channel:
        return _Running(run, program, resource_pb2_grpc.ResourceMonitorStub(channel)).all()


class _Running:
    """One run of a program: the world that its expressions see."""

    def __init__(self, run: Run, program: Program, monitor: Any) -> None:
        self.run, self.program, self.monitor = run, program, monitor
        self.folder: Path = run.project.program_folder
        self._lock = threading.Lock()
        self._values: dict[str, Value] = {
            "pulumi": {
                "cwd": str(self.folder),
                "organization": "organization",
                "project": run.project.name,
                "rootDirectory": str(run.project.root),
                "stack": run.stack,
            }
        }
        self._settled: dict[str, _Settled] = {}
        self._behind: dict[str, set[str]] = {}
        """name -> URNs of the resources that its value comes from"""
        self._root = ""

    def all(self) -> bool:
        """Everything, in order, as many at a time as allowed."""
        self._root = self._register_stack()
        well = self._read_settings() and self._settle_all()
        outputs = {}
        for name, expression in self.program.outputs.items():
            try:
                outputs[name] = evaluate(expression, self)
            except _Failed:
                outputs[name] = UNKNOWN
            except Spg99Error as error:
                well = False
                self.run.fail(error.message)
        request = resource_pb2.RegisterResourceOutputsRequest(urn=self._root, outputs=to_struct(outputs))
        self.monitor.RegisterResourceOutputs(request)
        return well

    def _register_stack(self) -> str:
        name = f"{self.run.project.name}-{self.run.stack}"
        request = resource_pb2.RegisterResourceRequest(type=STACK_TYPE, name=name, supportsResultReporting=True)
        return str(self.monitor.RegisterResource(request).urn)

    def _read_settings(self) -> bool:
        well = True
        for name, setting in self.program.settings.items():
            try:
                self._values[name] = value_of(setting, self.run.config, self.run.project.name)
            except Problem as problem:
                well = False
                self.run.fail(problem.message)
        return well

    def _settle_all(self) -> bool:
        """Every variable and resource; what needs a failed one is left out."""
        needs = {n: self.program.needs(n) for n in (*self.program.variables, *self.program.resources)}
        waiting = {name: set(needed) for name, needed in needs.items()}
        in_flight: dict[Future[bool], str] = {}
        well = True
        with ThreadPoolExecutor(self.run.options.parallel * 4, thread_name_prefix="yaml") as pool:
            while True:
                for name in [name for name, needed in waiting.items() if not needed]:
                    del waiting[name]
                    in_flight[pool.submit(self._settle, name, needs[name])] = name
                if not in_flight:
                    return well
                done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                for future in done:
                    name = in_flight.pop(future)
                    well &= future.result()
                    if future.result():
                        for needed in waiting.values():
                            needed.discard(name)

    def _settle(self, name: str, needs: set[str]) -> bool:
        try:
            behind = {urn for needed in needs for urn in self._behind[needed]}
            declared = self.program.resources.get(name)
            if declared is None:
                value = evaluate(self.program.variables[name], self)
            else:
                settled = self._register(declared)
                behind = {settled.urn}
                value = {SIG: REFERENCE, "urn": settled.urn, "id": settled.id or UNKNOWN, "packageVersion": ""}
                with self._lock:
                    self._settled[settled.urn] = settled
            with self._lock:
                self._values[name], self._behind[name] = value, behind
        except _Failed:
            return False
        except Exception as error:  # noqa: BLE001 - the edge: one resource's failure must not end the run
            self.run.fail_by(error, "")
            return False
        return True

    # -- what expressions may ask ------------------------------------------------------------------------------------

    def named(self, name: str) -> Value:
        """The value of a name. Raises _Failed when it never came to one."""
        if name not in self._values:
            raise _Failed(name)
        return self._values[name]

    def outputs(self, urn: str) -> tuple[Props, bool]:
        """What is known of a resource, and whether that is all."""
        found = self._settled[urn]
        return found.outputs | {"urn": found.urn, "id": found.id or UNKNOWN}, found.complete

    def invoke(self, call: Invoke, arguments: Props, options: dict[str, Value]) -> Value:
        """The answer of a provider's function; unknown while something it comes from is not there yet."""
        behind = self._urns_of(call.arguments) | self._urns_of(call.options.get("dependsOn"))
        if self.run.dry_run and not all(self._there(urn) for urn in behind):
            return UNKNOWN
        provider = provider_of(options.get("provider"), call.place) or self._default_provider(call.token)
        request = resource_pb2.ResourceInvokeRequest(
            tok=call.token,
            args=to_struct(arguments),
            provider=provider,
            version=str(options.get("version") or ""),
            pluginDownloadURL=str(options.get("pluginDownloadURL") or ""),
        )
        try:
            answer = self.monitor.Invoke(request)
        except grpc.RpcError as error:
            raise Problem(call.place, str(error.details())) from error
        if answer.failures:
            said = "; ".join(f"{f.property}: {f.reason}" if f.property else f.reason for f in answer.failures)
            raise Problem(call.place, f"{call.token}: {said}")
        if answer.unknown:
            return UNKNOWN
        value = lower(from_struct(getattr(answer, "return")))
        return secret(value) if has_secret(arguments) else value

    def _there(self, urn: str) -> bool:
        """Whether a resource was there before this run: a function cannot be asked about one that is only to be made."""
        known = urn in self.run.olds or urn in self.run.alias_used or self._settled[urn].complete
        return known and urn not in self.run.replaced

    # -- resources -----------------------------------------------------------------------------------------------------

    def _register(self, declared: Declared) -> _Settled:
        options = options_of(declared, self)
        properties: Value = evaluate(declared.properties, self) if declared.properties is not None else {}
        if not isinstance(properties, dict) or SIG in properties:
            raise Problem(declared.place, f"The properties of `{declared.key}` must be a mapping.")
        self._inherit(declared, options)
        if declared.get_id is not None:
            return self._read(declared, options, declared.get_id)
        by_property = {key: sorted(self._urns_of(declared.properties, key)) for key in properties}
        request = resource_pb2.RegisterResourceRequest(
            type=declared.type,
            name=declared.name,
            parent=options.parent or self._root,
            custom=True,
            object=to_struct(properties),
            dependencies=sorted({*options.depends_on, *(urn for urns in by_property.values() for urn in urns)}),
            provider=options.provider,
            propertyDependencies={
                key: resource_pb2.RegisterResourceRequest.PropertyDependencies(urns=urns)
                for key, urns in by_property.items()
            },
            acceptSecrets=True,
            acceptResources=True,
            supportsPartialValues=True,
            supportsResultReporting=True,
            **options.fields,
        )
        answer = self._call(self.monitor.RegisterResource, request)
        if answer.result != resource_pb2.SUCCESS:
            raise _Failed(declared.key)
        complete = not (self.run.dry_run or answer.unknown)
        protect = bool(options.fields.get("protect"))
        known = lower(from_struct(answer.object))
        return _Settled(answer.urn, answer.id, known, complete, declared.type, options.provider, protect)

    def _inherit(self, declared: Declared, options: Options) -> None:
        """What a resource has from its parent, as in every SDK: the provider of the same package, and protection."""
        parent = self._settled.get(options.parent)
        if parent is not None and "protect" not in options.fields:
            options.fields["protect"] = parent.protect
        if not options.provider and parent is not None and package_of(parent.type) == package_of(declared.type):
            options.provider = parent.provider
        if not options.provider:
            options.provider = self._default_provider(declared.type)

    def _read(self, declared: Declared, options: Options, id_expression: Expression) -> _Settled:
        id_ = evaluate(id_expression, self)
        if not isinstance(id_, str):
            raise Problem(declared.place, f"The `id` that `{declared.key}` is read by must be text.")
        state = evaluate(declared.get_state, self) if declared.get_state is not None else {}
        request = resource_pb2.ReadResourceRequest(
            id=id_,
            type=declared.type,
            name=declared.name,
            parent=options.parent or self._root,
            properties=to_struct(state),
            dependencies=sorted({*options.depends_on, *self._urns_of(id_expression)}),
            provider=options.provider,
            acceptSecrets=True,
            acceptResources=True,
            **{
                k: v
                for k, v in options.fields.items()
                if k in ("version", "pluginDownloadURL", "additionalSecretOutputs")
            },
        )
        answer = self._call(self.monitor.ReadResource, request)
        if getattr(answer, "result", resource_pb2.SUCCESS) != resource_pb2.SUCCESS:
            raise _Failed(declared.key)
        known = lower(from_struct(answer.properties))
        return _Settled(answer.urn, answer.id, known, bool(answer.id), declared.type, options.provider, protect=False)

    def _call(self, method: Callable[[Any], Any], request: Any) -> Any:
        try:
            return method(request)
        except grpc.RpcError as error:
            self.run.fail(error.details() or str(error.code()))
            raise _Failed(request.name) from error

    def _urns_of(self, expression: Expression | None, key: str | None = None) -> set[str]:
        """URNs of the resources that an expression (or one field of it) comes from."""
        if key is not None and isinstance(expression, Fields):
            expression = expression.fields[key]
        return {urn for r in references(expression) for urn in self._behind.get(r.name, ())}

    def _default_provider(self, token: str) -> str:
        package = token.split(":", 1)[0]
        for provider in self.program.default_providers():
            if provider.type == f"pulumi:providers:{package}":
                return provider_of(self.named(provider.key), provider.place)
        return ""
