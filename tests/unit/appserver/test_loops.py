"""Legs that come back to ourselves: an account's own dialplan is run for a call that another
dialplan placed. Who calls is told within the process, never by a header."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.appserver.adapters.loopback import MAX_QUEUE, Loopback
from services.appserver.domain.loops import MAX_LOOPS, MAX_TOLD, Looped, Loops
from services.appserver.domain.plan import SELF, CallPlan, Fork, LegOptions, Target
from services.appserver.domain.routing import to_self
from services.appserver.handlers.calls import Calls
from services.appserver.ports import CallHost
from tandem.bus.call_events import CallRecord
from tandem.sip.build import record_routes, response_to
from tandem.sip.dialog import Dialog
from tandem.sip.message import Request, Response, parse_message
from tandem.sip.transaction import ServerTransaction
from tests.support.appserver import PROXY, Phone, Site, account
from tests.support.sipworld import ANSWER, OFFER

SDP = "Content-Type: application/sdp"


class Dialling(Calls):
    """Rings an account by way of ourselves for each call that a proxy brought; what comes back
    rings the account's phones."""

    def __init__(self, host: CallHost) -> None:
        super().__init__(host)
        self.dials = "sip:bob@example.com"
        self.always = False
        """Whether for calls that came back, too: two dialplans that call each other."""
        self.plans: list[CallPlan] = []
        self.options = LegOptions()

    def start(self, tx: ServerTransaction, plan: CallPlan, now: float) -> None:
        self.plans.append(plan)
        if plan.looped is not None and not self.always:
            super().start(tx, plan, now)
            return
        call_id = self.begin(tx, plan, Nobody(self), now)
        if call_id is not None:
            one = Target(self.dials, (to_self(),), "bob@example.com", self.options)
            assert self.ring(call_id, Fork((one,)), now)


class Nobody:
    """A pilot that refuses with what the last leg said."""

    def __init__(self, calls: Dialling) -> None:
        self._calls = calls

    def failed(self, legs: Any, timed_out: bool, now: float) -> None:
        for call in self._calls.live():
            if call.sip_call_id.startswith("call-"):
                self._calls.refuse(call.id, legs[0].passed, "", (), now)

    def answered(self, now: float) -> None: ...

    def gone(self, reason: str, now: float) -> None: ...


def _site(*more: Any, **settings: Any) -> Site:
    accounts = more or (account("alice"), account("bob"))
    return Site(*accounts, b2bua=Dialling, **settings)


def _dialling(site: Site) -> Dialling:
    assert isinstance(site.app.calls, Dialling)
    return site.app.calls


async def _dial(site: Site, *headers: str) -> tuple[Request, list[Any]]:
    """Alice calls; her INVITE, and what left for phones and proxies."""
    alice, bob = Phone(site), Phone(site, "bob")
    await bob.registered()
    await alice.registered()
    site.link.take()
    sent = await alice.asked("INVITE", "sip:bob@example.com", SDP, *headers, body=OFFER)
    rung = [m for m in sent if isinstance(m, Request) and m.method == "INVITE"]
    return (rung[0] if rung else Request("INVITE", "sip:none", [])), sent


def _answer(to: Request, status: int, body: bytes = b"", tag: str = "bobs") -> Response:
    lines = [*record_routes(to), "Contact: <sip:bob@192.168.1.2>", *((SDP,) if body else ())]
    return response_to(to, status, tag=tag, headers=lines, body=body)


def _inside(site: Site, dialog: Dialog, method: str, *headers: str, body: bytes = b"",
            seq: int | None = None) -> Request:  # fmt: skip
    request = dialog.request(method, seq=seq)
    request.lines[:0] = Phone(site).vias()
    request.lines += ["Contact: <sip:end@192.168.1.2>", *headers, *((SDP,) if body else ())]
    request.body = body
    request._forget()
    return request


def _final(sent: list[Any]) -> Response:
    return [m for m in sent if isinstance(m, Response) and m.status >= 200][-1]


async def _up(site: Site) -> tuple[Dialog, Dialog]:
    """Alice and Bob in a call that went by way of ourselves: the dialogs of both."""
    ringing, _ = await _dial(site)
    await site.send(_answer(ringing, 180).to_bytes())
    sent = await site.send(_answer(ringing, 200, ANSWER).to_bytes())
    answer = _final(sent)
    alice = Dialog.from_response(Request("INVITE", "x", answer.raw_lines("from")
                                 + answer.raw_lines("to", "call-id", "cseq")), answer)  # fmt: skip
    bob = Dialog.from_request(ringing, "bobs")
    acks = await site.send(_inside(site, alice, "ACK", seq=answer.cseq.number))
    assert [m.method for m in [*sent, *acks] if isinstance(m, Request)] == ["ACK"]
    return alice, bob


async def _ended(site: Site) -> list[CallRecord]:
    site.advance(200)
    assert not len(site.app.calls)
    assert not site.app.calls.dialogs
    assert not len(site.app.layer)
    records: list[CallRecord] = site.bus.take(CallRecord)
    return records


@pytest.mark.parametrize("reliable", [True, False])
async def test_an_account_is_rung_by_way_of_ourselves(reliable: bool) -> None:
    async with _site(reliable=reliable) as site:
        alice, _ = await _up(site)
        assert len(site.app.calls) == 2
        sent = await site.send(_inside(site, alice, "BYE"))
        (bye,) = [m for m in sent if isinstance(m, Request)]
        assert (bye.method, bye.uri) == ("BYE", "sip:bob@192.168.1.2")
        await site.send(_answer(bye, 200).to_bytes())
        out, in_ = sorted(await _ended(site), key=lambda record: record.direction, reverse=True)
        assert (out.direction, out.owners[0]) == ("out", "owner-alice")
        assert (in_.direction, in_.owners) == ("in", ("owner-bob",))
        assert {out.status, in_.status} == {200}
        assert in_.source == out.source == "udp:203.0.113.7:5060"


async def test_what_comes_back_is_not_challenged_and_knows_who_calls() -> None:
    async with _site() as site:
        await _dial(site)
        first, second = _dialling(site).plans
        assert first.looped is None
        assert second.looped is not None
        assert second.caller is not None
        assert (second.direction, second.caller.username) == ("in", "alice")
        assert second.callee is not None
        assert second.callee.username == "bob"
        assert second.owners == ("owner-bob",)
        assert second.looped.proxy == PROXY


async def test_a_from_header_that_the_dialplan_wrote_proves_nothing() -> None:
    async with _site(account("alice"), account("bob"), account("carol")) as site:
        _dialling(site).options = LegOptions(from_value="<sip:carol@example.com>")
        ringing, _ = await _dial(site)
        assert str(ringing.from_.uri) == "sip:carol@example.com"
        caller = _dialling(site).plans[-1].caller
        assert caller is not None
        assert caller.username == "alice"


async def test_a_stranger_stays_a_stranger() -> None:
    async with _site(account("alice"), account("bob")) as site:
        await Phone(site, "bob").registered()
        await Phone(site, "alice").registered()
        site.link.take()
        stranger = Phone(site, "x", domain="elsewhere.example")
        sent = await stranger.asked("INVITE", "sip:alice@example.com", SDP, body=OFFER)
        assert [m.method for m in sent if isinstance(m, Request)] == ["INVITE"]
        plan = _dialling(site).plans[-1]
        assert plan.looped is not None
        assert (plan.direction, plan.caller) == ("in", None)


async def test_the_caller_counts_once_for_its_customer() -> None:
    alice, bob = account("alice", max_calls=1), account("bob")
    async with _site(alice, bob) as site:
        ringing, _ = await _dial(site)
        assert ringing.method == "INVITE"
        assert len(site.app.calls) == 2


async def test_cancel_goes_all_the_way() -> None:
    async with _site() as site:
        await Phone(site, "bob").registered()
        alice = Phone(site)
        await alice.registered()
        site.link.take()
        sent = await alice.asked("INVITE", "sip:bob@example.com", SDP, body=OFFER)
        (ringing,) = [m for m in sent if isinstance(m, Request)]
        await site.send(_answer(ringing, 180).to_bytes())
        invite = parse_message(_last_invite(site))
        assert isinstance(invite, Request)
        sent = await site.send(alice.cancel(invite))
        assert sorted(m.status for m in sent if isinstance(m, Response)) == [200, 487]
        (cancel,) = [m for m in sent if isinstance(m, Request)]
        assert (cancel.method, cancel.uri) == ("CANCEL", ringing.uri)
        await site.send(_answer(ringing, 487).to_bytes())
        assert {r.end_reason for r in await _ended(site)} == {"cancelled"}


def _last_invite(site: Site) -> bytes:
    """Alice's own INVITE as the appserver got it."""
    (call,) = [c for c in site.app.calls.live() if c.direction == "out"]
    found = site.app.traces.invite(call.sip_call_id)
    assert found is not None
    return found[1]


async def test_a_refusal_comes_back() -> None:
    async with _site() as site:
        ringing, _ = await _dial(site)
        sent = await site.send(_answer(ringing, 486).to_bytes())
        assert _final(sent).status == 486
        await _ended(site)


@pytest.mark.parametrize("of_caller", [True, False])
async def test_a_reinvite_passes_both_ways(of_caller: bool) -> None:
    async with _site() as site:
        alice, bob = await _up(site)
        sent = await site.send(
            _inside(site, alice if of_caller else bob, "INVITE", body=b"v=0 new")
        )
        (passed,) = [m for m in sent if isinstance(m, Request)]
        assert passed.body == b"v=0 new"
        sent = await site.send(_answer(passed, 200, b"v=0 other", tag="").to_bytes())
        assert _final(sent).body == b"v=0 other"
        (ack,) = [m for m in sent if isinstance(m, Request)]
        assert (ack.method, ack.cseq.number) == ("ACK", passed.cseq.number)
        seq = (alice if of_caller else bob).local_seq
        await site.send(_inside(site, alice if of_caller else bob, "ACK", seq=seq))
        await site.send(_inside(site, alice, "BYE"))
        await _ended(site)


async def test_prack_finds_the_leg_that_it_is_for() -> None:
    async with _site() as site:
        ringing, _ = await _dial(site, "Supported: 100rel")
        reliable = _answer(ringing, 183, ANSWER)
        reliable.lines += ["Require: 100rel", "RSeq: 5"]
        sent = await site.send(reliable.to_bytes())
        (early,) = [m for m in sent if isinstance(m, Response)]
        assert (early.status, early.first("rseq"), early.body) == (183, "5", ANSWER)
        lines = early.raw_lines("from", "to", "call-id", "cseq")
        dialog = Dialog.from_response(Request("INVITE", "x", lines), early)
        rack = f"RAck: 5 {early.cseq.number} INVITE"
        sent = await site.send(_inside(site, dialog, "PRACK", rack))
        (prack,) = [m for m in sent if isinstance(m, Request)]
        assert prack.method == "PRACK"
        assert prack.first("rack") == f"5 {ringing.cseq.number} INVITE"


async def test_probes_and_lost_proxies_leave_it_alone() -> None:
    async with _site(probe_seconds=30.0) as site:
        alice, _ = await _up(site)
        site.app.calls.proxy_lost("elsewhere", site.now)
        for _ in range(4):
            site.advance(30)
            await site.settle()
            probes = site.link.take()
            assert len(probes) == 2
            for probe in probes:
                assert isinstance(probe, Request)
                assert probe.method == "OPTIONS"
                await site.send(_answer(probe, 200, tag="").to_bytes())
        assert len(site.app.calls) == 2
        assert SELF not in site.app.tools.proxies.gone(site.now)
        assert not site.app.tools.proxies.others("none", site.now, "key")
        await site.send(_inside(site, alice, "BYE"))
        await _ended(site)


async def test_two_dialplans_that_call_each_other_come_to_an_end() -> None:
    async with _site() as site:
        _dialling(site).always = True
        _, sent = await _dial(site)
        for _ in range(20):
            await site.settle()
        sent += site.link.take()
        assert len(_dialling(site).plans) == MAX_LOOPS + 1
        site.advance(300)
        await site.settle()
        await _ended(site)


async def test_a_leg_to_ourselves_never_leads_outside() -> None:
    async with _site() as site:
        _dialling(site).dials = "sip:1@elsewhere.example"
        _, sent = await _dial(site)
        assert _final(sent).status == 404
        assert not [m for m in sent if isinstance(m, Request)]


async def test_nobody_else_can_say_that_it_is_us() -> None:
    async with _site() as site:
        forged = Phone(site).request("INVITE", "sip:bob@example.com", SDP, body=OFFER)
        site.link.receiver(forged.to_bytes(), SELF)
        await site.settle()
        assert _dialling(site).plans == []


async def test_what_waits_at_the_end_is_thrown_away() -> None:
    async with _site() as site:
        await _dial(site)
        site.app._loopback.close()
        site.app._loopback.send(b"x", SELF)
        assert site.app._loopback.dropped == 1


def test_what_is_told_is_bounded() -> None:
    loops = Loops()
    looped = Looped(None, "", "")
    for n in range(MAX_TOLD + 1):
        loops.tell(str(n), looped)
    assert loops.take("0") is None
    assert loops.take(str(MAX_TOLD)) is looped
    assert loops.take(str(MAX_TOLD)) is None


async def test_all_that_waits_is_remembered() -> None:
    """A burst of INVITEs to ourselves as large as the queue: each is known when its turn comes."""
    loops, looped = Loops(), Looped(None, "", "")
    known: list[str] = []
    through = asyncio.Event()

    def receive(data: bytes, peer: str) -> None:
        known.append(data.decode())
        if len(known) == MAX_QUEUE:
            through.set()

    loopback = Loopback(lambda data, peer: None, receive)
    for n in range(MAX_QUEUE):
        loopback.send(str(n).encode(), SELF)
        loops.tell(str(n), looped)
    async with asyncio.timeout(30):
        await through.wait()
    assert loopback.dropped == 0
    assert all(loops.take(branch) is looped for branch in known)


async def test_a_redirection_to_a_domain_of_ours_comes_back_to_us() -> None:
    async with _site(account("alice"), account("bob"), account("carol")) as site:
        _dialling(site).options = LegOptions(follow_redirects=True)
        ringing, _ = await _dial(site)
        await Phone(site, "carol").registered()
        site.link.take()
        redirection = _answer(ringing, 302)
        redirection.set("Contact", "<sip:carol@alias.example>")
        sent = await site.send(redirection.to_bytes())
        assert [m.uri for m in sent if isinstance(m, Request) and m.method == "INVITE"] == [
            "sip:carol@192.168.1.2:5060"
        ]
        plan = _dialling(site).plans[-1]
        assert plan.callee is not None
        assert (plan.callee.username, plan.direction) == ("carol", "in")
        assert plan.looped is not None
        assert plan.looped.times == 1
