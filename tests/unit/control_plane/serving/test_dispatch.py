"""Which routes the short way knows, and that it never chooses another one than the framework would."""

from __future__ import annotations

from itertools import combinations

from spg99.control_plane import routes
from spg99.control_plane.serving.dispatch import Way, ways_of


def ways() -> list[Way]:
    return [way for route in routes.public() for way in ways_of(route)]


def test_every_route_of_the_api_is_known_but_streams_and_downloads() -> None:
    unknown = {route.path for route in routes.public() if not ways_of(route)}
    assert unknown == {
        "/v2/downloads/{name}",
        "/v2/exports/{export_id}/content",
        "/v2/events",
        "/healthz",
        "/readyz",
        "/metrics",
    }


def test_no_path_leads_to_two_routes() -> None:
    for one, other in combinations(ways(), 2):
        if one.method == other.method and len(one.segments) == len(other.segments):
            apart = [
                a != b for a, b in zip(one.segments, other.segments, strict=True) if a is not None and b is not None
            ]
            assert any(apart), f"{one.route.path} and {other.route.path}"


def test_a_way_ends_where_the_framework_says_that_it_ends() -> None:
    texts = ("acme", "a b", "ä", "x\n", ".", "", "dbs", "credentials")
    for way in ways():
        for text in texts:
            path = "/".join(text if part is None else part for part in way.segments)
            assert way.leads(path.split("/")) == bool(way.route.path_regex.match(path)), (way.route.path, text)
