"""What can go wrong between a client and an S3 server: an HTTP proxy that does it on purpose. Here: the faults. Not here: what a client makes of
them (tests/integration/objects), the server behind it (s3_servers.py).

    with FaultyS3(server) as faulty:
        store = open_store("s3://bucket/x", faulty.options)
        faulty.next(Fault.LOST_ANSWER, method="PUT")        # the next such request, then the one after ...
        faulty.always(Fault.SLOW_DOWN)                      # until `heal`
        faulty.by_chance(0.2, seed=1)                       # any of them, one request in five
        faulty.seen                                         # [("PUT", "/bucket/x/key"), ...] as they came
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from typing import Self

from kit.s3_servers import S3Server, options

_OF_A_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Fault(StrEnum):
    """What happens to a request."""

    ERROR = "the server answers 500"
    SLOW_DOWN = "the server answers 503 SlowDown"
    NO_SPACE = "the server answers 507"
    LOST_REQUEST = "the connection ends before the server has heard of it"
    HALF_REQUEST = "the server hears half of what is put, and the connection ends: an upload that was killed"
    LOST_ANSWER = "the server does it, and nobody hears that it has"
    TRUNCATED = "the answer ends in the middle"
    SLOW = "the answer comes late"


class FaultyS3:
    """Listens on a port of its own, from threads of its own, and forwards to `server`. Use it as `with`."""

    def __init__(self, server: S3Server, *, slow_seconds: float = 0.3) -> None:
        self.server = server
        self.slow_seconds = slow_seconds
        self.seen: list[tuple[str, str]] = []
        self.done: Counter[Fault] = Counter()
        self._lock = threading.Lock()
        self._script: list[tuple[str | None, Fault]] = []
        self._always: tuple[str | None, Fault] | None = None
        self._chance, self._kinds, self._random = 0.0, list(Fault), random.Random(0)
        self._http = _Threads(("127.0.0.1", 0), _Handler)
        self._http.faulty = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), name="faulty-s3", daemon=True)

    @property
    def options(self) -> dict[str, str]:
        """For `open_store`."""
        return options(f"http://127.0.0.1:{self._http.server_address[1]}")

    @property
    def environment(self) -> dict[str, str]:
        """For a process of ours."""
        return self.server.environment | {"AWS_ENDPOINT": self.options["endpoint"]}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)

    def next(self, *faults: Fault, method: str | None = None) -> None:
        """The next requests (of this method) meet these, one after the other."""
        with self._lock:
            self._script += [(method, fault) for fault in faults]

    def always(self, fault: Fault, *, method: str | None = None) -> None:
        """From now on every request (of this method) meets it."""
        with self._lock:
            self._always = (method, fault)

    def by_chance(self, chance: float, *, seed: int, kinds: Iterable[Fault] = tuple(Fault)) -> None:
        """From now on so many of the requests meet one of these."""
        with self._lock:
            self._chance, self._kinds, self._random = chance, list(kinds), random.Random(seed)

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        with self._lock:
            self._script, self._always, self._chance = [], None, 0.0

    def fault_of(self, method: str, path: str) -> Fault | None:
        """What happens to this request; noted."""
        with self._lock:
            self.seen.append((method, path))
            fault = self._fault_of(method)
            if fault is not None:
                self.done[fault] += 1
            return fault

    def _fault_of(self, method: str) -> Fault | None:
        if self._script and self._script[0][0] in (None, method):
            return self._script.pop(0)[1]
        if self._always is not None and self._always[0] in (None, method):
            return self._always[1]
        if self._random.random() < self._chance:
            return self._random.choice(self._kinds)
        return None


class _Threads(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    faulty: FaultyS3


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Threads

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        faulty = self.server.faulty
        fault = faulty.fault_of(self.command, self.path)
        refusals = {
            Fault.ERROR: (500, "InternalError"),
            Fault.SLOW_DOWN: (503, "SlowDown"),
            Fault.NO_SPACE: (507, "InsufficientStorage"),
        }
        if fault in refusals:
            self._refuse(*refusals[fault])
            return
        if fault is Fault.LOST_REQUEST:
            self.close_connection = True
            return
        connection = http.client.HTTPConnection("127.0.0.1", faulty.server.port, timeout=30)
        with contextlib.closing(connection):
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body[: len(body) // 2] if fault is Fault.HALF_REQUEST else body)
            if fault is Fault.HALF_REQUEST:
                self.close_connection = True
                return
            answer = connection.getresponse()
            content = answer.read()
        if fault is Fault.LOST_ANSWER:
            self.close_connection = True
            return
        if fault is Fault.SLOW:
            time.sleep(faulty.slow_seconds)
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_A_HOP:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        if answer.status not in (204, 304):
            self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if fault is Fault.TRUNCATED and self.command != "HEAD" and content:
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any

    def _refuse(self, status: int, code: str) -> None:
        text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>As the test says.</Message></Error>'.encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""
