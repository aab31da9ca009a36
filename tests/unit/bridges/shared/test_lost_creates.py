"""A create that was sent and not answered is never told as one that did nothing, whatever the last try met."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from spg99.bridges.shared.operations import Operations
from spg99.bridges.shared.words import PULUMI
from spg99.client import Client, retry
from spg99.errors import Unavailable
from spg99.prepared import PACKAGE

NOUN = next(noun for noun in PACKAGE.nouns if noun.noun == "tenant")
Fault = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.01)


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("reset", request=request)


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def busy(request: httpx.Request) -> httpx.Response:
    return httpx.Response(503, json={"error": "Unavailable", "message": "Not now."}, headers={"Retry-After": "0"})


async def told(*faults: Fault) -> str:
    """What a create says whose tries meet these faults, one after the other."""
    left = list(faults)

    def answer(request: httpx.Request) -> httpx.Response:
        return (left.pop(0) if len(left) > 1 else left[0])(request)  # patience may try the last for longer

    client = Client("http://localhost:1/v2", "k", max_attempts=len(faults), transport=httpx.MockTransport(answer))
    operations = Operations(client, PULUMI)
    with pytest.raises(Unavailable) as caught:
        await operations.create(NOUN, {"name": "acme"}, declaration="urn", seconds_max=0.3)
    await operations.aclose()
    assert caught.value.message in str(caught.value)
    return caught.value.message


@pytest.mark.parametrize(
    "faults",
    [(lost,), (lost, refused), (refused, lost), (lost, busy), (lost, refused, refused)],
    ids=lambda faults: "-".join(fault.__name__ for fault in faults),
)
async def test_who_knows_nothing_says_so_and_names_what_finds_it(faults: tuple[Fault, ...]) -> None:
    said = await told(*faults)
    assert "Nothing was changed" not in said
    assert "the next `pulumi up` goes on with it" in said and "`spg99 orphans`" in said


@pytest.mark.parametrize("faults", [(refused,), (refused, refused)], ids=["once", "twice"])
async def test_what_was_never_sent_was_not_done(faults: tuple[Fault, ...]) -> None:
    said = await told(*faults)
    assert "Nothing was changed" in said and "orphans" not in said
