"""The cache before the Directory."""

from __future__ import annotations

import asyncio

import pytest

from services.appserver.handlers import accounts
from services.appserver.handlers.accounts import AccountCache, Miss
from tandem.rpc.directory import Account
from tests.support.appserver import DOMAIN, FakeDirectory, account


class Bench:
    """A cache with a clock moved by hand."""

    def __init__(self, *known: Account, limit: int = 100) -> None:
        self.now = 0.0
        self.directory = FakeDirectory(*known)
        self.tasks: set[asyncio.Task[None]] = set()
        self.cache = AccountCache(
            self.directory, lambda work: self.tasks.add(asyncio.ensure_future(work)),
            lambda: self.now, fresh_seconds=300, usable_seconds=3600, missing_seconds=15,
            limit=limit,
        )  # fmt: skip

    def get(self, username: str = "alice") -> Account | Miss | None:
        return self.cache.get(username, DOMAIN, self.now)

    async def fetch(self, username: str = "alice") -> Account | Miss | None:
        done = asyncio.Event()
        assert self.cache.wait(username, DOMAIN, done.set)
        await done.wait()
        return self.get(username)

    async def settle(self) -> None:
        await asyncio.gather(*self.tasks)


async def test_an_account_is_asked_for_once_and_found_in_any_case() -> None:
    bench = Bench(account("alice"))
    assert bench.get() is Miss.UNKNOWN
    assert await bench.fetch() == account("alice")
    assert bench.get("ALICE") == account("alice")
    assert bench.directory.asked == 1


@pytest.mark.parametrize("name", ["\udce4", "a\0", "a\r\nX: b", "a" * 129])
async def test_a_name_that_nobody_can_have_is_not_asked_for(name: str) -> None:
    bench = Bench()
    assert bench.get(name) is None
    assert bench.directory.asked == 0


async def test_that_an_account_is_missing_is_remembered_for_a_while() -> None:
    bench = Bench()
    assert await bench.fetch() is None
    assert bench.get() is None
    bench.now = 16
    assert bench.get() is Miss.UNKNOWN


async def test_an_old_entry_serves_while_it_is_asked_for_anew() -> None:
    bench = Bench(account("alice"))
    await bench.fetch()
    bench.directory.accounts["alice@example.com"] = changed = account("alice", "changed")
    bench.now = 301
    assert bench.get() == account("alice")
    await bench.settle()
    assert bench.get() == changed


async def test_a_very_old_entry_is_asked_for_before_it_serves() -> None:
    bench = Bench(account("alice"))
    await bench.fetch()
    bench.now = 3601
    assert bench.get() is Miss.UNKNOWN


async def test_a_very_old_entry_serves_on_when_nobody_answers() -> None:
    bench = Bench(account("alice"))
    await bench.fetch()
    bench.now = 7200
    bench.directory.away = True
    assert await bench.fetch() == account("alice")


async def test_without_an_answer_nobody_is_asked_again_at_once() -> None:
    bench = Bench()
    bench.directory.away = True
    assert await bench.fetch() is Miss.UNAVAILABLE
    bench.now = 3
    assert bench.get() is Miss.UNKNOWN


async def test_a_fault_of_the_directory_is_like_no_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(username: str, domain: str) -> Account | None:
        raise RuntimeError("broken")

    bench = Bench()
    monkeypatch.setattr(bench.directory, "account", broken)
    assert await bench.fetch() is Miss.UNAVAILABLE
    assert "look-up of an account failed" in caplog.text


async def test_a_directory_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(username: str, domain: str) -> Account | None:
        await asyncio.Event().wait()
        return None

    bench = Bench()
    monkeypatch.setattr(bench.directory, "account", hang)
    monkeypatch.setattr(accounts, "FETCH_SECONDS", 0.0)
    assert await bench.fetch() is Miss.UNAVAILABLE


@pytest.mark.parametrize(
    ("kind", "key", "gone"),
    [
        ("sip-account", "Alice@example.com", True), ("sip-account", "bob@example.com", False),
        ("customer", "owner-alice", True), ("customer", "owner-bob", False),
        ("domain", "example.com", True), ("domain", "other.example", False),
    ],
)  # fmt: skip
async def test_a_change_makes_what_it_touches_asked_for(kind: str, key: str, gone: bool) -> None:
    bench = Bench(account("alice"))
    await bench.fetch()
    bench.cache.invalidate(kind, key)
    assert (bench.get() is Miss.UNKNOWN) == gone


async def test_an_account_that_changes_while_it_is_asked_for_is_asked_for_again() -> None:
    bench = Bench(account("alice"))
    waiting = asyncio.ensure_future(bench.fetch())
    await asyncio.sleep(0)
    bench.cache.invalidate("sip-account", "alice@example.com")
    await waiting
    assert bench.directory.asked == 2


async def test_the_longest_unused_gives_way() -> None:
    bench = Bench(account("a"), account("b"), account("c"), limit=2)
    await bench.fetch("a")
    await bench.fetch("b")
    bench.get("a")
    await bench.fetch("c")
    assert bench.get("b") is Miss.UNKNOWN
    assert bench.get("a") == account("a")
    assert len(bench.cache) == 2


async def test_no_more_wait_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MAX_WAITING", 2)
    bench = Bench()
    assert bench.cache.wait("a", DOMAIN, lambda: None)
    assert bench.cache.wait("a", DOMAIN, lambda: None)
    assert not bench.cache.wait("b", DOMAIN, lambda: None)
    await bench.settle()
    assert bench.cache.wait("b", DOMAIN, lambda: None)
    await bench.settle()


async def test_one_who_waits_and_fails_does_not_hold_the_others_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    bench = Bench()
    bench.cache.wait("alice", DOMAIN, broken)
    assert await bench.fetch() is None
    assert "failed" in caplog.text
