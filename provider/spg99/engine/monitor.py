"""The engine as programs and providers see it: pulumirpc.ResourceMonitor and pulumirpc.Engine. Here: from requests to calls
and back. Not here: what is done about them (registration.py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, resource_pb2, resource_pb2_grpc

from spg99.engine import nodejs
from spg99.engine.decide import Goal
from spg99.engine.events import Message, Outputs
from spg99.engine.provider import MESSAGE_OPTIONS
from spg99.engine.providers import Providers
from spg99.engine.reading import read
from spg99.engine.registration import Settled, register
from spg99.engine.run import Run
from spg99.engine.state import copy
from spg99.engine.urns import STACK_TYPE, make, type_of
from spg99.engine.values import from_struct, has_unknown, lower, to_struct
from spg99.engine.wanted import Wanted, from_request
from spg99.errors import Spg99Error

# Advertised because they work, or so that the SDK asks and can be refused by name instead of "upgrade the Pulumi CLI".
_FEATURES = {
    "SECRETS": "secrets",
    "RESOURCE_REFERENCES": "resourceReferences",
    "OUTPUT_VALUES": "outputValues",
    "ALIAS_SPECS": "aliasSpecs",
    "REPLACEMENT_TRIGGER": "replacementTrigger",
    "DELETED_WITH": "deletedWith",
    "REPLACE_WITH": "replaceWith",
    "TRANSFORMS": "transforms",
    "INVOKE_TRANSFORMS": "invokeTransforms",
    "PARAMETERIZATION": "parameterization",
    "RESOURCE_HOOKS": "resourceHooks",
    "ERROR_HOOKS": "errorHooks",
    "STATE_MIGRATIONS": "stateMigrations",
}
_SEVERITIES = {
    engine_pb2.DEBUG: "debug",
    engine_pb2.INFO: "info",
    engine_pb2.WARNING: "warning",
    engine_pb2.ERROR: "error",
}


class Monitor(resource_pb2_grpc.ResourceMonitorServicer, engine_pb2_grpc.EngineServicer):
    """Serves one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.providers: Providers

    def serve(self) -> tuple[grpc.Server, str]:
        """Starts serving; answers the server and its address."""
        # The SDK keeps 4 x parallel requests in flight, and providers log while they are served.
        workers = self.run.options.parallel * 5 + 16
        server = grpc.server(ThreadPoolExecutor(workers, thread_name_prefix="monitor"), options=MESSAGE_OPTIONS)
        resource_pb2_grpc.add_ResourceMonitorServicer_to_server(self, server)
        engine_pb2_grpc.add_EngineServicer_to_server(self, server)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        return server, address

    # The names of the methods are pulumirpc's.

    def GetDeploymentInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        """What the engine can do."""
        known = resource_pb2.ResourceMonitorFeature.items()
        wanted = {f"RESOURCE_MONITOR_FEATURE_{name}" for name in _FEATURES}
        return resource_pb2.DeploymentInfo(supportedFeatures=[number for name, number in known if name in wanted])

    def SupportsFeature(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The same, asked one by one by older SDKs."""
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in _FEATURES.values())

    def RegisterResource(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The program wants a resource."""
        try:
            wanted = from_request(request, self.run.stack, self.run.project.name)
        except Spg99Error as error:
            settled = self._refused(request, error)
        else:
            self.run.heard_at = time.monotonic()
            settled = register(self.run, self.providers, wanted)
            self.run.heard_at = time.monotonic()
        return resource_pb2.RegisterResourceResponse(
            urn=settled.urn,
            id=settled.id,
            object=to_struct(settled.outputs) if settled.outputs is not None else None,
            stables=settled.stables,
            result=resource_pb2.FAIL if settled.failed else resource_pb2.SUCCESS,
            unknown=settled.left_out,
        )

    def _refused(self, request: Any, error: Spg99Error) -> Settled:
        urn = make(self.run.stack, self.run.project.name, request.type, request.name, request.parent)
        self.run.fail(error.message, urn)
        return Settled(urn, failed=True)

    def ReadResource(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The program wants to know a resource that is not the stack's."""
        urn = make(self.run.stack, self.run.project.name, request.type, request.name, request.parent)
        if request.type.startswith("pulumi:pulumi:"):
            what = "stack references" if request.type.endswith("StackReference") else request.type
            self.run.fail(f"The embedded engine does not do {what}. Use the Pulumi CLI for this program.", urn)
            return resource_pb2.ReadResourceResponse(urn=urn, result=resource_pb2.FAIL)
        wanted = Wanted(
            urn=urn,
            type=request.type,
            name=request.name,
            custom=True,
            parent=request.parent,
            inputs=lower(from_struct(request.properties)),
            goal=Goal(),
            provider=request.provider,
            version=request.version,
            plugin_url=request.pluginDownloadURL,
            dependencies=sorted(request.dependencies),
            secret_outputs=list(request.additionalSecretOutputs),
        )
        settled = read(self.run, self.providers, wanted, request.id)
        return resource_pb2.ReadResourceResponse(
            urn=settled.urn,
            id=settled.id,
            properties=to_struct(settled.outputs or {}),
            result=resource_pb2.FAIL if settled.failed else resource_pb2.SUCCESS,
        )

    def RegisterResourceOutputs(self, request: Any, context: Any) -> Any:  # noqa: N802
        """A component, or the stack itself, says what its outputs are."""
        outputs = lower(from_struct(request.outputs))
        run = self.run
        with run.lock:
            current = run.registered.get(request.urn)
            if current is None:
                return empty_pb2.Empty()
            before = current.outputs
            if has_unknown(outputs) and not run.dry_run:
                # something failed: what is no longer known stays as it was
                known = {key: value for key, value in outputs.items() if not has_unknown(value)}
                outputs = {k: v for k, v in before.items() if k in outputs} | known
            if current.type == STACK_TYPE:
                run.whole = True  # every SDK comes here at the end of the program, and only then
                run.result.outputs = outputs
                run.publish(Outputs(before, outputs))
            if outputs != current.outputs and not run.dry_run:
                changed = copy(current, outputs=outputs)
                run.snapshot.end(marked=(current, changed), write=False)
                run.registered[request.urn], run.dirty = changed, True
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The program calls a function of a provider."""
        if request.tok.startswith("pulumi:pulumi:"):
            self._refuse(context, f"the built-in function {request.tok}")
        args = lower(from_struct(request.args))
        try:
            reference = request.provider or self.providers.default_for(
                request.tok, request.version, request.pluginDownloadURL
            )
            provider = self.providers.get(reference)
            if not provider.configured or has_unknown(args):
                return resource_pb2.ResourceInvokeResponse(unknown=True)
            answer = provider.invoke(request.tok, args, preview=self.run.dry_run)
        except Spg99Error as error:
            context.abort(grpc.StatusCode.UNKNOWN, f"{request.tok}: {error.message}")
        fields = {"return": getattr(answer, "return"), "failures": answer.failures}
        return resource_pb2.ResourceInvokeResponse(**fields)

    def Log(self, request: Any, context: Any) -> Any:  # noqa: N802
        """A line for the user."""
        urn = "" if request.urn == self.run.root_urn and type_of(request.urn) == STACK_TYPE else request.urn
        severity, text = _SEVERITIES.get(request.severity, "info"), request.message
        if self.run.project.language == "nodejs":
            if severity == "debug":
                if not self.run.options.debug:
                    return empty_pb2.Empty()  # half a dozen lines for each resource that nobody would see
                text = nodejs.without_answers(text)
            elif severity == "error":
                text = nodejs.sentence(text, self.run.project.program_folder)
        message = Message(severity, text, urn, request.ephemeral)
        self.run.publish(message)
        if message.severity == "error" and not urn and not message.ephemeral:
            self.run.fail(message.text)
        return empty_pb2.Empty()

    def GetRootResource(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The stack's own resource."""
        return engine_pb2.GetRootResourceResponse(urn=self.run.root_urn)

    def SetRootResource(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The stack's own resource, said by older SDKs."""
        self.run.root_urn = request.urn
        return engine_pb2.SetRootResourceResponse()

    def RequirePulumiVersion(self, request: Any, context: Any) -> Any:  # noqa: N802
        """No version of Pulumi's engine is promised, so none is refused."""
        return engine_pb2.RequirePulumiVersionResponse()

    def SignalAndWaitForShutdown(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The program has registered everything; nothing calls back into it, so it may go."""
        return empty_pb2.Empty()

    def _refuse(self, context: Any, what: str) -> NoReturn:
        message = f"The embedded engine does not do {what}. Use the Pulumi CLI for this program."
        context.abort(grpc.StatusCode.UNIMPLEMENTED, message)
        raise AssertionError(message)  # abort raises


def _refusing(what: str) -> Callable[[Monitor, Any, Any], Any]:
    def refuse(self: Monitor, request: Any, context: Any) -> Any:
        self._refuse(context, what)

    return refuse


for _method, _what in {
    "Call": "methods on components of other packages",
    "RegisterStackTransform": "resource transforms",
    "RegisterStackInvokeTransform": "invoke transforms",
    "RegisterResourceHook": "resource hooks",
    "RegisterErrorHook": "error hooks",
    "RegisterPackage": "parameterized packages",
}.items():
    setattr(Monitor, _method, _refusing(_what))
