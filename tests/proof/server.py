"""A small Control Plane in memory for any Package: the contract's rules from shapes alone, and a bad day on order.

    with running(PACKAGE, also=MOUNTED) as server:          # real HTTP on a real socket, threads
        server.url, API_KEY                                  # what a bridge is configured with
        server.objects["gadget", "top/lamp"]                 # what it holds now (write-only inputs included)
        server.change("gadget", "top/lamp", amount=9)        # behind the user's back
        server.remove("gadget", "top/lamp")
        server.count("POST", "/gadgets$"), server.created    # requests that came, objects really made
        server.settle_seconds = 0.5                          # a create takes so long; negative: until settle()
        server.delete_seconds, server.fail_reason            # new objects end in the failed state with this reason
        server.on("POST", "/gadgets$", drop="after")         # the answer is lost after the commit ("before": nothing done)
        server.on("GET", "", status=503, times=2)            # also 500, 429 (retry_after=1)
        server.on("PATCH", "", fields={"amount": "is unlucky"})  # a refusal on a field
        server.on("", "", seconds=0.5, times=64)             # a slow answer

Rules it keeps: Authorization; Idempotency-Key on every POST (same key and body: the first answer; another body: 409 with
`details.first`); field errors in `details.fields`; PATCH merges and checks the whole; immutable fields refused; DELETE
asynchronous where the noun has gone states (an operation, `GET /v2/operations/{op_id}?wait=`), refused while protected,
by `uid`; lists with `limit`, `cursor` and the noun's filters; `X-Request-Id` echoed; `GET /v2/events` as Server-Sent Events. No noun is known here by name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from kit.operations import Operations
from spg99.bridges.shared.inputs import check
from spg99.shapes import Field, Noun, Package

API_KEY = "spg99_key_proof_topsecret"
SECRET = "topsecret"
"""Every secret that the server makes begins with this: a scan for it finds each leak."""


class Refused(Exception):
    def __init__(
        self, status: int, error: str, message: str, *, retry_after: float | None = None, **details: Any
    ) -> None:
        self.status, self.retry_after = status, retry_after
        self.body = {"error": error, "message": message, "details": details}


@dataclass
class Fault:
    """What is wrong with the next requests that match."""

    method: str
    path: str
    times: int = 1
    drop: str | None = None
    status: int | None = None
    retry_after: float | None = None
    fields: dict[str, str] | None = None
    seconds: float = 0.0


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Server:
    """One Control Plane. Attributes may be set from any thread at any time."""

    nouns: tuple[Noun, ...]
    reads: tuple[Noun, ...] = ()
    url: str = ""
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    created: int = 0
    settle_seconds: float = 0.0
    delete_seconds: float = 0.0
    fail_reason: str | None = None
    events_refused: bool = False
    streams: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._events: list[dict[str, Any]] = []
        self._operations = Operations()
        self._answers: dict[str, tuple[str, int, Any]] = {}
        self._faults: list[Fault] = []
        self._timers: set[threading.Timer] = set()
        self._serial = 0
        self._ended = False

    # -- orders of a test

    def on(self, method: str, path: str, **what: Any) -> Fault:
        """Makes the next `times` (1) requests of this method (empty: any) and path (a regular expression) go wrong."""
        fault = Fault(method, path, **what)
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Takes back all faults."""
        with self._lock:
            self._faults.clear()

    def reset(self) -> None:
        """As new, but for its address."""
        with self._lock:
            for timer in self._timers:
                timer.cancel()
            for held in (self._timers, self._faults, self.objects, self.requests, self._answers):
                held.clear()
            self.created = 0
            self.settle_seconds = self.delete_seconds = 0.0
            self.fail_reason, self.events_refused = None, False

    def change(self, noun: str, human_id: str, **values: Any) -> None:
        with self._lock:
            self.objects[noun, human_id].update(values)

    def remove(self, noun: str, human_id: str) -> None:
        with self._lock:
            del self.objects[noun, human_id]

    def settle(self) -> None:
        """Settles everything that is on its way."""
        with self._lock:
            for name, human_id in list(self.objects):
                self._settle(self._named(name), human_id)

    def count(self, method: str, path: str) -> int:
        with self._lock:
            return sum(1 for seen in self.requests if seen.method == method and re.search(path, seen.path))

    # -- one request

    def has_answered(self, key: str | None) -> bool:
        """Whether a POST with this Idempotency-Key was answered before."""
        with self._lock:
            return key in self._answers

    def answer(self, request: Request) -> tuple[int, Any, str | None]:
        """Status, body, and `drop` when the connection has to break instead."""
        with self._lock:
            self.requests.append(request)
            fault = self._fault(request)
        if fault is not None and fault.seconds:
            time.sleep(fault.seconds)
        if fault is not None and fault.drop == "before":
            return 0, None, "before"
        try:
            if request.headers.get("authorization") != f"Bearer {API_KEY}":
                raise Refused(401, "Unauthorized", "The API key is wrong.")
            if fault is not None and fault.fields is not None:
                raise Refused(400, "BadRequest", "A field is not valid.", fields=fault.fields)
            if fault is not None and fault.status is not None:
                error = {429: "TooManyRequests", 503: "Unavailable"}.get(fault.status, "Internal")
                raise Refused(fault.status, error, "On order of the test.", retry_after=fault.retry_after)
            with self._lock:
                under_way = _match("/operations/{op_id}", request.path.removeprefix("/v2"))
                if under_way is not None and request.method == "GET":
                    status, body = 200, self._operation(under_way["op_id"], float(request.query.get("wait", "0")))
                else:
                    status, body = self._route(request)
        except Refused as refused:
            return refused.status, refused.body | {"retry_after": refused.retry_after}, None
        return status, body, fault.drop if fault is not None else None

    def _fault(self, request: Request) -> Fault | None:
        for fault in self._faults:
            if fault.times > 0 and fault.method in ("", request.method) and re.search(fault.path, request.path):
                fault.times -= 1
                return fault
        return None

    def _route(self, request: Request) -> tuple[int, Any]:
        path = request.path.removeprefix("/v2")
        for noun in self.nouns:
            found = _match(noun.collection_path, path)
            if found is not None and request.method == "POST":
                return self._once(request, lambda: self._create(noun, found, request.body))  # noqa: B023
            if found is not None and request.method == "GET" and noun.plural:
                return 200, self._page(noun, found, request.query)
            found = _match(noun.item_path, path)
            if found is not None:
                return self._item(noun, found, request)
        for noun in self.reads:
            if _match(noun.item_path, path) is not None and request.method == "GET":
                return 200, {item.name: self._made(noun, item) for item in noun.outputs}
        raise Refused(404, "NotFound", "No such path.")

    def _once(self, request: Request, work: Any) -> tuple[int, Any]:
        key = request.headers.get("idempotency-key")
        if key is None:
            raise Refused(400, "BadRequest", "A POST needs an Idempotency-Key.")
        digest = hashlib.sha256(json.dumps([request.path, request.body], sort_keys=True).encode()).hexdigest()
        if key in self._answers:
            known, status, answer = self._answers[key]
            if known != digest:
                first = {name: value for name, value in answer.items() if name.endswith("_id")}
                raise Refused(409, "Conflict", "The Idempotency-Key was used with another body.", first=first)
            return status, answer
        status, answer = work()
        self._answers[key] = (digest, status, json.loads(json.dumps(answer)))
        return status, answer

    # -- the noun, whichever it is

    def _create(self, noun: Noun, path_values: dict[str, str], body: Any) -> tuple[int, Any]:
        spec = self._checked(noun, {**body, **path_values})
        self._serial += 1
        item = {item.name: spec.get(item.name) for item in noun.inputs}
        for output in noun.outputs:
            if output.name not in item:
                item[output.name] = self._made(noun, output)
        if noun.settled_states:
            item["state"] = self._first_state(noun)
        human_id = noun.id_of(item)
        if (noun.noun, human_id) in self.objects:
            raise Refused(409, "Conflict", f"There is a {noun.noun} {human_id} already.")
        self.objects[noun.noun, human_id] = item
        self.created += 1
        if noun.settled_states and self.settle_seconds == 0:
            self._settle(noun, human_id)
        elif noun.settled_states and self.settle_seconds > 0:
            self._later(self.settle_seconds, lambda: self._settle(noun, human_id))
        answer = self._told(noun, item)
        for output in noun.outputs:
            if output.secret and output.nullable and noun.input_named(output.name) is None:
                item[output.name] = None  # told once
        return 201, answer

    def _item(self, noun: Noun, id_values: dict[str, str], request: Request) -> tuple[int, Any]:
        human_id = noun.id_of(id_values)
        item = self.objects.get((noun.noun, human_id))
        if item is None or ("uid" in request.query and request.query["uid"] != item[noun.uid_field]):
            raise Refused(404, "NotFound", f"There is no {noun.noun} {human_id}.")
        if request.method == "GET":
            return 200, self._told(noun, item)
        if request.method == "PATCH":
            self._patch(noun, item, request.body)
            return 200, self._told(noun, item)
        if request.method != "DELETE":
            raise Refused(405, "BadRequest", "No such method.")
        if noun.protected_by is not None and item[noun.protected_by]:
            raise Refused(409, "Conflict", f"{noun.protected_by} is on (says the server).")
        if not noun.gone_states:
            del self.objects[noun.noun, human_id]
            return 204, None
        item["state"] = next(iter(noun.gone_states))
        operation = self._operations.begin(f"{noun.noun}.delete")
        answer = dict(operation)
        if self.delete_seconds == 0:
            self._gone(noun, human_id, item, operation)
        else:
            self._later(self.delete_seconds, lambda: self._gone(noun, human_id, item, operation))
        return 202, answer

    def _patch(self, noun: Noun, item: dict[str, Any], changes: dict[str, Any]) -> None:
        refused = {}
        for name, value in changes.items():
            known = noun.input_named(name)
            if known is None:
                refused[name] = "there is no such field"
            elif known.immutable:
                refused[name] = "cannot be changed"
            elif value is None and not known.nullable:
                refused[name] = "must not be null"
        if refused:
            raise Refused(400, "BadRequest", "A field is not valid.", fields=refused)
        kept = {known.name: item[known.name] for known in noun.inputs}
        spec = self._checked(noun, kept | changes)
        item.update({known.name: spec.get(known.name) for known in noun.inputs})
        for output in noun.outputs:
            if set(output.moved_by) & changes.keys():
                value = item[output.name]
                item[output.name] = value + 1 if isinstance(value, int) else self._made(noun, output)
            if output.name == "updated_at":
                item[output.name] = _now()
        self._tell(noun, item)

    def _checked(self, noun: Noun, values: dict[str, Any]) -> dict[str, Any]:
        checked = check(noun, values)
        if checked.failures:
            fields = {".".join(map(str, failure.path)) or "body": failure.reason for failure in checked.failures}
            raise Refused(400, "BadRequest", "A field is not valid.", fields=fields)
        return checked.inputs

    def _told(self, noun: Noun, item: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(json.dumps({output.name: item[output.name] for output in noun.outputs}))
        return found

    def _page(self, noun: Noun, path_values: dict[str, str], query: dict[str, str]) -> dict[str, Any]:
        def wanted(item: dict[str, Any]) -> bool:
            for name in noun.filters:
                of = name.removesuffix("_prefix")
                if name in query and not (
                    str(item[of]).startswith(query[name]) if of != name else item[name] == query[name]
                ):
                    return False
            return all(str(item[name]) == value for name, value in path_values.items())

        kept = [item for (kind, _), item in sorted(self.objects.items()) if kind == noun.noun and wanted(item)]
        limit, start = int(query.get("limit", "50")), int(query.get("cursor", "0"))
        rest = start + limit < len(kept)
        items = [self._told(noun, item) for item in kept[start : start + limit]]
        return {"items": items, "next_cursor": str(start + limit) if rest else None}

    def _first_state(self, noun: Noun) -> str:
        return next(state for state in _states(noun) if state not in noun.gone_states | noun.failed_states)

    def _settle(self, noun: Noun, human_id: str) -> None:
        item = self.objects.get((noun.noun, human_id))
        if item is None or not noun.settled_states or item["state"] in noun.gone_states:
            return
        failed = self.fail_reason is not None and bool(noun.failed_states)
        item["state"] = next(
            state for state in _states(noun) if state in (noun.failed_states if failed else noun.settled_states)
        )
        if "state_reason" in item:
            item["state_reason"] = self.fail_reason if failed else None
        self._tell(noun, item)

    def _gone(self, noun: Noun, human_id: str, item: dict[str, Any], operation: dict[str, Any]) -> None:
        if self.objects.get((noun.noun, human_id)) is item:
            del self.objects[noun.noun, human_id]
        self._operations.succeed(operation)
        self._tell(noun, item)

    def _operation(self, op_id: str, wait_seconds: float) -> dict[str, Any]:
        """Where an operation stands; with `wait` once it is over, or when that time has passed."""
        if (operation := self._operations.find(op_id)) is None:
            raise Refused(404, "NotFound", f"There is no operation {op_id}.")
        self._news.wait_for(lambda: operation["status"] != "running" or self._ended, wait_seconds)
        return dict(operation)

    def _made(self, noun: Noun, output: Field) -> Any:
        """A value for what the system fills in."""
        if output.name == noun.uid_field:
            return f"{noun.noun}_{self._serial:06d}"
        kind = output.type.kind
        if output.nullable and not output.secret:
            return None
        if output.default is not None:
            return output.default
        if kind == "time":
            return _now()
        if kind in ("whole", "number", "flag"):
            return {"whole": 1, "number": 1.5, "flag": False}[kind]
        if kind == "enum":
            return output.type.values[0].value
        if kind in ("list", "map", "object"):
            return [] if kind == "list" else {}
        return f"{SECRET if output.secret else output.name}-{output.name}-{noun.noun}-{self._serial}"

    def _tell(self, noun: Noun, item: dict[str, Any]) -> None:
        self._events.append({"event_type": f"{noun.noun}.changed", "subject": item[noun.uid_field], "payload": {}})
        self._news.notify_all()

    def _later(self, seconds: float, work: Any) -> None:
        def run() -> None:
            with self._lock:
                if not self._ended:
                    work()

        timer = threading.Timer(seconds, run)
        timer.daemon = True
        self._timers.add(timer)
        timer.start()

    def _named(self, name: str) -> Noun:
        return next(noun for noun in self.nouns if noun.noun == name)

    def end(self) -> None:
        with self._lock:
            self._ended = True
            for timer in self._timers:
                timer.cancel()
            self._news.notify_all()

    def events_after(self, position: int) -> list[dict[str, Any]] | None:
        """The events from a position on; waits for the first. None: the server ends."""
        with self._lock:
            while len(self._events) <= position and not self._ended:
                self._news.wait(1)
            return None if self._ended else self._events[position:]

    @property
    def events_so_far(self) -> int:
        with self._lock:
            return len(self._events)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    plane: Server

    def _serve(self) -> None:
        url = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, url.path, dict(parse_qsl(url.query)), headers, json.loads(raw) if raw else None)
        if url.path.endswith("/events") and not self.plane.events_refused:
            self._stream(request)
            return
        repeated = self.plane.has_answered(headers.get("idempotency-key"))
        if url.path.endswith("/events"):
            status, body, drop = 403, {"error": "Forbidden", "message": "No events for you.", "details": {}}, None
            self.plane.requests.append(request)
        else:
            status, body, drop = self.plane.answer(request)
        if drop is not None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        request_id = headers.get("x-request-id") or f"req_{uuid.uuid4().hex[:20]}"
        retry_after = body.pop("retry_after", None) if isinstance(body, dict) and status >= 400 else None
        if isinstance(body, dict) and status >= 400:
            body = body | {"request_id": request_id}
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Request-Id", request_id)
        if repeated:
            self.send_header("Idempotency-Replayed", "true")
        if retry_after is not None:
            self.send_header("Retry-After", f"{retry_after:g}")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _serve

    def _stream(self, request: Request) -> None:
        self.close_connection = True
        self.plane.requests.append(request)
        self.plane.streams += 1
        position = int(request.headers.get("last-event-id", self.plane.events_so_far))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(b": hello\n\n")
            while (news := self.plane.events_after(position)) is not None:
                for event in news:
                    position += 1
                    text = f"id: {position}\nevent: {event['event_type']}\ndata: {json.dumps(event)}\n\n"
                    self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: tests look at `requests`."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no error here."""


@contextlib.contextmanager
def running(package: Package, *, also: tuple[Noun, ...] = ()) -> Iterator[Server]:
    """A server for the nouns of a package, and for `also` (what its ephemerals make)."""
    nouns = (*package.nouns, *(noun for noun in also if noun not in package.nouns))
    plane = Server(nouns, package.reads)
    http = _Http(("127.0.0.1", 0), type("Handler", (_Handler,), {"plane": plane}))
    plane.url = f"http://127.0.0.1:{http.server_address[1]}/v2"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield plane
    finally:
        plane.end()
        http.shutdown()
        http.server_close()
        thread.join(10)


def _states(noun: Noun) -> list[str]:
    state = noun.output_named("state")
    return [member.value for member in state.type.values] if state is not None else []


def _match(template: str, path: str) -> dict[str, str] | None:
    """The fields that a path stands for."""
    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template))
    found = re.fullmatch(pattern, path)
    return None if found is None else {name: unquote(value) for name, value in found.groupdict().items()}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
