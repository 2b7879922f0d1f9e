"""Calls to the outside: where requests inside their dialogs go, and which hops are avoided."""

from __future__ import annotations

from typing import Any

import pytest

from services.appserver.adapters.outside import OutsideResolver
from services.appserver.handlers import outside
from services.appserver.handlers.calls import Calls
from tandem.sip.build import response_to
from tandem.sip.message import Request, Response
from tandem.sip.uri import Uri
from tandem.siptransport.resolver import Hop, Resolver
from tests.support.appserver import PROXY, Address, Phone, Site, account

INVITED = Address("udp", "198.51.100.4", 5060)
CONTACT = Address("tcp", "198.51.100.9", 5099)
OFFER = ("Content-Type: application/sdp",)
URI = "sip:x@pbx.example"


def to_outside() -> Site:
    """alice's site; pbx.example and the host of its Contact are known names."""
    site = Site(account("alice"), b2bua=Calls)
    site.resolver.known |= {"pbx.example": [INVITED], "198.51.100.9": [CONTACT]}
    return site


async def calling(phone: Phone) -> Request:
    """alice calls; the INVITE that leaves."""
    invites = [
        m for m in await phone.asked("INVITE", URI, *OFFER, body=b"v=0") if isinstance(m, Request)
    ]
    (invite,) = invites
    return invite


def pick_up(invite: Request, *routes: str, contact: str = "<sip:x@198.51.100.9:5099>") -> Response:
    """The 200 of the UA outside, with the Record-Routes of our proxy and perhaps of others."""
    return response_to(
        invite, 200, tag="far",
        headers=[
            *(f"Record-Route: {route}" for route in routes),
            "Record-Route: <sip:192.0.2.1;lr>",
            f"Record-Route: <sip:flow-token@{PROXY};lr>",
            f"Contact: {contact}",
        ],
    )  # fmt: skip


async def talking(phone: Phone, *routes: str, **options: Any) -> tuple[Response, list[Any]]:
    """alice's call is up: her 200, and what the appserver sent since the far end's."""
    invite = await calling(phone)
    sent = await phone.site.send(pick_up(invite, *routes, **options).to_bytes())
    await phone.site.settle()
    sent += phone.site.link.take()
    (ok,) = (m for m in sent if isinstance(m, Response))
    assert ok.status == 200
    phone.cseq = ok.cseq.number - 1
    ack = phone.request("ACK", "sip:10.0.0.9:5070", from_=ok.first("from"), to=ok.first("to"))
    ack.set("Call-ID", ok.call_id)
    await phone.site.send(ack)
    return ok, [m for m in sent if isinstance(m, Request)]


async def hang_up(phone: Phone, ok: Response) -> list[Any]:
    """alice says BYE; the requests that leave."""
    phone.cseq = ok.cseq.number
    bye = phone.request("BYE", "sip:10.0.0.9:5070", from_=ok.first("from"), to=ok.first("to"))
    bye.set("Call-ID", ok.call_id)
    sent = await phone.site.send(bye)
    return [m for m in sent if isinstance(m, Request)]


def way(request: Request) -> tuple[str, str, list[str]]:
    return request.method, request.uri, request.values("route")


@pytest.mark.parametrize("name", ["known", "slow"])
async def test_requests_inside_the_dialog_go_to_the_contact_of_who_answered(name: str) -> None:
    async with to_outside() as site:
        if name == "slow":
            site.resolver.slow["198.51.100.9"] = site.resolver.known.pop("198.51.100.9")
        phone = Phone(site)
        ok, sent = await talking(phone)
        far = "sip:x@198.51.100.9:5099"
        routes = [f"<sip:{PROXY};lr;dst=tcp:198.51.100.9:5099>"]
        assert [way(m) for m in sent] == [("ACK", far, routes)]
        assert [way(m) for m in await hang_up(phone, ok)] == [("BYE", far, routes)]


async def test_a_route_of_theirs_is_next_and_its_host_is_what_is_looked_up() -> None:
    async with to_outside() as site:
        site.resolver.known["edge.example"] = [Address("udp", "198.51.100.7", 5060)]
        phone = Phone(site)
        ok, _ = await talking(phone, "<sip:edge.example;lr>")
        (bye,) = await hang_up(phone, ok)
        assert way(bye) == (
            "BYE",
            "sip:x@198.51.100.9:5099",
            [f"<sip:{PROXY};lr;dst=udp:198.51.100.7:5060>", "<sip:edge.example;lr>"],
        )


async def test_a_contact_that_leads_nowhere_gets_no_bye_and_the_call_ends() -> None:
    async with to_outside() as site:
        phone = Phone(site)
        ok, _ = await talking(phone, contact="<sip:x@nowhere.example>")
        assert await hang_up(phone, ok) == []
        site.advance(40)
        assert len(site.app.calls) == 0


async def test_too_many_look_ups_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "MAX_RESOLVING", 0)
    async with to_outside() as site:
        site.resolver.slow["198.51.100.9"] = [CONTACT]
        phone = Phone(site)
        ok, _ = await talking(phone)
        assert await hang_up(phone, ok) == []
        site.resolver.slow["pbx.example"] = [INVITED]
        (refused,) = await phone.asked("INVITE", URI)
        assert refused.status == 503


# -- health ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "good"), [(503, False), (430, False), (486, True), (180, True)])
async def test_an_answer_tells_whether_the_hop_works(status: int, good: bool) -> None:
    async with to_outside() as site:
        invite = await calling(Phone(site))
        await site.send(response_to(invite, status, tag="far").to_bytes())
        assert site.resolver.judged == [("udp:198.51.100.4:5060", good)]


async def test_a_hop_without_an_answer_failed() -> None:
    async with to_outside() as site:
        await calling(Phone(site))
        site.advance(33)
        assert site.resolver.judged == [("udp:198.51.100.4:5060", False)]


async def test_who_rang_and_never_answered_is_no_failed_hop() -> None:
    async with to_outside() as site:
        invite = await calling(Phone(site))
        await site.send(response_to(invite, 180, tag="far").to_bytes())
        site.advance(300)
        assert all(good for _, good in site.resolver.judged)


async def test_hops_of_messages_are_judged_too() -> None:
    async with to_outside() as site:
        (copy,) = await Phone(site).asked("MESSAGE", URI)
        site.advance(33)
        site.link.take()
        (copy,) = await Phone(site).asked("MESSAGE", URI)
        await site.send(response_to(copy, 200, tag="far").to_bytes())
        assert [good for _, good in site.resolver.judged] == [False, True]


async def test_the_flow_of_a_phone_is_not_the_resolvers() -> None:
    async with to_outside() as site:
        await Phone(site, "alice").registered()
        sent = await Phone(site).asked("INVITE", "sip:alice@example.com")
        (invite,) = (m for m in sent if isinstance(m, Request))
        await site.send(response_to(invite, 503, tag="far").to_bytes())
        assert site.resolver.judged == []


async def test_a_failed_hop_is_tried_last_until_it_answers() -> None:
    now = 100.0
    inner = Resolver(clock=lambda: now)
    resolver = OutsideResolver(inner)
    hop = Hop("udp", "2001:db8::1", 5060)
    resolver.judge("udp:[2001:db8::1]:5060", False, now)
    assert inner.health.is_penalised(hop, now)
    resolver.judge("udp:[2001:db8::1]:5060", True, now)
    assert not inner.health.is_penalised(hop, now)


async def test_what_can_not_be_resolved_leads_nowhere() -> None:
    resolver = OutsideResolver(Resolver())
    assert resolver.resolve_now(Uri.parse("tel:+1")) == ()
    assert await resolver.resolve(Uri.parse("tel:+1")) == ()
