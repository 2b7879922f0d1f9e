"""Waiting for callbacks: who is told, which call is the one, and every way that it may end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.appserver.domain.callbacks import (
    Callback,
    CallbackError,
    Failed,
    InvalidCallback,
    Matched,
    NoSuchCall,
    NotWaitable,
    NotYours,
    Step,
    TooManyWaits,
    Trigger,
    Triggered,
    Unavailable,
    Waiting,
)
from services.appserver.domain.sdp import HELD
from services.appserver.handlers.calls import Calls
from services.appserver.ports import Asked
from tandem.bus.call_events import CallAnswered, CallEnded, CallRecord
from tandem.bus.callback_events import (
    CallbackFailed,
    CallbackMatched,
    CallbackTriggered,
    CallbackWaiting,
)
from tandem.bus.hints import Hint, HintAcknowledged, HintsWanted, HintWithdrawn
from tandem.bus.nodes import NodeAnnounced, Nodes
from tandem.bus.ports import Topic
from tandem.sip.build import record_routes, response_to
from tandem.sip.message import Request, Response
from tests.support.appserver import Phone, Site, account
from tests.support.sipworld import ANSWER, OFFER

SDP = "Content-Type: application/sdp"
TRIGGER = Trigger("https://provider.example/call?key=secret", headers=(("X-Key", "secret"),))


@dataclass
class Running:
    """A callback that is under way, and its steps so far."""

    site: Site
    wanted: Callback
    steps: list[Step] = field(default_factory=list)

    async def start(self) -> Running:
        self.task = asyncio.create_task(self._run())
        await self.site.settle()
        if self.task.done():
            self.task.result()  # raises what went wrong
        return self

    async def _run(self) -> None:
        async for step in self.site.app.callbacks.run(self.wanted):
            self.steps.append(step)

    @property
    def last(self) -> Step:
        return self.steps[-1]


def _site(**settings: Any) -> Site:
    accounts = [account(name, owner="acme") for name in ("alice", "bob")]
    return Site(*accounts, account("eve", owner="other"), b2bua=Calls, **settings)


async def _calling(site: Site, user: str = "bob", name: str = "caller") -> tuple[str, Request]:
    """Somebody outside calls an account of acme, whose phone rings: the call's id, the INVITE."""
    if not site.app.location.bindings(f"{user}@example.com"):
        await Phone(site, user).registered()
    before = {call.id for call in site.app.calls.live()}
    caller = Phone(site, name, host="198.51.100.9", domain="elsewhere.example")
    invite = caller.request("INVITE", f"sip:{user}@example.com", SDP, body=OFFER)
    await site.send(invite)
    (call,) = [call for call in site.app.calls.live() if call.id not in before]
    return call.id, invite


async def _waiting(site: Site, call_id: str = "", **more: Any) -> Running:
    if not call_id:
        call_id, _ = await _calling(site)
    running = await Running(site, Callback(customer="acme", call_id=call_id, **more)).start()
    site.link.take()
    return running


async def _calls_back(
    site: Site, user: str = "bob", name: str = "+15551234", *headers: str, **more: Any
) -> list[Any]:
    """A provider's INVITE; what the appserver sent, but 100."""
    phone = Phone(site, name, host="203.0.113.99", domain="provider.example")
    uri = f"sip:{user}@example.com"
    site.link.take()
    return await phone.asked("INVITE", uri, SDP, *headers, body=OFFER, **more)


def _answers(sent: list[Any], status: int = 200) -> list[Response]:
    return [m for m in sent if isinstance(m, Response) and m.status == status]


def _rings(sent: list[Any]) -> list[Request]:
    return [m for m in sent if isinstance(m, Request) and m.method == "INVITE"]


# -- the whole story -------------------------------------------------------------------------------


async def test_a_callback_is_asked_for_and_meets_the_caller_who_waits() -> None:
    async with _site() as site:
        running = await _waiting(site, trigger=TRIGGER, pattern="1555*")
        waiting, triggered = running.steps
        assert isinstance(waiting, Waiting)
        assert triggered == Triggered(200)
        assert site.http.asked == [TRIGGER]
        (hint,) = site.bus.take(Hint)
        assert (hint.node, hint.appserver, hint.customer) == ("as1", site.link.address, "acme")
        assert hint.users == ("bob",)
        assert hint.pattern == "1555*"
        assert site.wall + 60 < hint.expires_at < site.wall + 62
        assert site.app.callbacks.hints.live() == [hint]
        assert site.app.describe().hints == 1
        site.advance(3)
        sent = await _calls_back(site)
        assert len(_answers(sent)) == 2
        assert not _rings(sent)
        await site.settle()
        assert running.last == Matched("sip:+15551234@provider.example", 3.0)
        assert running.task.done()
        assert site.bus.take(HintWithdrawn) == [HintWithdrawn(hint.id, "matched")]
        assert site.app.callbacks.hints.live() == []
        counters = site.app.callbacks.counters
        assert (counters.started, counters.matched, counters.failed) == (1, 1, 0)
        assert len(site.app.callbacks) == 0


async def test_its_events_are_those_of_the_call_and_hold_no_secret() -> None:
    async with _site() as site:
        await _waiting(site, trigger=TRIGGER, pattern="1555*")
        await _calls_back(site)
        kinds = (CallbackWaiting, CallbackTriggered, CallbackMatched, CallAnswered)
        seen = [e for topic, e in site.bus.published if topic is Topic.EVENTS]
        events = [e for e in seen if isinstance(e, kinds)]
        assert [type(e) for e in events] == [
            CallbackWaiting, CallbackTriggered, CallAnswered, CallbackMatched,
        ]  # fmt: skip
        assert {e.owners for e in events} == {("acme",)}
        assert len({e.call_id for e in events}) == 1
        triggered = next(e for e in events if isinstance(e, CallbackTriggered))
        assert (triggered.host, triggered.status) == ("provider.example", 200)
        assert "secret" not in repr(seen)


async def test_a_callback_that_comes_before_the_answer_of_the_trigger_is_taken() -> None:
    async with _site() as site:
        site.http.gate.clear()
        running = await _waiting(site, trigger=TRIGGER)
        await _calls_back(site)
        await site.settle()
        assert isinstance(running.last, Matched)
        assert len(running.steps) == 2
        site.http.answer = Asked(500)
        site.http.gate.set()
        await site.settle()
        assert len(site.bus.take(CallbackTriggered)) == 1
        assert len(site.app.calls) == 1, "what is joined stays joined"


async def test_without_a_trigger_it_is_merely_waited_for() -> None:
    async with _site() as site:
        running = await _waiting(site)
        await _calls_back(site)
        await site.settle()
        assert [type(step) for step in running.steps] == [Waiting, Matched]
        assert site.http.asked == []


# -- which call is it? -----------------------------------------------------------------------------


async def test_what_does_not_fit_the_pattern_rings_as_ordinary_and_the_wait_goes_on() -> None:
    async with _site() as site:
        running = await _waiting(site, pattern="1555*")
        sent = await _calls_back(site, name="+4420")
        assert len(_rings(sent)) == 1
        assert len(running.steps) == 1
        await _calls_back(site)
        await site.settle()
        assert isinstance(running.last, Matched)


async def test_a_second_callback_is_an_ordinary_call() -> None:
    async with _site() as site:
        await _waiting(site)
        assert not _rings(await _calls_back(site))
        assert len(_rings(await _calls_back(site))) == 1


async def test_of_several_the_most_specific_pattern_has_it_then_who_waited_first() -> None:
    async with _site() as site:
        patterns = ("", "1*", "15551234", "1*", "1555???4")
        ids = [(await _calling(site))[0] for _ in patterns]
        running = []
        for call_id, pattern in zip(ids, patterns, strict=True):
            running.append(await _waiting(site, call_id, pattern=pattern))
            site.advance(0.1)
        order = []
        for _ in patterns:
            done = {n for n, each in enumerate(running) if isinstance(each.last, Matched)}
            await _calls_back(site)
            await site.settle()
            now = {n for n, each in enumerate(running) if isinstance(each.last, Matched)}
            order += sorted(now - done)
        assert order == [2, 4, 1, 3, 0]


async def test_another_customers_account_can_not_be_waited_for() -> None:
    async with _site() as site:
        running = await _waiting(site, users=("eve", "bob"))
        await Phone(site, "eve").registered()
        assert len(_rings(await _calls_back(site, "eve"))) == 1
        assert len(running.steps) == 1


async def test_a_contact_at_the_provider_that_is_no_account_can_be_waited_for() -> None:
    async with _site() as site:
        running = await _waiting(site, users=("Line-77",))
        assert [h.users for h in site.app.callbacks.hints.live()] == [("line-77",)]
        await _calls_back(site, "LINE-77")
        await site.settle()
        assert isinstance(running.last, Matched)
        (refused,) = await _calls_back(site, "line-77")
        assert refused.status == 404


async def test_what_stands_before_the_last_dots_counts_for_nothing() -> None:
    async with _site() as site:
        first = await _waiting(site, users=("bob", "line-77"))
        await _calls_back(site, "office.bob")
        second = await _waiting(site, users=("bob", "line-77"))
        await _calls_back(site, "a.b.line-77")
        await site.settle()
        assert isinstance(first.last, Matched)
        assert isinstance(second.last, Matched)


async def test_a_caller_who_withholds_its_number_is_known_by_what_its_network_asserts() -> None:
    async with _site() as site:
        running = await _waiting(site, pattern="15551234")
        asserted = "P-Asserted-Identity: <tel:+15551234>"
        nameless = "<sip:anonymous@anonymous.invalid>;tag=x"
        await _calls_back(site, "bob", "x", asserted, from_=nameless)
        await site.settle()
        assert isinstance(running.last, Matched)


async def test_neither_a_message_nor_an_invite_that_replaces_is_a_callback() -> None:
    async with _site() as site:
        running = await _waiting(site)
        provider = Phone(site, "+15551234", domain="provider.example")
        await provider.asked("MESSAGE", "sip:bob@example.com")
        await _calls_back(site, "bob", "x", "Replaces: a@b;to-tag=1;from-tag=2")
        assert len(running.steps) == 1


async def test_colleagues_reach_each_other_while_one_waits_for_anybody_outside() -> None:
    async with _site() as site:
        running = await _waiting(site)
        alice = Phone(site, "alice")
        assert len(_rings(await alice.asked("INVITE", "sip:bob@example.com", body=OFFER))) == 1
        assert len(running.steps) == 1
        named = await _waiting(site, (await _calling_from_inside(site)), pattern="alice")
        assert not _rings(await alice.asked("INVITE", "sip:bob@example.com", SDP, body=OFFER))
        await site.settle()
        assert isinstance(named.last, Matched)


async def _calling_from_inside(site: Site) -> str:
    before = {call.id for call in site.app.calls.live()}
    await Phone(site, "alice").asked("INVITE", "sip:bob@example.com", SDP, body=OFFER)
    (call,) = [call for call in site.app.calls.live() if call.id not in before]
    return call.id


async def test_a_domain_that_was_named_must_be_the_one_called() -> None:
    async with _site() as site:
        running = await _waiting(site, domains=("Alias.example",))
        assert len(_rings(await _calls_back(site))) == 1
        provider = Phone(site, "+15551234", domain="provider.example")
        await provider.asked("INVITE", "sip:bob@alias.example", SDP, body=OFFER)
        await site.settle()
        assert isinstance(running.last, Matched)


async def test_a_disabled_account_is_not_called_back() -> None:
    off = account("bob", owner="acme", enabled=False)
    async with Site(account("alice", owner="acme"), off, b2bua=Calls) as site:
        call_id, _ = await _calling(site, "alice")
        await Running(site, Callback(customer="acme", call_id=call_id, users=("bob",))).start()
        (refused,) = await _calls_back(site, "bob")
        assert refused.status == 403


async def test_while_the_directory_is_away_callbacks_are_still_known() -> None:
    async with _site(account_seconds=1, account_max_seconds=1, missing_seconds=1) as site:
        await Phone(site, "eve").registered()
        running = await _waiting(site, users=("line-77", "eve"))
        site.directory.away = True
        site.advance(5)
        await _calls_back(site, "eve")
        assert len(running.steps) == 1, "eve's phones tell whose user that is"
        await _calls_back(site, "line-77")
        await site.settle()
        assert isinstance(running.last, Matched)


async def test_while_the_directory_is_away_nobody_takes_a_call_that_may_be_anothers() -> None:
    async with _site() as site:
        call_id, _ = await _calling(site)
        site.directory.away = True
        running = await _waiting(site, call_id, users=("eve",))
        (refused,) = await _calls_back(site, "eve")
        assert refused.status == 503
        assert len(running.steps) == 1


# -- ends without a callback -----------------------------------------------------------------------


async def test_time_runs_out_and_the_caller_hears_so() -> None:
    async with _site() as site:
        running = await _waiting(site, trigger=TRIGGER, seconds=5)
        (hint,) = site.app.callbacks.hints.live()
        site.advance(5.5)
        await site.settle()
        assert running.last == Failed("no callback")
        (answer,) = [m for m in _answers(site.link.take(), 480)][:1]
        assert answer.cseq.method == "INVITE"
        assert site.bus.take(HintWithdrawn) == [HintWithdrawn(hint.id, "timeout")]
        (record,) = site.bus.take(CallRecord)
        assert (record.status, record.end_reason) == (480, "no callback")
        assert len(_rings(await _calls_back(site))) == 1


async def test_a_caller_who_gives_up_withdraws_the_hint_and_a_late_callback_is_ordinary() -> None:
    async with _site() as site:
        call_id, invite = await _calling(site)
        running = await Running(site, Callback(customer="acme", call_id=call_id)).start()
        (hint,) = site.app.callbacks.hints.live()
        await site.send(Phone(site).cancel(invite))
        assert running.last == Failed("cancelled")
        assert site.bus.take(HintWithdrawn) == [HintWithdrawn(hint.id, "caller gone")]
        assert len(_rings(await _calls_back(site))) == 1
        kinds = [
            type(e) for _, e in site.bus.published if isinstance(e, CallbackFailed | CallEnded)
        ]
        assert kinds == [CallbackFailed, CallEnded]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Asked(402), "provider.example: answered 402"),
        (Asked(302), "provider.example: answered 302"),
        (Asked(0, "no answer in time"), "provider.example: no answer in time"),
    ],
)
async def test_a_trigger_that_is_refused_fails_at_once(answer: Asked, reason: str) -> None:
    async with _site() as site:
        site.http.answer = answer
        running = await _waiting(site, trigger=TRIGGER)
        assert running.steps[1:] == [Triggered(answer.status), Failed(reason)]
        assert [e.reason for e in site.bus.take(CallbackFailed)] == [reason]
        assert len(site.app.calls) == 0
        assert len(site.app.callbacks) == 0


async def test_closing_the_stream_ends_the_wait() -> None:
    async with _site() as site:
        running = await _waiting(site)
        (hint,) = site.app.callbacks.hints.live()
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
        await site.settle()
        assert site.bus.take(HintWithdrawn) == [HintWithdrawn(hint.id, "stopped")]
        assert [e.reason for e in site.bus.take(CallbackFailed)] == ["callback given up"]
        assert len(_answers(site.link.take(), 480)) == 1
        assert len(site.app.callbacks) == 0


async def test_closing_the_stream_after_the_match_leaves_the_call_alone() -> None:
    async with _site() as site:
        running = await _waiting(site)
        phone = Phone(site, "+15551234", domain="provider.example")
        request = phone.request("INVITE", "sip:bob@example.com", SDP, body=OFFER)
        site.link.receiver(request.to_bytes(), "10.0.0.1:5070")
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
        assert len(site.app.calls) == 1


async def test_a_node_that_stops_withdraws_its_hints() -> None:
    site = _site()
    async with site:
        running = await _waiting(site)
        (hint,) = site.app.callbacks.hints.live()
    await site.settle()
    assert running.last == Failed("server stopped")
    assert site.bus.take(HintWithdrawn) == [HintWithdrawn(hint.id, "stopped")]


# -- what can't be waited for ----------------------------------------------------------------------


async def test_only_a_call_of_the_customer_that_is_not_answered_can_wait() -> None:
    async with _site() as site:
        call_id, _ = await _calling(site)
        with pytest.raises(NoSuchCall):
            await Running(site, Callback(customer="acme", call_id="nothing")).start()
        with pytest.raises(NotYours):
            await Running(site, Callback(customer="other", call_id=call_id)).start()
        await Running(site, Callback(customer="acme", call_id=call_id)).start()
        with pytest.raises(NotWaitable):
            await Running(site, Callback(customer="acme", call_id=call_id)).start()
        assert len(site.app.callbacks) == 1


async def test_too_many_waits_are_refused() -> None:
    async with _site(max_waits=3, max_customer_waits=2) as site:
        for _ in range(2):
            await _waiting(site, pattern="1555*")
        with pytest.raises(TooManyWaits, match="customer"):
            await _waiting(site)
        await _elsewhere(site)
        with pytest.raises(TooManyWaits, match="node"):
            await _elsewhere(site)
        assert site.app.callbacks.counters.refused == 2


async def _elsewhere(site: Site) -> None:
    call_id, _ = await _calling(site, "eve")
    await Running(site, Callback(customer="other", call_id=call_id, pattern="1555*")).start()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"customer": ""}, "customer"),
        ({"account": "bob@example.com"}, "caller"),
        ({"call_id": ""}, "caller"),
        ({"call_id": "", "account": "bob"}, "account"),
        ({"seconds": 301}, "timeout_seconds"),
        ({"users": ("",)}, "users"),
        ({"users": ("a",) * 1001}, "users"),
        ({"pattern": "x" * 65}, "pattern"),
        ({"trigger": Trigger("ftp://x/")}, "trigger.url"),
        ({"trigger": Trigger("http://x:port/")}, "trigger.url"),
        ({"trigger": Trigger("http://x/\r\nX: y")}, "trigger.url"),
        ({"trigger": Trigger("http://x/", "BREW")}, "trigger.method"),
        ({"trigger": Trigger("http://x/", body=b"x", form=(("a", "b"),))}, "trigger.form"),
        ({"trigger": Trigger("http://x/", body=b"x" * 65_537)}, "trigger.body"),
        ({"trigger": Trigger("http://x/", headers=(("Host", "y"),))}, "trigger.headers"),
        ({"trigger": Trigger("http://x/", headers=(("A B", "y"),))}, "trigger.headers"),
        ({"trigger": Trigger("http://x/", headers=(("A", "y\r\nB: z"),))}, "trigger.headers"),
        ({"trigger": Trigger("http://x/", headers=(("A", "y"),) * 33)}, "trigger.headers"),
    ],
)
async def test_nonsense_is_refused_by_the_name_of_its_field(
    wrong: dict[str, Any], field: str
) -> None:
    values = {"customer": "acme", "call_id": "x", **wrong}
    async with _site() as site:
        with pytest.raises(InvalidCallback, match=f"^{field}: "):
            await Running(site, Callback(**values)).start()


# -- an account that is rung first -----------------------------------------------------------------


def _pick_up(site: Site, invite: Request, body: bytes) -> Response:
    headers = [*record_routes(invite), "Contact: <sip:bob@192.168.1.2>", SDP]
    tag = invite.to_tag or "bobs"
    answer = response_to(invite, 200, tag=tag, headers=headers, body=body)
    return answer


async def test_the_phones_of_an_account_are_rung_before_anybody_is_asked() -> None:
    async with _site() as site:
        await Phone(site, "bob").registered()
        wanted = Callback(customer="acme", account="BOB@alias.example", trigger=TRIGGER)
        running = await Running(site, wanted).start()
        (invite,) = _rings(site.link.take())
        assert invite.body == HELD
        assert running.steps == []
        assert site.http.asked == []
        sent = await site.send(_pick_up(site, invite, HELD).to_bytes())
        assert [m.method for m in sent if isinstance(m, Request)] == ["ACK"]
        assert [type(step) for step in running.steps] == [Waiting, Triggered]
        (again,) = _rings(await _calls_back(site))
        assert again.body == OFFER
        sent = await site.send(_pick_up(site, again, ANSWER).to_bytes())
        assert [m.body for m in _answers(sent)] == [ANSWER]
        await site.settle()
        assert isinstance(running.last, Matched)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("nobody@example.com", NoSuchCall),
        ("bob@foreign.example", NoSuchCall),
        ("eve@example.com", NotYours),
        ("alice@example.com", NotWaitable),
    ],
)
async def test_only_a_registered_account_of_the_customer_can_be_rung(
    wrong: str, error: type[CallbackError]
) -> None:
    async with _site() as site:
        with pytest.raises(error):
            await Running(site, Callback(customer="acme", account=wrong)).start()
        assert len(site.app.callbacks) == 0


async def test_a_directory_that_is_away_is_told() -> None:
    async with _site() as site:
        site.directory.away = True
        with pytest.raises(Unavailable):
            await Running(site, Callback(customer="acme", account="bob@example.com")).start()


async def test_a_phone_that_declines_fails_the_callback_before_anybody_is_asked() -> None:
    async with _site() as site:
        await Phone(site, "bob").registered()
        wanted = Callback(customer="acme", account="bob@example.com", trigger=TRIGGER)
        running = await Running(site, wanted).start()
        (invite,) = _rings(site.link.take())
        await site.send(response_to(invite, 603, tag="bobs").to_bytes())
        assert running.steps == [Failed("declined")]
        assert site.http.asked == []


# -- proxies ---------------------------------------------------------------------------------------


def _proxy(name: str) -> NodeAnnounced:
    return NodeAnnounced(node=name, kind="proxy", incarnation=1, version="1", sip="10.0.0.1:5070")


async def _with_proxies(site: Site) -> None:
    nodes = Nodes(site.bus, site.app.describe, lambda: site.now)
    site.app.join(nodes)
    await site.bus.deliver(Topic.NODES, _proxy("p1"), _proxy("p2"))


async def test_nobody_is_asked_before_every_live_proxy_knows() -> None:
    site = _site()
    await _with_proxies(site)
    async with site:
        running = await _waiting(site, trigger=TRIGGER)
        (hint,) = site.bus.take(Hint)
        assert running.steps == []
        site.advance(0.1)
        await site.bus.deliver(Topic.ANSWERS, HintAcknowledged(hint.id, "p1"))
        await site.settle()
        assert site.http.asked == []
        await site.bus.deliver(Topic.ANSWERS, HintAcknowledged(hint.id, "p2"))
        await site.settle()
        waiting = running.steps[0]
        assert isinstance(waiting, Waiting)
        assert (waiting.proxies, waiting.silent) == (("p1", "p2"), ())
        assert waiting.acknowledged_ms == pytest.approx(100)
        assert len(site.http.asked) == 1
        assert site.app.callbacks.hints.counters.acknowledged == 2
        assert site.app.statistics.hint_acknowledged.count == 1


async def test_a_silent_proxy_is_waited_for_a_quarter_of_a_second_and_told_of() -> None:
    site = _site()
    await _with_proxies(site)
    async with site:
        running = await _waiting(site, trigger=TRIGGER)
        (hint,) = site.bus.take(Hint)
        await site.bus.deliver(Topic.ANSWERS, HintAcknowledged(hint.id, "p2"))
        site.advance(0.2)
        await site.settle()
        assert running.steps == []
        site.advance(0.1)
        await site.settle()
        waiting = running.steps[0]
        assert isinstance(waiting, Waiting)
        assert (waiting.proxies, waiting.silent) == (("p2",), ("p1",))
        (event,) = site.bus.take(CallbackTriggered)
        assert event.silent_proxies == ("p1",)
        assert site.app.callbacks.hints.counters.silent == 1


async def test_a_call_that_comes_meanwhile_is_it_and_nobody_is_asked() -> None:
    site = _site()
    await _with_proxies(site)
    async with site:
        await Phone(site, "bob").registered()
        wanted = Callback(customer="acme", account="bob@example.com", trigger=TRIGGER)
        running = await Running(site, wanted).start()
        (invite,) = _rings(site.link.take())
        await site.send(_pick_up(site, invite, HELD).to_bytes())
        (again,) = _rings(await _calls_back(site))
        site.advance(0.3)
        await site.settle()
        assert site.http.asked == []
        await site.send(_pick_up(site, again, ANSWER).to_bytes())
        await site.settle()
        assert [type(step) for step in running.steps] == [Waiting, Matched]
        assert site.http.asked == []


async def test_a_caller_who_gives_up_meanwhile_is_not_waited_for() -> None:
    site = _site()
    await _with_proxies(site)
    async with site:
        call_id, invite = await _calling(site)
        wanted = Callback(customer="acme", call_id=call_id, trigger=TRIGGER)
        running = await Running(site, wanted).start()
        await site.send(Phone(site).cancel(invite))
        await site.settle()
        assert running.last == Failed("cancelled")
        assert site.http.asked == []
        assert site.app.callbacks.hints.counters.silent == 0


async def test_a_proxy_that_starts_late_is_told_all_live_hints() -> None:
    async with _site() as site:
        await _waiting(site, pattern="1555*")
        await _waiting(site, pattern="1555*")
        hints = site.bus.take(Hint)
        await site.bus.deliver(Topic.ANSWERS, HintsWanted("p9"))
        assert site.bus.take(Hint) == hints
        for resumed in site.bus.resumed:
            resumed()
        assert site.bus.take(Hint) == hints
        await site.bus.deliver(Topic.ANSWERS, HintAcknowledged("unknown", "p9"))
        assert site.app.callbacks.hints.counters.repeated == 4
