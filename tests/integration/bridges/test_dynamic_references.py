"""A state that an older version wrote is destroyed by this one: the bytes it names our provider with go through Pulumi's real host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2

from integration.bridges.host_driver import Host, Stored, struct
from integration.bridges.plane_stub import Plane
from spg99.bridges.pulumi.dynamic.reference import PROVIDER_KEY
from spg99.resources import NOUNS, Resource

WRITTEN = json.loads((Path(__file__).parents[2] / "fixtures/provider_references.json").read_text())
DECLARED: dict[str, dict[str, Any]] = {
    "tenant": {"name": "acme"},
    "database": {"tenant": "acme", "name": "app"},
    "api_key": {"name": "ci"},
    "tenant_credentials": {"tenant": "acme"},
    "snapshot": {"tenant": "acme", "name": "before", "database": "app"},
    "snapshot_schedule": {"tenant": "acme", "name": "nightly", "database": "app", "cron": "@daily"},
}


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.NOUN)
def test_the_bytes_of_a_state_delete_what_they_stand_for(noun: type[Resource], host: Host, plane: Plane) -> None:
    stored = host.create(Stored(noun, "it"), **DECLARED[noun.NOUN])
    assert (noun.NOUN, stored.id) in plane.objects
    kept = stored.outputs | {PROVIDER_KEY: WRITTEN[noun.NOUN]}
    request = provider_pb2.DeleteRequest(id=stored.id, urn=stored.urn, properties=struct(kept))
    host.stub.Delete(request, timeout=60)
    assert plane.count("DELETE", ".") == 1
    assert (noun.NOUN, stored.id) not in plane.objects


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.NOUN)
def test_the_bytes_of_a_state_are_no_difference(noun: type[Resource], host: Host) -> None:
    stored = host.create(Stored(noun, "it"), **DECLARED[noun.NOUN])
    kept = stored.outputs | {PROVIDER_KEY: WRITTEN[noun.NOUN]}
    news, failures = host.check(stored, **DECLARED[noun.NOUN])
    assert failures == {} and news[PROVIDER_KEY] == WRITTEN[noun.NOUN]
    assert host.diff(stored, news, olds=kept).changes == provider_pb2.DiffResponse.DIFF_NONE
