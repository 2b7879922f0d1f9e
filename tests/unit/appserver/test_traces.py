from __future__ import annotations

from typing import Any

import pytest

from services.appserver.domain.redaction import redacted
from services.appserver.handlers import traces as module
from services.appserver.handlers.calls import Calls
from services.appserver.handlers.traces import MAX_STRANGE, RING_UP, Traces, call_id_of
from services.appserver.handlers.watched import Watched
from tandem.bus.call_events import (
    CallAnswered,
    CallEnded,
    CallForwarded,
    CallRecord,
    CallStarted,
    SipTrace,
)
from tandem.bus.event import Event
from tandem.bus.interest import Interest
from tandem.bus.ports import Envelope, Topic
from tandem.sip.build import response_to
from tandem.sip.message import Request
from tests.support.appserver import Phone, Site, account

PROXY = "192.0.2.1:5070"
ALICE = ("alice",)


def message(first: str, call_id: str = "in@phone", cseq: str = "1 INVITE") -> bytes:
    return (
        f"{first}\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKfirst\r\nCall-ID: {call_id}\r\n"
        f"CSeq: {cseq}\r\n\r\n"
    ).encode()


INVITE = message("INVITE sip:bob@example.com SIP/2.0")
BUSY = message("SIP/2.0 404 Not Found")


class Scene:
    """Traces with all round them."""

    def __init__(self, *owners: str) -> None:
        self.now = 1000.0
        self.published: list[SipTrace] = []
        self.sent: list[bytes] = []
        self.watched = Watched(lambda: self.now)
        self.traces = Traces(self, lambda: self.now, lambda data: owners, self.watched)
        self.send = self.traces.sending(lambda data, peer: self.sent.append(data))

    def publish(self, topic: Topic, payload: Any) -> None:
        assert topic is Topic.EVENTS
        self.published.append(payload)

    async def watch(self, customer: str, seconds: float = 15.0) -> None:
        interest = Interest(customer, self.now + seconds)
        await self.watched.on_interest([Envelope("1", self.now, "events1", interest)])

    def look(self, event: Event) -> None:
        self.traces.looks[type(event)](event)

    def hear(self, data: bytes) -> None:
        self.traces.heard(call_id_of(data), data, PROXY)

    def start(
        self, call: str = "c1", sip_call_id: str = "in@phone", owners: tuple[str, ...] = ALICE
    ) -> None:
        self.look(
            CallStarted(
                owners=owners, call_id=call, direction="out", caller="sip:alice@example.com",
                destination="sip:bob@example.com", source="udp:203.0.113.7:5060",
                sip_call_id=sip_call_id,
            )
        )  # fmt: skip

    def forward(self, call: str = "c1", sip_call_id: str = "out@us") -> None:
        self.look(
            CallForwarded(
                owners=ALICE, call_id=call, leg=1, target="sip:bob@192.0.2.8",
                next_hop="udp:192.0.2.8:5060", sip_call_id=sip_call_id,
            )
        )  # fmt: skip

    def end(self, status: int, call: str = "c1", owners: tuple[str, ...] = ALICE) -> None:
        self.look(
            CallEnded(owners=owners, call_id=call, status=status, reason="failed", duration=0.0)
        )
        self.look(
            CallRecord(
                owners=owners, call_id=call, direction="out", caller="", caller_name="",
                destination="", source="", sip_call_id="in@phone", answered_by="", created_at=0.0,
                progress_at=None, progress_status=None, answered_at=None, ended_at=0.0,
                status=status, status_reason="", end_reason="", duration=0.0, ring_duration=0.0,
                legs=1,
            )
        )  # fmt: skip

    @property
    def shown(self) -> list[str]:
        return [f"{t.direction} {t.message.partition(' ')[0]}" for t in self.published]


def test_a_failed_call_is_explained_by_the_messages_of_all_its_legs_in_order() -> None:
    scene = Scene()
    scene.hear(INVITE)
    scene.start()
    scene.now += 1
    scene.forward()
    scene.send(message("INVITE sip:bob@192.0.2.8 SIP/2.0", "out@us"), PROXY)
    scene.now += 1
    scene.hear(message("SIP/2.0 404 Not Found", "out@us"))
    scene.now += 1
    scene.send(BUSY, PROXY)
    assert scene.published == []
    scene.end(404)
    assert scene.shown == ["in INVITE", "out INVITE", "in SIP/2.0", "out SIP/2.0"]
    assert [t.remote for t in scene.published][:2] == ["udp:203.0.113.7:5060", "udp:192.0.2.8:5060"]
    assert {t.call_id for t in scene.published} == {"c1"}
    assert {t.owners for t in scene.published} == {ALICE}
    assert [t.at for t in scene.published] == [1000.0, 1001.0, 1002.0, 1003.0]
    assert len(scene.traces) == 0


@pytest.mark.parametrize("status", [200, 486, 487, 603])
def test_a_call_that_went_well_or_explains_itself_leaves_nothing(status: int) -> None:
    scene = Scene()
    scene.hear(INVITE)
    scene.start()
    scene.end(status)
    assert scene.published == []
    assert len(scene.traces) == 0


def test_a_call_of_nobody_is_not_published() -> None:
    scene = Scene()
    scene.hear(INVITE)
    scene.start(owners=())
    scene.end(404, owners=())
    assert scene.published == []


def test_a_phone_that_redials_all_day_does_not_fill_the_log() -> None:
    scene = Scene()
    for number in range(200):
        scene.hear(INVITE)
        scene.start(f"c{number}")
        scene.end(404, f"c{number}")
    assert 1 <= len(scene.published) <= 30
    scene.published.clear()
    scene.now += 60
    scene.hear(INVITE)
    scene.start("later")
    scene.end(404, "later")
    assert scene.shown == ["in INVITE"]


async def test_who_watches_sees_the_messages_as_they_pass_and_those_that_had_passed() -> None:
    scene = Scene()
    await scene.watch("alice")
    scene.hear(INVITE)
    assert scene.published == []  # whose it is, nobody knows yet
    scene.start()
    assert scene.shown == ["in INVITE"]
    scene.send(message("SIP/2.0 180 Ringing"), PROXY)
    assert scene.shown == ["in INVITE", "out SIP/2.0"]
    scene.end(404)
    assert len(scene.published) == 2  # not once more


async def test_others_are_not_shown_to_who_watches_one() -> None:
    scene = Scene("bob")
    await scene.watch("alice")
    scene.hear(INVITE)
    scene.start(owners=("bob",))
    scene.traces.heard_outside(message("REGISTER sip:example.com SIP/2.0"), PROXY)
    assert scene.published == []


async def test_messages_outside_of_calls_are_shown_to_who_watches() -> None:
    scene = Scene("alice")
    await scene.watch("alice")
    scene.traces.heard_outside(
        message("REGISTER sip:example.com SIP/2.0", "r", "1 REGISTER"), PROXY
    )
    scene.send(message("SIP/2.0 200 OK", "r", "1 REGISTER"), PROXY)
    assert scene.shown == ["in REGISTER", "out SIP/2.0"]
    assert scene.published[0].remote == PROXY


async def test_an_administrator_may_watch_everybody() -> None:
    scene = Scene()
    await scene.watch("*")
    scene.traces.heard_outside(message("OPTIONS sip:example.com SIP/2.0", "o"), PROXY)
    assert scene.shown == ["in OPTIONS"]


async def test_who_watches_everybody_sees_the_first_message_of_a_call_once() -> None:
    scene = Scene()
    await scene.watch("*")
    scene.hear(INVITE)
    scene.start()
    assert scene.shown == ["in INVITE"]


async def test_interest_that_is_not_repeated_ends() -> None:
    scene = Scene("alice")
    await scene.watch("alice", 15)
    scene.now += 16
    scene.traces.heard_outside(message("REGISTER sip:example.com SIP/2.0"), PROXY)
    assert scene.published == []
    assert not scene.watched.any


def test_the_first_message_stays_and_the_last_ones() -> None:
    scene = Scene()
    scene.hear(INVITE)
    scene.start()
    for number in range(100):
        scene.hear(message(f"INFO sip:{number} SIP/2.0"))
    scene.end(500)
    assert scene.published[0].message.startswith("INVITE ")
    assert scene.published[-1].message.startswith("INFO sip:99 ")
    assert len(scene.published) <= 16


def test_an_answered_call_keeps_little_of_each_leg() -> None:
    scene = Scene()
    scene.hear(INVITE)
    scene.start()
    scene.forward()
    scene.send(message("INVITE sip:bob@192.0.2.8 SIP/2.0", "out@us"), PROXY)
    scene.look(CallAnswered(owners=ALICE, call_id="c1", leg=1, target="sip:bob"))
    for number in range(10):
        scene.hear(message(f"OPTIONS sip:{number} SIP/2.0", cseq=f"{number} OPTIONS"))
        scene.hear(message(f"INFO sip:{number} SIP/2.0", cseq=f"{number} INFO"))
        scene.send(message("SIP/2.0 200 OK", cseq=f"{number} INFO"), PROXY)
    scene.end(500)
    assert len(scene.published) == RING_UP
    assert all(t.message.startswith("INFO") for t in scene.published)


def test_invites_that_become_no_call_are_forgotten() -> None:
    scene = Scene()
    for number in range(MAX_STRANGE + 100):
        scene.hear(message("INVITE sip:x SIP/2.0", f"{number}@scanner"))
    assert len(scene.traces) <= MAX_STRANGE + 1


def test_the_invite_that_came_last_is_at_hand() -> None:
    scene = Scene()
    scene.hear(message("INVITE sip:bob@example.com SIP/2.0", cseq="0 INVITE"))
    scene.now += 1
    scene.hear(INVITE)
    scene.send(BUSY, PROXY)
    assert scene.traces.invite("in@phone") == (1001.0, INVITE)
    assert scene.traces.invite("unknown") is None


def test_large_messages_cost_old_rings_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    scene = Scene()
    large = INVITE + b"x" * 10_000
    for number in range(20):
        scene.traces.heard(f"{number}@phone", large, PROXY)
        scene.start(f"c{number}", f"{number}@phone")
    assert len(scene.traces) == 9
    for number in range(20):
        scene.look(CallAnswered(owners=ALICE, call_id=f"c{number}", leg=1, target="sip:bob"))
    for number in range(20, 29):
        scene.traces.heard(f"{number}@phone", large, PROXY)
    assert len(scene.traces) == 18


async def test_both_legs_of_a_real_call_are_its_own_and_leave_nothing() -> None:
    async with Site(account("bob"), b2bua=Calls) as site:
        await Phone(site, "bob").registered()
        caller = Phone(site, "carol", domain="elsewhere.example")
        sent = await caller.asked("INVITE", "sip:bob@example.com")
        (invite,) = [m for m in sent if isinstance(m, Request)]
        site.bus.published.clear()
        await site.send(response_to(invite, 404, tag="b").to_bytes())
        shown = [(t.direction, t.message.split()[0]) for t in site.bus.take(SipTrace)]
        assert ("out", "INVITE") in shown
        assert ("in", "SIP/2.0") in shown
        assert len(site.app.traces) == 0


def test_no_secret_is_published() -> None:
    text = redacted(
        b"REGISTER sip:example.com SIP/2.0\r\n"
        b'Authorization: Digest username="alice", response="0123456789abcdef", uri="u"\r\n'
        b"proxy-authorization: Digest response=feed, qop=auth\r\n"
        b'Authorization : Digest realm="r",\r\n response = "f01ded"\r\n'
        b"Authorization: Basic YWxpY2U6cm9zZWJ1ZA==\r\n"
        b'Authentication-Info: qop=auth, rspauth="9roved"\r\n\r\n'
        b"v=0\r\nk=base64:b2xk\r\n"
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0|2^20\r\na=ice-pwd:hidden\r\n"
    )
    for secret in (
        "0123456789abcdef", "feed", "c2VjcmV0", "hidden", "f01ded", "YWxp", "9roved", "b2xk",
    ):  # fmt: skip
        assert secret not in text
    assert 'username="alice"' in text
    assert 'uri="u"' in text
    assert "qop=auth" in text


@pytest.mark.parametrize(
    "data",
    [
        b"OPTIONS x SIP/2.0\r\ni: abc\r\n\r\n",
        b"OPTIONS x SIP/2.0\r\nCALL-ID:abc \r\n\r\n",
        b"OPTIONS x SIP/2.0\r\nCall-ID: abc\r\n\r\n",
    ],
)
def test_a_call_id_is_found_in_any_spelling(data: bytes) -> None:
    assert call_id_of(data) == "abc"
