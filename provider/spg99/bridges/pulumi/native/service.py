"""pulumirpc.ResourceProvider: which call means what, and how its failure is told. Not here: deciding (checks.py), doing (objects.py).

All calls run in one event loop, any number at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import grpc

from spg99 import pending
from spg99.bridges.pulumi.native import checks, interrupted, objects, settings
from spg99.bridges.pulumi.native.calls import Calls
from spg99.bridges.pulumi.native.engine_log import EngineLog
from spg99.bridges.pulumi.native.failures import Partial, add_failures, check_response, unexpected
from spg99.bridges.pulumi.native.messages import DIFF_NONE, DIFF_SOME, METHODS, WARNING, message
from spg99.bridges.pulumi.native.properties import Properties, inputs_from, inputs_to, outputs_from, outputs_to
from spg99.bridges.pulumi.native.wire import decode, encode
from spg99.bridges.pulumi.shared.naming import error_text
from spg99.bridges.pulumi.shared.replacements import Replacements
from spg99.bridges.shared.objects import Created
from spg99.bridges.shared.operations import Progress, Unfinished
from spg99.bridges.shared.words import PULUMI
from spg99.errors import BadRequest, Spg99Error
from spg99.shapes import Noun, Package

T = TypeVar("T")

SERVICE = "pulumirpc.ResourceProvider"

REFUSED = {
    "Parameterize": "takes no parameters: its schema is the same for everybody",
    "Construct": "has no components: declare its resources themselves",
    "Call": "has no methods on its resources: it has functions",
}
"""Methods that there is nothing to do for, and what to say."""


class Service(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # it takes none when it runs
    """The provider of one process."""

    def __init__(self, package: Package, engine_address: str = "") -> None:
        self.package = package
        self.log = EngineLog(engine_address)
        self.connection = settings.Connection(package)
        self.calls = Calls(self.connection.interrupt)
        self.replacements = Replacements(PULUMI)
        self.replacements.declarations.meet(engine_address)

    # ---- the wire ----------------------------------------------------------------------------------------------------

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method; made when it is first called, which few methods ever are."""
        name = handler_call_details.method.removeprefix(f"/{SERVICE}/")
        if name in REFUSED:
            return grpc.unary_unary_rpc_method_handler(self._refuse(name))
        if name == "List":
            return grpc.unary_stream_rpc_method_handler(
                self._list,
                request_deserializer=message("ListRequest").FromString,
                response_serializer=message("ListResponse").SerializeToString,
            )
        if name not in METHODS:
            return None
        request, answer = METHODS[name]
        return grpc.unary_unary_rpc_method_handler(
            self._answering(getattr(self, name)),
            request_deserializer=message(request).FromString,
            response_serializer=message(answer).SerializeToString,
        )

    def _refuse(self, name: str) -> Callable[[bytes, Any], Awaitable[Any]]:
        async def refuse(_request: bytes, context: Any) -> None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"The provider {self.package.name} {REFUSED[name]}.")

        return refuse

    def _answering(self, handler: Callable[[Any], Awaitable[T]]) -> Callable[[Any, Any], Awaitable[T]]:
        """A handler whose failure becomes a sentence."""

        async def answer(request: Any, context: Any) -> T:
            try:
                return await handler(request)
            except Partial as partial:
                context.set_trailing_metadata((("grpc-status-details-bin", partial.status()),))
                await context.abort(grpc.StatusCode.UNKNOWN, str(partial))
            except Spg99Error as error:
                noun = self._noun_or_none(request)
                await context.abort(grpc.StatusCode.UNKNOWN, error_text(noun.inputs if noun else (), error))
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - the edge: Pulumi shows a sentence, never a traceback
                await context.abort(grpc.StatusCode.UNKNOWN, unexpected(error))
            raise AssertionError("abort raises")

        return answer

    # ---- who and what ------------------------------------------------------------------------------------------------

    async def Handshake(self, request: Any) -> Any:  # noqa: N802 - the protocol's names
        """What both sides can do."""
        self.log.connect(request.engine_address)
        self.replacements.declarations.meet(request.engine_address)
        return message("ProviderHandshakeResponse")(
            accept_secrets=True, accept_resources=True, accept_outputs=True, supports_autonaming_configuration=True
        )

    async def Attach(self, request: Any) -> Any:  # noqa: N802
        """An engine that did not start this process."""
        self.log.connect(request.address)
        self.replacements.declarations.meet(request.address)
        return message("Empty")()

    async def GetPluginInfo(self, _request: Any) -> Any:  # noqa: N802
        """The version."""
        return message("PluginInfo")(version=self.package.version)

    async def GetSchema(self, request: Any) -> Any:  # noqa: N802
        """The package's schema, the same as `schema.json`."""
        if request.version not in (0,):
            raise BadRequest(f"The schema is written in version 0 of its format, not in {request.version}.")
        from spg99.emit.pulumi_schema import text

        return message("GetSchemaResponse")(schema=text(self.package))

    async def GetMapping(self, request: Any) -> Any:  # noqa: N802
        """Terraform's names for `pulumi convert`; nothing for other converters and providers."""
        from spg99.bridges.pulumi.native.mapping import KEYS, mapping

        if request.key not in KEYS or request.provider not in ("", self.package.name):
            return message("GetMappingResponse")()
        return message("GetMappingResponse")(provider=self.package.name, data=mapping(self.package))

    async def GetMappings(self, request: Any) -> Any:  # noqa: N802
        """The providers that GetMapping knows."""
        from spg99.bridges.pulumi.native.mapping import KEYS

        return message("GetMappingsResponse")(providers=[self.package.name] if request.key in KEYS else [])

    # ---- the configuration -------------------------------------------------------------------------------------------

    async def CheckConfig(self, request: Any) -> Any:  # noqa: N802
        """What is wrong with the provider's own settings."""
        name = request.name or request.urn.rpartition("::")[2]
        is_default = name == "default" or name.startswith("default_")
        checked = settings.check_config(self.package, decode(request.news), is_default=is_default)
        for path, reason in checked.warnings:
            self.log.line(request.urn, f"{path}: {reason}", WARNING)
        await self.log.flush()
        return check_response(checked.inputs, checked.failures)

    async def DiffConfig(self, request: Any) -> Any:  # noqa: N802
        """Which settings differ; none of them replaces anything."""
        olds = decode(request.old_inputs) or decode(request.olds)
        differing = settings.diff_config(self.package, olds, decode(request.news))
        if "url" in differing:
            self.log.line(
                request.urn,
                "The provider's url is another one. Its resources stay declared as they are and are looked for there: fine "
                "when it is the same platform under a new address. On another platform they count as deleted outside.",
                WARNING,
            )
            await self.log.flush()
        return message("DiffResponse")(changes=DIFF_SOME if differing else DIFF_NONE, diffs=differing)

    async def Configure(self, request: Any) -> Any:  # noqa: N802
        """Keeps the configuration. Connects to nothing."""
        self.calls.begin()
        self.connection.configure(decode(request.args), {entry.key: entry.value for entry in request.variables})
        return message("ConfigureResponse")(
            acceptSecrets=True,
            supportsPreview=True,
            acceptResources=True,
            acceptOutputs=True,
            supports_autonaming_configuration=True,
        )

    # ---- resources ---------------------------------------------------------------------------------------------------

    async def Check(self, request: Any) -> Any:  # noqa: N802
        """All that is wrong with the inputs at once, and whether data would be lost."""
        noun = self._noun(request)
        naming = checks.Naming(
            declared=request.name or request.urn.rpartition("::")[2],
            urn=request.urn,
            seed=request.randomSeed,
            options=request.autonaming if request.HasField("autonaming") else None,
        )
        olds, old_outputs = decode(request.olds), decode(request.old_outputs)
        checked = checks.check(noun, decode(request.news), olds, naming, old_outputs)
        self.replacements.checked(
            noun,
            request.urn,
            old_inputs=inputs_from(noun, olds),
            old_outputs=outputs_from(noun, old_outputs),
            new_inputs=inputs_from(noun, checked.inputs),
        )
        # Missing settings are told in the preview, not half-way through.
        missing = self.connection.missing()
        for path, reason in checked.warnings:
            self.log.line(request.urn, f"{path} {reason}", WARNING)
        await self.log.flush()
        return check_response(checked.inputs, checked.failures + ([("", missing)] if missing else []))

    async def Diff(self, request: Any) -> Any:  # noqa: N802
        """What differs from what the Control Plane last answered."""
        noun = self._noun(request)
        found = checks.diff(
            noun,
            olds=decode(request.olds),
            old_inputs=decode(request.old_inputs),
            news=decode(request.news),
            ignored=list(request.ignoreChanges),
        )
        answer = message("DiffResponse")(
            changes=DIFF_SOME if found.fields else DIFF_NONE,
            diffs=found.fields,
            replaces=found.replaces,
            stables=found.stables,
            deleteBeforeReplace=found.deletes_first,
            hasDetailedDiff=True,
        )
        for path, (kind, written) in found.details.items():
            entry = answer.detailedDiff.add()
            entry.key, entry.value.kind, entry.value.inputDiff = path, kind, written
            entry.value.SetInParent()
        return answer

    async def Create(self, request: Any) -> Any:  # noqa: N802
        """Creates the object and waits until it is settled."""
        noun, properties = self._noun(request), decode(request.properties)
        if request.preview:
            return message("CreateResponse")(properties=encode(objects.preview_create(noun, properties)))

        async def work() -> Created:
            return await objects.create(
                await self.connection.operations(),
                noun,
                properties,
                urn=request.urn,
                held=self.replacements.before_create(noun, request.urn),
                seconds_max=request.timeout or None,
                progress=self._progress(request),
            )

        made = await self._changing(noun, properties, work())
        self.replacements.made(noun, request.urn, made.values, was_there=made.was_there)
        outputs = outputs_to(noun, made.values, like=properties)
        return message("CreateResponse")(id=made.human_id, properties=encode(outputs))

    async def Read(self, request: Any) -> Any:  # noqa: N802
        """The object as it is now, for a refresh, a `get` or an import; an empty answer says it is gone."""
        if request.id in pending.QUESTIONS:
            operations = await self.connection.operations()
            return await self.calls.carry_out(interrupted.answer(operations, self._noun(request), request))
        found = await self.calls.carry_out(self._read(request))
        if found is None:
            return message("ReadResponse")()
        return message("ReadResponse")(id=found.human_id, properties=encode(found.outputs), inputs=encode(found.inputs))

    async def _read(self, request: Any) -> objects.Found | None:
        return await objects.read(
            await self.connection.operations(),
            self._noun(request),
            request.id,
            urn=request.urn,
            state=decode(request.properties),
            inputs=decode(request.inputs),
            seconds_max=request.timeout or None,
        )

    async def Update(self, request: Any) -> Any:  # noqa: N802
        """Changes the object in place and waits until it is settled."""
        noun = self._noun(request)
        olds, old_inputs, news = decode(request.olds), decode(request.old_inputs), decode(request.news)
        ignored = list(request.ignoreChanges)
        if request.preview:
            outputs = objects.preview_update(noun, olds=olds, old_inputs=old_inputs, news=news, ignored=ignored)
            return message("UpdateResponse")(properties=encode(outputs))

        async def work() -> dict[str, Any]:
            return await objects.update(
                await self.connection.operations(),
                noun,
                request.id,
                urn=request.urn,
                olds=olds,
                old_inputs=old_inputs,
                news=news,
                ignored=ignored,
                seconds_max=request.timeout or None,
                progress=self._progress(request),
            )

        return message("UpdateResponse")(properties=encode(await self._changing(noun, news, work())))

    async def Delete(self, request: Any) -> Any:  # noqa: N802
        """Deletes the object and waits until it is gone."""
        noun, old = self._noun(request), outputs_from(self._noun(request), decode(request.properties))
        if not self.replacements.before_delete(noun, request.urn, old):
            self.log.line(
                request.urn,
                f"'{request.id}' stood in the state twice; the second entry is dropped, nothing is deleted.",
                WARNING,
            )
            await self.log.flush()
            return message("Empty")()

        async def work() -> None:
            await objects.delete(
                await self.connection.operations(),
                noun,
                request.id,
                olds=decode(request.properties),
                seconds_max=request.timeout or None,
                progress=self._progress(request),
            )

        await self.calls.carry_out(work())
        self.replacements.deleted(noun, request.urn, old)
        return message("Empty")()

    async def _list(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Id and name of each object that the query finds."""

        async def found(request: Any) -> list[tuple[str, str]]:
            noun = self._noun_of(request.token)
            return await objects.find(await self.connection.operations(), noun, decode(request.query), request.limit)

        for human_id, name in await self._answering(found)(request, context):
            yield message("ListResponse")(result=message("ListResult")(id=human_id, name=name))

    async def Invoke(self, request: Any) -> Any:  # noqa: N802
        """A function."""
        from spg99.bridges.pulumi.native.functions import invoke

        work = invoke(self.package, request.tok, decode(request.args), self.connection.operations)
        answer = await self.calls.carry_out(work)
        response = message("InvokeResponse")(**{"return": encode(answer.outputs)})
        add_failures(response, answer.failures)
        return response

    # ---- ending ------------------------------------------------------------------------------------------------------

    async def Cancel(self, _request: Any) -> Any:  # noqa: N802
        """Ends all waits now, and what does not end by itself a moment later."""
        # The answer leaves first: with many waits to end it would be the last to get its turn.
        asyncio.get_running_loop().call_soon(self.calls.cancel)
        await self.connection.acknowledge()
        return message("Empty")()

    # ---- carrying out ------------------------------------------------------------------------------------------------

    async def _changing(self, noun: Noun, properties: Properties, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`; an object that exists but is not settled stays in the state."""
        try:
            return await self.calls.carry_out(work)
        except Unfinished as unfinished:
            kept = inputs_to(noun, inputs_from(noun, properties), like=properties)
            hidden = {key: value for key, value in properties.items() if key.startswith("__")}
            outputs = outputs_to(noun, unfinished.values, like=properties)
            raise Partial(str(unfinished), unfinished.human_id, outputs, kept | hidden) from None

    def _progress(self, request: Any) -> Progress:
        return lambda sentence: self.log.status(request.urn, sentence)

    def _noun(self, request: Any) -> Noun:
        return self._noun_of(request.type or type_in(request.urn))

    def _noun_or_none(self, request: Any) -> Noun | None:
        urn = getattr(request, "urn", "")
        token = getattr(request, "type", "") or (type_in(urn) if urn else "")
        return self._found(token)

    def _noun_of(self, token: str) -> Noun:
        noun = self._found(token)
        if noun is None:
            known = ", ".join(f"{self.package.name}:index:{each.title}" for each in self.package.nouns)
            raise BadRequest(
                f"Version {self.package.version} of the provider {self.package.name} has no resource '{token}'. It has: {known}."
            )
        return noun

    def _found(self, token: str) -> Noun | None:
        package, _, rest = token.rpartition("$")[2].partition(":")
        title = rest.rpartition(":")[2]
        if package != self.package.name:
            return None
        return next((noun for noun in self.package.nouns if noun.title == title), None)


def type_in(urn: str) -> str:
    """The type in `urn:pulumi:stack::project::parent$type::name`."""
    parts = urn.split("::")
    return parts[2].rpartition("$")[2] if len(parts) > 3 else ""
