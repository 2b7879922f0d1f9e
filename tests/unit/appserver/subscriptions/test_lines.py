"""Lines of calls that run on another appserver than the one with the subscription."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest

from services.appserver.handlers.calls import Calls
from services.appserver.handlers.subscriptions import lines as module
from tandem.bus.lines import HOLD_SECONDS, MAX_ACCOUNTS, WANT_SECONDS, LinesKnown, LinesWanted
from tandem.bus.location import BindingStored
from tandem.bus.nodes import NodeAnnounced, Nodes, NodeState
from tandem.bus.ports import Topic
from tandem.sip.build import response_to
from tandem.sip.message import Request, Response
from tests.support.appserver import Phone, Site, account
from tests.support.subscriber import Subscriber, exchange

SDP = "Content-Type: application/sdp"


class Two:
    """Two appservers. Bob's phone is registered at the first, which has his calls; who watches him
    subscribes at the second."""

    def __init__(self) -> None:
        accounts = [account(name, owner="we") for name in ("alice", "bob", "dave")]
        self.one = Site(*accounts, b2bua=Calls, node_id="as1")
        self.two = Site(*accounts, b2bua=Calls, node_id="as2")
        self.two.link.address = "10.0.0.8:5070"
        self.bob = Phone(self.one, "bob")
        self.alice = Phone(self.one)
        self.watch = Subscriber(Phone(self.two, "dave"))
        self.others = [
            NodeAnnounced(node=name, kind="appserver", incarnation=1, version="1")
            for name in ("as1", "as2")
        ]
        for site in self.sites:
            site.app.join(Nodes(site.bus, site.app.describe, partial(getattr, site, "now")))

    @property
    def sites(self) -> tuple[Site, Site]:
        return self.one, self.two

    async def start(self) -> None:
        for site in self.sites:
            await site.app.start()
            await site.bus.deliver(Topic.NODES, *self.others)
        await self.bob.registered()
        (stored,) = self.one.bus.take(BindingStored)
        await self.two.bus.deliver(Topic.LOCATION, stored, node="as1")
        await exchange(*self.sites)

    async def stop(self) -> None:
        for site in self.sites:
            await site.app.stop()
            assert site.app.counters.errors == 0

    async def carry(self) -> list[Request]:
        """Let the appservers talk; what the watcher hears of it."""
        for site in self.sites:
            site.advance(0.03)
        await exchange(*self.sites)
        return self.watch.hear(1.0)

    async def ring(self) -> Request:
        """Alice calls bob; the INVITE at his phone."""
        sent = await self.alice.asked("INVITE", "sip:bob@example.com", SDP, body=b"v=0")
        invite = next(message for message in sent if isinstance(message, Request))
        return invite

    async def answer(self, invite: Request, status: int) -> None:
        lines = ["Contact: <sip:bob@192.168.1.2>"]
        response = response_to(invite, status, tag="b", headers=lines)
        await self.one.send(response.to_bytes())


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    made = Two()
    await made.start()
    yield made
    await made.stop()


async def test_a_subscriber_hears_of_a_call_on_the_other_appserver(two: Two) -> None:
    await two.watch.subscribed()
    assert await two.carry() == []
    invite = await two.ring()
    for status, state in ((None, "trying"), (180, "early"), (200, "confirmed")):
        if status is not None:
            await two.answer(invite, status)
        assert len(await two.carry()) == 1
        assert two.watch.dialogs == [("recipient", state)]
        await two.watch.answer()
    assert "sip:alice@example.com" in two.watch.body
    (call,) = two.one.app.calls.live()
    two.one.app.hang_up(call.id, "test")
    await two.carry()
    assert two.watch.dialogs == [("recipient", "terminated")]


async def test_one_who_subscribes_in_the_middle_of_a_call_is_told_right_after(two: Two) -> None:
    await two.answer(await two.ring(), 180)
    await two.watch.subscribed()
    assert two.watch.dialogs == []
    await exchange(*two.sites)
    two.two.advance(0.03)
    await exchange(*two.sites)
    assert len(two.watch.hear(0.03)) == 1, "without waiting for a second"
    assert two.watch.dialogs == [("recipient", "early")]


async def test_who_fetches_waits_for_what_the_others_have(two: Two) -> None:
    await two.answer(await two.ring(), 200)
    assert await two.watch.subscribe(expires=0) == 200
    assert two.watch.notifies == []
    two.two.advance(0.03)
    await exchange(*two.sites)
    assert len(two.watch.hear(0.25)) == 1
    assert two.watch.dialogs == [("recipient", "confirmed")]
    assert two.watch.state == "terminated;reason=timeout"
    assert len(two.two.app.subscriptions.lines) == 0


async def test_presence_has_registrations_and_calls_of_the_other_appserver(two: Two) -> None:
    two.watch.package = "presence"
    await two.watch.subscribed()
    assert "<basic>open</basic>" in two.watch.body
    await two.answer(await two.ring(), 200)
    await two.carry()
    assert "<rpid:on-the-phone" in two.watch.body


async def test_nothing_is_said_of_accounts_that_nobody_watches(two: Two) -> None:
    await two.answer(await two.ring(), 180)
    two.one.advance(5)
    assert two.one.bus.take(LinesKnown) == []
    assert len(two.one.app.subscriptions.lines.calls) == 0


async def test_what_is_wanted_is_said_again_and_ends_when_it_is_not(two: Two) -> None:
    await two.watch.subscribed(expires=3600)
    await two.carry()
    one, other = two.one.app.subscriptions.lines, two.two.app.subscriptions.lines
    assert len(one.calls) == 1
    two.two.advance(WANT_SECONDS)
    (said,) = two.two.bus.take(LinesWanted)
    assert said.accounts == ("bob@example.com",)
    assert said.until - two.two.wall == pytest.approx(HOLD_SECONDS, abs=WANT_SECONDS)
    await two.watch.again(expires=0)
    assert (len(other), len(other.calls)) == (0, 0)
    two.one.advance(HOLD_SECONDS + WANT_SECONDS)
    assert len(one.calls) == 0


@pytest.mark.parametrize(
    "change",
    [{"state": NodeState.STOPPED}, {"state": NodeState.LOST}, {"incarnation": 2}],
    ids=["stopped", "lost", "anew"],
)
async def test_the_lines_of_an_appserver_that_is_gone_are_free(
    two: Two, change: dict[str, object]
) -> None:
    await two.watch.subscribed()
    await two.answer(await two.ring(), 200)
    await two.carry()
    assert two.watch.dialogs == [("recipient", "confirmed")]
    await two.watch.answer()
    before = two.others[0]
    lines = two.two.app.subscriptions.lines
    lines.node_changed(replace(before, **change), before)  # type: ignore[arg-type]
    assert len(two.watch.hear(1.1)) == 1
    assert two.watch.dialogs == [("recipient", "terminated")]


async def test_one_that_came_or_was_only_cut_off_is_asked_at_once(two: Two) -> None:
    await two.watch.subscribed()
    await two.carry()
    two.two.bus.take(LinesWanted)
    lines, now = two.two.app.subscriptions.lines, two.others[0]
    befores = (
        None,
        replace(now, state=NodeState.LOST),
        replace(now, state=NodeState.STOPPED),
        replace(now, incarnation=0),
    )
    for before in befores:
        lines.node_changed(now, before)
        assert len(two.two.bus.take(LinesWanted)) == 1
    lines.node_changed(now, replace(now, state=NodeState.DRAINING))
    lines.node_changed(replace(now, kind="proxy"), None)
    assert two.two.bus.take(LinesWanted) == []


async def test_after_the_broker_was_away_all_is_asked_anew(two: Two) -> None:
    await two.watch.subscribed()
    await two.answer(await two.ring(), 200)
    two.one.advance(0.03)
    for site in two.sites:
        site.bus.published.clear()  # the broker is away
    for resumed in two.two.bus.resumed:
        resumed()
    await two.carry()
    assert two.watch.dialogs == [("recipient", "confirmed")]


async def test_the_appserver_with_the_calls_alone_needs_no_broker(two: Two) -> None:
    watch = await Subscriber(Phone(two.one, "dave")).subscribed()
    await two.ring()
    assert len(watch.hear(0.1)) == 1
    assert watch.dialogs == [("recipient", "trying")]


async def test_many_accounts_are_said_in_several_messages(two: Two) -> None:
    lines = two.two.app.subscriptions.lines
    names = [f"u{n}@example.com" for n in range(2 * MAX_ACCOUNTS + 1)]
    for name in names:
        lines.watch(name)
    two.two.advance(0.03)
    said = two.two.bus.take(LinesWanted)
    assert [len(each.accounts) for each in said] == [MAX_ACCOUNTS, MAX_ACCOUNTS, 1]
    assert [name for each in said for name in each.accounts] == names


async def test_accounts_that_others_watch_are_bounded(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OTHERS", 2)
    for names in (["a@x", "b@x", "c@x"], ["c@x", "a@x"]):
        await two.one.bus.deliver(
            Topic.LINES, LinesWanted(tuple(names), two.one.wall + 60), node="as2"
        )
    said = two.one.bus.take(LinesKnown)
    assert [each.accounts for each in said] == [("a@x", "b@x"), ("a@x",)]
    assert len(two.one.app.subscriptions.lines.calls) == 2


async def test_what_makes_no_sense_is_counted_and_costs_only_itself(two: Two) -> None:
    await two.watch.subscribed()
    bad = LinesWanted(None, 0.0)  # type: ignore[arg-type]
    good = LinesWanted(("alice@example.com",), two.one.wall + 60)
    await two.one.bus.deliver(Topic.LINES, "rubbish", bad, good, node="as2")
    assert "alice@example.com" in two.one.app.subscriptions.lines.calls
    assert two.one.app.counters.errors == 1
    two.one.app.counters.errors = 0


async def test_an_answer_to_a_last_notify_changes_nothing(two: Two) -> None:
    await two.watch.subscribed()
    await two.watch.again(expires=0)
    assert await two.watch.answer(500) == []
    assert isinstance(two.watch.accepted, Response)
