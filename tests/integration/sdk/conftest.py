"""What the SDKs' tests share: a small Control Plane with the product's nouns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proof import server as proof_server
from spg99.prepared import PACKAGE


@pytest.fixture
def server() -> Iterator[proof_server.Server]:
    with proof_server.running(PACKAGE) as server:
        yield server
