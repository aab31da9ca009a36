"""Back-off of log-ins: who guesses is slowed, who shares an address with him is not, and all is forgotten soon."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spg99.gateway.login_backoff import (
    ADDRESS,
    ANNOUNCED_SECONDS,
    DELAY_SECONDS_MAX,
    ENTRIES_MAX,
    FORGOTTEN_SECONDS,
    KNOWN_SECONDS,
    USER,
    LoginBackOff,
)

HERE = "203.0.113.7"


def fail(backoff: LoginBackOff, times: int, *, user: str = "tnt_a", address: str = HERE, now: float = 0) -> None:
    for _ in range(times):
        backoff.failed(address, user, now=now)


def test_one_forgotten_job_slows_itself_and_nobody_else() -> None:
    """The case: 1,000 wrong passwords from one address, then another tenant's right one from there."""
    backoff = LoginBackOff()
    fail(backoff, 1000)
    assert backoff.delay_seconds(HERE, "tnt_a", now=0) == DELAY_SECONDS_MAX
    assert backoff.delay_seconds(HERE, "tnt_b", now=0) == 0
    assert backoff.delay_seconds("203.0.113.8", "tnt_a", now=0) == 0


def test_it_goes_on_for_a_day_and_still_slows_only_itself() -> None:
    backoff = LoginBackOff()
    for second in range(0, 24 * 3600, 2):
        backoff.failed(HERE, "tnt_a", now=second)
    now = 24 * 3600.0
    assert backoff.delay_seconds(HERE, "tnt_b", now=now) == 0
    assert backoff.delay_seconds(HERE, "tnt_a", now=now) > 0
    assert backoff.delay_seconds(HERE, "tnt_a", now=now + 120) == 0


def test_delays_grow_and_are_bounded() -> None:
    backoff, delays = LoginBackOff(), []
    for _ in range(30):
        delays.append(backoff.delay_seconds(HERE, "tnt_a", now=0))
        backoff.failed(HERE, "tnt_a", now=0)
    assert delays[: USER.free_failures] == [0.0] * USER.free_failures
    assert delays == sorted(delays)
    assert delays[-1] == DELAY_SECONDS_MAX


def test_trying_one_password_on_many_users_slows_the_address() -> None:
    backoff = LoginBackOff()
    for i in range(ADDRESS.free_failures - 1):
        backoff.failed(HERE, f"tnt_{i}", now=0)
    assert backoff.delay_seconds(HERE, "tnt_new", now=0) == 0
    for i in range(100):
        backoff.failed(HERE, f"tnt_more_{i}", now=0)
    assert backoff.delay_seconds(HERE, "tnt_new", now=0) == DELAY_SECONDS_MAX


FAILURES = st.lists(
    st.tuples(st.sampled_from([HERE, "198.51.100.1", "2001:db8::1", "2001:db8::2"]), st.integers(0, 40), st.floats(0, 90)),
    max_size=300,
)  # fmt: skip


@given(failures=FAILURES)
def test_forgotten_within_minutes(failures: list[tuple[str, int, float]]) -> None:
    backoff, now = LoginBackOff(), 0.0
    for address, user, seconds in failures:
        now += seconds
        backoff.failed(address, f"tnt_{user}", now=now)
        assert 0 <= backoff.delay_seconds(address, f"tnt_{user}", now=now) <= DELAY_SECONDS_MAX
    assert FORGOTTEN_SECONDS < 300
    for address, user, _ in failures:
        assert backoff.delay_seconds(address, f"tnt_{user}", now=now + FORGOTTEN_SECONDS) == 0


@given(failures=FAILURES, well_at=st.integers(0, 300))
def test_who_logged_in_well_from_there_is_not_slowed(failures: list[tuple[str, int, float]], well_at: int) -> None:
    backoff, now = LoginBackOff(), 0.0
    backoff.succeeded(HERE, "tnt_1", now=now)
    for i, (address, user, seconds) in enumerate(failures):
        now += seconds
        backoff.failed(address, f"tnt_{user}", now=now)
        if i == well_at:
            backoff.succeeded(HERE, "tnt_2", now=now)
        assert backoff.delay_seconds(HERE, "tnt_1", now=now) == 0
        if i >= well_at:
            assert backoff.delay_seconds(HERE, "tnt_2", now=now) == 0


def test_known_for_a_day() -> None:
    backoff = LoginBackOff()
    backoff.succeeded(HERE, "tnt_a", now=0)
    fail(backoff, 100, now=KNOWN_SECONDS + 1)
    assert backoff.delay_seconds(HERE, "tnt_a", now=KNOWN_SECONDS + 1) == DELAY_SECONDS_MAX


@given(failures=FAILURES, others=st.integers(0, 3))
def test_another_address_is_another_affair(failures: list[tuple[str, int, float]], others: int) -> None:
    backoff, now = LoginBackOff(), 0.0
    for address, user, seconds in failures:
        now += seconds
        backoff.failed(address, f"tnt_{user}", now=now)
    assert backoff.delay_seconds(f"192.0.2.{others}", "tnt_1", now=now) == 0


@given(failures=FAILURES, more=st.integers(1, 20))
def test_another_failure_never_makes_it_faster(failures: list[tuple[str, int, float]], more: int) -> None:
    backoff, now = LoginBackOff(), 0.0
    for address, user, seconds in failures:
        now += seconds
        backoff.failed(address, f"tnt_{user}", now=now)
    for _ in range(more):
        before = backoff.delay_seconds(HERE, "tnt_1", now=now)
        backoff.failed(HERE, "tnt_1", now=now)
        assert backoff.delay_seconds(HERE, "tnt_1", now=now) >= before


def test_a_whole_ipv6_network_is_one_and_mapped_addresses_are_ipv4() -> None:
    backoff = LoginBackOff()
    for i in range(20):
        backoff.failed(f"2001:db8::{i:x}", "tnt_a", now=0)
    assert backoff.delay_seconds("2001:db8::ffff", "tnt_a", now=0) > 0
    assert backoff.delay_seconds("2001:db8:0:1::1", "tnt_a", now=0) == 0
    fail(backoff, 20, address="::ffff:10.0.0.1")
    assert backoff.delay_seconds("10.0.0.1", "tnt_a", now=0) > 0
    assert backoff.delay_seconds("::ffff:10.0.0.2", "tnt_a", now=0) == 0


def test_only_so_much_is_remembered() -> None:
    backoff = LoginBackOff()
    backoff.succeeded(HERE, "tnt_a", now=0)
    for i in range(ENTRIES_MAX + 5000):
        backoff.failed(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", "tnt_b", now=0)
    assert backoff.entry_count == 2 * ENTRIES_MAX + 1
    fail(backoff, 1000)
    assert backoff.delay_seconds(HERE, "tnt_a", now=0) == 0, "failures never push out who is known"


def test_that_it_begins_is_news_and_that_it_goes_on_is_none() -> None:
    backoff = LoginBackOff()
    news = [backoff.failed(HERE, "tnt_a", now=0) for _ in range(500)]
    assert sum(news) == 1 and news.index(True) == USER.free_failures - 1
    assert not backoff.failed(HERE, "tnt_b", now=0), "another user is his own story"
    later = ANNOUNCED_SECONDS
    assert sum(backoff.failed(HERE, "tnt_a", now=later + second / 10) for second in range(500)) == 1
