"""Calls that begin with us: one end is rung, then the other, and both are joined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.appserver.domain.plan import Credentials, Fork
from services.appserver.domain.sdp import HELD_WIDE, crossed, opened, places_of
from services.appserver.domain.transfers import Refusal, Refused
from services.appserver.handlers.calls import CallLimits
from services.appserver.handlers.calls.limits import STEERED_SECONDS
from services.appserver.ports import Done
from tandem.rpc.programs import Customer
from tandem.sip.digest import Challenge
from tandem.sip.transaction import ServerTransaction
from tandem.sip.uri import Uri
from tests.support.pilots import Captain, leg
from tests.support.sipphone import Behaviour, Phone
from tests.support.sipworld import World, finish, hop_to, refuse, ring, silent, target

CODECS = "m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"


def sdp(name: str, port: int = 4000, way: str = "", address: str = "192.0.2.9") -> bytes:
    lines = f"v=0\r\no={name} 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
    return (lines + CODECS.format(port=port) + (f"a={way}\r\n" if way else "")).encode()


def answers(first: bytes, later: bytes = b"") -> Behaviour:
    """A phone that rings and answers with the first, and an INVITE in its dialog with the other."""

    def behave(phone: Phone, tx: ServerTransaction) -> None:
        if tx.request.to.tag:
            phone.answer(200, body=later or first)
            return
        phone.answer(180)
        phone.answer(200, body=first)

    return behave


HELD_ANSWER = sdp("alice", way="inactive")
ALICE = answers(HELD_ANSWER, sdp("alice"))
BOB = answers(sdp("bob", 5000))


class Connecting:
    """A connected call: Alice is rung first, then Bob."""

    def __init__(
        self,
        world: World,
        alice: Behaviour = ALICE,
        bob: Behaviour = BOB,
        *,
        first: Fork | None = None,
        second: Fork | None = None,
        patient: bool = False,
        most: int = 0,
    ) -> None:
        self.world = world
        self.alice, self.bob = world.phone("alice", behaviour=alice), world.phone("bob")
        self.alice.methods["INVITE"] = alice
        self.bob.behaviour = bob
        self.bob.methods["INVITE"] = bob
        self.captain = Captain(world, *((second,) if second else (Fork((target("bob"),)),)))
        self.captain.patient = patient
        self.seconds = 0
        self.id = world.calls.connect(
            Customer("owner", most),
            first or Fork((target("alice"),)),
            self._second,
            self.captain,
            world.now,
        )

    def _second(self, now: float) -> None:
        self.seconds += 1
        self.captain.next()


def connected(world: World, **more: Any) -> Connecting:
    made = Connecting(world, **more)
    world.run(1)
    assert made.captain.answers == 1
    return made


def test_both_ends_are_rung_and_joined() -> None:
    world = World()
    made = connected(world)
    alice, bob = made.alice, made.bob
    held, again = alice.of("INVITE")
    assert held.body == HELD_WIDE
    assert held.from_.display == "Callback"
    assert bob.of("INVITE")[0].body == sdp("alice")
    assert again.body == sdp("bob", 5000)
    assert [len(phone.confirmed) for phone in (alice, bob)] == [2, 1]
    assert len(bob.of("INVITE")) == 1
    assert made.seconds == 1
    alice.bye()
    world.run(1)
    assert len(bob.of("BYE")) == 1
    finish(world)
    (record,) = world.records()
    assert (record.status, record.end_reason, record.legs) == (200, "caller hung up", 2)
    assert (record.caller, record.destination) == ("sip:alice@example.org", "sip:bob@example.org")
    assert record.answered_by == "sip:bob@bob.invalid"
    assert world.kinds().count("call.answered") == 1


def test_the_second_end_sees_who_the_first_is() -> None:
    world = World()
    made = connected(world)
    (invite,) = made.bob.of("INVITE")
    assert str(invite.from_.uri) == "sip:alice@alice.invalid"
    assert str(invite.to.uri) == "sip:bob@bob.invalid"
    made.bob.bye()
    finish(world)
    assert world.records()[0].end_reason == "callee hung up"


def test_a_first_end_that_moves_is_told_to_the_second() -> None:
    world = World()
    made = connected(world, alice=answers(HELD_ANSWER, sdp("alice", 4002)))
    first, second = made.bob.of("INVITE")
    assert second.body == sdp("alice", 4002)
    assert second.cseq.number == first.cseq.number + 1
    assert len(made.bob.confirmed) == 2
    made.alice.bye()
    finish(world)


def test_a_second_end_that_does_not_want_to_know_goes_on() -> None:
    world = World()
    made = Connecting(world, answers(HELD_ANSWER, sdp("alice", 4002)))
    made.bob.methods["INVITE"] = refuse(488)
    world.run(1)
    assert made.captain.answers == 1
    assert made.bob.of("BYE") == []
    made.alice.bye()
    finish(world)


def test_a_second_end_that_is_gone_by_then_ends_the_call() -> None:
    world = World()
    made = Connecting(world, answers(HELD_ANSWER, sdp("alice", 4002)))
    made.bob.methods["INVITE"] = refuse(481)
    world.run(1)
    assert len(made.alice.of("BYE")) == 1
    finish(world)
    assert world.records()[0].end_reason == "callee vanished"


@pytest.mark.parametrize("held", [sdp("a", address="0.0.0.0"), sdp("a", 0), b""])
def test_an_answer_that_offers_nothing_leaves_the_offer_to_the_second(held: bytes) -> None:
    """RFC 3725 §4.4: flow IV."""
    world = World()
    made = connected(world, alice=answers(held, sdp("alice")))
    (invite,) = made.bob.of("INVITE")
    assert (invite.body, invite.first("content-type")) == (b"", None)
    assert made.alice.of("INVITE")[1].body == sdp("bob", 5000)
    (ack,) = made.bob.confirmed
    assert (ack.body, ack.first("content-type")) == (sdp("alice"), "application/sdp")
    made.alice.bye()
    finish(world)


def test_nobody_answers_first() -> None:
    world = World()
    made = Connecting(world, refuse(486))
    made.captain.forks = []
    world.run(1)
    assert made.captain.statuses() == [[486]]
    assert made.seconds == 0
    finish(world)
    (record,) = world.records()
    assert (record.status, record.answered_by) == (480, "")


def test_another_first_end_may_be_rung() -> None:
    world = World()
    carol = world.phone("carol", behaviour=ALICE)
    carol.methods["INVITE"] = ALICE
    made = Connecting(world, refuse(486))
    made.captain.forks.insert(0, Fork((target("carol"),)))
    world.run(1)
    assert (made.seconds, made.captain.answers) == (1, 1)
    carol.bye()
    finish(world)


def test_another_second_end_may_be_rung() -> None:
    world = World()
    made = Connecting(world, bob=refuse(486))
    carol = world.phone("carol", behaviour=BOB)
    made.captain.forks.append(Fork((target("carol"),)))
    world.run(1)
    assert made.captain.statuses() == [[486]]
    assert made.captain.answers == 1
    assert carol.of("INVITE")[0].body == sdp("alice")
    made.alice.bye()
    finish(world)
    assert world.records()[0].destination == "sip:carol@example.org"


def test_when_no_second_end_answers_the_first_is_hung_up() -> None:
    world = World()
    made = Connecting(world, bob=refuse(486))
    world.run(1)
    (bye,) = made.alice.of("BYE")
    assert bye.first("reason") == 'SIP;cause=480;text="not available"'
    assert made.captain.ends == []
    finish(world)
    assert world.records()[0].status == 480


def test_the_first_end_may_hang_up_while_the_second_rings() -> None:
    world = World()
    made = Connecting(world, bob=ring)
    world.run(1)
    made.alice.bye()
    world.run(1)
    assert made.alice.statuses("BYE") == [200]
    assert len(made.bob.of("CANCEL")) == 1
    assert made.captain.ends == ["caller hung up"]
    finish(world)


def test_the_first_end_may_refresh_its_session_while_the_second_rings() -> None:
    world = World()
    made = Connecting(world, bob=ring)
    world.run(1)
    made.alice.send("INVITE", body=sdp("alice"))
    world.run(1)
    assert made.alice.statuses("INVITE") == [200]
    assert b"a=inactive" in made.alice.responses[-1].body
    made.alice.bye()
    finish(world)


def test_a_first_end_that_does_not_ack_while_the_second_rings_is_hung_up() -> None:
    world = World()
    made = Connecting(world, bob=ring)
    world.run(1)
    made.alice.acks = False
    made.alice.send("INVITE", body=sdp("alice"))
    world.run(40)
    assert len(made.alice.of("BYE")) == len(made.bob.of("CANCEL")) == 1
    assert made.captain.ends == ["no acknowledgement"]
    finish(world)


def test_the_first_end_may_hang_up_before_it_has_answered_anew() -> None:
    world = World()
    made = Connecting(world)
    made.alice.methods["INVITE"] = silent
    world.run(0.2)
    assert len(made.alice.of("INVITE")) == 2
    made.alice.bye()
    world.run(1)
    assert len(made.bob.of("BYE")) == 1
    assert made.captain.ends == ["caller hung up"]
    assert made.captain.answers == 0
    world.run(200)
    assert world.clean()
    assert world.records()[0].status == 480


def test_a_first_end_that_does_not_want_the_second_ends_both() -> None:
    world = World()
    made = Connecting(world)
    made.alice.methods["INVITE"] = refuse(488)
    world.run(1)
    assert [len(phone.of("BYE")) for phone in (made.alice, made.bob)] == [1, 1]
    assert made.captain.ends == ["media not acceptable"]
    finish(world)
    assert world.records()[0].status == 488


def test_a_glare_is_tried_once_more() -> None:
    world = World()
    made = Connecting(world)
    made.alice.methods["INVITE"] = _first_then(refuse(491), answers(sdp("alice")))
    world.run(1)
    assert made.captain.answers == 0
    world.run(3)
    assert made.captain.answers == 1
    made.alice.bye()
    finish(world)


def test_a_glare_without_an_end_is_the_end() -> None:
    world = World()
    made = Connecting(world)
    made.alice.methods["INVITE"] = refuse(491)
    world.run(10)
    assert made.captain.ends == ["not available"]
    assert len(made.bob.of("BYE")) == 1
    finish(world)


def test_a_first_end_that_says_nothing_any_more_ends_the_call() -> None:
    world = World()
    made = Connecting(world)
    made.alice.methods["INVITE"] = silent
    world.run(40)
    assert made.captain.ends == ["not reachable"]
    assert len(made.bob.of("BYE")) == 1
    finish(world)


def test_a_first_end_that_no_way_leads_to_any_more_ends_the_call() -> None:
    def nowhere(uri: Uri, proxy: str, now: float, done: Done) -> None:
        done((), now)

    world = World(next_hops=nowhere)
    one = target("alice")
    away = replace(one, hops=(hop_to("alice", pinned=False),))
    made = Connecting(world, first=Fork((away,)))
    world.run(40)
    assert made.captain.ends == ["failed"]
    assert len(made.bob.of("BYE")) == 1
    world.run(200)
    assert not len(world.calls)


def _first_then(first: Behaviour, then: Behaviour) -> Behaviour:
    seen: list[int] = []

    def behave(phone: Phone, tx: ServerTransaction) -> None:
        seen.append(1)
        (first if len(seen) == 1 else then)(phone, tx)

    return behave


def test_the_second_end_may_not_ask_while_the_first_is_asked() -> None:
    world = World()
    made = Connecting(world)
    made.alice.methods["INVITE"] = silent
    world.run(0.3)
    made.bob.send("INVITE", body=sdp("bob", 5002))
    world.run(0.1)
    assert made.bob.statuses("INVITE") == [491]
    made.bob.bye()
    world.run(200)
    assert world.clean()


def test_a_2xx_that_comes_again_has_its_ack_again() -> None:
    world = World()
    lost: list[str] = []

    def lose(src: str, dst: str, message: Any) -> bool:
        first = message.start_line.startswith("ACK") and len(lost) < 2
        if first:
            lost.append(dst)
        return first

    world.lose = lose
    made = Connecting(world)
    world.run(3)
    assert made.captain.answers == 1
    assert made.alice.confirmed
    assert made.bob.confirmed
    made.alice.bye()
    finish(world)


def test_credentials_serve_both_ends() -> None:
    world = World()
    ours = Credentials("user", "secret")

    def door(then: Behaviour) -> Behaviour:
        def behave(phone: Phone, tx: ServerTransaction) -> None:
            if tx.request.first("authorization"):
                then(phone, tx)
            else:
                challenge = Challenge("tel", world.token())
                phone.answer(401, headers=(f"WWW-Authenticate: {challenge}",))

        return behave

    made = connected(
        world,
        alice=door(ALICE),
        bob=door(BOB),
        first=Fork((leg("alice", credentials=ours),)),
        second=Fork((leg("bob", credentials=ours),)),
    )
    assert [len(p.of("INVITE")) for p in (made.alice, made.bob)] == [3, 2]
    assert all(ack.first("authorization") for ack in made.alice.confirmed + made.bob.confirmed)
    made.alice.bye()
    finish(world)


def test_a_first_end_that_is_challenged_anew_goes_on() -> None:
    world = World()
    asked: list[int] = []

    def door(phone: Phone, tx: ServerTransaction) -> None:
        asked.append(tx.request.cseq.number)
        if len(asked) in (1, 3):
            challenge = Challenge("tel", world.token(), stale=len(asked) == 3)
            phone.answer(407, headers=(f"Proxy-Authenticate: {challenge}",))
        else:
            ALICE(phone, tx)

    first = Fork((leg("alice", credentials=Credentials("user", "secret")),))
    made = connected(world, alice=door, first=first)
    assert asked == [1, 2, 3, 4]
    made.alice.bye()
    finish(world)


def test_the_shortest_limit_holds() -> None:
    world = World()
    made = connected(
        world, first=Fork((target("alice"),), max_seconds=50),
        second=Fork((leg("bob", max_seconds=40),), max_seconds=60),
    )  # fmt: skip
    world.run(41)
    assert len(made.alice.of("BYE")) == len(made.bob.of("BYE")) == 1
    finish(world)


def test_a_call_that_nobody_finishes_ends_by_itself() -> None:
    world = World()
    made = Connecting(world, patient=True)
    made.captain.forks = []
    world.run(STEERED_SECONDS + 1)
    assert made.captain.ends == ["no answer"]
    assert len(made.alice.of("BYE")) == 1
    finish(world)


def test_an_operator_may_hang_up_between_the_two() -> None:
    world = World()
    made = Connecting(world, bob=ring)
    world.run(1)
    assert made.id is not None
    assert world.calls.progress(made.id, 180, "", (), world.now)
    assert world.calls.hang_up(made.id, "operator", world.now)
    world.run(1)
    assert len(made.bob.of("CANCEL")) == len(made.alice.of("BYE")) == 1
    assert made.captain.ends == ["operator"]
    finish(world)


def test_there_may_be_too_many_calls() -> None:
    world = World(limits=CallLimits(max_calls=0))
    with pytest.raises(Refused) as caught:
        Connecting(world)
    assert caught.value.refusal is Refusal.OVERLOADED
    assert world.events == []


def test_a_customer_may_have_too_many_calls() -> None:
    world = World()
    made = connected(world, most=1)
    with pytest.raises(Refused) as caught:
        Connecting(world, most=1)
    assert caught.value.refusal is Refusal.TOO_MANY_CALLS
    assert len(world.calls.live()) == 1
    made.alice.bye()
    world.run(1)
    assert connected(world, most=1).id


def test_nobody_to_ring_first_has_failed_later() -> None:
    world = World()
    made = Connecting(world, first=Fork(()))
    made.captain.forks = []
    assert made.captain.failures == []
    world.run()
    assert made.captain.failures == [()]
    finish(world)


# -- what an answer becomes ------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["inactive", "recvonly", "sendonly", "sendrecv", ""])
def test_an_answer_is_opened_for_sound(way: str) -> None:
    assert opened(sdp("a", way=way)) == sdp("a")


@pytest.mark.parametrize("answer", [b"", b"no sdp", sdp("a", 0), sdp("a", address="0.0.0.0")])
def test_an_answer_without_an_address_is_no_offer(answer: bytes) -> None:
    assert opened(answer) is None


def test_places_are_addresses_and_ports_alone() -> None:
    assert places_of(sdp("a", way="inactive")) == places_of(sdp("b"))
    assert places_of(sdp("a")) != places_of(sdp("a", 4002))
    assert places_of(sdp("a")) != places_of(sdp("a", address="192.0.2.1"))


def test_the_held_offer_is_one_that_phones_can_answer() -> None:
    assert crossed(HELD_WIDE, sdp("a")) is not None
