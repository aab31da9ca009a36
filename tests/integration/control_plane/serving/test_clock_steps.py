"""A step of the wall clock, either way: no key ends by it, no answer is forgotten, no token of a node; the warning comes first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from integration.control_plane.databases.in_process_platform import MovableClock
from kit.tiers import others_slow
from kit.waits import until
from spg99.control_plane.fleet import tokens
from spg99.control_plane.identity import keys
from spg99.control_plane.records import kept_answers
from spg99.errors import Unauthorized
from spg99.processes import WatchedClock

HOUR = 3600
DAY = 24 * HOUR
GRACE_SECONDS = keys.GRACE_AFTER_A_STEP.total_seconds()
STEPS = pytest.mark.parametrize("step_seconds", others_slow([2 * HOUR, -2 * HOUR, 400 * DAY, -400 * DAY], first=2))


@pytest.fixture
def movable() -> MovableClock:
    return MovableClock()


@pytest.fixture
def clock(movable: MovableClock) -> WatchedClock:
    return WatchedClock(movable, movable.monotonic)


@pytest.fixture
async def api(make_api: Any, clock: WatchedClock) -> Any:
    return await make_api(clock=clock)


async def opens(api: Any, token: str) -> bool:
    answer = await api.call("GET", "/tenants", token=token)
    assert answer.status_code in (200, 401), answer.text
    return bool(answer.status_code == 200)


async def ends_in_an_hour(api: Any, movable: MovableClock, *permissions: str, **spec: Any) -> Any:
    body = {"name": "short", "permissions": list(permissions), "expires_at": f"{movable.now() + timedelta(hours=1)}"}
    return await api.ok("POST", "/keys", {**body, **spec})


@STEPS
async def test_a_step_ends_no_key_within_the_grace_and_is_the_truth_after_it(
    api: Any, movable: MovableClock, step_seconds: int
) -> None:
    token = (await ends_in_an_hour(api, movable))["token"]
    movable.step(seconds=step_seconds)
    assert await opens(api, token)
    movable.advance(seconds=GRACE_SECONDS - 5)
    assert await opens(api, token), "there was time to put the clock right"
    movable.advance(seconds=10)
    assert await opens(api, token) is (step_seconds < 0), "its end is a date, and the wall clock tells dates"
    movable.step(seconds=-step_seconds)
    assert await opens(api, token), "nothing was lost meanwhile"


async def test_time_that_passes_ends_a_key_after_a_step_too(api: Any, movable: MovableClock) -> None:
    token = (await ends_in_an_hour(api, movable))["token"]
    movable.advance(seconds=HOUR - 60)
    movable.step(seconds=2 * HOUR)
    assert await opens(api, token)
    movable.advance(seconds=61)
    assert not await opens(api, token), "its hour has passed, whatever the wall clock said on the way"


async def test_a_clock_that_steps_there_and_back_is_the_old_one(api: Any, movable: MovableClock) -> None:
    token = (await ends_in_an_hour(api, movable))["token"]
    for _ in range(3):
        movable.step(seconds=2 * HOUR)
        assert await opens(api, token)
        movable.step(seconds=-2 * HOUR)
        assert await opens(api, token)
    movable.advance(seconds=HOUR + 1)
    assert not await opens(api, token)


@STEPS
async def test_a_former_token_lives_on_within_the_grace(api: Any, movable: MovableClock, step_seconds: int) -> None:
    made = await api.ok("POST", "/keys", {"name": "ci"})
    fresh = await api.ok("POST", f"/keys/{made['key_id']}/rotate", {"grace_seconds": 600})
    movable.step(seconds=step_seconds)
    assert await opens(api, made["token"])
    assert await opens(api, fresh["token"])


@STEPS
async def test_revoked_is_revoked(api: Any, movable: MovableClock, step_seconds: int) -> None:
    made = await api.ok("POST", "/keys", {"name": "ci"})
    await api.ok("DELETE", f"/keys/{made['key_id']}")
    movable.step(seconds=step_seconds)
    assert not await opens(api, made["token"])


@pytest.mark.parametrize("step_seconds", [2 * HOUR, -2 * HOUR])
async def test_the_last_administrator_is_not_taken_away_by_a_clock(
    api: Any, movable: MovableClock, step_seconds: int
) -> None:
    """Which one looks ended, and which one not yet, depends on the clock: only who is there by both counts as another."""
    rights = ("can_admin_platform", "can_manage_keys")
    short = await ends_in_an_hour(api, movable, *rights, scope="global")
    (admin,) = [key for key in (await api.ok("GET", "/keys"))["items"] if key["name"] == "admin"]
    if step_seconds < 0:
        movable.advance(seconds=HOUR + 1)  # the short one has ended; a step back seems to bring it to life again
    movable.step(seconds=step_seconds)
    refused = await api.call("DELETE", f"/keys/{admin['key_id']}")
    assert refused.status_code == 409, refused.text
    assert await opens(api, api.admin_token)
    assert short["key_id"] != admin["key_id"]


@STEPS
@pytest.mark.parametrize("retimed", [False, True], ids=["at once", "after the catalogue was told"])
async def test_an_answer_is_told_again_after_a_step(
    api: Any, url: str, movable: MovableClock, clock: WatchedClock, step_seconds: int, retimed: bool
) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await api.call("POST", "/tenants", {"name": "acme"}, headers=headers)
    await api.ok("PUT", "/idempotency-keys/acknowledged", {"keys": ["other"]})
    movable.step(seconds=step_seconds)
    if retimed:
        store = api.app.state.plane.store
        async with store.transaction() as tx:
            await kept_answers.retime(tx, clock.now())
    # The janitor, were it to run now, would find nothing old; a restarted process sees no step any more.
    with psycopg.connect(url) as catalogue:
        ends = [row[0] for row in catalogue.execute("select expires_at from idempotency_keys")]
    assert len(ends) == 2
    assert not retimed or all(end == ends[0] > clock.now() + timedelta(hours=23) for end in ends)
    again = await api.call("POST", "/tenants", {"name": "acme"}, headers=headers)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotency-replayed"] == "true"


async def test_a_step_reaches_the_kept_answers_by_itself(api: Any, url: str, movable: MovableClock) -> None:
    """A process that starts after the step does not know of it: what it goes by is what stands in the catalogue."""
    await api.call("POST", "/tenants", {"name": "acme"}, headers={"Idempotency-Key": "k"})
    movable.step(seconds=400 * DAY)
    await api.call("POST", "/tenants/acme/dbs", {"name": "app"})  # wakes the reconciler, which notices

    async def kept() -> bool:
        async with await psycopg.AsyncConnection.connect(url) as catalogue:
            cursor = await catalogue.execute("select min(expires_at) from idempotency_keys")
            row = await cursor.fetchone()
            return row is not None and bool(row[0] > movable.now() + timedelta(hours=23))

    await until("it is kept", kept)


@pytest.mark.parametrize("step_seconds", [2 * HOUR, -2 * HOUR])
async def test_a_machine_that_hears_of_the_time_while_it_starts(
    api: Any, movable: MovableClock, clock: WatchedClock, step_seconds: int
) -> None:
    store = api.app.state.plane.store
    async with store.transaction() as tx:
        early, late = [await tokens.new_enrolment(tx, "node", clock.now()) for _ in range(2)]
    movable.step(seconds=step_seconds)
    async with store.transaction() as tx:
        await tokens.use(tx, early, "node", clock)
    if step_seconds > 0:
        movable.advance(seconds=16 * 60)
        async with store.transaction() as tx:
            with pytest.raises(Unauthorized):
                await tokens.use(tx, late, "node", clock)
