"""Plays the engine against Pulumi's real host of dynamic providers: starts the process and speaks its gRPC protocol.

Here: an engine's calls and its log service. Not here: what they should answer.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import engine_pb2_grpc, provider_pb2, provider_pb2_grpc, status_pb2

from spg99.bridges.pulumi.dynamic.reference import MODULE, PROVIDER_KEY, provider_reference, type_token
from spg99.emit.names import camel
from spg99.resources import Resource

UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SIGNATURE, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"


class Failed(Exception):
    """A call of the provider failed; `kept` is what it wants kept in the state all the same."""

    def __init__(self, error: grpc.RpcError) -> None:
        super().__init__(error.details())
        self.message: str = error.details()
        self.kept: provider_pb2.ErrorResourceInitFailed | None = None
        for name, raw in error.trailing_metadata() or ():
            if name == "grpc-status-details-bin":
                status = status_pb2.Status.FromString(raw)
                assert status.code == error.code().value[0] and status.message == self.message
                self.kept = provider_pb2.ErrorResourceInitFailed()
                assert status.details[0].Unpack(self.kept)


class EngineService(engine_pb2_grpc.EngineServicer):
    def __init__(self) -> None:
        self.lines: list[Any] = []

    def Log(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.lines.append(request)
        return empty_pb2.Empty()


@dataclass
class Stored:
    """A resource as an engine keeps it."""

    noun: type[Resource]
    name: str
    id: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    raw_outputs: dict[str, Any] = field(default_factory=dict)
    """As they came over the wire, secrets marked."""
    raw_inputs: dict[str, Any] = field(default_factory=dict)
    module: str = MODULE
    """Where its `Provider` lives."""

    @property
    def urn(self) -> str:
        return f"urn:pulumi:dev::proj::{type_token(self.noun.__name__)}::{self.name}"


class Host:
    """The host process and an engine's side of the conversation."""

    def __init__(self, process: subprocess.Popen[bytes], stub: Any, engine: EngineService) -> None:
        self.process, self.stub, self.engine = process, stub, engine

    def _call(self, method: str, request: Any) -> Any:
        try:
            return getattr(self.stub, method)(request, timeout=60)
        except grpc.RpcError as error:
            raise Failed(error) from None

    def check(self, res: Stored, **values: Any) -> tuple[dict[str, Any], dict[str, str]]:
        reference = {PROVIDER_KEY: provider_reference(res.noun.NOUN, res.module)}
        news = {camel(name): value for name, value in values.items()} | reference
        answer = self._call("Check", provider_pb2.CheckRequest(urn=res.urn, olds=struct(res.inputs), news=struct(news)))
        res.raw_inputs = json_format.MessageToDict(answer.inputs)
        return value_of(answer.inputs), {failure.property: failure.reason for failure in answer.failures}

    def diff(self, res: Stored, news: dict[str, Any], *, olds: dict[str, Any] | None = None) -> Any:
        request = provider_pb2.DiffRequest(
            id=res.id, urn=res.urn, olds=struct(olds or res.outputs), news=struct(news), old_inputs=struct(res.inputs)
        )
        return self._call("Diff", request)

    def create(self, res: Stored, *, timeout: float = 0, **values: Any) -> Stored:
        inputs, failures = self.check(res, **values)
        assert not failures, failures
        request = provider_pb2.CreateRequest(urn=res.urn, properties=struct(inputs), timeout=timeout)
        res.inputs = inputs
        answer = self._call("Create", request)
        res.id = answer.id
        self._keep(res, answer.properties)
        return res

    def update(self, res: Stored, *, timeout: float = 0, **values: Any) -> Stored:
        news, failures = self.check(res, **values)
        assert not failures, failures
        return self.change(res, news, timeout=timeout)

    def change(self, res: Stored, news: dict[str, Any], *, timeout: float = 0) -> Stored:
        """An update to inputs that no check has seen."""
        request = provider_pb2.UpdateRequest(
            id=res.id,
            urn=res.urn,
            olds=struct(res.outputs),
            news=struct(news),
            old_inputs=struct(res.inputs),
            timeout=timeout,
        )
        answer = self._call("Update", request)
        res.inputs = news
        self._keep(res, answer.properties)
        return res

    def refresh(self, res: Stored) -> bool:
        """Reads the resource; False when it is gone."""
        request = provider_pb2.ReadRequest(
            id=res.id, urn=res.urn, properties=struct(res.outputs), inputs=struct(res.inputs)
        )
        answer = self._call("Read", request)
        if not answer.id:
            return False
        res.id, res.inputs = answer.id, value_of(answer.inputs)
        self._keep(res, answer.properties)
        return True

    def get(self, res: Stored, human_id: str) -> Stored:
        inputs = {PROVIDER_KEY: provider_reference(res.noun.NOUN, res.module)}
        answer = self._call("Read", provider_pb2.ReadRequest(id=human_id, urn=res.urn, inputs=struct(inputs)))
        res.id, res.inputs = answer.id, value_of(answer.inputs)
        self._keep(res, answer.properties)
        return res

    def delete(self, res: Stored, *, timeout: float = 0) -> None:
        request = provider_pb2.DeleteRequest(
            id=res.id, urn=res.urn, properties=struct(res.outputs), old_inputs=struct(res.inputs), timeout=timeout
        )
        self._call("Delete", request)

    def adopt(self, res: Stored, kept: provider_pb2.ErrorResourceInitFailed) -> None:
        """What an engine does with a partial failure."""
        res.id, res.inputs = kept.id, value_of(kept.inputs)
        self._keep(res, kept.properties)

    def cancel(self) -> None:
        self._call("Cancel", empty_pb2.Empty())

    def _keep(self, res: Stored, properties: struct_pb2.Struct) -> None:
        res.raw_outputs = json_format.MessageToDict(properties)
        res.outputs = value_of(properties)


def struct(values: dict[str, Any]) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(values)
    return message


def value_of(message: struct_pb2.Struct) -> dict[str, Any]:
    """The properties, secrets laid bare (an engine strips the marks for a provider that takes none)."""
    plain = _bare(json_format.MessageToDict(message))
    assert isinstance(plain, dict)
    return plain


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return _bare(value["value"])
        return {key: _bare(item) for key, item in value.items()}
    return [_bare(item) for item in value] if isinstance(value, list) else value


@contextlib.contextmanager
def running(tmp_path: Path, config: dict[str, Any], *, engine_address: str = "", **environment: str) -> Iterator[Host]:
    """The host of one provider. `engine_address`: of an engine that has started another one."""
    engine = EngineService()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    engine_pb2_grpc.add_EngineServicer_to_server(engine, server)
    address = engine_address or f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "CP_"))}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "pulumi.dynamic", address],
        stdout=subprocess.PIPE,
        env=clean | {"PULUMI_PROJECT": "proj"} | environment,
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        provider_port = int(process.stdout.readline())
        threading.Thread(target=process.stdout.read, daemon=True).start()
        with grpc.insecure_channel(f"127.0.0.1:{provider_port}") as channel:
            stub = provider_pb2_grpc.ResourceProviderStub(channel)
            stub.Configure(provider_pb2.ConfigureRequest(args=struct(config), acceptSecrets=True, acceptResources=True))
            yield Host(process, stub, engine)
    finally:
        process.kill()
        process.wait()
        server.stop(0)
