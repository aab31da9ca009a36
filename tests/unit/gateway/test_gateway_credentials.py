"""How long a cached password is believed."""

from __future__ import annotations

import asyncio

import pytest

from spg99.errors import Unavailable, Unreachable
from spg99.gateway.credentials import AGAIN_SECONDS, CredentialsCache
from unit.gateway.control_plane_api_fake import ControlPlaneApiFake, Monotonic, credentials


@pytest.fixture
def now() -> Monotonic:
    return Monotonic()


@pytest.fixture
def api() -> ControlPlaneApiFake:
    return ControlPlaneApiFake(known={"tnt_1": credentials()})


@pytest.fixture
def cache(api: ControlPlaneApiFake, now: Monotonic) -> CredentialsCache:
    return CredentialsCache(api, monotonic=now)


async def version(cache: CredentialsCache, user: str = "tnt_1") -> int | None:
    found = await cache.get(user)
    return found and found.credential_version


async def test_believed_as_long_as_somebody_tells_us(
    cache: CredentialsCache, api: ControlPlaneApiFake, now: Monotonic
) -> None:
    cache.watched_since = now()
    for _ in range(3):
        assert await version(cache) == 1
        now.seconds += 1000
    assert len(api.asked) == 1
    api.known["tnt_1"] = credentials(2)
    cache.forget_tenant("ten_1")
    assert await version(cache) == 2


async def test_believed_for_a_second_while_nobody_does(
    cache: CredentialsCache, api: ControlPlaneApiFake, now: Monotonic
) -> None:
    await version(cache)
    now.seconds += 0.9
    await version(cache)
    assert len(api.asked) == 1
    now.seconds += 0.2
    await version(cache)
    assert len(api.asked) == 2


async def test_what_was_cached_before_the_stream_stood_is_asked_again(
    cache: CredentialsCache, api: ControlPlaneApiFake, now: Monotonic
) -> None:
    await version(cache)
    now.seconds += 2
    cache.watched_since = now()
    await version(cache)
    assert len(api.asked) == 2


async def test_unknown_users_are_forgotten_soon(
    cache: CredentialsCache, api: ControlPlaneApiFake, now: Monotonic
) -> None:
    cache.watched_since = now()
    for _ in range(3):
        assert await version(cache, "stranger") is None
    assert len(api.asked) == 1
    now.seconds += 6
    api.known["stranger"] = credentials(7)
    assert await version(cache, "stranger") == 7


async def test_outage(cache: CredentialsCache, api: ControlPlaneApiFake, now: Monotonic) -> None:
    await version(cache)
    api.failing = Unreachable()
    now.seconds += 200
    assert await version(cache) == 1
    now.seconds += 101
    with pytest.raises(Unavailable, match="password cannot be checked right now"):
        await version(cache)
    with pytest.raises(Unavailable):
        await version(cache, "stranger")


async def test_a_change_overtakes_an_answer(cache: CredentialsCache, api: ControlPlaneApiFake, now: Monotonic) -> None:
    """The old password is on its way to us when it is changed: it must not stay in the cache."""
    cache.watched_since = now()
    api.gate = asyncio.Event()
    asked = asyncio.create_task(version(cache))
    await asyncio.sleep(0.01)
    cache.forget_tenant("ten_1")
    api.gate.set()
    await asked
    api.known["tnt_1"] = credentials(2)
    assert await version(cache) == 2


async def test_one_question_for_all(cache: CredentialsCache, api: ControlPlaneApiFake) -> None:
    api.gate = asyncio.Event()
    asked = [asyncio.create_task(version(cache)) for _ in range(50)]
    await asyncio.sleep(0.01)
    api.gate.set()
    assert await asyncio.gather(*asked) == [1] * 50
    assert len(api.asked) == 1


async def test_a_flood_of_invented_names_pushes_nobody_out_who_is_real(
    cache: CredentialsCache, api: ControlPlaneApiFake, now: Monotonic
) -> None:
    assert await version(cache) == 1
    for number in range(20_000):
        assert await version(cache, f"invented_{number}") is None
    api.failing = Unreachable()
    now.seconds += 60
    assert await version(cache) == 1, "in an outage who is real can log in"
    with pytest.raises(Unavailable):
        await version(cache, "invented_0")


async def test_a_password_that_does_not_fit_is_looked_up_again(
    cache: CredentialsCache, api: ControlPlaneApiFake, now: Monotonic
) -> None:
    cache.watched_since = now()
    assert await version(cache) == 1
    api.known["tnt_1"] = credentials(2)  # and nobody has told us
    assert await version(cache) == 1
    for wanted in (2, 3, 4):  # one change after the other, without a pause
        api.known["tnt_1"] = credentials(wanted)
        again = await cache.get_again("tnt_1")
        assert again is not None and again.credential_version == wanted == await version(cache)
    api.known["tnt_1"] = credentials(5)
    cache.forget_tenant("ten_1")  # heard of between the first look and the proof
    again = await cache.get_again("tnt_1")
    assert again is not None and again.credential_version == 5


async def test_many_who_do_not_fit_at_once_cost_two_requests_and_others_none(
    cache: CredentialsCache, api: ControlPlaneApiFake, now: Monotonic
) -> None:
    cache.watched_since = now()
    await version(cache)
    asked = len(api.asked)
    found = await asyncio.gather(*(cache.get_again("tnt_1") for _ in range(200)))
    assert {one and one.credential_version for one in found} == {1}
    assert len(api.asked) - asked <= 2
    assert await cache.get("nobody") is None
    asked = len(api.asked)
    for _ in range(3):
        now.seconds += 1
        assert await cache.get_again("nobody") is None
    assert len(api.asked) == asked


@pytest.mark.parametrize("user", ["tnt_1", "nobody"])
async def test_asked_again_a_name_takes_a_quarter_of_a_second_each_known_or_not(
    cache: CredentialsCache, api: ControlPlaneApiFake, now: Monotonic, user: str
) -> None:
    cache.watched_since = now()
    await cache.get(user)
    await cache.get_again(user)
    began = asyncio.get_running_loop().time()
    await cache.get_again(user)
    assert asyncio.get_running_loop().time() - began >= AGAIN_SECONDS - 0.01


async def test_asking_again_in_an_outage_answers_what_is_known_and_makes_nobody_known(
    cache: CredentialsCache, api: ControlPlaneApiFake, now: Monotonic
) -> None:
    await version(cache)
    api.failing = Unreachable()
    again = await cache.get_again("tnt_1")
    assert again is not None and again.credential_version == 1
    with pytest.raises(Unavailable):
        await cache.get_again("tnt_2")
