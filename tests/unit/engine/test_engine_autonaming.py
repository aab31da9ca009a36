"""What is proposed as a resource's name."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from spg99.engine.autonaming import KEY, Mode, Proposal, proposal
from spg99.engine.values import secret
from spg99.errors import BadRequest

SEED = bytes(range(32))


def proposed(config: dict[str, Any] | None, type_: str = "spg99:index:Tenant", seed: bytes = SEED) -> Proposal | None:
    given = {KEY: json.dumps(config), "proj:team": "red", "o:hidden": secret("x")} if config is not None else {}
    return proposal(given, type_, "acme", "dev", "proj", seed)


def test_nothing_is_proposed_unless_configured() -> None:
    assert proposed(None) is None and proposed({}) is None and proposed({"mode": "default"}) is None


def test_modes() -> None:
    assert proposed({"mode": "verbatim"}) == Proposal("acme", Mode.ENFORCE)
    assert proposed({"mode": "disabled"}) == Proposal("", Mode.DISABLE)


def test_patterns_come_from_the_seed() -> None:
    text = "${name}-${stack}-${project}-${organization}-${config.team}-${hex(6)}-${num(3)}-${string(4)}-${alphanum(2)}-${uuid}"
    first, again, other = (proposed({"pattern": text}, seed=s) for s in (SEED, SEED, SEED[::-1]))
    assert first is not None and first == again and first != other and first.mode is Mode.PROPOSE
    shape = r"acme-dev-proj-organization-red-[0-9a-f]{6}-\d{3}-[a-z]{4}-[a-z0-9]{2}-[0-9a-f-]{36}"
    assert re.fullmatch(shape, first.name)
    assert proposed({"pattern": "x", "enforce": True}) == Proposal("x", Mode.ENFORCE)


def test_the_closest_configuration_holds() -> None:
    resources = {"spg99:index:Database": {"pattern": "db-${name}"}, "spg99:index:ApiKey": {}}
    config = {"mode": "verbatim", "providers": {"spg99": {"mode": "disabled", "resources": resources}}}
    assert proposed(config, "spg99:index:Database") == Proposal("db-acme", Mode.PROPOSE)
    assert proposed(config, "spg99:index:ApiKey") == proposed(config) == Proposal("", Mode.DISABLE)
    assert proposed(config, "other:index:Thing") == Proposal("acme", Mode.ENFORCE)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"mode": "verbatm"}, "has no mode `verbatm`"),
        ({"patern": "x"}, "knows no `patern`; it takes enforce, mode, pattern, providers"),
        ({"mode": "verbatim", "pattern": "x"}, "takes `mode` or `pattern`"),
        ({"pattern": "${nme}"}, "asks for `${nme}`"),
        ({"pattern": "${config.o:hidden}"}, "is not known (or secret)"),
        ({"providers": {"spg99": {"resources": {"spg99:index:Tenant": {"providers": {}}}}}}, "knows no `providers`"),
        ([], "must be a mapping"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(config: Any, said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        proposed(config)
    assert said in caught.value.message
