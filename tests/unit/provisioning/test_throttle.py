"""Failed logins slow down, then lock."""

from __future__ import annotations

from services.provisioning.domain import throttle
from services.provisioning.domain.throttle import LoginThrottle


def _fail(guard: LoginThrottle, times: int, now: float = 0.0) -> float:
    """Fail as fast as it lets us; the time when the last failure was taken."""
    for _ in range(times):
        wait = guard.charge("alice", "192.0.2.1", now)
        now += wait
        if wait:
            assert guard.charge("alice", "192.0.2.1", now) == 0
    return now


def test_the_waits_double_from_the_fourth_failure_on_until_the_lock() -> None:
    guard, now = LoginThrottle(), 0.0
    waits: list[int] = []
    for _ in range(throttle.LOCK_AFTER):
        assert guard.charge("alice", "192.0.2.1", now) == 0
        wait = guard.charge("alice", "192.0.2.1", now) if len(waits) >= 3 else 0
        waits.append(wait)
        now += wait
    assert waits == [0, 0, 0, 1, 2, 4, 8, 16, 32, int(throttle.LOCK_SECONDS)]


def test_a_refused_attempt_does_not_prolong_the_wait() -> None:
    guard = LoginThrottle()
    now = _fail(guard, throttle.LOCK_AFTER)
    for _ in range(100):
        assert guard.charge("alice", "192.0.2.1", now) == throttle.LOCK_SECONDS
    assert guard.charge("alice", "192.0.2.1", now + throttle.LOCK_SECONDS) == 0


def test_a_right_password_forgives_and_an_hour_forgets() -> None:
    guard = LoginThrottle()
    _fail(guard, 3)
    guard.forgive("Alice", "192.0.2.1")
    assert len(guard) == 0
    now = _fail(guard, throttle.LOCK_AFTER) + throttle.FORGET_SECONDS + 1
    assert [guard.charge("alice", "192.0.2.1", now) for _ in range(4)] == [0, 0, 0, 0]


def test_an_attempt_that_could_not_be_looked_at_costs_nothing() -> None:
    guard = LoginThrottle()
    for _ in range(50):
        assert guard.charge("alice", "192.0.2.1", 0.0) == 0
        guard.refund("alice", "192.0.2.1", 0.0)


def test_a_whole_ipv6_site_is_one_source_and_another_address_is_not() -> None:
    guard = LoginThrottle()
    for host in range(4):
        assert guard.charge("alice", f"2001:db8::{host}", 0.0) == 0
    assert guard.charge("alice", "2001:db8::ffff", 0.0) == 1
    assert guard.charge("alice", "2001:db8:0:1::1", 0.0) == 0
    assert guard.charge("bob", "2001:db8::1", 0.0) == 0


def test_the_table_is_bounded_and_forgets_the_quietest() -> None:
    guard = LoginThrottle()
    for number in range(throttle.MAX_PAIRS + 10):
        guard.charge(f"u{number}", "unix socket", 0.0)
    assert len(guard) == throttle.MAX_PAIRS
