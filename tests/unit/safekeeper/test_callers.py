"""What others than agents may ask a safekeeper for: its peers and pageservers read, pageservers trim, and nobody else orders it anything."""

from __future__ import annotations

import pytest
from starlette.routing import Route

from spg99.safekeeper import routes
from spg99.safekeeper.follower import Followers
from spg99.safekeeper.kept_timelines import KeptTimelines
from spg99.safekeeper.network import refusal_of_call

READS = {
    ("GET", "/timelines"),
    ("GET", "/timelines/{timeline_id}"),
    ("GET", "/timelines/{timeline_id}/wal/{name}"),
    ("POST", "/timelines/{timeline_id}/wal"),
}
TRIM = ("POST", "/timelines/{timeline_id}/trim")


@pytest.fixture
def calls(tmp_path: object) -> set[tuple[str, str]]:
    """All that there are: a call that is added some time is forbidden to them until it stands here."""
    app = routes.app(KeptTimelines(tmp_path, "sk_1"), Followers())  # type: ignore[arg-type]
    found = {(method, one.path) for one in app.routes if isinstance(one, Route) for method in one.methods or ()}
    return {call for call in found if call[0] != "HEAD"}


@pytest.mark.parametrize(
    ("peer_id", "may"),
    [("sk_1", READS), ("ps_1", READS | {TRIM}), ("node_1", None), ("", None)],
    ids=["peer", "pageserver", "agent", "here"],
)
def test_each_kind_may_ask_for_what_it_is_for(
    calls: set[tuple[str, str]], peer_id: str, may: set[tuple[str, str]] | None
) -> None:
    assert READS | {TRIM} < calls
    assert {call for call in calls if refusal_of_call(peer_id, *call) is None} == (may or calls)


@pytest.mark.parametrize("path", ["/timelines/wal", "/timelines/trim"])
def test_a_timeline_with_the_name_of_a_call_is_not_removed_by_it(path: str) -> None:
    assert "ps_1" in (refusal_of_call("ps_1", "DELETE", path) or "")
    assert "sk_1" in (refusal_of_call("sk_1", "DELETE", path) or "")
