"""Appservers and proxies that come and go, as one appserver sees it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any

import pytest

from services.appserver.domain.callbacks import Callback
from services.appserver.handlers.calls import Calls
from services.appserver.handlers.membership import SETTLE_SECONDS
from tandem.bus.call_events import CallRecord, SipTrace
from tandem.bus.interest import Interest
from tandem.bus.location import Binding, BindingRemoved, BindingStored
from tandem.bus.nodes import NodeAnnounced, Nodes, NodeState
from tandem.bus.phone_events import RegistrationRemoved, SubscriptionEnded
from tandem.bus.ports import Topic
from tandem.sip.build import response_to
from tandem.sip.message import Request, Response
from tests.support.appserver import PROXY, Address, Phone, Site, account
from tests.support.subscriber import Subscriber

OTHER_PROXY = "10.0.0.2:5070"
PHONES = 40


class Member(Site):
    """An appserver of a cluster."""

    def __init__(self, *accounts: Any, **settings: Any) -> None:
        super().__init__(*accounts, **settings)
        self.nodes = Nodes(self.bus, self.app.describe, lambda: self.now)
        self.app.join(self.nodes, grpc="10.0.0.9:50051")

    async def hear(self, *said: NodeAnnounced) -> None:
        """What nodes announce."""
        await self.bus.deliver(Topic.NODES, *said)

    async def settle_among(self, *said: NodeAnnounced) -> None:
        """Hear these and ourselves long enough to know who is there."""
        await self.hear(self.app.describe(), *said)
        self.advance(SETTLE_SECONDS + 1)

    def kept_alive(self, seconds: float) -> Counter[str]:
        """The KEEPALIVEs of this time, by token."""
        self.link.take_control()
        self.advance(seconds)
        lines = (line.split() for line, _ in self.link.take_control())
        return Counter(token for word, token in lines if word == "KEEPALIVE")

    def probed_by(self, proxy: str, number: int | None = None) -> int:
        """A probe of a proxy, maybe one of this number; the status of our answer."""
        number = number or self.next()
        probe = (
            f"OPTIONS sip:{self.link.address} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {proxy};branch=z9hG4bKprobe{number}\r\n"
            f"Max-Forwards: 1\r\nFrom: <sip:probe@{proxy}>;tag=probe\r\n"
            f"To: <sip:{self.link.address}>\r\nCall-ID: probe-{number}\r\n"
            "CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        before = len(self.link.sent)
        self.link.receiver(probe.encode(), proxy)
        ((answer, peer),) = self.link.sent[before:]
        del self.link.sent[before:]
        assert peer == proxy
        return int(answer.split()[1])


def appserver(node: str, state: str = NodeState.ACTIVE, incarnation: int = 1) -> NodeAnnounced:
    return NodeAnnounced(
        node=node, kind="appserver", incarnation=incarnation, version="1", state=state
    )


def proxy(link: str, state: str = NodeState.ACTIVE, incarnation: int = 1) -> NodeAnnounced:
    return NodeAnnounced(
        node=f"proxy {link}", kind="proxy", incarnation=incarnation, version="1", state=state,
        sip=link,
    )  # fmt: skip


def natted(site: Site, number: int, node: str, **changes: Any) -> Binding:
    """A phone behind a NAT."""
    made = Binding(
        f"phone{number}@example.com", "o", f"sip:p@192.168.1.{number}", "udp:203.0.113.7:5060",
        (f"<sip:token{number}@{PROXY};lr>",), 1.0, "", 0, f"c{number}", 1, "ua",
        site.wall, site.wall + 600, node, PROXY,
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture
async def members() -> AsyncIterator[tuple[Member, Member]]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(Member(account("alice"), node_id="as1"))
        two = await stack.enter_async_context(Member(account("alice"), node_id="as2"))
        assert isinstance(one, Member)
        assert isinstance(two, Member)
        yield one, two


async def with_phones_of_as3(
    members: tuple[Member, Member], state: str, **changes: Any
) -> list[Binding]:
    """Both know as3, in this state, and its phones."""
    phones = [natted(members[0], n, "as3", **changes) for n in range(PHONES)]
    for member in members:
        await member.settle_among(appserver("as1"), appserver("as2"), appserver("as3"))
        await member.bus.deliver(Topic.LOCATION, *map(BindingStored, phones))
        await member.hear(appserver("as3", state))
    return phones


# -- appservers --------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [NodeState.LOST, NodeState.STOPPED])
async def test_phones_of_an_appserver_that_is_gone_are_kept_alive_by_exactly_one_other(
    members: tuple[Member, Member], state: str
) -> None:
    await with_phones_of_as3(members, state)
    one, two = (member.kept_alive(18) for member in members)
    assert set(one) | set(two) == {f"token{n}" for n in range(PHONES)}
    assert not set(one) & set(two)
    assert set((one + two).values()) <= {1, 2}
    assert one
    assert two


async def test_phones_of_an_appserver_that_lives_are_left_to_it(
    members: tuple[Member, Member],
) -> None:
    await with_phones_of_as3(members, NodeState.DRAINING)
    assert not members[0].kept_alive(18)


async def test_an_appserver_that_comes_back_has_its_phones_again(
    members: tuple[Member, Member],
) -> None:
    await with_phones_of_as3(members, NodeState.LOST)
    assert members[0].kept_alive(18)
    await members[0].hear(appserver("as3", incarnation=2))
    members[0].advance(1)
    assert not members[0].kept_alive(18)


async def test_nobody_is_succeeded_before_all_could_be_heard() -> None:
    async with Member(account("alice")) as site:
        assert isinstance(site, Member)
        await site.bus.deliver(Topic.LOCATION, BindingStored(natted(site, 1, "as3")))
        assert not site.kept_alive(40)  # the broker is away: we do not hear even ourselves
        await site.hear(site.app.describe())
        assert site.kept_alive(40)


async def test_the_end_of_an_orphans_binding_is_told_once(members: tuple[Member, Member]) -> None:
    phones = await with_phones_of_as3(members, NodeState.LOST)
    told: list[str] = []
    for member in members:
        for _ in range(310):
            await member.hear(member.app.describe())
            member.advance(2)
        assert member.app.location.count == 0
        told += [event.aor for event in member.bus.take(RegistrationRemoved)]
    assert sorted(told) == sorted(phone.aor for phone in phones)


async def test_a_closed_flow_is_told_by_the_node_that_took_the_registration(
    members: tuple[Member, Member],
) -> None:
    one, two = members
    phone = Phone(one, transport="tcp")
    await phone.registered()
    await two.bus.deliver(Topic.LOCATION, *one.bus.take(BindingStored))
    for member in members:
        await member.settle_among(appserver("as1"), appserver("as2"))
        await member.send(b"\x01FLOW-CLOSED " + phone.token.encode())
        assert member.app.location.count == 0
    assert [e.reason for e in one.bus.take(RegistrationRemoved)] == ["flow closed"]
    assert two.bus.take(RegistrationRemoved) == two.bus.take(BindingRemoved) == []


async def test_a_phone_that_moves_to_another_appserver_is_its_phone() -> None:
    async with Member(account("alice")) as site:
        assert isinstance(site, Member)
        await site.settle_among(appserver("as2"))
        phone = Phone(site)
        await phone.registered()
        (stored,) = site.bus.take(BindingStored)
        assert site.kept_alive(18)
        moved = replace(
            stored.binding, node="as2", cseq=stored.binding.cseq + 1, registered_at=site.wall
        )
        phone.cseq += 1
        await site.bus.deliver(Topic.LOCATION, BindingStored(moved), node="as2")
        assert not site.kept_alive(18)
        assert (site.app.describe().bindings, site.app.location.count) == (0, 1)
        await phone.registered(f"<{phone.contact}>;expires=0")
        (removed,) = site.bus.take(BindingRemoved)
        assert removed.binding.node == "as1"
        assert len(site.bus.take(RegistrationRemoved)) == 1
        # what it said is no news to itself, even if the broker brings it
        await site.bus.deliver(Topic.LOCATION, BindingStored(moved), node="as2")
        assert site.app.location.count == 0


async def test_two_phones_that_took_the_last_place_at_once_are_one_in_the_end() -> None:
    limited = account("alice", max_bindings=1)
    async with AsyncExitStack() as stack:
        members = []
        for node in ("as1", "as2"):
            member = await stack.enter_async_context(Member(limited, node_id=node))
            assert isinstance(member, Member)
            await member.settle_among(appserver("as1"), appserver("as2"))
            await Phone(member, contact=f"sip:alice@{node}").registered()
            members.append(member)
        one, two = members
        first, second = (member.bus.take(BindingStored) for member in members)
        await one.bus.deliver(Topic.LOCATION, *second, node="as2")
        await two.bus.deliver(Topic.LOCATION, *first, node="as1")
        ended = [member.bus.take(BindingRemoved) for member in members]
        assert sorted(map(len, ended)) == [0, 1]
        for member in members:
            await member.bus.deliver(Topic.LOCATION, *ended[0], *ended[1])
        tables = [member.app.location.bindings("alice@example.com") for member in members]
        assert tables[0] == tables[1]
        assert len(tables[0]) == 1


# -- proxies -----------------------------------------------------------------------------------


@pytest.fixture
async def site() -> AsyncIterator[Member]:
    async with Member(account("alice"), account("bob"), b2bua=Calls, reliable=False) as made:
        assert isinstance(made, Member)
        await made.settle_among(proxy(PROXY), proxy(OTHER_PROXY))
        for name in (PROXY, OTHER_PROXY):
            assert made.probed_by(name) == 200
        yield made


def lose(site: Member, gone: str) -> None:
    """One proxy goes on probing, the other does not."""
    other = OTHER_PROXY if gone == PROXY else PROXY
    for _ in range(6):
        site.probed_by(other)
        site.advance(0.5)


async def invites(site: Member, phone: Phone, uri: str) -> list[tuple[str, str]]:
    """Call; the INVITEs that leave, with the proxies they leave through."""
    await phone.asked("OPTIONS", "sip:example.com")
    sent: list[tuple[str, str]] = []
    request = phone.request("INVITE", uri, from_="<sip:carol@outside.example>;tag=c")
    site.link.receiver(request.to_bytes(), OTHER_PROXY)
    for data, peer in site.link.sent:
        line = data.partition(b"\r\n")[0].decode()
        if line.startswith("INVITE"):
            sent.append((line.split()[1], peer))
    return sent


async def test_a_udp_phone_is_reached_through_another_proxy_when_its_own_is_gone(
    site: Member,
) -> None:
    bob = Phone(site, "bob")
    await bob.registered()
    site.link.take()
    lose(site, PROXY)
    sent = await invites(site, Phone(site), "sip:bob@example.com")
    assert sent == [(bob.contact, OTHER_PROXY)]
    raw = next(data for data, _ in site.link.sent if data.startswith(b"INVITE"))
    assert f"Route: <sip:{bob.token}@{PROXY};lr;ob>".encode() in raw


async def test_a_phone_on_a_connection_of_a_proxy_that_is_gone_is_not_reached_at_once(
    site: Member,
) -> None:
    await Phone(site, "bob", transport="tcp").registered()
    lose(site, PROXY)
    site.link.take()
    assert await invites(site, Phone(site), "sip:bob@example.com") == []
    answers = [m for m in site.link.take() if isinstance(m, Response)]
    assert answers[-1].status == 480
    lose(site, OTHER_PROXY)  # the first is back, and its connections with it
    assert len(await invites(site, Phone(site), "sip:bob@example.com")) == 1


async def test_a_proxy_that_starts_anew_is_heard_though_its_probes_look_like_the_old_ones(
    site: Member,
) -> None:
    await Phone(site, "bob", transport="tcp").registered()
    for _ in range(2):
        lose(site, PROXY)
        site.link.take()
        assert await invites(site, Phone(site), "sip:bob@example.com") == []
        assert site.probed_by(PROXY, 7) == 200
        assert len(await invites(site, Phone(site), "sip:bob@example.com")) == 1


async def test_a_proxy_that_brings_a_registration_is_back(site: Member) -> None:
    bob = Phone(site, "bob", transport="tcp")
    await bob.registered()
    lose(site, PROXY)
    await Phone(site, "bob", transport="tcp", port=4711).registered()
    assert await invites(site, Phone(site), "sip:bob@example.com") == [(bob.contact, PROXY)]


async def test_when_all_proxies_are_silent_it_is_us_and_none_is_gone(site: Member) -> None:
    bob = Phone(site, "bob", transport="tcp")
    await bob.registered()
    site.advance(30)
    assert await invites(site, Phone(site), "sip:bob@example.com") == [(bob.contact, PROXY)]


async def test_keepalives_go_through_another_proxy_too(site: Member) -> None:
    await Phone(site, "bob").registered()
    lose(site, PROXY)
    site.link.take_control()
    for _ in range(40):
        site.probed_by(OTHER_PROXY)
        site.advance(0.5)
    peers = {peer for data, peer in site.link.sent if data.startswith(b"\x01KEEPALIVE")}
    site.link.sent.clear()
    assert peers == {OTHER_PROXY}


async def test_who_watches_everybody_sees_nothing_of_what_is_for_proxies_alone(
    site: Member,
) -> None:
    await site.bus.deliver(Topic.LOCATION, BindingStored(natted(site, 1, "as1")))
    await site.bus.deliver(Topic.INTEREST, Interest("*", site.wall + 600))
    site.bus.take(SipTrace)
    assert site.probed_by(PROXY) == 200
    assert site.kept_alive(20)
    assert site.bus.take(SipTrace) == []


async def test_an_invite_that_did_not_ring_is_sent_through_another_proxy(site: Member) -> None:
    bob = Phone(site, "bob")
    await bob.registered()
    assert await invites(site, Phone(site), "sip:bob@example.com") == [(bob.contact, PROXY)]
    site.link.take()
    peers = []
    for _ in range(6):
        site.probed_by(OTHER_PROXY)
        site.advance(0.5)
        peers += [peer for data, peer in site.link.sent if data.startswith(b"INVITE")]
        site.link.sent.clear()
    assert peers[-1] == OTHER_PROXY


async def test_an_account_that_is_rung_for_a_callback_is_rung_through_another_proxy(
    site: Member,
) -> None:
    bob = Phone(site, "bob")
    await bob.registered()
    site.link.take()
    wanted = Callback(customer="owner-bob", account="bob@example.com")
    async with aclosing(site.app.callbacks.run(wanted)) as steps:
        waiting = asyncio.ensure_future(anext(steps))
        await site.settle()
        assert [peer for data, peer in site.link.sent if data.startswith(b"INVITE")] == [PROXY]
        site.link.take()
        for _ in range(6):
            site.probed_by(OTHER_PROXY)
            site.advance(0.5)
        peers = [peer for data, peer in site.link.sent if data.startswith(b"INVITE")]
        assert peers[-1] == OTHER_PROXY
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_what_is_outside_is_called_through_a_proxy_that_is_there(site: Member) -> None:
    site.resolver.known["outside.example"] = [Address("udp", "198.51.100.9", 5060)]
    alice = Phone(site)
    await alice.registered()
    lose(site, PROXY)
    (request,) = [
        m
        for m in await alice.asked("INVITE", "sip:carol@outside.example")
        if isinstance(m, Request)
    ]
    assert request.values("route")[0] == f"<sip:{OTHER_PROXY};lr;dst=udp:198.51.100.9:5060>"


async def test_a_connection_that_closes_while_it_rings_ends_that_leg_at_once(site: Member) -> None:
    bob = Phone(site, "bob", transport="tcp")
    await bob.registered()
    await invites(site, Phone(site), "sip:bob@example.com")
    site.link.take()
    await site.send(b"\x01FLOW-CLOSED other")
    assert len(site.app.calls) == 1
    answers = await site.send(b"\x01FLOW-CLOSED " + bob.token.encode())
    assert [m.status for m in answers if isinstance(m, Response)] == [480]
    assert len(site.app.calls) == 0


@pytest.mark.parametrize(("transport", "byes"), [("udp", [OTHER_PROXY]), ("tcp", [])])
async def test_a_call_over_a_proxy_that_is_gone_is_ended_through_another_where_that_can_be(
    site: Member, transport: str, byes: list[str]
) -> None:
    bob = Phone(site, "bob", transport=transport)
    await bob.registered()
    await invites(site, Phone(site), "sip:bob@example.com")
    (invite,) = [m for m in site.link.take() if isinstance(m, Request)]
    lines = [f"Contact: <{bob.contact}>", f"Record-Route: <sip:{bob.token}@{PROXY};lr>"]
    answer = response_to(invite, 200, tag="bob", headers=lines)
    site.link.receiver(answer.to_bytes(), PROXY)
    (call,) = site.app.calls.live()
    lose(site, PROXY)
    site.link.take()
    assert site.app.hang_up(call.id, "operator")
    sent = [peer for data, peer in site.link.sent if data.startswith(b"BYE sip:bob")]
    assert sent == byes
    site.advance(80)
    assert (len(site.app.calls), site.app.calls.dialogs) == (0, 0)


async def test_a_call_whose_phone_went_with_its_proxy_ends_after_some_probes(site: Member) -> None:
    bob = Phone(site, "bob", transport="tcp")
    await bob.registered()
    await invites(site, Phone(site), "sip:bob@example.com")
    (invite,) = [m for m in site.link.take() if isinstance(m, Request)]
    lines = [f"Contact: <{bob.contact}>", f"Record-Route: <sip:{bob.token}@{PROXY};lr>"]
    site.link.receiver(response_to(invite, 200, tag="b", headers=lines).to_bytes(), PROXY)
    (answer,) = [m for m in site.link.take() if isinstance(m, Response) and m.status == 200]
    ack = Phone(site).request("ACK", f"sip:{site.link.address}", to=answer.first("to"))
    for name in ("from", "call-id"):
        ack.set(name, answer.first(name) or "")
    ack.set("cseq", f"{answer.cseq.number} ACK")
    site.link.receiver(ack.to_bytes(), OTHER_PROXY)
    for _ in range(500):
        site.probed_by(OTHER_PROXY)
        site.advance(0.5)
        for request in site.link.take():
            if isinstance(request, Request) and request.method == "OPTIONS":
                site.link.receiver(response_to(request, 200).to_bytes(), OTHER_PROXY)
    (record,) = site.bus.take(CallRecord)
    assert record.end_reason == "callee vanished"


async def test_connections_end_with_their_proxys_process(site: Member) -> None:
    tcp, udp = Phone(site, "bob", transport="tcp"), Phone(site, "alice")
    await tcp.registered()
    await udp.registered()
    site.advance(60)
    await site.hear(proxy(PROXY, incarnation=int(site.wall * 1000)))
    assert [b.aor for b in site.app.location.all()] == [udp.aor]
    (event,) = site.bus.take(RegistrationRemoved)
    assert (event.aor, event.reason) == (tcp.aor, "flow closed")


async def test_a_proxy_that_stops_takes_its_connections_with_it(site: Member) -> None:
    await Phone(site, "bob", transport="tcp").registered()
    await site.hear(proxy(PROXY, NodeState.STOPPED))
    assert site.app.location.count == 0


# -- draining ----------------------------------------------------------------------------------


async def test_a_node_that_drains_says_so_and_serves_what_still_comes(site: Member) -> None:
    await Phone(site, "bob").registered()
    assert site.nodes.on_drain is not None
    site.bus.published.clear()
    site.nodes.on_drain(True)
    (said,) = site.bus.take(NodeAnnounced)
    assert said.state == NodeState.DRAINING
    assert site.probed_by(PROXY) == 503
    (answer,) = await Phone(site).asked("OPTIONS", "sip:example.com")
    assert answer.status == 200
    assert len(await invites(site, Phone(site), "sip:bob@example.com")) == 1
    assert not await site.app.ready()
    site.nodes.on_drain(False)
    assert site.probed_by(PROXY) == 200
    assert await site.app.ready()


async def test_a_node_that_leaves_can_not_be_called_back(site: Member) -> None:
    site.app.leave()
    assert site.nodes.on_drain is None
    assert site.app.describe().state == NodeState.DRAINING


# -- what was missed ---------------------------------------------------------------------------


async def test_after_a_cut_the_snapshot_is_taken_again_and_accounts_are_asked_for() -> None:
    async with Member(account("alice")) as site:
        assert isinstance(site, Member)
        phone = Phone(site)
        await phone.registered()
        asked = site.directory.asked
        site.directory.snapshot = [natted(site, 1, "as2")]
        for resumed in site.bus.resumed:
            resumed()
        await site.settle()
        assert site.app.location.count == 2
        assert (await phone.registered()).status == 200  # what is known still serves
        await site.settle()
        assert site.directory.asked == asked + 1


async def test_a_payload_that_cannot_be_taken_costs_itself_only() -> None:
    site = Member(account("alice"))
    async with AsyncExitStack() as stack:
        await site.app.start()
        stack.push_async_callback(site.app.stop)
        bad = replace(natted(site, 1, "as2"), expires_at="never")  # type: ignore[arg-type]
        await site.bus.deliver(
            Topic.LOCATION, BindingStored(bad), BindingStored(natted(site, 2, "as2"))
        )
        assert site.app.location.count == 1
        assert site.app.counters.errors == 1


async def test_a_clock_that_is_far_ahead_leaves_no_binding_for_ever() -> None:
    async with Member(account("alice"), max_expires=3600) as site:
        far = natted(site, 1, "as2", expires_at=site.wall + 10**6)
        await site.bus.deliver(Topic.LOCATION, BindingStored(far))
        (kept,) = site.app.location.all()
        assert kept.expires_at == site.wall + 3660


async def test_a_node_says_good_bye_when_it_stops() -> None:
    site = Member(account("alice"))
    async with site:
        pass
    states = [said.state for said in site.bus.take(NodeAnnounced)]
    assert states[-1] == NodeState.STOPPED


async def test_a_proxy_that_is_away_takes_subscriptions_over_connections_along_and_no_others() -> (
    None
):
    site = Member(account("alice", owner="we"), account("bob", owner="we"))
    async with site:
        watches = [
            await Subscriber(Phone(site, transport=way, port=40000), "presence").subscribed()
            for way in ("tcp", "udp")
        ]
        for _ in range(6):
            site.probed_by(OTHER_PROXY)
            site.advance(0.5)
        site.probed_by(PROXY)  # it was there
        for _ in range(6):
            site.probed_by(OTHER_PROXY)
            site.advance(0.5)
        (ended,) = site.bus.take(SubscriptionEnded)
        assert (ended.source, ended.reason) == ("tcp:203.0.113.7:40000", "flow closed")
        site.link.sent.clear()
        await site.bus.deliver(Topic.LOCATION, BindingStored(_of("bob@example.com", site)))
        site.advance(0.1)
        ((data, peer),) = site.link.sent
        assert peer == OTHER_PROXY, "what leads to a UDP phone is an address"
        assert watches[1].phone.token.encode() in data


def _of(aor: str, site: Member) -> Binding:
    return Binding(
        aor, "we", "sip:bob@h", "udp:192.0.2.7:5060", (f"<sip:token@{OTHER_PROXY};lr>",), 1.0, "",
        0, "c", 1, "ua", site.wall, site.wall + 600, "as2", OTHER_PROXY,
    )  # fmt: skip
