"""Server-Sent Events: an answer that goes on, and that its reader can resume. Here: the lines, the first one, keep-alives, the end.

Both streams of ours are answered by it: what users follow (events.py) and what Gateways must hear (fleet/changes.py). What a
reader may count on:

- The first line has an `id` and no data: whoever loses the stream at once still knows where to go on.
- Messages come in the order of their positions, and a keep-alive at least every 15 s tells the position again, so that a reader
  whose events are rare can resume too. It goes by the clock, not by silence: what others do may keep a stream busy for ever.
- A slow reader is never written ahead of: the next batch is asked for when the last one is on its way. A source that holds
  messages meanwhile bounds them itself (feed.py, `Wakeup`).
- The stream ends when the process stops, when the catalogue is away, or when its reader may not read any more; it then
  begins again elsewhere, after the last `id` it has seen.

Not here: what a stream shows (its source), whether its beginning is still kept (`outbox`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from starlette.responses import StreamingResponse

from spg99 import log
from spg99.errors import Unavailable

KEEP_ALIVE_SECONDS = 15.0


@dataclass(frozen=True)
class Message:
    """One message of a stream."""

    data: str
    """JSON on one line."""
    position: int | None = None
    """Where to go on after it; None: it is told to who is here now, and never again."""
    type: str | None = None


@dataclass(frozen=True)
class Batch:
    """What a source has found since its last batch; without messages it says that all is well."""

    position: int
    """Everything up to here has been told, or is not for this reader."""
    messages: Sequence[Message] = ()


async def _always() -> bool:
    return True


async def stream(
    batches: AsyncGenerator[Batch, None],
    position: int,
    *,
    is_closing: Callable[[], bool],
    is_allowed: Callable[[], Awaitable[bool]] = _always,
    keep_alive_seconds: float | None = None,
) -> AsyncGenerator[bytes, None]:
    """The bytes of a stream that begins after `position`.

    `batches` has to answer within `keep_alive_seconds` (default: `KEEP_ALIVE_SECONDS`), with an empty batch where there is nothing. `is_allowed` is asked
    with each keep-alive: a stream may outlive the key that opened it.
    """
    yield f": connected\nid: {position}\n\n".encode()
    said_at = time.monotonic()
    try:
        async with aclosing(batches):
            while not is_closing():
                batch = await anext(batches)
                for message in batch.messages:
                    yield framed(message)
                due = KEEP_ALIVE_SECONDS if keep_alive_seconds is None else keep_alive_seconds
                if time.monotonic() - said_at >= due:
                    said_at = time.monotonic()
                    if not await is_allowed():
                        return
                    yield f": keep-alive\nid: {batch.position}\n\n".encode()
    except Unavailable:
        log.get("api").warning("a stream of events ends: the catalogue is away")  # its reader comes back and resumes


def framed(message: Message) -> bytes:
    """A message as the lines of the protocol."""
    lines = [] if message.position is None else [f"id: {message.position}"]
    if message.type is not None:
        lines.append(f"event: {message.type}")
    return "\n".join([*lines, f"data: {message.data}", "", ""]).encode()


def answer(content: AsyncGenerator[bytes, None]) -> StreamingResponse:
    """The HTTP answer that carries a stream; nothing between here and the reader may hold it back."""
    return StreamingResponse(
        content, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
