"""What happens next to an export, which links are valid, and which bytes a request asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from spg99.control_plane.databases import export_links as links
from spg99.control_plane.databases import export_steps as steps
from spg99.control_plane.databases.export_links import NotSatisfiable, Part, part_of
from spg99.control_plane.databases.export_steps import ExportState as State
from spg99.control_plane.databases.export_steps import TaskSeen, next_step
from spg99.control_plane.records.secret_box import SecretBox
from spg99.errors import Forbidden

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=7)


def task(status: str, *, error: str | None = None, waits: int = 60) -> TaskSeen:
    return TaskSeen(status, NOW + timedelta(seconds=waits), error)


@pytest.mark.parametrize(
    ("state", "seen", "hours", "expected"),
    [
        (State.WAITING, None, 0, steps.Begin()),
        (State.WAITING, None, 1, steps.Fail(steps.NO_NODE)),
        (State.RUNNING, task("queued"), 0, steps.Wait()),
        (State.RUNNING, task("queued", waits=-1), 0, steps.Withdraw()),
        (State.RUNNING, task("dispatched", waits=-1), 0, steps.Wait()),
        (State.RUNNING, task("dispatched"), 12, steps.Fail(steps.NOT_HEARD_OF)),
        (State.RUNNING, task("completed"), 13, steps.Finish()),
        (State.RUNNING, task("failed", error="No."), 0, steps.Fail("No.")),
        (State.RUNNING, None, 0, steps.Fail(steps.NOT_HEARD_OF)),
        (State.DELETING, None, 0, steps.Remove()),
        (State.DELETING, task("queued"), 0, steps.Remove()),
        (State.DELETING, task("dispatched"), 0, steps.Wait()),
        (State.DELETING, task("dispatched"), 12, steps.Remove()),
        (State.DELETING, task("completed"), 0, steps.Remove()),
        (State.READY, task("completed"), 0, steps.Wait()),
        (State.FAILED, None, 0, steps.Wait()),
    ],
)
def test_each_state_has_one_next_step(state: State, seen: TaskSeen | None, hours: int, expected: steps.Step) -> None:
    created_at = NOW - timedelta(hours=hours)
    assert next_step(state, created_at=created_at, expires_at=LATER, task=seen, now=NOW) == expected


def test_what_is_over_is_removed_when_its_time_is_over() -> None:
    for state in (State.READY, State.FAILED):
        assert next_step(state, created_at=NOW, expires_at=NOW, task=None, now=NOW) == steps.Remove()
    for state in (State.WAITING, State.RUNNING):
        assert next_step(state, created_at=NOW, expires_at=NOW, task=task("queued"), now=NOW) != steps.Remove()


BOX = SecretBox(b"k" * 32)


def parts(path: str) -> tuple[str, int, str]:
    export_id = path.split("/")[3]
    expires, signature = (one.partition("=")[2] for one in path.partition("?")[2].split("&"))
    return export_id, int(expires), signature


def test_a_link_is_of_one_export_of_one_tenant_until_its_end() -> None:
    export_id, expires, signature = parts(links.path_of(BOX, "ten_1", "exp_1", NOW))
    before = NOW - timedelta(seconds=1)
    links.check(BOX, "ten_1", export_id, expires, signature, before)
    for box, tenant_id, its, end, sign, now in (
        (BOX, "ten_1", export_id, expires, signature, NOW),
        (BOX, "ten_1", export_id, expires + 1, signature, before),
        (BOX, "ten_2", export_id, expires, signature, before),
        (BOX, None, export_id, expires, signature, before),
        (BOX, "ten_1", "exp_2", expires, signature, before),
        (BOX, "ten_1", export_id, expires, signature[:-1] + ("0" if signature[-1] != "0" else "1"), before),
        (BOX, "ten_1", export_id, expires, signature[:-2], before),
        (BOX, "ten_1", export_id, expires, "ü", before),
        (SecretBox(b"l" * 32), "ten_1", export_id, expires, signature, before),
    ):
        with pytest.raises(Forbidden) as refused:
            links.check(box, tenant_id, its, end, sign, now)
        assert refused.value.message == links.NOT_VALID


def test_nobody_can_sign_for_the_export_of_an_unknown_tenant() -> None:
    export_id, expires, signature = parts(links.path_of(BOX, "", "exp_1", LATER))
    with pytest.raises(Forbidden):
        links.check(BOX, None, export_id, expires, signature, NOW)


def test_a_link_ends_with_its_export() -> None:
    assert links.until(NOW, 3600, LATER) == NOW + timedelta(hours=1)
    assert links.until(NOW, 3600, NOW + timedelta(seconds=5)) == NOW + timedelta(seconds=5)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-", Part(0, 99)),
        ("bytes=0-0", Part(0, 0)),
        ("bytes=50-", Part(50, 99)),
        ("bytes=50-1000", Part(50, 99)),
        ("bytes=-10", Part(90, 99)),
        ("bytes=-1000", Part(0, 99)),
        (" bytes=99-99", Part(99, 99)),
        # Not understood, or several: all of it.
        ("bytes=-", None),
        ("bytes=9-3", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
        ("bytes=٣-", None),
    ],
)
def test_a_range_is_read_as_the_standard_says(header: str | None, expected: Part | None) -> None:
    assert part_of(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_what_lies_behind_the_end_is_not_there(header: str) -> None:
    with pytest.raises(NotSatisfiable):
        part_of(header, 100)
