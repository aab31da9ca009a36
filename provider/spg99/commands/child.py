"""One process of `spg99 dev`: started, waited for until it says it is ready, started again when it dies, ended.

Here: keeping one process. Not here: which ones and in which order (supervisor.py), one launch (launch.py).
"""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from spg99 import log
from spg99.commands.dev_folder import Running
from spg99.commands.launch import Launch
from spg99.commands.preforked import PreforkedProcesses
from spg99.errors import Unavailable
from spg99.exits import how_it_ended
from spg99.processes import Loops, health

_log = log.get("dev")

HEALTHY_SECONDS = 20.0


@dataclass(frozen=True)
class Plan:
    """What to start."""

    name: str
    arguments: list[str]
    environment: Callable[[], Awaitable[dict[str, str]]]
    """Asked for at each start, because an enrolment token works once."""
    stop_seconds: float
    """After SIGTERM; then SIGKILL."""
    owns_group: bool
    """Whether what is left of its session dies with it. Not where PostgreSQL shall outlive it."""


def pause_seconds(deaths: int, *, lived_seconds: float) -> tuple[int, float]:
    """The count of quick deaths in a row from here on, and how long to wait before the next start."""
    deaths = 0 if lived_seconds >= HEALTHY_SECONDS else deaths
    return deaths + 1, health.pause_seconds(deaths + 1, chance=1.0)


class Child:
    """A process that is kept running."""

    def __init__(self, plan: Plan, *, changed: Callable[[], None], preforked: PreforkedProcesses | None = None) -> None:
        """`preforked`: processes that may be taken for it, instead of starting one."""
        self.plan = plan
        self._preforked = preforked or PreforkedProcesses()
        self.running: Running | None = None
        self._changed = changed
        self._launch: Launch | None = None
        """What runs, or has ended and is not cleared away yet."""
        self._began_at = 0.0
        self._deaths = 0
        self._loops = Loops()
        # However long it lives: a turn that waits for its end is no turn that hangs.
        self._loops.repeat(f"keep-{plan.name}", self._turn, turn_seconds_max=math.inf)

    async def start(self, *, ready_seconds: float = 60.0) -> dict[str, Any]:
        """Starts it and answers its ready line. From then on it is started again whenever it ends.

        Raises Unavailable when it ends before it is ready the first time: its own error is on stderr by then.
        """
        launch = await self._spawn()
        await launch.ready_or_exited(timeout_seconds=ready_seconds)
        if launch.ready.done():
            self._loops.start()
            return launch.ready.result()
        if launch.exited.done():
            how = how_it_ended(launch.exited.result())
            raise Unavailable(f"{self.plan.name} ended ({how}) before it was ready. The lines above say why.")
        raise Unavailable(f"{self.plan.name} was not ready after {ready_seconds:.0f} s. See the log above.")

    async def stop(self) -> None:
        """Ends it for good. Returns when the process is gone."""
        await self._loops.stop()
        if (launch := self._launch) is None:
            return
        if not launch.exited.done():
            launch.send(signal.SIGTERM)
            await asyncio.wait({launch.exited}, timeout=self.plan.stop_seconds)
        if not launch.exited.done():
            _log.warning("killed", child=self.plan.name, waited_seconds=self.plan.stop_seconds)
            launch.send(signal.SIGKILL)
            await asyncio.wait({launch.exited})
        self._cleared(launch)

    def end_at_once(self) -> None:
        """Ends it without grace."""
        if self._launch is not None:
            self._launch.send(signal.SIGKILL)

    async def _spawn(self) -> Launch:
        environment = await self.plan.environment()
        launch = self._launch = Launch(self.plan.name, self.plan.arguments, environment, self._preforked)
        self._began_at = asyncio.get_running_loop().time()
        self.running = Running(pid=launch.pid)
        self._changed()
        return launch

    def _cleared(self, launch: Launch) -> None:
        # Once for each launch: later the number of its group may be somebody else's.
        self._launch = self.running = None
        if self.plan.owns_group:
            launch.end_group()
        self._changed()

    async def _turn(self) -> float:
        """Waits for its end and answers how long to pause then; or starts it again."""
        if (launch := self._launch) is not None:
            await asyncio.wait({launch.exited})
            self._cleared(launch)
            lived_seconds = asyncio.get_running_loop().time() - self._began_at
            self._deaths, pause = pause_seconds(self._deaths, lived_seconds=lived_seconds)
            _log.warning(
                "ended", child=self.plan.name, how=how_it_ended(launch.exited.result()), again_in_seconds=pause
            )
            return pause
        launch = await self._spawn()
        await launch.ready_or_exited()
        if launch.ready.done():
            _log.info("ready again", child=self.plan.name, pid=launch.pid)
        return 0.0
