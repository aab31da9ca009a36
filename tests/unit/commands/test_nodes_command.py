"""`spg99 nodes`: for whom a token can be made. Not here: what the API does with it (tests/integration/control_plane/serving/test_nodes.py)."""

from __future__ import annotations

from typing import get_args

import click

from spg99.commands.nodes import token
from spg99.control_plane.databases.node_routes import Enrols
from spg99.control_plane.fleet import EnrolmentKind


def test_whoever_may_join_can_be_given_a_token() -> None:
    (kind,) = (each for each in token.params if each.name == "kind")
    assert isinstance(kind.type, click.Choice)
    assert tuple(kind.type.choices) == get_args(EnrolmentKind) == get_args(Enrols.model_fields["kind"].annotation)
