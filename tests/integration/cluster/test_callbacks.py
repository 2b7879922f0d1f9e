"""Callbacks on a cluster: whoever waits, wherever, meets the call that was made for him."""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support.cluster import DOMAIN, Cluster
from tests.support.following import Following
from tests.support.town import Account, Town
from tests.support.udpagent import UdpCall
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUSTOMERS: Final = 4
ACCOUNTS: Final = 5
"""Of each customer; and one more whose phone answers."""
HELD: Final = 160
"""Calls that wait while they ring."""
RUNG: Final = 40
"""Waits whose account is rung first."""
ORDINARY: Final = 60
AT_A_TIME: Final = 40


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def switch() -> AsyncIterator[Cluster]:
    """A cluster to break. Each test leaves it whole."""
    cluster = Cluster(events=1, env={"appserver": {"TANDEM_TRIGGER_PRIVATE": "1"}})
    try:
        await cluster.start()
        await cluster.log_in()
        yield cluster
        await cluster.log_out()
    finally:
        await cluster.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def town(switch: Cluster) -> AsyncIterator[Town]:
    """A town of its own for each test, which leaves no call and no hint."""
    town = await Town.open(switch)
    try:
        yield town
        await town.quiet()
    finally:
        await town.close()


@dataclass
class Story:
    """A wait, and the call that is meant for it."""

    account: Account
    pattern: str
    number: str
    """Who calls back."""
    to: str
    """The user part that is called."""
    request: dict[str, Any] = field(default_factory=dict)
    appserver: str = ""
    caller: UdpCall | None = None
    """None: the account's phone, which is rung first."""
    callback: UdpCall | None = None
    following: Following | None = None

    def start(self, town: Town) -> None:
        """Begin to wait."""
        self.following = town.follow(
            self.appserver,
            customer=self.account.customer,
            pattern=self.pattern,
            trigger=town.trigger(),
            **self.request,
        )

    async def call_back(self, town: Town) -> None:
        """The provider calls."""
        self.callback = town.provider.call(f"sip:{self.to}@{DOMAIN}", self.number)
        await self.callback.until(self.callback.answered)


def _story(number: str, account: Account, colleague: Account, n: int) -> Story:
    """The ways in which a callback can be addressed, in turn; half of the patterns are vague."""
    pattern = f"+{number[:-2]}*" if n % 2 else number
    to = (
        account.user,  # the account that is called
        colleague.user,  # another one of the customer
        f"contact{n}",  # what a provider was given as our address: no account at all
        f"trunk.{account.user.upper()}",
    )[n // 2 % 4]
    users = [f"Contact{n}"] if to.startswith("contact") else []
    return Story(account, pattern, number, to, {"users": users})


async def _some_at_a_time(work: Iterable[Coroutine[Any, Any, Any]]) -> None:
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(each: Coroutine[Any, Any, Any]) -> None:
        async with places:
            await each

    await asyncio.gather(*map(one, work))


async def _ringing(call: UdpCall) -> None:
    await call.until(call.ringing)


def _report(milliseconds: Sequence[float], silent: int) -> None:
    """What a hint took to be with all proxies, for who runs this with -rP."""
    cuts = statistics.quantiles(milliseconds, n=100)
    sys.stdout.write(
        f"{len(milliseconds)} hints acknowledged: p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms,"
        f" {silent} not by all proxies\n"
    )


def _talk(one: UdpCall, two: UdpCall) -> bool:
    return (one.heard, two.heard) == (two.offer, one.offer)


async def test_each_of_two_hundred_callbacks_meets_its_own_caller(town: Town) -> None:
    customers = [await town.customer() for _ in range(CUSTOMERS)]
    accounts = [await town.account(customer) for customer in customers for _ in range(ACCOUNTS)]
    answering = [await town.account(customer, answers=True) for customer in customers]
    await town.registered([*accounts, *answering])

    stories = []
    for n in range(HELD):
        row, column = divmod(n, ACCOUNTS)
        own = accounts[row % CUSTOMERS * ACCOUNTS :][:ACCOUNTS]
        number = town.number() + "07"  # what is vague in a pattern is nobody else's either
        stories.append(_story(number, own[column], own[column - 1], row))
    for story in stories:
        story.caller = town.ring(story.account, town.number())
        await story.caller.until(story.caller.ringing)
    held = await town.held(story.caller for story in stories if story.caller)
    for story, where in zip(stories, held, strict=True):
        story.appserver, story.request["call_id"] = where.appserver, where.id
    for n in range(RUNG):
        account, number = answering[n % CUSTOMERS], town.number() + "07"
        story = Story(account, number, number, account.user, {"account": account.address})
        story.appserver = f"appserver{1 + n // CUSTOMERS % 2}"
        stories.append(story)
    assert min(Counter(story.appserver for story in stories).values()) > 40

    for story in stories:
        story.start(town)
    waiting = [
        (await story.following.next()).waiting for story in stories if story.following is not None
    ]
    proxies = [proxy.name for proxy in town.cluster.proxies]
    silent = sum(bool(each.silent_proxies) for each in waiting)
    _report([each.acknowledged_ms for each in waiting], silent)

    async def asked() -> bool:
        at_proxies = [await town.hints_at(proxy) for proxy in town.cluster.proxies]
        return len(town.provider.asked) == len(stories) and set(at_proxies) == {len(stories)}

    await eventually(asked, "all to wait at once")
    if not silent:
        assert all(sorted(each.proxies) == proxies for each in waiting)
    ordinary = [(accounts[n % len(accounts)], town.number()) for n in range(ORDINARY)]
    made: list[UdpCall] = []

    async def ring(account: Account, number: str) -> None:
        made.append(town.ring(account, number))
        await made[-1].until(made[-1].ringing)

    work = [
        *(story.call_back(town) for story in stories),
        *(ring(account, number) for account, number in ordinary),
    ]
    random.shuffle(work)
    await _some_at_a_time(work)

    for story in stories:
        assert story.following is not None
        assert story.callback is not None
        end = await story.following.end()
        assert end.matched.caller.startswith(f"sip:{story.number}@"), (story, end)
        rung = story.account.phone.calls if story.caller is None else [story.caller]
        assert sum(_talk(story.callback, call) for call in rung) == 1, story
    # phones have heard of those who called them, and of no callback
    for account in accounts:
        called = [s.caller.caller for s in stories if s.account is account and s.caller]
        called += [number for callee, number in ordinary if callee is account]
        assert Counter(call.caller for call in account.phone.calls) == Counter(called)
    assert all(len(account.phone.calls) == RUNG // CUSTOMERS for account in answering)
    for call in made:
        assert not call.answered.is_set()
        call.cancel()
    ends = [story.callback if n % 3 else story.caller for n, story in enumerate(stories)]
    calls = [end or story.callback for end, story in zip(ends, stories, strict=True)]
    await _some_at_a_time(call.hang_up() for call in calls if call is not None)
