"""What every Pulumi state holds of a dynamic provider: bytes that name a module of ours. They load for ever, and never change."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path

import pytest

from spg99.bridges.pulumi.dynamic.reference import provider_reference
from spg99.prepared import PACKAGE

WRITTEN = json.loads((Path(__file__).parents[4] / "fixtures/provider_references.json").read_text())
"""By noun: what stands in the states of users since the first version. Lines are added for new nouns, never changed."""


@pytest.mark.parametrize("noun", [noun.noun for noun in PACKAGE.nouns])
def test_what_is_written_today_is_what_was_written_first(noun: str) -> None:
    assert provider_reference(noun) == WRITTEN[noun], (
        "another reference is a difference on every resource of every stack"
    )


@pytest.mark.parametrize("noun", sorted(WRITTEN))
def test_a_reference_in_a_state_loads(noun: str) -> None:
    provider = pickle.loads(base64.b64decode(WRITTEN[noun]))
    assert provider.noun.noun == noun
    assert callable(provider.delete)


def test_no_reference_was_taken_out() -> None:
    assert {"tenant", "database", "api_key", "tenant_credentials"} <= set(WRITTEN)
