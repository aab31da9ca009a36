"""A process of `dev` is started again whatever fails meanwhile. Here: launches that end when told, and everything around them
failing. Not here: real processes (tests/scenarios)."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from kit.waits import until
from spg99.commands import child as child_module
from spg99.commands.child import Child, Plan
from spg99.commands.dev_folder import DevFolder, DevState
from spg99.commands.supervisor import Supervisor
from spg99.config import DevSettings
from spg99.errors import Unavailable

FULL = OSError(errno.ENOSPC, "No space left on device")
ERRORS = [
    FULL,
    PermissionError(errno.EACCES, "no"),
    Unavailable("The catalogue is away."),
    RuntimeError("what?"),
    KeyError("x"),
]


class FakeLaunch:
    """A process without a process."""

    all: ClassVar[list[FakeLaunch]] = []
    failing: ClassVar[Exception | None] = None

    def __init__(self, *_: Any) -> None:
        if FakeLaunch.failing is not None:
            raise FakeLaunch.failing
        self.pid = 1000 + len(FakeLaunch.all)
        self.ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ready.set_result({})
        self.groups_ended = 0
        FakeLaunch.all.append(self)

    async def ready_or_exited(self, *, timeout_seconds: float | None = None) -> None:
        return

    def send(self, number: signal.Signals) -> None:
        self.die()

    def die(self) -> None:
        if not self.exited.done():
            self.exited.set_result(-9)

    def end_group(self) -> None:
        self.groups_ended += 1


@pytest.fixture(autouse=True)
def launches(monkeypatch: pytest.MonkeyPatch) -> list[FakeLaunch]:
    monkeypatch.setattr(child_module, "Launch", FakeLaunch)
    FakeLaunch.all, FakeLaunch.failing = [], None
    return FakeLaunch.all


class Platform:
    """A child, and what fails around it."""

    def __init__(self) -> None:
        self.failing: dict[str, Exception] = {}
        self.called: dict[str, int] = {}
        self.child = Child(
            Plan("gateway", [], self._environment, stop_seconds=1, owns_group=True),
            changed=lambda: self._call("changed"),
        )

    def _call(self, name: str) -> None:
        self.called[name] = self.called.get(name, 0) + 1
        if name in self.failing:
            raise self.failing[name]

    async def _environment(self) -> dict[str, str]:
        self._call("environment")
        return {}

    def breaks(self, what: str, error: Exception) -> None:
        if what == "launch":
            FakeLaunch.failing = error
        else:
            self.failing[what] = error

    def heals(self) -> None:
        FakeLaunch.failing = None
        self.failing.clear()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("what", ["changed", "environment", "launch"])
async def test_it_comes_back_after_whatever_fails_and_each_group_is_ended_once(
    launches: list[FakeLaunch], what: str, error: Exception
) -> None:
    platform = Platform()
    await platform.child.start()
    platform.breaks(what, error)
    launches[0].die()
    attempts = platform.called.get("environment", 0)
    await until("it has tried twice", lambda: platform.called["environment"] >= attempts + 1)
    platform.heals()
    await until("it runs again", lambda: platform.child.running is not None and not launches[-1].exited.done())
    assert len(launches) >= 2 and [each.groups_ended for each in launches[:-1]] == [1] * (len(launches) - 1)
    await platform.child.stop()
    assert [each.groups_ended for each in launches] == [1] * len(launches) and platform.child.running is None
    await platform.child.stop()
    assert [each.groups_ended for each in launches] == [1] * len(launches)


@pytest.mark.parametrize("error", [FULL, PermissionError(errno.EACCES, "no")], ids=lambda error: type(error).__name__)
async def test_a_full_disk_hides_who_runs_where_only_until_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launches: list[FakeLaunch], error: OSError
) -> None:
    folder = DevFolder(tmp_path)
    folder.prepare()
    supervisor = Supervisor(DevSettings(data_dir=tmp_path), folder)
    write: Callable[[DevState], None] = folder.write

    def full(_: DevState) -> None:
        raise error

    async with supervisor._loops:
        monkeypatch.setattr(folder, "write", full)
        platform = Platform()
        await supervisor._child(platform.child.plan)
        launches[0].die()
        await until("it runs again", lambda: len(launches) > 1)
        assert folder.read().processes == {}
        monkeypatch.setattr(folder, "write", write)
        await until("it is written", lambda: folder.read().processes)
        assert folder.read().processes["gateway"].pid == launches[-1].pid
        monkeypatch.setattr(folder, "write", full)
        supervisor.state = supervisor.state.model_copy(update={"api_port": 1})
        await supervisor._stop()  # and everybody is ended all the same
    assert all(each.exited.done() and each.groups_ended == 1 for each in launches)
