"""Background loops that cannot die unseen: what fails is logged, counted, begun again with back-off, and told to `/readyz`.

Here: running them. Not here: the rules of back-off and health (health.py), what a turn does.

    loops = Loops(failures=loop_failures(registry), fatal=(Unauthorized,))
    loops.repeat("reconciler", turn, wakeup=wakeups.waiter(("spg99_reconcile", None)))  # a turn answers after how many
    loops.repeat("janitor", forget_old)                                               # seconds it looks again
    loops.keep("wakeups", wakeups.run)                                                # runs for ever
    async with loops:                       # starts them; at the end they are cancelled and waited for
        ... serve; `loops.unhealthy()` goes into the answer of /readyz ...
        await loops.wait()                  # for a process that is nothing but loops: raises a fatal error
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from spg99 import log
from spg99.clock import Clock, SystemClock
from spg99.errors import Spg99Error
from spg99.processes.health import SETTLED_SECONDS, Course, Unhealthy, complaint, pause_seconds
from spg99.processes.wakeup import Wakeup

Turn = Callable[[], Awaitable[float]]
"""One turn of a loop; answers after how many seconds it looks again if nothing wakes it."""

TURN_SECONDS_MAX: Final = 120.0
"""Until a turn that does not come to an end counts as a fault. It is told, not cut off: it may hold what must be let go."""
END_SECONDS: Final = 10.0

_log = log.get("loops")


def loop_failures(registry: CollectorRegistry) -> Counter:
    """The counter of failed turns, `spg99_loop_failures_total{loop="..."}`: one a process."""
    return Counter("spg99_loop_failures", "Turns of a background loop that failed.", ["loop"], registry=registry)


@dataclass
class _Loop:
    name: str
    turn: Callable[[], Awaitable[float | None]]
    wakeup: AbstractContextManager[Wakeup]
    turn_seconds_max: float | None
    """None: it runs for ever, and its coming to an end is a failure."""
    says_when_well: bool = False
    """It runs for ever, and running is not yet being well: it says so itself."""
    course: Course = field(default_factory=Course)
    task: asyncio.Task[None] | None = None


class Loops:
    """The background loops of one process.

    `failures` counts failed turns by loop. An error of a class in `fatal` is not tried again: it ends the loop and is
    raised by `wait` (a Control Plane that does not know us any more). `chance` answers 0..1, `monotonic` seconds.
    """

    def __init__(
        self,
        *,
        failures: Counter | None = None,
        fatal: tuple[type[Exception], ...] = (),
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._failures = failures
        self._fatal = fatal
        self._clock = clock or SystemClock()
        self._monotonic = monotonic
        self._chance = chance
        self._loops: dict[str, _Loop] = {}
        self._started = False

    def repeat(
        self,
        name: str,
        turn: Turn,
        *,
        wakeup: AbstractContextManager[Wakeup] | None = None,
        turn_seconds_max: float = TURN_SECONDS_MAX,
    ) -> None:
        """A loop of turns. `wakeup` is cleared before each and wakes it earlier than the turn has asked for; after a
        failure it waits its pause out, however often it is woken."""
        self._add(_Loop(name, turn, wakeup or Wakeup(), turn_seconds_max))

    def keep(
        self, name: str, run: Callable[[], Awaitable[None]], *, says_when_well: bool = False
    ) -> Callable[[], None]:
        """A loop that runs for ever by itself (listens, keeps a child): its end is a failure, and it is run again.

        It counts as well again when it has run for `SETTLED_SECONDS`. Where that proves nothing (a connection that nobody
        answers takes longer to fail), it `says_when_well`: by calling what is answered here.
        """
        loop = _Loop(name, run, Wakeup(), None, says_when_well)
        self._add(loop)

        def well() -> None:
            if loop.course.failures:
                _log.info("a loop works again", loop=loop.name, failures=loop.course.failures)
            loop.course = loop.course.is_well_now()

        return well

    def unhealthy(self) -> list[Unhealthy]:
        """The loops that are not well now; empty when all are."""
        now = self._monotonic()
        found = []
        for loop in self._loops.values():
            if (
                seen := complaint(
                    loop.course, now, turn_seconds_max=loop.turn_seconds_max, settles=not loop.says_when_well
                )
            ) is not None:
                since, reason = seen
                found.append(Unhealthy(loop.name, self._clock.now() - timedelta(seconds=now - since), reason))
        return found

    def start(self) -> None:
        """Starts every loop; those added later start at once."""
        self._started = True
        for loop in self._loops.values():
            self._begin(loop)

    async def wait(self) -> None:
        """Waits until a loop has ended for good, and raises why. Returns only when there is no loop."""
        tasks = [loop.task for loop in self._loops.values() if loop.task is not None]
        if tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def stop(self) -> None:
        """Cancels every loop and waits until they have let go."""
        tasks = {loop.task for loop in self._loops.values() if loop.task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=END_SECONDS)
            for task in left:
                _log.error("a loop does not end", loop=task.get_name())
        self._started = False

    async def __aenter__(self) -> Loops:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # What follows is how.

    def _add(self, loop: _Loop) -> None:
        if loop.name in self._loops:
            raise AssertionError(f"There are two loops of the name {loop.name}.")
        self._loops[loop.name] = loop
        if self._failures is not None:
            self._failures.labels(loop.name)  # 0 is shown too: a metric that appears with its first failure is no alarm
        if self._started:
            self._begin(loop)

    def _begin(self, loop: _Loop) -> None:
        loop.course = Course()
        loop.task = asyncio.get_running_loop().create_task(self._run(loop), name=loop.name)

    async def _run(self, loop: _Loop) -> None:
        try:
            with loop.wakeup as wakeup:
                while True:
                    wakeup.clear()
                    await self._pause(wakeup, await self._one_turn(loop))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            loop.course = loop.course.ended(cause_of(error), self._monotonic())
            if not isinstance(error, self._fatal):  # a fatal one is told by whoever waits
                _log.exception("a loop has ended", loop=loop.name)
            raise

    async def _pause(self, wakeup: Wakeup, pause: tuple[float, bool]) -> None:
        seconds, failed = pause
        if failed:
            await asyncio.sleep(seconds)  # also when somebody wakes it all the time
        else:
            await wakeup.wait_for(seconds)

    async def _one_turn(self, loop: _Loop) -> tuple[float, bool]:
        """After how many seconds the next one begins, and whether this one has failed."""
        loop.course = loop.course.began(self._monotonic())
        settled = self._say_when_settled(loop)
        try:
            seconds = await loop.turn()
            if seconds is None:
                raise AssertionError("a loop that runs for ever came to an end")
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            # Something that the turn waited for was cancelled by somebody else: that is its failure, not our end.
            return self._failed(loop, error), True
        except self._fatal:
            raise
        except Exception as error:  # noqa: BLE001 - a loop's turn: the next one may succeed
            return self._failed(loop, error), True
        finally:
            if settled is not None:
                settled.cancel()
        if is_being_cancelled():  # and the turn has swallowed it
            raise asyncio.CancelledError
        if loop.course.failures:
            _log.info("a loop works again", loop=loop.name, failures=loop.course.failures)
        loop.course = loop.course.succeeded()
        return seconds, False

    def _say_when_settled(self, loop: _Loop) -> asyncio.TimerHandle | None:
        if loop.turn_seconds_max is not None or loop.says_when_well or not loop.course.failures:
            return None
        again = functools.partial(_log.info, "a loop works again", loop=loop.name, failures=loop.course.failures)
        return asyncio.get_running_loop().call_later(SETTLED_SECONDS, again)

    def _failed(self, loop: _Loop, error: BaseException) -> float:
        now = self._monotonic()
        course = loop.course.failed(
            cause_of(error), now, settles=loop.turn_seconds_max is None and not loop.says_when_well
        )
        if self._failures is not None:
            self._failures.labels(loop.name).inc()
        asked = float(error.retry_after_seconds or 0) if isinstance(error, Spg99Error) else 0.0
        pause = pause_seconds(course.failures, chance=self._chance(), asked_seconds=asked)
        if course.is_worth_saying(now):
            course = course.said(now)
            said = {"loop": loop.name, "failures": course.failures, "again_in_seconds": round(pause, 2)}
            if isinstance(error, Spg99Error):
                _log.warning("a turn failed", reason=error.message, **said)
            else:
                _log.error("a turn failed", exc_info=error, **said)
        loop.course = course
        return pause


def cause_of(error: BaseException) -> str:
    """An error in words that may be shown to whoever asks for `/readyz`: ours say what users may read, of others only
    the class is told (the log has the rest)."""
    return error.message if isinstance(error, Spg99Error) else type(error).__name__


def is_being_cancelled() -> bool:
    """Whether the task that runs now was itself asked to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
