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

from tests.integration.cluster.conftest import MakePlace
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
async def switch(make_place: MakePlace) -> AsyncIterator[Cluster]:
    """A cluster to break. Each test leaves it whole."""
    env = {"appserver": {"TANDEM_TRIGGER_PRIVATE": "1"}}
    cluster = Cluster(**await asyncio.to_thread(make_place), events=1, env=env)
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
        # a proxy may have to start first: an INVITE is sent again after 15 s, and after 31
        await self.callback.until(self.callback.answered, 40)


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


async def _joined(callback: UdpCall, calls: Sequence[UdpCall]) -> None:
    """One of these calls is joined to the callback: each end has, or soon gets, what the other
    offers, and nobody else does."""

    async def look() -> bool:
        return any(_talk(callback, call) for call in calls)

    await eventually(look, "both ends to have heard of each other")
    assert sum(_talk(callback, call) for call in calls) == 1


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
        await _joined(story.callback, rung)
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


async def _wait(town: Town, account: Account, appserver: str, pattern: str, **more: Any) -> Story:
    """Somebody waits there, and all proxies that run know it."""
    held = await town.hold(account, appserver, town.cluster.proxies[0].sip)
    story = Story(account, pattern, pattern, account.user, {"call_id": held.id, **more})
    story.appserver, story.caller = appserver, held.call
    story.start(town)
    assert story.following is not None
    assert (await story.following.next()).waiting.call_id == held.id
    return story


async def _met(story: Story) -> None:
    """The callback came to its caller; then they hang up."""
    assert story.following is not None
    assert story.caller is not None
    assert story.callback is not None
    assert (await story.following.end()).matched.caller.startswith(f"sip:{story.number}@")
    await _joined(story.callback, [story.caller])
    await story.callback.hang_up()
    await story.caller.until(story.caller.over)


async def _is_ordinary(town: Town, account: Account, number: str, proxy: str = "") -> None:
    """A call from this number rings at the phone."""
    call = town.ring(account, number, proxy=proxy)
    await call.until(call.ringing)
    assert [each.caller for each in account.phone.calls].count(number) == 1
    call.cancel()
    await call.until(call.over)


async def test_of_two_who_wait_for_one_user_each_gets_the_call_that_fits_him_best(
    town: Town,
) -> None:
    account = await town.account(await town.customer())
    await town.registered([account])
    vague = await _wait(town, account, "appserver1", "4930*")
    exact = await _wait(town, account, "appserver2", "+4930123")
    exact.number, vague.number = "4930123", "004930123"
    assert vague.following is not None
    for proxy in town.cluster.proxies:
        await _is_ordinary(town, account, f"49{proxy.name}", proxy.sip)
    await exact.call_back(town)
    await _met(exact)
    vague.number = "4930123"  # nobody else waits for that number now
    await vague.call_back(town)
    await _met(vague)
    for proxy in town.cluster.proxies:
        account.phone.calls.clear()
        await _is_ordinary(town, account, "4930123", proxy.sip)


async def test_a_callback_after_its_wait_ended_is_ordinary(town: Town) -> None:
    account = await town.account(await town.customer())
    await town.registered([account])
    late = await _wait(town, account, "appserver1", town.number(), timeout_seconds=1)
    given_up = await _wait(town, account, "appserver2", town.number())
    assert late.following is not None
    assert given_up.following is not None
    given_up.following.stream.cancel()
    assert (await late.following.end()).failed.reason == "no callback"
    await town.quiet()
    for story in (late, given_up):
        await _is_ordinary(town, account, story.number)


async def test_a_proxy_that_starts_late_has_the_hints_before_it_takes_traffic(town: Town) -> None:
    account = await town.account(await town.customer())
    await town.registered([account])
    stories = [
        await _wait(town, account, f"appserver{1 + n % 2}", town.number()) for n in range(16)
    ]
    late = town.cluster.proxies[1]
    late.kill()
    stories += [await _wait(town, account, "appserver1", town.number())]
    late.spawn()
    town.provider.through = lambda: late.sip
    calls = []
    for story in stories:  # at any time one of them is about to be sent again
        calls.append(asyncio.create_task(story.call_back(town)))
        await asyncio.sleep(0.1)
    await asyncio.gather(*calls)
    for story in stories:
        await _met(story)
    rung = {call.caller for call in account.phone.calls}
    assert rung == {story.caller.caller for story in stories if story.caller}
    await late.child.ready(60)
    await town.cluster.is_ready(late)


async def test_the_hints_of_an_appserver_that_was_killed_do_no_harm(town: Town) -> None:
    account = await town.account(await town.customer())
    await town.registered([account])
    mine = await _wait(town, account, "appserver1", town.number())
    lost = [
        await _wait(town, account, "appserver2", town.number(), timeout_seconds=10)
        for _ in range(3)
    ]
    node = town.cluster["appserver2"]
    node.kill()
    first, second = town.cluster.proxies
    await _is_ordinary(town, account, lost[0].number, first.sip)
    await _is_ordinary(town, account, lost[1].number, second.sip)
    await mine.call_back(town)
    await _met(mine)
    await node.start()
    await town.cluster.is_ready(node)
    await _is_ordinary(town, account, lost[2].number, first.sip)
    for story in lost:
        assert story.caller is not None
        story.caller.cancel()
    await town.quiet(40)
