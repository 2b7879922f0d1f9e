"""The registrar over a fake link: RFC 3261 §10.3, RFC 3327, RFC 5626."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from services.appserver.domain.location import flow_token
from tandem.bus.location import BindingRemoved, BindingStored
from tandem.bus.phone_events import (
    RegistrationAdded,
    RegistrationFailed,
    RegistrationRefreshed,
    RegistrationRemoved,
)
from tandem.bus.ports import Topic
from tandem.rpc.directory import DirectoryChanged
from tandem.sip.message import Response
from tests.support.appserver import PROXY, Phone, Site, account


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site(account("alice"), account("bob", max_bindings=2)) as made:
        yield made


def contacts(response: Response) -> list[str]:
    return sorted(str(a.uri) for a in response.contacts)


def expiries(response: Response) -> list[int]:
    return [int(a.param("expires") or -1) for a in response.contacts]


async def test_a_phone_is_challenged_and_then_registered(site: Site) -> None:
    phone = Phone(site)
    first = await phone.send(phone.register(f"<{phone.contact}>"))
    assert first.status == 401
    assert first.to.tag
    assert [v.split("algorithm=")[1].split(",")[0] for v in first.values("www-authenticate")] == [
        "MD5", "SHA-256", "SHA-512-256",
    ]  # fmt: skip
    phone.learn(first)
    second = await phone.send(phone.register(f"<{phone.contact}>"))
    assert second.status == 200
    assert contacts(second) == [phone.contact]
    assert expiries(second) == [3600]
    assert len(second.vias) == 2


async def test_the_binding_keeps_the_contact_as_sent_and_the_real_source(site: Site) -> None:
    phone = Phone(site, contact="sip:alice@192.168.1.2:5060;ob;transport=udp")
    assert (await phone.registered()).status == 200
    (binding,) = site.app.location.bindings(phone.aor)
    assert binding.contact == "sip:alice@192.168.1.2:5060;ob;transport=udp"
    assert binding.received == "udp:203.0.113.7:5060"
    assert binding.path == (f"<sip:{phone.token}@{PROXY};lr;ob>",)
    assert binding.proxy == PROXY
    assert binding.owner == "owner-alice"
    assert binding.user_agent == "test phone"
    assert binding.node == "as1"


async def test_adding_refreshing_and_removing_are_told_to_nodes_and_people(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    assert len(site.bus.take(BindingStored)) == 1
    (added,) = site.bus.take(RegistrationAdded)
    assert added.owners == ("owner-alice",)
    assert added.text() == "alice@example.com registered from udp:203.0.113.7:5060 for 3600 s"
    site.advance(100)
    await phone.registered()
    assert len(site.bus.take(BindingStored)) == 1
    assert len(site.bus.take(RegistrationRefreshed)) == 1
    site.advance(1)
    await phone.registered()
    assert len(site.bus.take(BindingStored)) == 1
    assert site.bus.take(RegistrationRefreshed) == []
    await phone.registered(f"<{phone.contact}>;expires=0")
    (removed,) = site.bus.take(BindingRemoved)
    assert removed.reason == "unregistered"
    assert len(site.bus.take(RegistrationRemoved)) == 1
    assert site.app.location.count == 0


async def test_a_refresh_takes_the_short_way_and_renews_the_expiry(site: Site) -> None:
    phone = Phone(site)
    await phone.registered(expires=600)
    site.advance(300)
    response = await phone.registered(expires=600)
    assert response.status == 200
    assert expiries(response) == [600]
    (binding,) = site.app.location.bindings(phone.aor)
    assert binding.expires_at == site.wall + 600
    assert binding.cseq == phone.cseq
    assert site.app.counters.refreshed == 1


async def test_a_refresh_with_a_wrong_password_is_not_taken(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    phone.password = "wrong"
    assert (await phone.send(phone.register(f"<{phone.contact}>"))).status == 401
    assert site.app.counters.refreshed == 0


async def test_a_refresh_from_another_place_moves_the_binding(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    phone.port = 6000
    await phone.registered()
    (binding,) = site.app.location.bindings(phone.aor)
    assert binding.received == "udp:203.0.113.7:6000"
    assert flow_token(binding) == phone.token


async def test_the_refreshing_of_one_binding_lists_the_others_too(site: Site) -> None:
    one = Phone(site)
    two = Phone(site, contact="sip:alice@192.168.1.3", host="203.0.113.8")
    await one.registered()
    await two.registered()
    site.advance(60)
    response = await one.registered()
    assert contacts(response) == sorted([one.contact, two.contact])
    assert sorted(expiries(response)) == [3540, 3600]


async def test_a_register_that_comes_again_gets_the_same_answer(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    request = phone.register(f"<{phone.contact}>")
    first = await phone.send(request)
    again = await phone.send(request)
    assert first.to_bytes() == again.to_bytes()
    assert first.status == 200
    assert site.app.counters.repeated == 1


async def test_a_query_lists_and_changes_nothing(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    site.bus.published.clear()
    response = await phone.send(phone.register())
    assert response.status == 200
    assert contacts(response) == [phone.contact]
    assert site.bus.published == []


@pytest.mark.parametrize(
    ("asked", "given"), [(60, 60), (3600, 3600), (86400, 3600), (99999999999999, 3600)]
)
async def test_the_expiry_is_held_within_bounds(site: Site, asked: int, given: int) -> None:
    response = await Phone(site).registered(expires=asked)
    assert expiries(response) == [given]


async def test_too_short_an_expiry_is_refused_with_the_least_one(site: Site) -> None:
    response = await Phone(site).registered(expires=30)
    assert response.status == 423
    assert response.first("min-expires") == "60"
    assert site.app.location.count == 0


async def test_a_contact_parameter_beats_the_expires_header(site: Site) -> None:
    phone = Phone(site)
    response = await phone.registered(f"<{phone.contact}>;expires=120", expires=900)
    assert expiries(response) == [120]


async def test_a_malformed_expiry_counts_as_the_default(site: Site) -> None:
    response = await Phone(site).registered(headers=["Expires: soon"])
    assert expiries(response) == [3600]


async def test_one_short_contact_refuses_all_of_them(site: Site) -> None:
    response = await Phone(site).registered("<sip:a@h1>", "<sip:a@h2>;expires=5")
    assert response.status == 423
    assert site.app.location.count == 0


async def test_several_contacts_with_q_are_kept_apart(site: Site) -> None:
    response = await Phone(site).registered("<sip:a@h1>;q=0.5, <sip:a@h2>;q=1")
    assert contacts(response) == ["sip:a@h1", "sip:a@h2"]
    assert {b.contact: b.q for b in site.app.location.bindings("alice@example.com")} == {
        "sip:a@h1": 0.5, "sip:a@h2": 1.0,
    }  # fmt: skip


async def test_a_contact_listed_twice_counts_once(site: Site) -> None:
    response = await Phone(site).registered("<sip:a@h1>;q=0.1", "<sip:a@H1>;q=0.7")
    assert [a.param("q") for a in response.contacts] == ["0.7"]


@pytest.mark.parametrize("q", ["2", "-1", "x", "nan"])
async def test_a_malformed_q_is_400(site: Site, q: str) -> None:
    assert (await Phone(site).registered(f"<sip:a@h1>;q={q}")).status == 400


async def test_a_star_with_expires_0_removes_all(site: Site) -> None:
    phone = Phone(site)
    await phone.registered("<sip:a@h1>", "<sip:a@h2>")
    response = await phone.registered("*", expires=0)
    assert response.status == 200
    assert response.contacts == []
    assert site.app.location.count == 0
    assert [r.reason for r in site.bus.take(BindingRemoved)] == ["unregistered"] * 2


@pytest.mark.parametrize(
    ("values", "expires"), [(("*",), None), (("*",), 60), (("*", "<sip:a@h1>"), 0)]
)
async def test_a_star_otherwise_is_400(
    site: Site, values: tuple[str, ...], expires: int | None
) -> None:
    phone = Phone(site)
    await phone.registered()
    response = await phone.registered(*values, expires=expires)
    assert response.status == 400
    assert site.app.location.count == 1


async def test_an_old_cseq_of_the_same_call_id_changes_nothing(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    phone.cseq -= 1
    response = await phone.registered(f"<{phone.contact}>;expires=0")
    assert response.status == 500
    assert site.app.location.count == 1
    phone.call_id = "another"
    assert (await phone.registered(f"<{phone.contact}>;expires=0")).status == 200
    assert site.app.location.count == 0


async def test_an_old_cseq_with_a_star_removes_nothing(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    phone.cseq -= 1
    assert (await phone.registered("*", expires=0)).status == 500
    assert site.app.location.count == 1


async def test_contacts_that_are_equivalent_are_one_binding(site: Site) -> None:
    phone = Phone(site)
    await phone.registered("<sip:alice@Host.example;lr>")
    response = await phone.registered("<sip:alice@host.EXAMPLE;lr>")
    assert contacts(response) == ["sip:alice@host.EXAMPLE;lr"]


async def test_at_the_limit_the_oldest_binding_gives_way(site: Site) -> None:
    phones = [Phone(site, "bob", contact=f"sip:bob@h{n}", port=5000 + n) for n in range(3)]
    await phones[0].registered()
    site.advance(10)
    await phones[1].registered()
    site.advance(10)
    await phones[0].registered()
    site.advance(10)
    response = await phones[2].registered()
    assert contacts(response) == ["sip:bob@h0", "sip:bob@h2"]
    (removed,) = site.bus.take(BindingRemoved)
    assert (removed.binding.contact, removed.reason) == ("sip:bob@h1", "limit")


async def test_more_contacts_at_once_than_the_limit_are_refused(site: Site) -> None:
    response = await Phone(site, "bob").registered(*(f"<sip:b@h{n}>" for n in range(3)))
    assert response.status == 403
    assert site.app.location.count == 0


async def test_removing_one_and_adding_one_at_the_limit_evicts_nobody(site: Site) -> None:
    phone = Phone(site, "bob")
    await phone.registered("<sip:b@h1>", "<sip:b@h2>")
    response = await phone.registered("<sip:b@h1>;expires=0", "<sip:b@h3>")
    assert contacts(response) == ["sip:b@h2", "sip:b@h3"]


INSTANCE = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"'


async def test_a_flow_of_rfc_5626_is_replaced_by_its_reg_id(site: Site) -> None:
    phone = Phone(site)
    options = {"headers": ["Supported: path, outbound"]}
    first = await phone.registered(f"<sip:a@h1>;{INSTANCE};reg-id=1", **options)
    assert first.first("require") == "outbound"
    assert first.raw_lines("path") == [f"Path: <sip:{phone.token}@{PROXY};lr;ob>"]
    await phone.registered(f"<sip:a@h2>;{INSTANCE};reg-id=2", **options)
    last = await phone.registered(f"<sip:a@h3>;{INSTANCE};reg-id=1", **options)
    assert contacts(last) == ["sip:a@h2", "sip:a@h3"]
    assert sorted(a.param("reg-id") or "" for a in last.contacts) == ["1", "2"]


async def test_a_refresh_of_an_outbound_flow_still_says_so(site: Site) -> None:
    phone = Phone(site)
    contact = f"<sip:a@h1>;{INSTANCE};reg-id=1"
    await phone.registered(contact, headers=["Supported: path, outbound"])
    again = await phone.registered(contact, headers=["Supported: path, outbound"])
    assert site.app.counters.refreshed == 1
    assert again.first("require") == "outbound"
    assert again.first("path") is not None


@pytest.mark.parametrize("value", ["0", "x", "99999999999"])
async def test_a_malformed_reg_id_is_400(site: Site, value: str) -> None:
    assert (await Phone(site).registered(f"<sip:a@h1>;{INSTANCE};reg-id={value}")).status == 400


async def test_a_path_of_several_hops_is_kept_whole(site: Site) -> None:
    phone = Phone(site)
    await phone.registered(headers=["Path: <sip:edge.example;lr>"])
    (binding,) = site.app.location.bindings(phone.aor)
    assert binding.path[1:] == ("<sip:edge.example;lr>",)


async def test_without_a_path_the_source_itself_is_the_way(site: Site) -> None:
    phone = Phone(site, port=5099)
    request = phone.register(f"<{phone.contact}>")
    phone.learn(await phone.send(request))
    request = phone.register(f"<{phone.contact}>")
    request.remove("path")
    assert (await phone.send(request)).status == 200
    (binding,) = site.app.location.bindings(phone.aor)
    assert binding.path == (f"<sip:{PROXY};lr;dst=udp:203.0.113.7:5099>",)


@pytest.mark.parametrize("domain", ["EXAMPLE.com", "alias.example", "192.0.2.1", "192.0.2.1:5060"])
async def test_aliases_and_our_own_address_mean_the_domain(site: Site, domain: str) -> None:
    assert (await Phone(site, domain=domain).registered()).status == 200
    assert len(site.app.location.bindings("alice@example.com")) == 1


@pytest.mark.parametrize("domain", ["elsewhere.example", "192.0.2.1:7777", "192.0.2.2"])
async def test_a_domain_that_is_not_ours_is_404(site: Site, domain: str) -> None:
    response = await Phone(site, domain=domain).registered()
    assert (response.status, response.reason) == (404, "Domain not serviced")
    (event,) = site.bus.take(RegistrationFailed)
    assert event.owners == ()


async def test_the_user_name_may_be_spelled_in_any_case_in_to(site: Site) -> None:
    phone = Phone(site)
    assert (await phone.registered(to="<sip:ALICE@example.com>")).status == 200


async def test_nobody_registers_for_another(site: Site) -> None:
    phone = Phone(site)
    response = await phone.registered(to="<sip:bob@example.com>")
    assert response.status == 403
    (event,) = site.bus.take(RegistrationFailed)
    assert event.owners == ("owner-bob",)


@pytest.mark.parametrize(
    ("change", "status"), [({"enabled": False}, 403), ({"owner_enabled": False}, 604)]
)
async def test_a_disabled_account_does_not_register(change: dict[str, Any], status: int) -> None:
    async with Site(account("alice", **change)) as site:
        phone = Phone(site)
        first = await phone.send(phone.register(f"<{phone.contact}>"))
        assert first.status == 401
        assert (await phone.registered()).status == status


async def test_an_unknown_extension_is_420(site: Site) -> None:
    response = await Phone(site).registered(headers=["Require: gruu"])
    assert response.status == 420
    assert response.first("unsupported") == "gruu"


async def test_a_binding_expires_and_is_told(site: Site) -> None:
    await Phone(site).registered(expires=60)
    site.advance(59)
    assert site.app.location.count == 1
    site.advance(3)
    assert site.app.location.count == 0
    (removed,) = site.bus.take(BindingRemoved)
    assert removed.reason == "expired"


async def test_a_refreshed_binding_outlives_its_first_expiry(site: Site) -> None:
    phone = Phone(site)
    await phone.registered(expires=60)
    site.advance(50)
    await phone.registered(expires=60)
    site.advance(50)
    assert site.app.location.count == 1
    site.advance(12)
    assert site.app.location.count == 0


async def test_a_closed_flow_takes_its_bindings_with_it(site: Site) -> None:
    gone = Phone(site, transport="tcp", port=4711)
    stays = Phone(site, transport="tcp", port=4712, contact="sip:alice@h2")
    await gone.registered()
    await stays.registered()
    site.link.receiver(b"\x01FLOW-CLOSED " + gone.token.encode(), PROXY)
    assert [b.contact for b in site.app.location.bindings(gone.aor)] == ["sip:alice@h2"]
    (removed,) = site.bus.take(BindingRemoved)
    assert removed.reason == "flow closed"


async def test_natted_udp_phones_are_kept_alive_and_only_they(site: Site) -> None:
    natted = Phone(site)
    direct = Phone(site, contact="sip:alice@203.0.113.9:5060", host="203.0.113.9")
    over_tcp = Phone(site, contact="sip:alice@h3", transport="tcp", port=4711)
    for phone in (natted, direct, over_tcp):
        await phone.registered()
    site.link.take()
    site.advance(17)
    assert site.link.take_control() == [(f"KEEPALIVE {natted.token}", PROXY)]
    site.advance(17)
    assert site.link.take_control() == [(f"KEEPALIVE {natted.token}", PROXY)]
    await natted.registered(f"<{natted.contact}>;expires=0")
    site.link.take()
    site.advance(17)
    assert site.link.take_control() == []


async def test_an_account_may_do_without_keepalives() -> None:
    async with Site(account("alice", send_keepalives=False)) as site:
        await Phone(site).registered()
        site.link.take()
        site.advance(17)
        assert site.link.take_control() == []


async def test_an_account_that_is_removed_loses_its_bindings(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    del site.directory.accounts[phone.aor]
    await site.bus.deliver(Topic.DIRECTORY, DirectoryChanged("sip-account", phone.aor))
    await site.settle()
    assert site.app.location.count == 0
    (removed,) = site.bus.take(BindingRemoved)
    assert removed.reason == "account removed"


async def test_the_bindings_of_a_suspended_customer_go(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    site.directory.accounts[phone.aor] = account("alice", owner_enabled=False)
    await site.bus.deliver(Topic.DIRECTORY, DirectoryChanged("customer", "owner-alice"))
    await site.settle()
    assert site.app.location.count == 0


async def test_a_changed_password_counts_from_the_next_register_on(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    site.directory.accounts[phone.aor] = account("alice", "changed")
    await site.bus.deliver(Topic.DIRECTORY, DirectoryChanged("sip-account", phone.aor))
    assert (await phone.send(phone.register(f"<{phone.contact}>"))).status == 401
    phone.password = "changed"
    assert (await phone.registered()).status == 200


async def test_registrations_go_on_while_the_directory_is_away(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    site.directory.away = True
    site.advance(2 * 3600)
    assert (await phone.registered()).status == 200


async def test_an_account_never_heard_of_gets_503_while_the_directory_is_away(site: Site) -> None:
    site.directory.away = True
    phone = Phone(site)
    response = await phone.send(phone.register(f"<{phone.contact}>"))
    assert response.status == 503
    assert response.first("retry-after") == "30"
    site.directory.away = False
    site.advance(5)
    assert (await phone.registered()).status == 200


async def test_a_register_that_comes_again_while_it_waits_is_answered_once(site: Site) -> None:
    phone = Phone(site)
    request = phone.register(f"<{phone.contact}>").to_bytes()
    site.link.receiver(request, PROXY)
    site.link.receiver(request, PROXY)
    await site.settle()
    assert len(site.link.take()) == 1
    assert site.directory.asked == 1


async def test_bindings_of_the_snapshot_serve_and_are_kept_alive(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    kept = site.app.location.bindings(phone.aor)
    other = Site(account("alice"))
    other.directory.snapshot = [*kept, replace(kept[0], contact="sip:old@h", expires_at=1.0)]
    async with other:
        assert other.app.location.bindings(phone.aor) == kept
        other.advance(17)
        assert other.link.take_control() == [(f"KEEPALIVE {phone.token}", PROXY)]


async def test_too_long_a_contact_is_refused(site: Site) -> None:
    assert (await Phone(site).registered(f"<sip:{'a' * 600}@h>")).status == 400


async def test_too_many_contacts_are_refused(site: Site) -> None:
    response = await Phone(site).registered(*(f"<sip:a@h{n}>" for n in range(21)))
    assert response.status == 403
