"""Structured logs: JSON lines when nobody watches, readable lines on a terminal.

Here: how a log line looks and which request it belongs to. Not here: what is worth logging. A secret never enters a
log call; `_redact` is the second fence, not the first.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

from spg99.left_out import left_out

# For tracebacks that are never shown here (`_traceback`) it loads rich, and with that what half of all the rest takes to load.
# In our own processes only: in somebody's program structlog may be his, too.
with left_out(*(["rich", "greenlet"] if "spg99.commands" in sys.modules else [])):
    import structlog
    from structlog.typing import ExcInfo

_SECRET_KEY = re.compile(r"password|token|secret|api_?key|authorization|dsn|connection_string", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"(postgres(?:ql)?://[^:/@\s]+:)[^@\s]+(?=@)"
    r"|(spg99_[a-z]+_[0-9a-z]+_)[0-9a-z]+"
    # libpq's other spelling of a DSN, `host=... password=...`, and the query of a URL.
    r"|(password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s=&'\"]+)",
    re.IGNORECASE,
)


def _hidden(text: str) -> str:
    return _SECRET_VALUE.sub(lambda found: (found[1] or found[2] or found[3]) + "[secret]", text)


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            if _SECRET_KEY.search(key) and not key.endswith("_id"):
                event[key] = "[secret]"
            else:
                event[key] = _hidden(value)
    return event


def _traceback(out: TextIO, exc_info: ExcInfo) -> None:
    """For a terminal. Not the pretty tracebacks: they show local variables, and those hold tokens and passwords."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(_hidden(text.getvalue()))


class _Lasting:
    """Standard error that may go away (a closed terminal, `| head`): a line is lost then, never the work it tells of."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Writes, or does not."""
        with contextlib.suppress(OSError, ValueError):
            return self._file.write(text)
        return 0

    def flush(self) -> None:
        """Flushes, or does not."""
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()


def configure(process: str, *, level: str = "info", json: bool | None = None) -> None:
    """Sets up logging of this process on stderr.

    `process` is its command (`gateway`); `json` None means: JSON unless stderr is a terminal.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    # What an exception says may hold a secret too: it is made text before the fence, not behind it.
    renderer: list[Any] = (
        [structlog.processors.format_exc_info, _redact, structlog.processors.JSONRenderer(sort_keys=True)]
        if as_json
        else [_redact, structlog.dev.ConsoleRenderer(exception_formatter=_traceback)]
    )
    structlog.configure(
        processors=shared + renderer,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Lasting(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


def get(room: str) -> Any:
    """A logger that names the room it speaks from: `log.get("gateway").info("woken", db_id=...)`."""
    return structlog.get_logger(room=room)


def bind_request(request_id: str) -> None:
    """Puts `request_id` on every following line of this task, and on every call it makes to the Control Plane."""
    structlog.contextvars.bind_contextvars(request_id=request_id)


def bind_client(client_addr: str) -> None:
    """Puts the address of the client this task works for on every following line of it, and on the events it publishes."""
    structlog.contextvars.bind_contextvars(client_addr=client_addr)


def bound_client() -> str | None:
    """The address of the client this task works for, if there is one and it is known."""
    found: str | None = structlog.contextvars.get_contextvars().get("client_addr")
    return found


def bound_request() -> str | None:
    """The request this task works for, if it is known."""
    found: str | None = structlog.contextvars.get_contextvars().get("request_id")
    return found
