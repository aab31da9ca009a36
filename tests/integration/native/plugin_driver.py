"""A real plugin process driven as Pulumi's engine drives it, with Pulumi's own messages, and an engine that keeps its log lines."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2_grpc, status_pb2
from pulumi.runtime.proto import provider_pb2 as pb

from proof.server import API_KEY

TESTS = Path(__file__).resolve().parents[2]
SIG, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
GADGET = "spg99:index:Gadget"

PROOF_PLUGIN = f"""\
#!{sys.executable}
import sys
sys.path.insert(0, {str(TESTS)!r})
from proof.gadget import PACKAGE
from spg99.bridges.pulumi.native.process import serve
serve(PACKAGE, sys.argv[1:])
"""


def write_proof_plugin(folder: Path) -> Path:
    """An executable that serves the proof package as the installed one serves the product's."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pulumi-resource-spg99"
    path.write_text(textwrap.dedent(PROOF_PLUGIN))
    path.chmod(0o755)
    return path


def struct(values: Mapping[str, Any] | None) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(values or {})
    return made


def values(made: struct_pb2.Struct) -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    return dict(MessageToDict(made))


def secret(value: Any) -> dict[str, Any]:
    return {SIG: SECRET, "value": value}


def revealed(found: Any) -> Any:
    if isinstance(found, dict):
        return revealed(found["value"]) if found.get(SIG) == SECRET else {k: revealed(v) for k, v in found.items()}
    return [revealed(item) for item in found] if isinstance(found, list) else found


def urn(name: str, type_: str = GADGET) -> str:
    return f"urn:pulumi:dev::proj::{type_}::{name}"


class _Engine(engine_pb2_grpc.EngineServicer):
    def __init__(self) -> None:
        self.lines: list[engine_pb2.LogRequest] = []

    def Log(self, request: Any, context: Any) -> Any:
        self.lines.append(request)
        return empty_pb2.Empty()


class Plugin:
    """One process. `stub` has Pulumi's RPCs; the methods are the usual calls."""

    def __init__(self, process: subprocess.Popen[str], lines: list[Any], port: str) -> None:
        self.process, self.lines = process, lines
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub: Any = provider_pb2_grpc.ResourceProviderStub(self.channel)

    def check(self, name: str, news: Mapping[str, Any], olds: Mapping[str, Any] | None = None, **more: Any) -> Any:
        request = pb.CheckRequest(urn=urn(name), news=struct(news), olds=struct(olds), randomSeed=b"s" * 32, **more)
        return self.stub.Check(request)

    def inputs(self, name: str, news: Mapping[str, Any], olds: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = self.check(name, news, olds)
        assert not answer.failures, answer.failures
        return values(answer.inputs)

    def create(self, name: str, inputs: Mapping[str, Any], **more: Any) -> Any:
        return self.stub.Create(pb.CreateRequest(urn=urn(name), properties=struct(inputs), **more))

    def diff(self, answer: Any, old_inputs: Mapping[str, Any], news: Mapping[str, Any], **more: Any) -> Any:
        return self.stub.Diff(
            pb.DiffRequest(
                id=answer.id,
                urn=urn("x"),
                olds=answer.properties,
                old_inputs=struct(old_inputs),
                news=struct(news),
                **more,
            )
        )

    def update(self, answer: Any, old_inputs: Mapping[str, Any], news: Mapping[str, Any], **more: Any) -> Any:
        return self.stub.Update(
            pb.UpdateRequest(
                id=answer.id,
                urn=urn("x"),
                olds=answer.properties,
                old_inputs=struct(old_inputs),
                news=struct(news),
                **more,
            )
        )

    def failure(self, error: grpc.RpcError) -> pb.ErrorResourceInitFailed | None:
        """What is in an error's details, as the engine reads them."""
        for key, raw in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                status = status_pb2.Status.FromString(raw)
                assert status.code == error.code().value[0]
                found = pb.ErrorResourceInitFailed()
                assert status.details[0].Unpack(found)
                return found
        return None


@contextlib.contextmanager
def running(
    command: list[str],
    *,
    cwd: Path,
    url: str | None = None,
    environment: Mapping[str, str] | None = None,
    engine_address: str = "",
) -> Iterator[Plugin]:
    """A plugin that has been shaken hands with and configured. `engine_address`: of an engine that has started another one."""
    engine = _Engine()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    engine_pb2_grpc.add_EngineServicer_to_server(engine, server)
    address = engine_address or f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPG99_", "CP_", "PULUMI_"))}
    process = subprocess.Popen(
        [*command, "--logtostderr", "-v=1", address],
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**clean, **(environment or {})},
    )
    try:
        assert process.stdout is not None
        plugin = Plugin(process, engine.lines, process.stdout.readline().strip())
        plugin.stub.Handshake(pb.ProviderHandshakeRequest(engine_address=address))
        if url is not None:
            plugin.stub.Configure(pb.ConfigureRequest(args=struct({"url": url, "apiKey": secret(API_KEY)})))
        yield plugin
        plugin.channel.close()
    finally:
        process.kill()
        process.wait()
        server.stop(None)
