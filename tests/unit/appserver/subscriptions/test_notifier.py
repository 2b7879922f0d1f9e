"""SUBSCRIBE and NOTIFY: who is let in, what is sent when, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from xml.etree import ElementTree

import pytest

from tandem.bus.call_events import CallAnswered, CallEnded, CallStarted
from tandem.bus.directory import DirectoryChanged
from tandem.bus.nodes import NodeState
from tandem.bus.phone_events import SubscriptionAdded
from tandem.bus.phone_events import SubscriptionEnded as Ended
from tandem.bus.ports import Topic
from tandem.rpc.directory import Account
from tandem.runtime.metrics import Metrics
from tandem.sip.message import Request, Response
from tests.support.appserver import PROXY, Phone, Site, account
from tests.support.subscriber import Subscriber


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    accounts = [account(name, owner="we") for name in ("alice", "bob", "dave")]
    async with Site(*accounts, account("eve", owner="others")) as made:
        yield made


@pytest.fixture
async def watch(site: Site) -> Subscriber:
    """Alice watches bob's line."""
    return await Subscriber(Phone(site)).subscribed()


def call(site: Site, *states: str, call_id: str = "c1", caller: str = "bob") -> None:
    """Bob calls somebody, as the B2BUA tells it."""
    for state in states:
        event: Any
        if state == "trying":
            event = CallStarted(
                call_id=call_id, direction="out", caller=f"sip:{caller}@example.com",
                destination="sip:0049123@example.com", source="", sip_call_id="x",
            )  # fmt: skip
        elif state == "confirmed":
            event = CallAnswered(call_id=call_id, leg=1, target="x")
        else:
            event = CallEnded(call_id=call_id, status=200, reason="", duration=0.0)
        site.app.tools.publisher.publish(Topic.EVENTS, event)


def ended(site: Site) -> list[str]:
    return [event.reason for event in site.bus.take(Ended)]


def count(site: Site) -> int:
    return len(site.app.subscriptions.notifier.registry)


# -- admission -----------------------------------------------------------------------------------


async def test_the_2xx_comes_first_and_the_state_at_once_after_it(site: Site) -> None:
    watch = Subscriber(Phone(site))
    assert await watch.subscribe(expires=600) == 200
    assert watch.accepted is not None
    assert watch.accepted.first("expires") == "600"
    assert watch.accepted.values("contact") == ["<sip:10.0.0.9:5070>"]
    assert watch.accepted.values("record-route") == [f"<sip:{watch.phone.token}@{PROXY};lr>"]
    (notify,) = watch.notifies
    assert notify.uri == watch.phone.contact
    assert notify.values("route") == watch.accepted.values("record-route")
    assert notify.first("event") == "dialog"
    assert notify.first("content-type") == "application/dialog-info+xml"
    assert notify.values("contact") == ["<sip:10.0.0.9:5070>"]
    assert (watch.state, watch.version, watch.dialogs) == ("active;expires=600", 0, [])
    (event,) = site.bus.take(SubscriptionAdded)
    assert event.owners == ("we",)
    assert (event.package, event.account, event.watcher, event.source, event.expires) == (
        "dialog", "bob@example.com", "alice@example.com", "udp:203.0.113.7:5060", 600,
    )  # fmt: skip


async def test_who_subscribes_proves_who_it_is(site: Site) -> None:
    phone = Phone(site)
    (response,) = await site.send(
        phone.request("SUBSCRIBE", "sip:bob@example.com", "Event: dialog")
    )
    assert isinstance(response, Response)
    assert response.status == 407
    assert count(site) == 0


@pytest.mark.parametrize(
    ("username", "target", "from_", "status"),
    [
        ("alice", "sip:alice@example.com", None, 200),
        ("alice", "sip:anything.bob@example.com", None, 200),
        ("alice", "sip:eve@example.com", None, 403),
        ("alice", "sip:nobody@example.com", None, 404),
        ("alice", "sip:example.com", None, 484),
        ("alice", "sip:bob@elsewhere.example", None, 404),
        ("alice", "sip:bob@example.com", "<sip:carol@outside.example>;tag=c", 403),
        ("alice", "sip:bob@elsewhere.example", "<sip:carol@outside.example>;tag=c", 404),
        ("alice", "sip:bob@example.com", "<sip:bob@example.com>;tag=c", 403),
    ],
)
async def test_accounts_watch_accounts_of_their_customer(
    site: Site, username: str, target: str, from_: str | None, status: int
) -> None:
    watch = Subscriber(Phone(site, username), target=target)
    assert await watch.subscribe(from_=from_) == status
    assert count(site) == (status == 200)


@pytest.mark.parametrize("changes", [{"enabled": False}, {"owner_enabled": False}])
async def test_an_account_that_may_not_be_used_is_not_watched(
    site: Site, changes: dict[str, Any]
) -> None:
    site.directory.accounts["bob@example.com"] = account("bob", owner="we", **changes)
    assert await Subscriber(Phone(site)).subscribe() in (403, 604)


@pytest.mark.parametrize(
    ("package", "headers", "expires", "status"),
    [
        ("dialog", [], 59, 423),
        ("dialog", ["Accept: application/pidf+xml"], 600, 406),
        ("conference", [], 600, 489),
        ("dialog", ["Require: eventlist"], 600, 420),
        ("dialog", ["Max-Forwards: 0"], 600, 400),
    ],
)
async def test_what_can_not_be_had_is_refused_before_anything_is_kept(
    site: Site, package: str, headers: list[str], expires: int, status: int
) -> None:
    assert await Subscriber(Phone(site), package).subscribe(*headers, expires=expires) == status
    assert count(site) == 0
    assert site.bus.take(SubscriptionAdded) == []


async def test_a_subscribe_without_a_usable_contact_is_refused(site: Site) -> None:
    phone = Phone(site)
    await Subscriber(phone).subscribed()
    request = phone.request("SUBSCRIBE", "sip:bob@example.com", "Event: dialog")
    request.remove("contact")
    (response,) = await site.send(request)
    assert isinstance(response, Response)
    assert response.status == 400


@pytest.mark.parametrize(("asked", "granted"), [(60, 60), (99999, 3600), (None, 3600)])
async def test_the_time_that_is_granted(site: Site, asked: int | None, granted: int) -> None:
    watch = Subscriber(Phone(site))
    await watch.subscribe(expires=asked)
    assert watch.state == f"active;expires={granted}"


async def test_an_account_and_a_node_have_their_limits() -> None:
    accounts = [account(name, owner="we") for name in ("alice", "bob", "dave")]
    limits: dict[str, Any] = {"max_subscriptions": 3, "max_account_subscriptions": 2}
    async with Site(*accounts, **limits) as site:
        alice, dave = Phone(site), Phone(site, "dave")
        for status in (200, 200, 480):
            assert await Subscriber(alice).subscribe() == status
        first = Subscriber(dave)
        for each, status in ((first, 200), (Subscriber(dave), 503)):
            assert await each.subscribe() == status
        assert await Subscriber(dave).subscribe(expires=0) == 200, "a fetch takes no room"
        await first.again(expires=0)
        assert await Subscriber(dave).subscribe() == 200
        assert site.app.subscriptions.notifier.counters.refused == 2


async def test_ten_thousand_subscribes_are_bounded_and_cost_nothing_when_they_are_over() -> None:
    accounts = [account(name, owner="we", ip_acl=("203.0.113.0/24",)) for name in ("alice", "bob")]
    async with Site(*accounts) as site:
        statuses: dict[int, int] = {}
        for _ in range(10_000):
            request = Phone(site).request("SUBSCRIBE", "sip:bob@example.com", "Event: dialog")
            site.link.receiver(request.to_bytes(), PROXY)
            if not len(site.app.tools.accounts):
                await site.settle()
            for message in site.link.take():
                if isinstance(message, Response):
                    statuses[message.status] = statuses.get(message.status, 0) + 1
        assert statuses == {200: 500, 480: 9_500}
        assert count(site) == 500
        site.advance(4000)
        assert count(site) == 0
        assert len(site.app.layer) == 0
        assert len(site.app.subscriptions.lines.calls) == 0


# -- what is told --------------------------------------------------------------------------------


async def test_each_state_of_a_call_is_told_and_versions_grow(watch: Subscriber) -> None:
    call(watch.site, "trying")
    assert len(watch.hear(0.1)) == 1
    assert (watch.version, watch.dialogs) == (1, [("initiator", "trying")])
    await watch.answer()
    call(watch.site, "confirmed")
    assert len(watch.hear(1.1)) == 1
    assert (watch.version, watch.dialogs) == (2, [("initiator", "confirmed")])
    await watch.answer()
    call(watch.site, "ended")
    assert len(watch.hear(1.1)) == 1
    assert (watch.version, watch.dialogs) == (3, [("initiator", "terminated")])
    await watch.answer()
    call(watch.site, "trying", call_id="c2")
    watch.hear(1.1)
    assert watch.dialogs == [("initiator", "trying")], "what is over is told once"


async def test_one_notify_a_second_tells_the_last_state(watch: Subscriber) -> None:
    call(watch.site, "trying")
    assert len(watch.hear(0.1)) == 1
    await watch.answer()
    call(watch.site, "confirmed", "ended")
    call(watch.site, "trying", call_id="c2")
    assert watch.hear(0.8) == []
    assert len(watch.hear(0.2)) == 1
    assert watch.dialogs == [("initiator", "trying"), ("initiator", "terminated")]
    await watch.answer()
    assert watch.hear(5) == []


async def test_what_is_back_as_it_was_is_not_told(watch: Subscriber) -> None:
    call(watch.site, "trying", "ended")
    assert watch.hear(5) == []


async def test_no_notify_goes_out_while_another_one_waits_for_its_answer(watch: Subscriber) -> None:
    call(watch.site, "trying")
    watch.hear(0.1)
    call(watch.site, "confirmed")
    assert watch.hear(10) == []
    assert len(await watch.answer()) == 1
    assert watch.dialogs == [("initiator", "confirmed")]


async def test_calls_of_others_are_not_told(watch: Subscriber) -> None:
    call(watch.site, "trying", "confirmed", caller="dave")
    assert watch.hear(2) == []


async def test_presence_follows_registrations_and_calls(site: Site) -> None:
    watch = await Subscriber(Phone(site, "alice"), "presence").subscribed()
    assert "<basic>closed</basic>" in watch.body
    bob = Phone(site, "bob")
    await bob.registered(f"<{bob.contact}>;expires=100")
    assert len(watch.hear(0.1)) == 1
    assert "<basic>open</basic>" in watch.body
    await watch.answer()
    call(site, "trying")
    assert watch.hear(2) == [], "ringing is nobody's presence"
    call(site, "confirmed")
    watch.hear(2)
    assert "<rpid:on-the-phone" in watch.body
    await watch.answer()
    call(site, "ended")
    watch.hear(2)
    assert "on-the-phone" not in watch.body
    await watch.answer()
    watch.hear(100)
    assert "<basic>closed</basic>" in watch.body


@pytest.mark.parametrize("package", ["dialog", "presence"])
@pytest.mark.parametrize(
    ("target", "entity"),
    [
        ("sip:bob@example.com;transport=tcp", "sip:bob@example.com"),
        ("sip:bob@192.0.2.1:5060", "sip:bob@192.0.2.1:5060"),
        ("sip:BOB@alias.example", "sip:BOB@alias.example"),
        ("tel:bob;x=y", "tel:bob;x=y"),
    ],
)
async def test_an_account_is_named_as_the_subscriber_named_it(
    site: Site, package: str, target: str, entity: str
) -> None:
    watch = await Subscriber(Phone(site), package, target).subscribed()
    assert ElementTree.fromstring(watch.body).get("entity") == entity


async def test_event_ids_are_repeated(site: Site) -> None:
    watch = Subscriber(Phone(site), "dialog;id=17")
    await watch.subscribed()
    assert watch.notifies[0].first("event") == "dialog;id=17"
    assert (await watch.again(event="dialog;id=18")).status == 481
    assert (await watch.again(event="dialog;id=17")).status == 200


# -- refresh and end -----------------------------------------------------------------------------


async def test_a_refresh_lasts_on_and_is_answered_by_the_state(watch: Subscriber) -> None:
    watch.hear(500)
    answer = await watch.again(expires=300)
    assert (answer.status, answer.first("expires")) == (200, "300")
    assert (len(watch.notifies), watch.state) == (2, "active;expires=300")
    await watch.answer()
    assert watch.hear(299) == []
    assert len(watch.hear(1)) == 1
    assert watch.state == "terminated;reason=timeout"
    assert ended(watch.site) == ["expired"]


async def test_refreshes_in_a_row_are_not_each_told(watch: Subscriber) -> None:
    for _ in range(20):
        assert (await watch.again()).status == 200
    assert len(watch.notifies) == 2
    await watch.answer()
    assert len(watch.hear(1)) == 1
    await watch.answer()
    assert watch.hear(5) == []


@pytest.mark.parametrize("expires", [1, 59])
async def test_a_refresh_that_is_too_brief_changes_nothing(watch: Subscriber, expires: int) -> None:
    assert (await watch.again(expires=expires)).status == 423
    assert watch.hear(599) == []
    assert count(watch.site) == 1


async def test_a_refresh_that_comes_late_in_order_is_refused(watch: Subscriber) -> None:
    await watch.again()
    watch.phone.cseq -= 2
    assert (await watch.again()).status == 500


async def test_expires_0_ends_it_with_a_last_notify(watch: Subscriber) -> None:
    answer = await watch.again(expires=0)
    assert (answer.status, answer.first("expires")) == (200, "0")
    assert watch.state == "terminated;reason=timeout"
    assert ended(watch.site) == ["unsubscribed"]
    assert count(watch.site) == 0
    await watch.answer()
    call(watch.site, "trying")
    assert watch.hear(5) == []


async def test_expires_0_at_first_fetches_the_state(site: Site) -> None:
    await Subscriber(Phone(site, "dave")).subscribed()
    call(site, "trying", "confirmed")
    watch = Subscriber(Phone(site))
    assert await watch.subscribe(expires=0) == 200
    assert watch.state == "terminated;reason=timeout"
    assert watch.dialogs == [("initiator", "confirmed")]
    assert count(site) == 1
    assert [event.watcher for event in site.bus.take(SubscriptionAdded)] == ["dave@example.com"]


@pytest.mark.parametrize("method", ["BYE", "NOTIFY", "INFO"])
async def test_other_requests_in_its_dialog_are_not_ours(watch: Subscriber, method: str) -> None:
    request = watch.phone.request(method, "sip:10.0.0.9:5070", to="<sip:bob@example.com>;tag=t")
    assert await watch.site.send(request) == []
    assert watch.site.calls.heard[-1][0] == "in_dialog"


async def test_a_subscribe_in_a_dialog_of_nobody_is_the_calls_to_answer(site: Site) -> None:
    to = "<sip:bob@example.com>;tag=t"
    request = Phone(site).request("SUBSCRIBE", "sip:10.0.0.9:5070", "Event: dialog", to=to)
    assert await site.send(request) == []
    assert site.calls.heard[-1][0] == "in_dialog"


@pytest.mark.parametrize("status", [404, 408, 410, 430, 480, 481, 489, 501, 604])
async def test_an_answer_that_means_that_nobody_is_there_ends_it(
    watch: Subscriber, status: int
) -> None:
    call(watch.site, "trying")
    watch.hear(0.1)
    await watch.answer(status)
    assert count(watch.site) == 0
    assert len(ended(watch.site)) == 1
    call(watch.site, "ended")
    assert watch.hear(10) == []


async def test_no_answer_ends_it(watch: Subscriber) -> None:
    call(watch.site, "trying")
    watch.hear(40)
    assert ended(watch.site) == ["no answer to NOTIFY"]
    assert count(watch.site) == 0


async def test_another_failure_is_followed_by_another_try_and_three_are_enough(
    watch: Subscriber,
) -> None:
    call(watch.site, "trying")
    watch.hear(0.1)
    await watch.answer(500)
    assert watch.hear(4) == []
    assert len(watch.hear(1.2)) == 1
    await watch.answer()
    call(watch.site, "confirmed")
    for seconds in (1.2, 5.2, 5.2):
        assert count(watch.site) == 1
        watch.hear(seconds)
        await watch.answer(503)
    assert count(watch.site) == 0
    assert ended(watch.site) == ["NOTIFY answered 503"]


async def test_what_a_refused_notify_told_is_told_by_the_next(watch: Subscriber) -> None:
    call(watch.site, "trying")
    watch.hear(0.1)
    await watch.answer()
    call(watch.site, "ended")
    watch.hear(1.1)
    await watch.answer(500)
    assert len(watch.hear(5.2)) == 1
    assert watch.dialogs == [("initiator", "terminated")]


async def test_a_connection_that_closes_ends_what_came_over_it(site: Site) -> None:
    over_tcp = await Subscriber(Phone(site, transport="tcp", port=40000)).subscribed()
    await Subscriber(Phone(site, "dave")).subscribed()
    site.link.receiver(f"\x01FLOW-CLOSED {over_tcp.phone.token}".encode(), PROXY)
    assert ended(site) == ["flow closed"]
    assert count(site) == 1
    assert over_tcp.hear(1) == []


@pytest.mark.parametrize(("transport", "left"), [("tcp", 0), ("udp", 1)])
async def test_a_proxy_that_is_away_takes_its_connections_along(
    site: Site, transport: str, left: int
) -> None:
    await Subscriber(Phone(site, transport=transport)).subscribed()
    site.app.subscriptions.notifier.proxy_lost("10.0.0.2:5070", site.now)
    assert count(site) == 1
    site.app.subscriptions.notifier.proxy_lost(PROXY, site.now)
    assert count(site) == left


@pytest.mark.parametrize(
    ("name", "now", "kind", "key"),
    [
        ("bob", None, "sip-account", "Bob@example.com"),
        ("alice", None, "sip-account", "alice@example.com"),
        ("bob", account("bob", owner="we", enabled=False), "sip-account", "bob@example.com"),
        ("bob", account("bob", owner="others"), "sip-account", "bob@example.com"),
        ("alice", account("alice", owner="we", owner_enabled=False), "customer", "we"),
        ("bob", None, "domain", "example.com"),
    ],
)
async def test_an_account_that_may_not_be_used_any_more_ends_its_subscriptions(
    watch: Subscriber, name: str, now: Account | None, kind: str, key: str
) -> None:
    site = watch.site
    if now is None:
        del site.directory.accounts[f"{name}@example.com"]
    else:
        site.directory.accounts[f"{name}@example.com"] = now
    await site.bus.deliver(Topic.DIRECTORY, DirectoryChanged(kind, key))
    await site.settle()
    assert len(watch.hear()) == 1
    assert watch.state == "terminated;reason=rejected"
    assert ended(site) == ["account removed"]


@pytest.mark.parametrize(
    ("kind", "key"),
    [("sip-account", "bob@example.com"), ("sip-account", "dave@example.com"), ("customer", "we"),
     ("customer", "others"), ("domain", "other.example")],
)  # fmt: skip
async def test_other_changes_of_accounts_end_nothing(
    watch: Subscriber, kind: str, key: str
) -> None:
    site = watch.site
    await site.bus.deliver(Topic.DIRECTORY, DirectoryChanged(kind, key))
    await site.settle()
    assert watch.hear(1) == []
    assert count(site) == 1


async def test_a_renewal_finds_out_what_was_not_told(watch: Subscriber) -> None:
    site = watch.site
    site.directory.accounts["bob@example.com"] = account("bob", owner="others")
    watch.hear(301)
    assert (await watch.again()).status == 200, "the old answer serves while it is asked for"
    await watch.answer()
    assert (await watch.again()).status == 403
    assert count(site) == 0


async def test_while_nobody_can_be_asked_subscriptions_go_on(watch: Subscriber) -> None:
    site = watch.site
    site.directory.away = True
    await site.bus.deliver(Topic.DIRECTORY, DirectoryChanged("customer", "we"))
    await site.settle()
    assert (await watch.again()).status == 200
    assert count(site) == 1


# -- draining ------------------------------------------------------------------------------------


async def test_a_node_that_drains_sends_its_subscribers_elsewhere(watch: Subscriber) -> None:
    site = watch.site
    site.app.drain(True)
    assert watch.hear(0.5) == []
    late = await Subscriber(Phone(site, "dave")).subscribed()
    assert len(watch.hear(0.5)) == 1
    assert watch.state == "terminated;reason=deactivated"
    assert ended(site) == ["node drains"]
    assert count(site) == 1, "for want of another, or not heard of yet"
    await site.app.stop()
    late._take(site.link.take())
    assert late.state == "terminated;reason=deactivated"
    assert ended(site) == ["node stopped"]


async def test_a_node_that_drains_no_more_keeps_them(watch: Subscriber) -> None:
    watch.site.app.drain(True)
    watch.site.app.drain(False)
    assert watch.site.app.state == NodeState.ACTIVE
    assert watch.hear(5) == []
    assert count(watch.site) == 1


async def test_many_are_told_in_several_turns() -> None:
    accounts = [account(name, owner="we", ip_acl=("203.0.113.0/24",)) for name in ("alice", "bob")]
    async with Site(*accounts, max_account_subscriptions=250) as site:
        for _ in range(250):
            await Subscriber(Phone(site)).subscribed()
        call(site, "trying")
        told = []
        for _ in range(4):
            site.advance(0.01)
            told.append(len([m for m in site.link.take() if isinstance(m, Request)]))
        assert told == [100, 100, 50, 0]


# -- figures -------------------------------------------------------------------------------------


async def test_metrics_show_what_there_is_and_what_happened(watch: Subscriber) -> None:
    metrics = Metrics()
    watch.site.app.subscriptions.register(metrics)
    await Subscriber(Phone(watch.site), "message-summary").subscribed()
    await Subscriber(Phone(watch.site, "dave"), "presence").subscribed()
    await watch.again(expires=0)
    text = metrics.render().decode()
    for line in (
        'tandem_subscriptions{package="dialog"} 0',
        'tandem_subscriptions{package="message-summary"} 1',
        'tandem_subscriptions{package="presence"} 1',
        "tandem_subscriptions_added_total 3",
        "tandem_subscriptions_ended_total 1",
        "tandem_subscriptions_notified_total 4",
        "tandem_watched_lines 1",
        "tandem_told_lines 1",
        "tandem_mailboxes 0",
    ):
        assert f"\n{line}.0\n" in text
