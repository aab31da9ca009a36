"""Waits until objects are as wanted: one stream of events for all who wait, not one poller each.

Here: when to look again. Not here: what is waited for (operations.py). Without the stream (refused or broken) everybody
looks by himself, slower and slower.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from spg99.client import loopless
from spg99.errors import NotFound, Spg99Error, Unavailable

if TYPE_CHECKING:
    import asyncio

    from spg99.client import Client

T = TypeVar("T")

READS_AT_ONCE_MAX = 32
READ_SECONDS_WITH_STREAM = 15.0
"""An event may be lost with the process that should have written it; somebody looks anyway."""
READ_SECONDS_FIRST, READ_SECONDS_MAX = 0.25, 3.0
STREAM_AGAIN_SECONDS = 5.0
OPERATION_SECONDS: Final = 1
PROGRESS_SECONDS = (1.0, 2.0, 3.0, 5.0, 10.0)
PROGRESS_SECONDS_THEN = 5.0


class StillWaiting(Exception, Generic[T]):
    """The wait ended before the object was as wanted; `seen` is how it was last seen."""

    def __init__(self, seen: T | None, *, interrupted: bool) -> None:
        super().__init__()
        self.seen = seen
        self.interrupted = interrupted


class Waiter:
    """All waits of one process on one Control Plane."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._wakes: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._reading: asyncio.Semaphore | None = None
        """Of the loop, once there is one."""
        self._stream: asyncio.Task[None] | None = None
        self._stream_stands = False
        self._stream_refused = False
        self._interrupted = False

    async def aclose(self) -> None:
        """Ends the stream."""
        if self._stream is not None:
            import asyncio

            self._stream.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._stream

    def interrupt(self) -> None:
        """Ends all waits now and those to come at once."""
        self._interrupted = True
        self._wake_all()

    @property
    def interrupted(self) -> bool:
        """Whether the user wants to stop."""
        return self._interrupted

    async def until(
        self,
        read: Callable[[], Awaitable[T]],
        done: Callable[[T], bool],
        *,
        uid: str,
        seconds_max: float,
        progress: Callable[[T | None, int], None],
    ) -> T:
        """Looks until `done`, woken by events about `uid`. Raises StillWaiting after `seconds_max` or when interrupted.

        Who calls has just looked: the first look here is after the stream stands, or a moment later.
        """
        began = time.monotonic()
        await loopless.into_loop()
        import asyncio

        wake = asyncio.Event()
        self._wakes[uid].add(wake)
        self._open_stream()
        seen: T | None = None
        pause = READ_SECONDS_FIRST
        reports = _reports()
        report_at = next(reports)
        try:
            if not self._stream_stands and not self._interrupted:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), min(READ_SECONDS_FIRST, max(seconds_max, 0.001)))
            while True:
                wake.clear()
                # A Control Plane that is away for a moment does not end the wait, only the time limit does.
                with contextlib.suppress(Unavailable):
                    async with self._one_of_few():
                        seen = await read()
                    if done(seen):
                        return seen
                read_at = time.monotonic() + self._pause(pause)
                pause = min(pause * 1.5, READ_SECONDS_MAX)
                while not wake.is_set() and time.monotonic() < read_at:
                    waited = time.monotonic() - began
                    if waited >= report_at:
                        progress(seen, int(waited))
                        report_at = next(at for at in reports if at > waited)
                    if waited >= seconds_max or self._interrupted:
                        raise StillWaiting(seen, interrupted=self._interrupted)
                    ends = min(read_at - time.monotonic(), seconds_max - waited, report_at - waited)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(wake.wait(), max(ends, 0.001))
                if self._interrupted:
                    raise StillWaiting(seen, interrupted=True)
        finally:
            self._wakes[uid].discard(wake)
            if not self._wakes[uid]:
                del self._wakes[uid]

    async def has_ended_well(self, operation: Mapping[str, Any], deadline: float) -> bool:
        """Whether an operation that a call has answered is over and has succeeded, at once or within a second (before
        anybody would hear of progress). False also when nobody can tell: who waits then looks at the object itself."""
        op_id, status = operation.get("op_id"), operation.get("status")
        if status != "running" or op_id is None or time.monotonic() + OPERATION_SECONDS > deadline:
            return bool(status == "succeeded")
        try:
            async with self._one_of_few():
                if self._interrupted:
                    return False
                now = await self._client.call(
                    "GET", "/operations/{op_id}", {"op_id": op_id}, params={"wait": OPERATION_SECONDS}
                )
        except (NotFound, Unavailable):
            return False
        return isinstance(now, Mapping) and now.get("status") == "succeeded"

    def _one_of_few(self) -> AbstractAsyncContextManager[Any]:
        """Inside, few read at once. Who has no loop is a thread of the tool, which makes as many as its user allows."""
        if loopless.current() is not None:
            return contextlib.nullcontext()
        if self._reading is None:
            import asyncio

            self._reading = asyncio.Semaphore(READS_AT_ONCE_MAX)
        return self._reading

    def _pause(self, alone: float) -> float:
        import random

        chance = 0.75 + random.random() / 2  # noqa: S311 - spreads looks, guards nothing
        return (READ_SECONDS_WITH_STREAM if self._stream_stands else alone) * chance

    def _open_stream(self) -> None:
        if not self._stream_refused and (self._stream is None or self._stream.done()):
            import asyncio

            self._stream = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        """Follows the events for as long as anybody waits."""
        while True:
            try:
                async for event in self._client.follow_events():
                    if event is None:
                        # What happened before the stream stood was not told: everybody looks once more.
                        self._stream_stands = True
                        self._wake_all()
                    elif event.subject is not None:
                        for wake in self._wakes.get(event.subject, ()):
                            wake.set()
            except Unavailable:
                pass
            except Spg99Error:
                self._stream_refused = True
                return  # not for this key, or not in this Control Plane: everybody looks by himself
            except Exception as error:  # noqa: BLE001 - nobody waits for this task: what breaks the stream is told here
                import logging

                # Not spg99.log: a bridge runs where only what its archive holds is installed (emit/pulumi_plugin.py, NEEDS).
                logging.getLogger(__name__).warning("the stream of events failed: %s", type(error).__name__)
            finally:
                # However it ended: whoever believes in a stream that is gone looks four times a minute.
                self._stream_stands = False
                self._wake_all()
            if not self._wakes:
                return
            await loopless.sleep(STREAM_AGAIN_SECONDS)

    def _wake_all(self) -> None:
        for wakes in list(self._wakes.values()):
            for wake in wakes:
                wake.set()


def _reports() -> Iterator[float]:
    yield from PROGRESS_SECONDS
    at = PROGRESS_SECONDS[-1]
    while True:
        at += PROGRESS_SECONDS_THEN
        yield at
