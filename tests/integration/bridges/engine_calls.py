"""The calls that Pulumi's engine makes to a provider in one run, made by hand to either Pulumi bridge. Not here: what must come of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2 as pb

from integration.bridges.host_driver import struct, value_of
from spg99.bridges.pulumi.dynamic.reference import PROVIDER_KEY, provider_reference, type_token
from spg99.resources import Resource

PLUGIN = [sys.executable, "-c", "from spg99.bridges.native.process import main; main()"]


@dataclass
class Entry:
    """A resource in the engine's state."""

    id: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)


class Run:
    """One run of the engine: the calls it makes, in the order it makes them."""

    def __init__(self, bridge: Bridge, stub: Any) -> None:
        self._bridge, self._stub = bridge, stub

    def check(self, noun: type[Resource], name: str, props: Mapping[str, Any], old: Entry | None) -> dict[str, Any]:
        """Without `old`: as for a new object, which is also what an engine asks before it replaces one."""
        request = pb.CheckRequest(
            urn=self._bridge.urn(noun, name),
            type=self._bridge.type_of(noun),
            news=struct({**props, **self._bridge.reference(noun)}),
            olds=struct(old.inputs if old else {}),
            old_outputs=struct(old.outputs if old else {}),
            randomSeed=b"s" * 32,
        )
        answer = self._stub.Check(request, timeout=60)
        assert not answer.failures, answer.failures
        return value_of(answer.inputs)

    def diff(self, noun: type[Resource], name: str, old: Entry, news: dict[str, Any]) -> Any:
        urn, type_ = self._bridge.urn(noun, name), self._bridge.type_of(noun)
        request = pb.DiffRequest(
            id=old.id, urn=urn, type=type_, olds=struct(old.outputs), old_inputs=struct(old.inputs), news=struct(news)
        )
        return self._stub.Diff(request, timeout=60)

    def create(self, noun: type[Resource], name: str, inputs: dict[str, Any]) -> Entry:
        urn, type_ = self._bridge.urn(noun, name), self._bridge.type_of(noun)
        answer = self._stub.Create(pb.CreateRequest(urn=urn, type=type_, properties=struct(inputs)), timeout=60)
        return Entry(answer.id, inputs, value_of(answer.properties) | self._bridge.reference(noun))

    def delete(self, noun: type[Resource], name: str, entry: Entry) -> None:
        urn, type_ = self._bridge.urn(noun, name), self._bridge.type_of(noun)
        properties, old_inputs = struct(entry.outputs), struct(entry.inputs)
        request = pb.DeleteRequest(id=entry.id, urn=urn, type=type_, properties=properties, old_inputs=old_inputs)
        self._stub.Delete(request, timeout=60)

    def end(self) -> None:
        """What the real CLI calls when a run is over, and at Ctrl-C. A run that is killed has no end."""
        self._stub.Cancel(empty_pb2.Empty(), timeout=60)

    def up(self, noun: type[Resource], name: str, props: Mapping[str, Any]) -> Entry:
        """A new resource."""
        return self.create(noun, name, self.check(noun, name, props, None))

    def replace(self, noun: type[Resource], name: str, props: Mapping[str, Any], old: Entry, *, first: str) -> Entry:
        """What the engine does once it has decided to replace."""
        inputs = self.check(noun, name, props, None)
        if first == "delete":
            self.delete(noun, name, old)
            return self.create(noun, name, inputs)
        new = self.create(noun, name, inputs)
        self.delete(noun, name, old)
        return new


@dataclass
class Bridge:
    kind: str
    start: Callable[..., AbstractContextManager[Any]]
    """Starts its process; `engine` is the address of an engine's own server."""

    @contextlib.contextmanager
    def run(self, engine_address: str = "") -> Iterator[Run]:
        """A process of its own; with `engine_address` of that engine, which has others."""
        with self.start(engine_address) as process:
            yield Run(self, process.stub)

    def type_of(self, noun: type[Resource]) -> str:
        return type_token(noun.__name__) if self.kind == "dynamic" else f"spg99:index:{noun.__name__}"

    def urn(self, noun: type[Resource], name: str) -> str:
        return f"urn:pulumi:dev::proj::{self.type_of(noun)}::{name}"

    def reference(self, noun: type[Resource]) -> dict[str, str]:
        return {PROVIDER_KEY: provider_reference(noun.NOUN)} if self.kind == "dynamic" else {}
