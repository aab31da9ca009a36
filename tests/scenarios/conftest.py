"""One house for all scenarios of a worker: starting one takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from house import House, a_house


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """The whole platform, really running."""
    with a_house() as running:
        yield running
