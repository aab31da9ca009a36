"""When a cached checkout may be used, and when the Control Plane is asked."""

from __future__ import annotations

import asyncio

import pytest

from spg99.errors import CannotWake, NotFound, Unreachable
from spg99.gateway.checkouts import Checkouts
from spg99.protocol.gateway import Change
from unit.gateway.control_plane_api_fake import ControlPlaneApiFake, Monotonic, checkout


@pytest.fixture
def now() -> Monotonic:
    return Monotonic()


@pytest.fixture
def api() -> ControlPlaneApiFake:
    return ControlPlaneApiFake({("ten_1", "app"): checkout()})


@pytest.fixture
def checkouts(api: ControlPlaneApiFake, now: Monotonic) -> Checkouts:
    return Checkouts(api, monotonic=now)


async def take(checkouts: Checkouts, *, seconds: float = 5, failed_compute_id: str | None = None) -> str:
    return (await checkouts.take("ten_1", "app", seconds=seconds, failed_compute_id=failed_compute_id)).compute_id


async def test_asked_once_while_the_lease_is_held(
    checkouts: Checkouts, api: ControlPlaneApiFake, now: Monotonic
) -> None:
    for _ in range(3):
        assert await take(checkouts) == "cmp_1"
    now.seconds += 9
    await take(checkouts)
    assert len(api.asked) == 1
    now.seconds += 1.5
    await take(checkouts)
    assert len(api.asked) == 2


async def test_a_renewed_lease_is_held_longer(checkouts: Checkouts, api: ControlPlaneApiFake, now: Monotonic) -> None:
    await take(checkouts)
    now.seconds += 8
    checkouts.renewed({"db_1"}, asked_at=now())
    now.seconds += 8
    await take(checkouts)
    assert len(api.asked) == 1


async def test_one_question_for_all_who_wait(checkouts: Checkouts, api: ControlPlaneApiFake) -> None:
    api.gate = asyncio.Event()
    clients = [asyncio.create_task(take(checkouts)) for _ in range(100)]
    await asyncio.sleep(0)
    clients[0].cancel()  # one goes away: the others are not harmed
    await asyncio.sleep(0)
    api.gate.set()
    results = await asyncio.gather(*clients, return_exceptions=True)
    assert results[1:] == ["cmp_1"] * 99
    assert api.asked == ["connect app"]


async def test_a_compute_that_did_not_answer_is_not_trusted(checkouts: Checkouts, api: ControlPlaneApiFake) -> None:
    await take(checkouts)
    api.checkouts["ten_1", "app"] = checkout(compute="cmp_2")
    assert await take(checkouts, failed_compute_id="cmp_1") == "cmp_2"
    assert await take(checkouts, failed_compute_id="cmp_1") == "cmp_2", "told late about an old one"
    assert len(api.asked) == 2


async def test_outage_with_a_lease_that_ran_out(checkouts: Checkouts, api: ControlPlaneApiFake, now: Monotonic) -> None:
    await take(checkouts)
    api.failing = Unreachable()
    now.seconds += 60
    assert await take(checkouts) == "cmp_1", "within the grace"
    now.seconds += 20
    with pytest.raises(CannotWake, match="Control Plane does not answer"):
        await take(checkouts, seconds=0)


async def test_an_answer_is_not_an_outage(checkouts: Checkouts, api: ControlPlaneApiFake, now: Monotonic) -> None:
    await take(checkouts)
    now.seconds += 11
    api.failing = CannotWake("The disk is full.")
    with pytest.raises(CannotWake, match="The disk is full"):
        await take(checkouts)
    api.failing = NotFound()
    with pytest.raises(NotFound, match='database "app" does not exist'):
        await take(checkouts)
    api.failing = Unreachable()
    with pytest.raises(CannotWake):
        await take(checkouts, seconds=0)  # it was said to be gone: no grace for it


async def test_too_long(checkouts: Checkouts, api: ControlPlaneApiFake) -> None:
    api.gate = asyncio.Event()
    with pytest.raises(CannotWake, match="has not answered in time"):
        await take(checkouts, seconds=0.05)


@pytest.mark.parametrize(
    ("change", "asks"),
    [
        (
            Change(kind="database", tenant_id="ten_1", db_id="db_1", lease_control_epoch=2, reason="compute.changed"),
            True,
        ),
        (
            Change(kind="database", tenant_id="ten_1", db_id="db_1", lease_control_epoch=1, reason="compute.changed"),
            False,
        ),
        (Change(kind="database", tenant_id="ten_1", db_id="db_1", reason="freeze"), True),
        (Change(kind="database", tenant_id="ten_1", db_id="db_2", reason="database.deleting"), False),
        (Change(kind="tenant", tenant_id="ten_1", reason="tenant.deleting"), True),
        (Change(kind="tenant", tenant_id="ten_1", reason="credentials.rotated"), False),
        (Change(kind="tenant", tenant_id="ten_2", reason="tenant.deleting"), False),
    ],
    ids=["newer", "known-already", "freeze", "another", "tenant-goes", "password", "another-tenant"],
)
async def test_changes(checkouts: Checkouts, api: ControlPlaneApiFake, change: Change, asks: bool) -> None:
    await take(checkouts)
    checkouts.changed(change)
    await take(checkouts)
    assert len(api.asked) == (2 if asks else 1)


async def test_a_client_who_comes_during_the_release_waits_for_it(
    checkouts: Checkouts, api: ControlPlaneApiFake
) -> None:
    """Else the Control Plane might see the new lease first and the release of the old one after it."""
    await take(checkouts)
    checkouts.begin_release("db_1")
    client = asyncio.create_task(take(checkouts))
    await asyncio.sleep(0.01)
    assert len(api.asked) == 1
    checkouts.end_release("db_1", answered=True)
    assert await client == "cmp_1"
    assert len(api.asked) == 2


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("how", ["compute-gone", "changed", "lost"])
async def test_a_release_ends_though_what_was_cached_is_forgotten_meanwhile(
    checkouts: Checkouts, api: ControlPlaneApiFake, how: str, answered: bool
) -> None:
    """Nobody may wait for it for ever: the database could not be woken from here any more."""
    await take(checkouts)
    checkouts.begin_release("db_1")
    if how == "changed":
        checkouts.changed(Change(kind="database", db_id="db_1", tenant_id="ten_1", reason="database.stopped"))
    elif how == "lost":
        checkouts.lost("db_1")
    client = asyncio.create_task(take(checkouts, failed_compute_id="cmp_1" if how == "compute-gone" else None))
    await asyncio.sleep(0.01)
    assert len(api.asked) == 1, "it waits for the answer to the release"
    checkouts.end_release("db_1", answered=answered)
    assert await client == "cmp_1"
    assert await take(checkouts) == "cmp_1"


async def test_lost_lease(checkouts: Checkouts, api: ControlPlaneApiFake) -> None:
    await take(checkouts)
    checkouts.lost("db_1")
    await take(checkouts)
    assert len(api.asked) == 2
