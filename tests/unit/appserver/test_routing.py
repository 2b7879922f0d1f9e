"""Default routing: who calls whom, what is refused, and what the B2BUA is handed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.appserver.domain.domains import Domains
from services.appserver.domain.plan import CallPlan, NextHop
from services.appserver.domain.routing import candidates
from tandem.rpc.directory import Domain
from tandem.sip.message import Request
from tests.support.appserver import PROXY, Address, Phone, Site, account

OUTSIDER: dict[str, Any] = {"from_": "<sip:carol@outside.example>;tag=c"}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site(account("alice"), account("bob")) as made:
        yield made


async def plan_of(phone: Phone, uri: str, *headers: str, **options: Any) -> CallPlan:
    """The plan of an INVITE that is not refused."""
    sent = await phone.asked("INVITE", uri, *headers, **options)
    assert sent == []
    return phone.site.calls.started[-1][1]


async def refusal_of(phone: Phone, uri: str, **options: Any) -> tuple[int, str]:
    """How an INVITE is refused."""
    (response,) = await phone.asked("INVITE", uri, **options)
    assert response.to.tag
    assert phone.site.calls.started == []
    return response.status, response.reason


async def test_an_account_calls_another_of_its_domain(site: Site) -> None:
    bob = Phone(site, "bob", host="203.0.113.8", port=5999)
    await bob.registered()
    plan = await plan_of(Phone(site), "sip:bob@example.com")
    assert plan.direction == "out"
    assert plan.owners == ("owner-alice", "owner-bob")
    assert plan.caller is not None
    assert plan.callee is not None
    assert (plan.caller.username, plan.callee.username) == ("alice", "bob")
    (target,) = plan.targets
    assert target.uri == bob.contact
    assert target.account == "bob@example.com"
    assert target.hops == (
        NextHop(PROXY, (f"<sip:{bob.token}@{PROXY};lr;ob>",), False, True, "udp:203.0.113.8:5999"),
    )


async def test_all_bindings_ring_at_once_the_preferred_first(site: Site) -> None:
    await Phone(site, "bob", contact="sip:bob@h1").registered("<sip:bob@h1>;q=0.2")
    await Phone(site, "bob", contact="sip:bob@h2", transport="tls").registered()
    plan = await plan_of(Phone(site), "sip:bob@example.com")
    assert [t.uri for t in plan.targets] == ["sip:bob@h2", "sip:bob@h1"]
    assert [t.hops[0].reliable for t in plan.targets] == [True, False]


async def test_an_outsider_calls_an_account_without_a_challenge(site: Site) -> None:
    await Phone(site, "bob").registered()
    plan = await plan_of(Phone(site), "sip:bob@alias.example", **OUTSIDER)
    assert plan.direction == "in"
    assert plan.owners == ("owner-bob",)
    assert plan.caller is None


async def test_what_follows_the_last_dot_reaches_the_account(site: Site) -> None:
    await Phone(site, "bob").registered()
    plan = await plan_of(Phone(site), "sip:any.thing.bob@example.com", **OUTSIDER)
    assert plan.callee is not None
    assert plan.callee.username == "bob"


async def test_an_exact_user_name_goes_before_what_follows_its_dot() -> None:
    async with Site(account("bob"), account("x.bob")) as site:
        await Phone(site, "x.bob").registered()
        plan = await plan_of(Phone(site), "sip:x.bob@example.com", **OUTSIDER)
        assert plan.callee is not None
        assert plan.callee.username == "x.bob"


def test_candidates_of_odd_users() -> None:
    assert candidates("bob") == ("bob",)
    assert candidates("a.bob") == ("a.bob", "bob")
    assert candidates("bob.") == ("bob.",)
    assert candidates(".bob") == (".bob", "bob")


@pytest.mark.parametrize(
    ("uri", "status", "reason"),
    [
        ("sip:nobody@example.com", 404, "Not Found"),
        ("sip:bob@example.com", 480, "Not registered"),
        ("sip:example.com", 484, "Address Incomplete"),
        ("sip:x@elsewhere.example", 404, "Domain not serviced"),
        ("sip:x@198.51.100.9", 404, "Domain not serviced"),
        ("http://example.com/", 416, "Unsupported URI Scheme"),
    ],
)
async def test_refusals_of_calls_from_outside(
    site: Site, uri: str, status: int, reason: str
) -> None:
    assert await refusal_of(Phone(site), uri, **OUTSIDER) == (status, reason)


@pytest.mark.parametrize(
    ("change", "status"), [({"enabled": False}, 403), ({"owner_enabled": False}, 604)]
)
async def test_a_disabled_account_is_not_called(change: dict[str, Any], status: int) -> None:
    async with Site(account("bob", **change)) as site:
        assert (await refusal_of(Phone(site), "sip:bob@example.com", **OUTSIDER))[0] == status


async def test_an_expired_binding_does_not_ring(site: Site) -> None:
    await Phone(site, "bob").registered(expires=60)
    site.now += 61
    assert (await refusal_of(Phone(site), "sip:bob@example.com", **OUTSIDER))[0] == 480


async def test_an_account_calls_an_address_outside(site: Site) -> None:
    site.resolver.known["pbx.example"] = [
        Address("tcp", "198.51.100.4", 5060),
        Address("udp", "2001:db8::1", 5070),
    ]
    plan = await plan_of(Phone(site), "sip:x@pbx.example")
    (target,) = plan.targets
    assert plan.callee is None
    assert (target.uri, target.account) == ("sip:x@pbx.example", "")
    assert target.hops == (
        NextHop(
            PROXY,
            (f"<sip:{PROXY};lr;dst=tcp:198.51.100.4:5060>",),
            True,
            False,
            "tcp:198.51.100.4:5060",
        ),
        NextHop(
            PROXY,
            (f"<sip:{PROXY};lr;dst=udp:[2001:db8::1]:5070>",),
            False,
            False,
            "udp:[2001:db8::1]:5070",
        ),
    )


async def test_over_tls_the_proxy_is_told_whose_certificate_to_expect(site: Site) -> None:
    hop = Address("tls", "198.51.100.4", 5061, server_name="pbx.example")
    site.resolver.known["pbx.example"] = [hop]
    plan = await plan_of(Phone(site), "sips:x@pbx.example")
    (way,) = plan.targets[0].hops
    route = f"<sip:{PROXY};lr;dst=tls:198.51.100.4:5061;sni=pbx.example>"
    assert way.route == (route,)
    assert way.text == "tls:198.51.100.4:5061"


async def test_a_name_that_must_be_looked_up_gets_100_and_then_its_call(site: Site) -> None:
    site.resolver.slow["pbx.example"] = [Address("udp", "198.51.100.4", 5060)]
    await Phone(site).registered()
    phone = Phone(site)
    phone.learn((await site.send(phone.request("INVITE", "sip:x@pbx.example")))[0])
    (trying,) = await site.send(phone.request("INVITE", "sip:x@pbx.example"))
    assert trying.start_line == "SIP/2.0 100 Trying"
    assert len(site.calls.started) == 1


async def test_a_name_that_leads_nowhere_is_404(site: Site) -> None:
    assert await refusal_of(Phone(site), "sip:x@nowhere.example") == (
        404, "Destination cannot be resolved",
    )  # fmt: skip


async def test_a_call_is_cancelled_while_its_destination_is_looked_up(site: Site) -> None:
    site.resolver.slow["pbx.example"] = [Address("udp", "198.51.100.4", 5060)]
    site.resolver.gate.clear()
    phone = Phone(site)
    invite = phone.request("INVITE", "sip:x@pbx.example")
    phone.learn((await site.send(invite))[1])
    invite = phone.request("INVITE", "sip:x@pbx.example")
    await site.send(invite)
    answers = await site.send(phone.cancel(invite))
    assert [m.start_line for m in answers] == ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]
    site.resolver.gate.set()
    await site.settle()
    assert site.calls.started == []
    assert site.calls.heard == []


async def test_a_tel_uri_is_looked_up_in_the_callers_domain(site: Site) -> None:
    assert (await refusal_of(Phone(site), "tel:+123;phone-context=x"))[0] == 404


@pytest.mark.parametrize(
    ("caller", "callee", "node", "result"),
    [
        (0, 0, 0, 0),
        (60, 0, 0, 60),
        (60, 30, 0, 30),
        (0, 0, 90, 90),
        (60, 0, 90, 60),
        (600, 0, 90, 90),
    ],
)
async def test_the_shortest_limit_of_duration_holds(
    caller: int, callee: int, node: int, result: int
) -> None:
    alice = account("alice", max_call_seconds=caller)
    bob = account("bob", max_call_seconds=callee)
    async with Site(alice, bob, max_call_seconds=node) as site:
        await Phone(site, "bob").registered()
        assert (await plan_of(Phone(site), "sip:bob@example.com")).max_seconds == result


async def test_a_call_while_the_directory_is_away(site: Site) -> None:
    bob = Phone(site, "bob")
    await bob.registered()
    site.directory.away = True
    site.advance(1800)
    assert (await plan_of(Phone(site), "sip:bob@example.com", **OUTSIDER)).targets
    assert (await refusal_of_unknown(site))[0] == 503


async def refusal_of_unknown(site: Site) -> tuple[int, str]:
    (response,) = await Phone(site).asked("INVITE", "sip:new@example.com", **OUTSIDER)
    assert response.first("retry-after") == "30"
    return response.status, response.reason


async def test_too_many_look_ups_at_once_are_503(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.appserver.handlers.accounts.MAX_WAITING", 0)
    assert (await refusal_of(Phone(site), "sip:bob@example.com", **OUTSIDER))[0] == 503


def test_domains_know_aliases_addresses_and_ports() -> None:
    domains = Domains(["extra.example"], ["192.0.2.1:5060", "[2001:DB8::1]:5060", "198.51.100.1"])
    assert domains.serviced("192.0.2.1") == "extra.example"
    domains.load([Domain("Main.example", ("alias.example",)), Domain("two.example")])
    assert domains.default == "main.example"
    assert domains.serviced("MAIN.example.") == "main.example"
    assert domains.serviced("alias.EXAMPLE", 5080) == "main.example"
    assert domains.serviced("two.example") == "two.example"
    assert domains.serviced("extra.example") == "extra.example"
    assert domains.serviced("192.0.2.1", 5060) == "main.example"
    assert domains.serviced("192.0.2.1", 5061) is None
    assert domains.serviced("198.51.100.1", 9) == "main.example"
    assert domains.serviced("[2001:db8:0::1]") == "main.example"
    assert domains.serviced("[2001:db8::2]") is None
    assert domains.serviced("[:::]") is None
    assert domains.serviced("") is None


def test_without_any_domain_nothing_is_ours() -> None:
    assert Domains((), ["192.0.2.1"]).serviced("192.0.2.1") is None


def test_another_program_of_the_same_machine_is_not_ours() -> None:
    domains = Domains(["example.com"], ["192.0.2.1"])
    assert domains.serviced("192.0.2.1", 5070) == "example.com"
    domains.listen_at(["192.0.2.1:5060", "192.0.2.1:5061"])
    assert domains.serviced("192.0.2.1", 5070) is None
    assert domains.serviced("192.0.2.1", 5061) == "example.com"
    assert domains.serviced("192.0.2.1") == "example.com"
    domains.load([Domain("other.example")])
    assert domains.serviced("192.0.2.1", 5060) == "other.example"


async def test_a_twin_of_a_request_by_another_branch_is_482(site: Site) -> None:
    await Phone(site, "bob").registered()
    phone = Phone(site)
    invite = phone.request("INVITE", "sip:bob@example.com", **OUTSIDER)
    await site.send(invite)
    twin = Request("INVITE", invite.uri, [*phone.vias(), *invite.lines[2:]])
    answers = await site.send(twin)
    assert answers[-1].start_line == "SIP/2.0 482 Loop Detected"
    assert len(site.calls.started) == 1


async def test_calls_of_two_domains_meet_only_their_own_accounts(site: Site) -> None:
    await Phone(site, "bob").registered()
    assert (await refusal_of(Phone(site), "sip:bob@second.example", **OUTSIDER))[0] == 404


async def test_the_look_up_of_one_account_is_shared_by_all_who_wait(site: Site) -> None:
    await Phone(site, "bob").registered()
    site.directory.asked = 0
    for _ in range(5):
        request = Phone(site).request("INVITE", "sip:alice@example.com", **OUTSIDER)
        site.link.receiver(request.to_bytes(), PROXY)
    await asyncio.sleep(0)
    await site.settle()
    assert site.directory.asked == 1
    assert [m.start_line for m in site.link.take()].count("SIP/2.0 480 Not registered") == 5
