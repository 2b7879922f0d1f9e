"""Requests inside calls that are up."""

from __future__ import annotations

import pytest

from services.appserver.domain.leg import OUR_ROUTES
from services.appserver.domain.plan import Target
from services.appserver.ports import Done
from tandem.sip.transaction import Hop, ServerTransaction
from tests.support.sipworld import (
    OFFER,
    Phone,
    World,
    hop_to,
    plan,
    talk,
)

HOLD = OFFER + b"a=sendonly\r\n"


def end(world: World, alice: Phone) -> None:
    """Hang up; nothing may be left."""
    alice.bye()
    world.run(200)
    assert world.clean()
    assert len(world.records()) == 1


def test_byes_that_cross_are_both_answered_200() -> None:
    world = World()
    alice, bob = talk(world)
    alice.bye()
    bob.bye()
    world.run(200)
    assert alice.statuses("BYE") == bob.statuses("BYE") == [200]
    assert world.clean()
    assert len(world.records()) == 1


@pytest.mark.parametrize(("text", "heard"), [("udp:192.0.2.1:5060", True), ("tcp:x", False)])
def test_a_bye_goes_another_way_when_its_proxy_is_lost(
    text: str, heard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    alice, bob = talk(world)
    board = world.calls._board
    (call,) = board.calls.values()
    assert call.a is not None
    leg = call.a.leg
    monkeypatch.setattr(leg, "text", text)
    lost = False
    world.lose = lambda src, dst, message: dst == "alice" and not lost
    bob.bye()
    world.run(1)
    assert bob.statuses("BYE") == [200]
    assert alice.of("BYE") == []
    monkeypatch.setattr(board.proxies, "away", lambda proxy, now: True)
    monkeypatch.setattr(board.proxies, "through", lambda proxy, now, key: proxy)
    world.calls.proxy_lost("another", world.now)
    first = {tx.request.cseq.number for tx in (bye._tx for bye in board.byes) if tx is not None}
    world.calls.proxy_lost(leg.proxy, world.now)
    lost = True
    world.run(0.1)
    assert {request.cseq.number for request in alice.of("BYE")} == (
        {max(first) + 1} if heard else set()
    )
    world.run(200)
    assert world.clean()


def test_the_reason_of_a_bye_passes() -> None:
    world = World()
    alice, bob = talk(world)
    bob.send("BYE", headers=("Reason: Q.850;cause=16",))
    world.run(1)
    assert alice.of("BYE")[0].first("reason") == "Q.850;cause=16"


@pytest.mark.parametrize(
    "method", ["INFO", "MESSAGE", "OPTIONS", "NOTIFY", "UPDATE", "REFER", "SUBSCRIBE", "FUTURE"]
)
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_requests_and_their_answers_pass(method: str, who: str) -> None:
    world = World()
    alice, bob = talk(world)
    one, other = (alice, bob) if who == "alice" else (bob, alice)

    def answer(phone: Phone, tx: ServerTransaction) -> None:
        phone.layer.reply(tx, 202, world.now, headers=("X-Answer: yes", phone.contact))

    other.methods[method] = answer
    one.send(method, body=b"payload", headers=("X-Question: yes",))
    world.run(1)
    got = other.of(method)[0]
    assert (got.body, got.first("x-question")) == (b"payload", "yes")
    assert one.responses[-1].status == 202
    assert one.responses[-1].first("x-answer") == "yes"
    end(world, alice)


def test_a_refused_method_is_the_other_ends_answer() -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["INFO"] = lambda phone, tx: phone.layer.reply(tx, 501, world.now)
    alice.send("INFO")
    world.run(1)
    assert alice.responses[-1].status == 501
    assert len(world.calls) == 1


@pytest.mark.parametrize("status", [481, 408])
def test_a_dialog_that_is_no_more_ends_the_call(status: int) -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["INFO"] = lambda phone, tx: phone.layer.reply(tx, status, world.now)
    alice.send("INFO")
    world.run(1)
    assert alice.statuses("INFO") == [status]
    assert len(alice.of("BYE")) == 1
    world.run(200)
    assert world.clean()
    assert world.records()[0].end_reason == "callee vanished"


def test_a_481_to_notify_is_no_end_of_the_call() -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["NOTIFY"] = lambda phone, tx: phone.layer.reply(tx, 481, world.now)
    alice.send("NOTIFY")
    world.run(1)
    assert len(world.calls) == 1


def test_a_flow_that_is_gone_is_told_as_480() -> None:
    world = World()
    alice, _ = talk(world)
    world.flow_gone.add("bob")
    alice.send("INFO")
    world.run(1)
    assert alice.statuses("INFO") == [480]
    assert len(world.calls) == 1


def test_an_unknown_dialog_gets_481() -> None:
    world = World()
    alice, _ = talk(world)
    assert alice.dialog is not None
    alice.dialog.local_tag = "else"
    alice.dialog.local = "<sip:alice@example.org>;tag=else"
    alice.bye()
    world.run(1)
    assert alice.statuses("BYE") == [481]
    assert len(world.calls) == 1


def test_a_request_out_of_order_gets_500() -> None:
    world = World()
    alice, _ = talk(world)
    assert alice.dialog is not None
    alice.dialog.local_seq = 10
    alice.send("INFO")
    world.run(0.1)
    alice.dialog.local_seq = 5
    alice.send("INFO")
    world.run(0.1)
    assert alice.statuses("INFO") == [200, 500]


def test_a_new_contact_moves_the_remote_target() -> None:
    world = World()
    alice, bob = talk(world)
    alice.contact = "Contact: <sip:moved@elsewhere.invalid:5099>"
    alice.send("INVITE", body=OFFER)
    world.run(1)
    bob.send("INFO")
    world.run(1)
    assert alice.of("INFO")[0].uri == "sip:moved@elsewhere.invalid:5099"


def test_max_forwards_counts_inside_dialogs_too() -> None:
    world = World()
    alice, bob = talk(world)
    tx = alice.send("INFO")
    world.run(1)
    assert tx.request.max_forwards == 70
    assert bob.of("INFO")[0].max_forwards == 69


def test_an_unpinned_leg_is_reached_by_its_own_route_set() -> None:
    """Our two proxies' Record-Routes give way to the next hop's route."""
    asked: list[str] = []
    world = World(next_hops=lambda uri, proxy, now, done: _resolve(asked, str(uri), now, done))
    alice, bob = world.phone("alice"), world.phone("bob")
    world.switch.plan = plan(Target("sip:bob@bob.invalid", (hop_to("bob", pinned=False),)))
    alice.call()
    world.run(1)
    assert bob.confirmed
    alice.bye()
    world.run(1)
    assert len(bob.of("BYE")) == 1
    assert asked == ["sip:bob@bob.invalid"] * 2
    assert OUR_ROUTES == 2
    world.run(200)
    assert world.clean()


def _resolve(asked: list[str], uri: str, now: float, done: Done) -> None:
    asked.append(uri)
    done((hop_to("bob", pinned=False),), now)


def test_an_unpinned_leg_that_leads_nowhere_gets_503() -> None:
    world = World(next_hops=lambda uri, proxy, now, done: done((), now))
    alice = world.phone("alice")
    world.phone("bob", acks=True)
    world.switch.plan = plan(Target("sip:bob@bob.invalid", (hop_to("bob", pinned=False),)))
    alice.call()
    world.run(0.1)
    alice.send("INFO")
    world.run(0.1)
    assert alice.statuses("INFO") == [503]
    alice.bye()
    world.run(200)
    assert len(world.records()) == 1
    assert not len(world.calls)


def test_requests_inside_dialogs_run_out_of_hops() -> None:
    world = World()
    alice, bob = talk(world)
    assert alice.dialog is not None
    request = alice.dialog.request("INFO")
    request.set("Max-Forwards", "0")
    alice.layer.request(request, Hop("proxy", False), world.now)
    world.run(1)
    assert alice.statuses("INFO") == [483]
    assert bob.of("INFO") == []


def test_a_bye_with_a_body_loses_it() -> None:
    world = World()
    alice, bob = talk(world)
    alice.send("BYE", body=b"goodbye", headers=("Reason: SIP;cause=200",))
    world.run(1)
    bye = bob.of("BYE")[0]
    assert (bye.body, bye.first("content-type")) == (b"", None)
    assert bye.first("reason") == "SIP;cause=200"
