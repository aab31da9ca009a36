"""What the state knows to be protected by the platform, whatever bridge made it. Not here: the walk (integration/commands/test_renamed.py)."""

from __future__ import annotations

from typing import Any

import pytest

from spg99.engine.guarded import guarded
from spg99.engine.state import Resource, copy
from spg99.engine.values import secret


def entry(prefix: str, on: Any, **more: Any) -> Resource:
    type_ = f"{prefix}Database"
    outputs = {"deletionProtection": on}
    return Resource(f"urn:pulumi:dev::p::{type_}::app", type_, id="acme/app", outputs=outputs, provider="x::1", **more)


@pytest.mark.parametrize("prefix", ["spg99:index:", "spg99:index/database:", "pulumi-python:dynamic/spg99:"])
def test_only_what_would_be_deleted_and_is_protected_is_named(prefix: str) -> None:
    protected = entry(prefix, True)
    assert [r for r, _ in guarded([protected], [protected])] == [protected]
    assert guarded([entry(prefix, secret(True))], [])
    for left in (
        entry(prefix, False),
        entry(prefix, True, external=True),
        entry(prefix, True, retain_on_delete=True),
        entry(prefix, True, delete=True),
        entry(prefix, True, pending_replacement=True),
        copy(protected, type="other:index:Database"),
    ):
        assert guarded([left], [left]) == []
    twin = copy(protected, urn=protected.urn + "2")
    assert guarded([protected], [protected, twin]) == [] and len(guarded([protected, twin], [protected, twin])) == 2
    tenant = Resource("urn:pulumi:dev::p::t::t", "t", id="t", provider="x::1")
    assert guarded([tenant, copy(protected, deleted_with=tenant.urn)], []) == []
