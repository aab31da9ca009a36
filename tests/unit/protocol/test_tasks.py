"""Every kind of task is declared once, and both sides read that declaration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_type_hints

import pytest

from spg99.errors import BadRequest
from spg99.node.handlers import Handlers
from spg99.protocol.tasks import TASKS, ComputeStop, ComputeStopped, TaskKind, declaration_of

START = {
    "compute_id": "cmp_1", "timeline_id": "tl_1", "db_id": "db_1", "writer_term": 1, "profile": "L1",
    "database_name": "app", "pg_user": "acme",
}  # fmt: skip
STARTED: dict[str, Any] = {
    "compute_id": "cmp_1", "backend_addr": "/run/1", "backend_port": 5432, "pid": 7,
    "started_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
}  # fmt: skip


@pytest.mark.parametrize("kind", TaskKind)
def test_every_kind_is_declared_and_its_handler_takes_and_answers_what_is_declared(kind: TaskKind) -> None:
    declared = TASKS[kind]
    assert (
        declared.kind is kind and "Again:" in (declared.order.__doc__ or "") and declared.waits_for.total_seconds() > 0
    )
    handler = Handlers(None, None, None).by_kind[kind]  # type: ignore[arg-type]
    hints = get_type_hints(handler)
    assert hints == {"order": declared.order, "return": declared.result}


def test_every_order_belongs_to_one_kind() -> None:
    assert len({declared.order for declared in TASKS.values()}) == len(TASKS)
    assert declaration_of(ComputeStop(compute_id="cmp_1", timeline_id="tl_1")).kind is TaskKind.COMPUTE_STOP


def test_a_result_of_the_right_kind_and_about_the_right_thing_is_read() -> None:
    declared = TASKS[TaskKind.COMPUTE_START]
    assert declared.read_result(START, STARTED).model_dump()["pid"] == 7


@pytest.mark.parametrize(
    "result", [{}, STARTED | {"compute_id": "cmp_2"}, STARTED | {"backend_port": "none"}, {"stopped": True}]
)
def test_a_result_that_says_less_or_is_about_another_thing_is_refused(result: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        TASKS[TaskKind.COMPUTE_START].read_result(START, result)


def test_an_agent_that_knows_no_question_answers_nothing_and_has_stopped_it() -> None:
    order = ComputeStop(compute_id="cmp_1", timeline_id="tl_1", only_if_unused=True).model_dump(mode="json")
    assert TASKS[TaskKind.COMPUTE_STOP].read_result(order, {}) == ComputeStopped(stopped=True)


def test_a_control_plane_that_knows_no_question_orders_without_it() -> None:
    order = TASKS[TaskKind.COMPUTE_STOP].read_order({"compute_id": "cmp_1", "timeline_id": "tl_1", "mode": "fast"})
    assert isinstance(order, ComputeStop) and order.only_if_unused is False


@pytest.mark.parametrize("kind", TaskKind)
def test_an_order_without_its_fields_is_refused_by_name(kind: TaskKind) -> None:
    with pytest.raises(BadRequest, match="timeline_id"):
        TASKS[kind].read_order({})
