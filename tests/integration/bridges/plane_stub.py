"""A small Control Plane in memory, made from the resource model alone: what bridges need of the contract, and faults on order.

Real HTTP on a real socket. It knows no noun by name. Not here: computes, keys' rights, anything the bridges do not ask for.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import NoneType
from typing import Any, get_args
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import ValidationError

from kit.operations import Operations
from spg99.declarer import HEADER
from spg99.resources import NOUNS, Mark, Resource, marks_of

API_KEY = "spg99_key_test_secret"


class Refused(Exception):
    def __init__(self, status: int, error: str, message: str, **details: Any) -> None:
        self.status, self.body = status, {"error": error, "message": message, "details": details}


class Plane:
    """Everything a test may look at or order; attributes are safe to set from any thread."""

    def __init__(self, nouns: tuple[type[Resource], ...] = NOUNS) -> None:
        self.nouns = nouns
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.log: list[tuple[str, str]] = []
        """Method and path of every request that arrived."""
        self.undeclared: list[str] = []
        """Method and path of every create and change that did not say which stack or state it is for."""
        self.posts = 0
        """Objects that were really made."""
        self.cut_answers = 0
        """So many answers to POST, PATCH and DELETE are lost after the change was made."""
        self.settle_seconds = 0.0
        """How long a new object takes to settle; negative: until `settle()`."""
        self.answer_seconds = 0.0
        """How long each POST takes."""
        self.delete_seconds = 0.0
        self.fail_state_reason: str | None = None
        """New objects end in the noun's failed state with this reason."""
        self.events_refused = False
        self.streams = 0
        self.url = ""
        self.acknowledged: set[str] = set()
        """Keys whose answers a client has told to have received."""
        self._answers: dict[str, tuple[str, int, Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._operations = Operations()
        self._news = asyncio.Condition()
        self._serial = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()

    # -- orders of a test

    @contextlib.contextmanager
    def running(self) -> Iterator[Plane]:
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/v2"
        try:
            yield self
        finally:
            self._do(self._end(self._server))
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)

    def go_away(self) -> None:
        """Nobody listens any more, and every connection breaks."""
        self._do(self._leave())

    def come_back(self) -> None:
        """Listens again, at the same address; knows what it knew."""
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", self._port, reuse_address=True))

    async def _leave(self) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, server: asyncio.Server) -> None:
        server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def settle(self) -> None:
        """Settles everything that is on its way."""
        for noun, key in list(self.objects):
            self._do(self._settle_later(self._noun(noun), key, 0))

    def change_outside(self, noun: str, human_id: str, **values: Any) -> None:
        self.objects[noun, human_id].update(values)

    def delete_outside(self, noun: str, human_id: str) -> None:
        del self.objects[noun, human_id]

    def count(self, method: str, pattern: str) -> int:
        return sum(1 for did, path in self.log if did == method and re.search(pattern, path))

    # -- HTTP

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines if x)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, target, _ = first.split(" ")
                url = urlsplit(target)
                self.log.append((method, url.path))
                if url.path.endswith("/events"):
                    await self._stream(headers, writer)
                    break
                known = set(self._answers)
                status, answer = await self._answer(method, url.path, parse_qs(url.query), headers, body)
                repeated = "Idempotency-Replayed: true\r\n" if headers.get("idempotency-key") in known else ""
                if method != "GET" and status < 300 and self.cut_answers > 0:
                    self.cut_answers -= 1
                    writer.transport.abort()
                    return
                raw = b"" if answer is None else json.dumps(answer).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{repeated}Content-Length: {len(raw)}\r\n\r\n".encode()
                    + raw
                )
                await writer.drain()
        self._writers.discard(writer)
        writer.close()

    async def _stream(self, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        if self.events_refused:
            raw = json.dumps(Refused(403, "Forbidden", "No events for you.").body).encode()
            writer.write(
                f"HTTP/1.1 403 X\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw
            )
            return
        self.streams += 1
        position = int(headers.get("last-event-id", len(self._events)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n")
        while True:
            for event in self._events[position:]:
                position += 1
                writer.write(f"id: {position}\nevent: {event['event_type']}\ndata: {json.dumps(event)}\n\n".encode())
            await writer.drain()
            async with self._news:
                await self._news.wait()

    async def _answer(
        self, method: str, path: str, query: dict[str, list[str]], headers: dict[str, str], body: bytes
    ) -> tuple[int, Any]:
        try:
            if headers.get("authorization") != f"Bearer {API_KEY}":
                raise Refused(401, "Unauthorized", "The API key is wrong.")
            is_question = "idempotency-replay-only" in headers or path.endswith("/acknowledged")
            is_question |= headers.get("idempotency-key") == "by-hand"  # a test, not a bridge
            if method in ("POST", "PATCH") and HEADER.lower() not in headers and not is_question:
                self.undeclared.append(f"{method} {path}")
            if path.endswith("/idempotency-keys/acknowledged"):
                self.acknowledged |= set(json.loads(body)["keys"])
                return 204, None
            if (under_way := _match("/v2/operations/{op_id}", path)) is not None and method == "GET":
                return 200, await self._operation(under_way["op_id"], float(query.get("wait", ["0"])[0]))
            for noun in self.nouns:
                if (found := _match("/v2" + noun.COLLECTION_PATH, path)) is not None and (
                    method == "POST" or (method == "GET" and noun.COLLECTION_PATH != noun.ITEM_PATH)
                ):
                    if method == "GET":
                        return 200, self._page(noun, found, query)
                    await asyncio.sleep(self.answer_seconds)
                    return self._once(headers["idempotency-key"], path, body, lambda: self._create(noun, found, body))  # noqa: B023
                if (found := _match("/v2" + noun.ITEM_PATH, path)) is not None:
                    return self._item(noun, noun.id_of(found), method, query, body)
            raise Refused(404, "NotFound", "No such path.")
        except Refused as refused:
            return refused.status, refused.body

    def _once(self, key: str, path: str, body: bytes, work: Callable[[], tuple[int, Any]]) -> tuple[int, Any]:
        digest = hashlib.sha256(path.encode() + b"\0" + body).hexdigest()
        if key in self._answers:
            first = {name: value for name, value in self._answers[key][2].items() if name.endswith("_id")}
            if key in self.acknowledged:
                raise Refused(409, "Conflict", "The answer was received.", first=first, acknowledged=True)
            if self._answers[key][0] != digest:
                raise Refused(409, "Conflict", "The Idempotency-Key was used with another body.", first=first)
            return self._answers[key][1:]
        status, answer = work()
        self._answers[key] = (digest, status, json.loads(json.dumps(answer)))
        return status, answer

    # -- the noun, whichever it is

    def _create(self, noun: type[Resource], path_values: dict[str, str], body: bytes) -> tuple[int, Any]:
        spec = self._spec(noun, path_values | json.loads(body))
        self._serial += 1
        item = self._filled(noun, spec)
        key = (noun.NOUN, noun.id_of(item))
        if key in self.objects:
            raise Refused(409, "Conflict", f"There is a {noun.NOUN} {key[1]} already.")
        self.objects[key] = item
        self.posts += 1
        answer = dict(item)
        if noun.SETTLED_STATES and item["state"] not in noun.SETTLED_STATES and self.settle_seconds >= 0:
            self._later(self._settle_later(noun, key[1], self.settle_seconds))
        for name in _told_once(noun):
            item[name] = None
        return 201, answer

    def _item(
        self, noun: type[Resource], human_id: str, method: str, query: dict[str, list[str]], body: bytes
    ) -> tuple[int, Any]:
        item = self.objects.get((noun.NOUN, human_id))
        if item is None:
            raise Refused(404, "NotFound", f"There is no {noun.NOUN} {human_id}.")
        if method == "GET":
            return 200, item
        if method == "PATCH":
            changes = json.loads(body)
            for name in changes:
                if name not in noun.inputs() or Mark.IMMUTABLE in marks_of(noun.inputs()[name]):
                    raise Refused(400, "BadRequest", "Cannot change.", fields={name: "cannot be changed"})
            kept = {name: item[name] for name in noun.inputs()}
            item.update(self._spec(noun, kept | changes))
            return 200, item
        if query.get("uid", [item[noun.UID_FIELD]]) != [item[noun.UID_FIELD]]:
            raise Refused(404, "NotFound", f"The object {query['uid'][0]} is gone; another one has its name now.")
        if item.get("deletion_protection"):
            raise Refused(409, "Conflict", "deletion_protection is on.")
        if noun.FORCE_DELETE and item.get("active_connections") and query.get("force") != ["true"]:
            raise Refused(409, "Conflict", "There are connections.")
        if noun.GONE_STATES:
            self._into(item, next(iter(noun.GONE_STATES)))
            operation = self._operations.begin(f"{noun.NOUN}.delete")
            self._later(self._gone_later(noun, human_id, item, operation))
            return 202, dict(operation)
        del self.objects[noun.NOUN, human_id]
        return 204, None

    async def _settle_later(self, noun: type[Resource], human_id: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        item = self.objects.get((noun.NOUN, human_id))
        if item is None or not noun.SETTLED_STATES:
            return
        if self.fail_state_reason is not None and noun.FAILED_STATES:
            self._into(item, next(iter(noun.FAILED_STATES)))
            item["state_reason"] = self.fail_state_reason
        else:
            item["state_reason"] = None
            self._into(item, sorted(noun.SETTLED_STATES)[-1])
        await self._tell(noun, item)

    async def _gone_later(
        self, noun: type[Resource], human_id: str, item: dict[str, Any], operation: dict[str, Any]
    ) -> None:
        await asyncio.sleep(self.delete_seconds)
        if self.objects.get((noun.NOUN, human_id)) is item:
            del self.objects[noun.NOUN, human_id]
        self._operations.succeed(operation)
        await self._tell(noun, item)

    async def _operation(self, op_id: str, wait_seconds: float) -> dict[str, Any]:
        """Where an operation stands; with `wait` once it is over, or when that time has passed."""
        if (operation := self._operations.find(op_id)) is None:
            raise Refused(404, "NotFound", f"There is no operation {op_id}.")

        async def over() -> None:
            async with self._news:
                await self._news.wait_for(lambda: operation["status"] != "running")

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over(), wait_seconds)
        return operation

    async def _tell(self, noun: type[Resource], item: dict[str, Any]) -> None:
        self._events.append({"event_type": f"{noun.NOUN}.changed", "subject": item[noun.UID_FIELD], "payload": {}})
        async with self._news:
            self._news.notify_all()

    def _page(self, noun: type[Resource], path_values: dict[str, str], query: dict[str, list[str]]) -> dict[str, Any]:
        items = [
            item
            for (kind, _), item in sorted(self.objects.items())
            if kind == noun.NOUN and all(item[name] == value for name, value in path_values.items())
        ]
        limit, start = int(query.get("limit", ["50"])[0]), int(query.get("cursor", ["0"])[0])
        rest = start + limit < len(items)
        return {"items": items[start : start + limit], "next_cursor": str(start + limit) if rest else None}

    def _spec(self, noun: type[Resource], values: dict[str, Any]) -> dict[str, Any]:
        try:
            spec = noun.SPEC.model_validate(values).model_dump(mode="json")
            sets = [name for name, field in noun.inputs().items() if Mark.UNORDERED in marks_of(field)]
            return spec | {name: sorted(set(spec[name])) for name in sets}
        except ValidationError as error:
            fields = {".".join(map(str, e["loc"])): e["msg"] for e in error.errors()}
            raise Refused(400, "BadRequest", "A field is not valid.", fields=fields) from None

    def _filled(self, noun: type[Resource], spec: dict[str, Any]) -> dict[str, Any]:
        """The object as a real one would answer it: every output has a value that fits its type."""
        item = dict(spec)
        for name, field in noun.outputs().items():
            if name not in item:
                item[name] = self._value(noun, name, field)
        if noun.SETTLED_STATES:
            states = [member.value for member in noun.outputs()["state"].annotation]  # type: ignore[union-attr]
            self._into(item, states[0] if self.settle_seconds else sorted(noun.SETTLED_STATES)[-1])
            if self.fail_state_reason is not None and noun.FAILED_STATES:
                self._into(item, next(iter(noun.FAILED_STATES)))
                item["state_reason"] = self.fail_state_reason
        return noun.model_validate(item).model_dump(mode="json")

    def _value(self, noun: type[Resource], name: str, field: Any) -> Any:
        kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType] or [field.annotation]
        is_secret = Mark.SECRET in marks_of(field)
        if NoneType in get_args(field.annotation) and not is_secret:
            return None
        if kinds[0] is datetime:
            return datetime.now(UTC).isoformat()
        if kinds[0] in (int, bool):
            return kinds[0](0)
        if hasattr(kinds[0], "__members__"):
            return next(iter(kinds[0])).value
        return f"{'topsecret' if is_secret else name}-{noun.NOUN}-{self._serial}"

    def _into(self, item: dict[str, Any], state: str) -> None:
        for name in ("state", "status"):
            if name in item:
                item[name] = state

    def _noun(self, name: str) -> type[Resource]:
        return next(noun for noun in self.nouns if name == noun.NOUN)


def _told_once(noun: type[Resource]) -> list[str]:
    """Secrets of a noun without a life of its own (an API key's token) are told at the create only."""
    return [] if noun.SETTLED_STATES else sorted(noun.marked(Mark.SECRET))


def _match(template: str, path: str) -> dict[str, str] | None:
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(template))
    found = re.fullmatch(pattern, path)
    return None if found is None else {name: unquote(value) for name, value in found.groupdict().items()}
