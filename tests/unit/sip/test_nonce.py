"""Nonces and their counts, with a clock moved by hand."""

from __future__ import annotations

import pytest

from tandem.sip.nonce import COUNT_WINDOW, NonceCounter, NonceSource, NonceState

NOW = 1_800_000_000.5


def test_a_nonce_is_valid_for_its_lifetime_and_stale_after() -> None:
    source = NonceSource(b"secret", 300)
    nonce = source.issue(NOW)
    assert source.check(nonce, NOW) is NonceState.VALID
    assert source.check(nonce, NOW + 299) is NonceState.VALID
    assert source.check(nonce, NOW + 301) is NonceState.STALE


def test_a_nonce_of_another_node_with_the_same_secret_is_known() -> None:
    nonce = NonceSource(b"secret", 300).issue(NOW + 5)
    assert NonceSource(b"secret", 300).check(nonce, NOW) is NonceState.VALID
    assert NonceSource(b"other", 300).check(nonce, NOW) is NonceState.FOREIGN


def test_no_two_nonces_are_alike() -> None:
    source = NonceSource(b"secret", 300)
    assert len({source.issue(NOW) for _ in range(100)}) == 100


@pytest.mark.parametrize("position", range(0, 44, 4))
def test_a_changed_nonce_is_foreign(position: int) -> None:
    source = NonceSource(b"secret", 300, random=lambda count: b"\1" * count)
    nonce = source.issue(NOW)
    changed = "1" if nonce[position] != "1" else "2"
    forged = nonce[:position] + changed + nonce[position + 1 :]
    assert source.check(forged, NOW) is NonceState.FOREIGN


@pytest.mark.parametrize("nonce", ["", "x", "é" * 44, "0" * 44, "\udc80" * 44, "0" * 45])
def test_a_nonce_of_somebody_else_is_foreign(nonce: str) -> None:
    assert NonceSource(b"secret", 300).check(nonce, NOW) is NonceState.FOREIGN


def test_each_count_is_accepted_once() -> None:
    counter = NonceCounter()
    assert [counter.accept("n", count) for count in (1, 1, 2, 2, 3, 1)] == [
        True, False, True, False, True, False,
    ]  # fmt: skip


def test_a_nonce_is_known_once_a_count_of_it_was_accepted() -> None:
    counter = NonceCounter()
    assert "n" not in counter
    assert counter.accept("n", 1)
    assert "n" in counter


def test_requests_that_overtook_each_other_are_accepted_within_the_window() -> None:
    counter = NonceCounter()
    assert counter.accept("n", 20)
    assert all(counter.accept("n", 20 - back) for back in range(1, COUNT_WINDOW + 1))
    assert not any(counter.accept("n", 20 - back) for back in range(COUNT_WINDOW + 1))
    assert not counter.accept("n", 20 - COUNT_WINDOW - 1)


def test_a_leap_forgets_the_window_below() -> None:
    counter = NonceCounter()
    assert counter.accept("n", 1)
    assert counter.accept("n", 1000)
    assert not counter.accept("n", 1)
    assert counter.accept("n", 999)


def test_a_count_of_zero_is_never_accepted() -> None:
    counter = NonceCounter()
    assert not counter.accept("n", 0)
    assert counter.accept("n", 3)
    assert not counter.accept("n", 0)


def test_memory_is_bounded_and_a_nonce_in_use_is_kept() -> None:
    counter = NonceCounter(limit=10)
    assert counter.accept("00000001used", 1)
    for second in range(2, 200):
        assert counter.accept(f"{second:08x}once", 1)
        assert counter.accept("00000001used", second)
        assert len(counter) <= 22
    assert not counter.accept("00000001used", 199)


def test_a_forgotten_nonce_is_not_accepted_again() -> None:
    counter = NonceCounter(limit=2)
    nonces = [f"{second:08x}" for second in range(1, 10)]
    assert all(counter.accept(nonce, 1) for nonce in nonces)
    assert not any(counter.accept(nonce, 1) for nonce in nonces)
