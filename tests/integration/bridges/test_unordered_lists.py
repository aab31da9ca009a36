"""A list whose order has no meaning: another order or a repetition is no difference, whoever wrote the state. Both Pulumi bridges."""

from __future__ import annotations

from pulumi.runtime.proto import provider_pb2 as pb

from integration.bridges.engine_calls import Bridge, Entry
from integration.bridges.plane_stub import Plane
from spg99.resources import ApiKey

UNSORTED = ["can_scale", "can_create_db", "can_scale"]
SORTED = ["can_create_db", "can_scale"]


def test_order_and_repetition_are_no_difference(bridge: Bridge, plane: Plane) -> None:
    with bridge.run() as run:
        made = run.up(ApiKey, "ci", {"name": "ci", "permissions": UNSORTED})
        assert made.outputs["permissions"] == SORTED
        assert plane.objects["api_key", made.id]["permissions"] == SORTED
        older = Entry(made.id, made.inputs | {"permissions": UNSORTED}, made.outputs | {"permissions": UNSORTED})
        for written in (UNSORTED, SORTED, SORTED[::-1]):
            for state in (made, older):
                news = run.check(ApiKey, "ci", {"name": "ci", "permissions": written}, state)
                answer = run.diff(ApiKey, "ci", state, news)
                assert (answer.changes, list(answer.replaces)) == (pb.DiffResponse.DIFF_NONE, [])
        news = run.check(ApiKey, "ci", {"name": "ci", "permissions": ["can_scale"]}, made)
        assert list(run.diff(ApiKey, "ci", made, news).replaces) == ["permissions"]


def test_an_edit_of_the_order_finds_what_a_lost_answer_made(bridge: Bridge, plane: Plane) -> None:
    with bridge.run() as run:
        lost = run.up(ApiKey, "ci", {"name": "ci", "permissions": UNSORTED})
    with bridge.run() as run:
        assert run.up(ApiKey, "ci", {"name": "ci", "permissions": SORTED}).id == lost.id
    assert plane.posts == 1
