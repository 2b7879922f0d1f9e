"""The location table as a replica: whatever the order of news, all nodes end up alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import permutations

import pytest

from services.appserver.domain.location import (
    LocationTable,
    flow_token,
    proxy_of,
    token_of,
)
from tandem.bus.location import Binding, BindingRemoved, BindingStored
from tandem.bus.ports import Topic
from tests.support.appserver import Phone, Site, account

NOW = 1000.0
AOR = "alice@example.com"
FIRST = Binding(
    AOR, "o", "sip:a@h", "udp:203.0.113.7:5060", ("<sip:tok@p1;lr>",), 1.0, "", 0, "c", 1, "ua",
    NOW, NOW + 600, "as2", "p1",
)  # fmt: skip


def table() -> LocationTable:
    return LocationTable("as1")


def later(binding: Binding, seconds: float, **changes: object) -> Binding:
    return replace(
        binding,
        registered_at=binding.registered_at + seconds,
        expires_at=binding.expires_at + seconds,
        **changes,  # type: ignore[arg-type]  # replace checks the names
    )


News = BindingStored | BindingRemoved


def take(replica: LocationTable, news: News) -> None:
    if isinstance(news, BindingStored):
        replica.learn(news, NOW + 20)
    else:
        replica.forget(news, NOW + 20)


def test_the_newer_version_wins_in_whatever_order_it_comes() -> None:
    second = later(FIRST, 10, node="as3", q=0.5)
    for order in permutations([BindingStored(FIRST), BindingStored(second)]):
        replica = table()
        for news in order:
            take(replica, news)
        assert replica.bindings(AOR) == (second,)


def test_of_two_versions_of_one_time_the_same_wins_everywhere() -> None:
    other = replace(FIRST, node="as3")
    for order in permutations([BindingStored(FIRST), BindingStored(other)]):
        replica = table()
        for news in order:
            take(replica, news)
        assert replica.bindings(AOR) == (other,)


def test_who_wants_to_know_hears_of_each_change_but_not_of_renewals() -> None:
    replica = table()
    changed: list[str] = []
    replica.on_change = changed.append
    replica.put(FIRST)
    replica.renew(FIRST, renewed := later(FIRST, 10))
    assert changed == [AOR]
    replica.put(replace(renewed, received="udp:203.0.113.9:5060", registered_at=NOW + 20))
    assert changed == [AOR, AOR]
    replica.expire(NOW + 5000)
    assert changed == [AOR, AOR, AOR]


def test_a_removal_stays_whatever_it_overtakes() -> None:
    refreshed = later(FIRST, 5)
    removed = BindingRemoved(later(FIRST, 10, node="as3"), "unregistered")
    news: list[News] = [BindingStored(FIRST), BindingStored(refreshed), removed]
    for order in permutations(news):
        replica = table()
        for item in order:
            take(replica, item)
        assert replica.bindings(AOR) == ()


def test_a_removal_of_an_old_version_leaves_a_newer_one() -> None:
    refreshed = later(FIRST, 5, node="as3")
    news: list[News] = [BindingStored(refreshed), BindingRemoved(FIRST, "flow closed")]
    for order in permutations(news):
        replica = table()
        for item in order:
            take(replica, item)
        assert replica.bindings(AOR) == (refreshed,)


def test_a_new_registration_after_a_removal_is_taken() -> None:
    replica = table()
    take(replica, BindingRemoved(later(FIRST, 5), "unregistered"))
    take(replica, BindingStored(later(FIRST, 6)))
    assert len(replica.bindings(AOR)) == 1


def test_what_has_expired_is_no_news() -> None:
    replica = table()
    assert replica.learn(BindingStored(FIRST), NOW + 601) == (False, None)
    assert replica.count == 0


def test_flows_are_bindings_of_their_own() -> None:
    one = replace(FIRST, instance="<urn:x>", reg_id=1)
    two = replace(FIRST, instance="<urn:x>", reg_id=2)
    moved = later(replace(one, contact="sip:a@elsewhere"), 1)
    replica = table()
    for binding in (one, two, moved):
        take(replica, BindingStored(binding))
    assert sorted(b.contact for b in replica.bindings(AOR)) == ["sip:a@elsewhere", "sip:a@h"]


def test_equivalent_contacts_are_one_binding_but_odd_ones_are_compared_as_text() -> None:
    replica = table()
    take(replica, BindingStored(FIRST))
    take(replica, BindingStored(later(FIRST, 1, contact="SIP:a@H")))
    assert replica.count == 1
    take(replica, BindingStored(later(FIRST, 2, contact="sip:rub bish")))
    take(replica, BindingStored(later(FIRST, 3, contact="tel:1")))
    assert replica.count == 3


def test_bindings_expire_one_by_one() -> None:
    replica = table()
    second = replace(FIRST, contact="sip:a@h2", expires_at=NOW + 60)
    replica.put(FIRST)
    replica.put(second)
    assert replica.expire(NOW + 59) == []
    assert replica.expire(NOW + 62) == [second]
    assert replica.live(AOR, NOW + 62) == [FIRST]
    assert replica.expire(NOW + 602) == [FIRST]
    assert replica.count == 0
    assert replica.expire(NOW + 9999) == []


def test_a_binding_that_is_made_shorter_expires_earlier() -> None:
    replica = table()
    replica.put(FIRST)
    replica.renew(FIRST, short := replace(FIRST, expires_at=NOW + 10))
    assert replica.expire(NOW + 12) == [short]


def test_a_binding_that_went_and_came_again_expires_once() -> None:
    replica = table()
    replica.put(FIRST)
    assert replica.remove(FIRST, NOW)
    assert not replica.remove(FIRST, NOW)
    replica.put(FIRST)
    assert replica.expire(NOW + 602) == [FIRST]


def test_the_aors_of_a_customer_are_known_while_they_have_bindings() -> None:
    replica = table()
    other = replace(FIRST, aor="bob@example.com")
    second = replace(FIRST, contact="sip:b@h", call_id="d")
    for binding in (FIRST, second, other):
        replica.put(binding)
    assert replica.of_owner("o") == [AOR, other.aor]
    replica.remove(later(FIRST, 1), NOW)
    assert replica.of_owner("o") == [AOR, other.aor]
    replica.put(later(second, 1, owner="new"))
    assert (replica.of_owner("o"), replica.of_owner("new")) == ([other.aor], [AOR])
    replica.expire(NOW + 700)
    assert (replica.of_owner("o"), replica.of_owner("new")) == ([], [])
    assert not replica._owned


def test_connections_are_indexed_by_their_token() -> None:
    replica = table()
    tcp = replace(FIRST, received="tcp:203.0.113.7:4711", path=("<sip:t1@p1;lr>",))
    other = replace(tcp, aor="bob@example.com")
    replica.put(tcp)
    replica.put(other)
    replica.put(udp := replace(tcp, contact="sip:a@h2", received="udp:203.0.113.7:1"))
    assert replica.of_flow("t1") == [tcp, other]
    replica.put(later(tcp, 1, path=("<sip:t2@p1;lr>",)))
    assert replica.of_flow("t1") == [other]
    assert [b.aor for b in replica.of_flow("t2")] == [AOR]
    replica.remove(other, NOW)
    assert replica.of_flow("t1") == []
    assert udp in replica.bindings(AOR)


def test_a_connection_with_two_contacts_is_found_until_both_are_gone() -> None:
    replica = table()
    one = replace(FIRST, received="tcp:203.0.113.7:4711", path=("<sip:t1@p1;lr>",))
    two = replace(one, contact="sip:a@h2")
    replica.put(one)
    replica.put(two)
    replica.remove(one, NOW)
    assert replica.of_flow("t1") == [two]
    replica.remove(two, NOW)
    assert replica.of_flow("t1") == []


def test_the_parts_of_a_route_value() -> None:
    assert token_of("<sip:abc@10.0.0.1:5070;lr;ob>") == "abc"
    assert token_of("<sip:10.0.0.1:5070;lr;dst=udp:1.2.3.4:5060>") == ""
    assert proxy_of("<sip:abc@10.0.0.1:5070;lr;ob>") == "10.0.0.1:5070"
    assert proxy_of("<sip:10.0.0.1:5070;lr;dst=udp:1.2.3.4:5060>") == "10.0.0.1:5070"
    assert proxy_of("<sip:abc@[2001:db8::1]:5070;lr>") == "[2001:db8::1]:5070"
    assert flow_token(replace(FIRST, path=())) == ""


# -- over the bus ------------------------------------------------------------------------------


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site(account("alice")) as made:
        yield made


async def test_bindings_of_other_nodes_ring_here(site: Site) -> None:
    other = replace(FIRST, registered_at=site.wall, expires_at=site.wall + 60)
    await site.bus.deliver(Topic.LOCATION, BindingStored(other), "rubbish")
    await Phone(site).asked("INVITE", "sip:alice@example.com", from_="<sip:x@y>;tag=1")
    assert site.calls.started[0][1].targets[0].uri == "sip:a@h"
    await site.bus.deliver(Topic.LOCATION, BindingRemoved(other, "unregistered"))
    assert site.app.location.count == 0


async def test_our_own_words_are_no_news(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    stored = site.bus.take(BindingStored)
    await phone.registered(f"<{phone.contact}>;expires=0")
    await site.bus.deliver(Topic.LOCATION, *stored)
    assert site.app.location.count == 0
    await phone.registered()
    await site.bus.deliver(Topic.LOCATION, *site.bus.take(BindingRemoved))
    assert site.app.location.count == 1


async def test_only_the_node_that_took_a_binding_tells_of_its_expiry(site: Site) -> None:
    other = replace(FIRST, registered_at=site.wall, expires_at=site.wall + 60)
    await site.bus.deliver(Topic.LOCATION, BindingStored(other))
    site.advance(62)
    assert site.app.location.count == 0
    assert site.bus.take(BindingRemoved) == []


async def test_a_phone_may_unregister_at_another_node(site: Site) -> None:
    phone = Phone(site)
    other = replace(
        FIRST, contact=phone.contact, registered_at=site.wall - 5, expires_at=site.wall + 60
    )
    await site.bus.deliver(Topic.LOCATION, BindingStored(other))
    await phone.registered(f"<{phone.contact}>;expires=0")
    (removed,) = site.bus.take(BindingRemoved)
    assert removed.binding.registered_at == site.wall
    assert removed.binding.node == "as1"
    replica = LocationTable("as2")
    replica.put(other)
    replica.forget(removed, site.wall)
    assert replica.count == 0
