"""Calls that wait for a callback: the caller's side, the meeting, and every way it may fail."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest

from services.appserver.domain.call import Call
from services.appserver.domain.sdp import HELD
from tandem.bus.call_events import CallRecord
from tandem.sip.dialog import Dialog
from tandem.sip.message import Message, Request, Response
from tests.support.appserver import account
from tests.support.sipworld import (
    ANSWER,
    OFFER,
    Phone,
    World,
    fork,
    pick_up,
    plan,
    refuse,
    ring,
    silent,
    target,
)

CALLBACK_OFFER = OFFER.replace(b"alice 1 1", b"provider 1 1").replace(b"4000", b"6000")
VIDEO = b"m=video 7000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"


@dataclass
class Watch:
    """A waiter that notes what it is told."""

    told: list[str] = field(default_factory=list)

    def ready(self, now: float) -> None:
        self.told.append("ready")

    def matched(self, request: Request, now: float) -> None:
        self.told.append("matched")

    def joined(self, now: float) -> None:
        self.told.append("joined")

    def gone(self, reason: str, now: float) -> None:
        self.told.append(f"gone: {reason}")


class Story:
    """Alice calls and rings phones; then her call waits, and a provider calls back."""

    def __init__(self, *phones: str, offer: bytes = OFFER) -> None:
        self.world = World()
        self.watch = Watch()
        behaviours = [ring] if not phones else [silent for _ in phones]
        self.alice, self.rung = fork(self.world, *behaviours)
        self.alice.call(body=offer)
        self.world.run(1)
        self.provider = self.world.phone("provider", behaviour=silent)
        (call,) = self.world.calls.live()
        self.id = call.id

    def wait(self) -> Story:
        assert self.world.calls.wait(self.id, self.watch, self.world.now)
        self.world.run(1)
        return self

    def call_back(self, offer: bytes = CALLBACK_OFFER) -> None:
        """The provider's INVITE, which routing has found to be the callback."""
        self.world.switch.plan = replace(plan(), joins=self.id)
        self.provider.call("alice", body=offer)
        self.world.run(1)

    def record(self) -> CallRecord:
        """The one record, once nothing is left."""
        self.world.run(200)
        assert self.world.clean()
        (record,) = self.world.records()
        return record


def test_who_waits_goes_on_to_hear_ringing_and_nobody_else_rings() -> None:
    story = Story().wait()
    assert story.watch.told == []
    assert len(story.rung[0].of("CANCEL")) == 1
    assert story.alice.statuses("INVITE") == [100, 180, 180]
    tags = [r.to_tag for r in story.alice.responses if r.status == 180]
    assert len(set(tags)) == 2, "the session of the first dialog might have begun"
    assert story.world.calls.waiting(story.id)


def test_a_caller_who_heard_nothing_yet_hears_ringing() -> None:
    story = Story("phone").wait()
    assert story.alice.statuses("INVITE") == [100, 180]


def test_ringing_is_repeated_every_minute() -> None:
    story = Story("phone").wait()
    story.world.run(200)
    assert story.alice.statuses("INVITE") == [100, 180, 180, 180, 180]


def test_a_caller_who_demands_reliable_answers_gets_no_other() -> None:
    world = World()
    alice, _ = fork(world, silent)
    alice.call(headers=("Require: 100rel",))
    world.run(1)
    (call,) = world.calls.live()
    assert world.calls.wait(call.id, Watch(), world.now)
    world.run(1)
    assert alice.statuses("INVITE") == [100]


def test_caller_and_callback_are_answered_with_each_others_offer() -> None:
    story = Story().wait()
    story.call_back()
    assert story.watch.told == ["matched", "joined"]
    alices, providers = story.alice.responses[-1], story.provider.responses[-1]
    assert (alices.status, alices.body) == (200, CALLBACK_OFFER)
    assert (providers.status, providers.body) == (200, OFFER)
    assert alices.first("content-type") == "application/sdp"
    assert alices.to_tag == story.alice.responses[-2].to_tag
    assert not story.world.calls.waiting(story.id)
    story.alice.bye()
    story.world.run(1)
    assert len(story.provider.of("BYE")) == 1
    record = story.record()
    assert (record.status, record.end_reason) == (200, "caller hung up")
    assert record.answered_by == "sip:provider@example.org"
    assert record.legs == 2


def test_the_callback_may_hang_up_too() -> None:
    story = Story().wait()
    story.call_back()
    story.provider.bye()
    story.world.run(1)
    assert len(story.alice.of("BYE")) == 1
    assert story.record().end_reason == "callee hung up"


@pytest.mark.parametrize("caller_asks", [True, False])
def test_a_reinvite_passes_as_in_any_call(caller_asks: bool) -> None:
    story = Story().wait()
    story.call_back()
    asks, asked = story.alice, story.provider
    if not caller_asks:
        asks, asked = asked, asks
    hold = OFFER + b"a=sendonly\r\n"
    asks.send("INVITE", body=hold, headers=("Supported: timer", "Session-Expires: 1800"))
    story.world.run(1)
    assert asked.of("INVITE")[-1].body == hold
    assert asks.responses[-1].body == ANSWER
    asks.bye()
    assert story.record().status == 200


def test_both_ends_are_probed_and_one_that_vanished_ends_the_call() -> None:
    story = Story().wait()
    story.call_back()
    story.world.run(70)
    assert story.alice.of("OPTIONS")
    assert story.provider.of("OPTIONS")
    story.world.dead.add("provider")
    assert story.record().end_reason == "callee vanished"


def test_streams_that_only_one_has_are_refused_to_it() -> None:
    story = Story(offer=OFFER + VIDEO).wait()
    story.call_back()
    assert story.alice.responses[-1].body == CALLBACK_OFFER + b"m=video 0 RTP/AVP 96\r\n"
    assert story.provider.responses[-1].body == OFFER


def test_nothing_in_common_is_refused_to_both() -> None:
    story = Story().wait()
    story.call_back(CALLBACK_OFFER.replace(b"AVP 0", b"AVP 8"))
    assert story.alice.responses[-1].status == 488
    assert story.provider.responses[-1].status == 488
    assert story.watch.told == ["matched", "gone: media not acceptable"]
    assert story.record().status == 488


def test_a_callback_without_an_offer_gets_the_callers_and_its_ack_answers() -> None:
    story = Story().wait()
    story.provider.ack_body = ANSWER
    story.call_back(b"")
    assert story.provider.responses[-1].body == OFFER
    assert story.alice.responses[-1].status == 200
    assert story.alice.responses[-1].body == ANSWER
    assert story.watch.told == ["matched", "joined"]
    story.alice.bye()
    assert story.record().end_reason == "caller hung up"


def test_a_caller_without_an_offer_gets_the_callbacks_and_its_ack_answers() -> None:
    story = Story(offer=b"").wait()
    story.alice.ack_body = ANSWER
    story.call_back()
    assert story.alice.responses[-1].body == CALLBACK_OFFER
    assert 100 in story.provider.statuses("INVITE")
    assert story.provider.responses[-1].body == ANSWER
    assert story.watch.told == ["matched", "joined"]
    story.provider.bye()
    assert story.record().end_reason == "callee hung up"


def test_an_ack_without_the_answer_that_it_owes_ends_both() -> None:
    story = Story().wait()
    story.call_back(b"")
    assert story.alice.responses[-1].status == 488
    assert len(story.provider.of("BYE")) == 1
    assert story.watch.told == ["matched", "gone: media not acceptable"]
    assert story.record().status == 488


def test_no_offer_on_either_side_is_refused() -> None:
    story = Story(offer=b"").wait()
    story.call_back(b"")
    assert story.alice.responses[-1].status == 488
    assert story.provider.responses[-1].status == 488


def test_a_callback_that_never_acknowledges_the_offer_ends_both() -> None:
    story = Story().wait()
    story.provider.acks = False
    story.call_back(b"")
    assert story.watch.told == ["matched"]
    story.world.run(40)
    assert story.watch.told == ["matched", "gone: no acknowledgement"]
    assert story.alice.responses[-1].status == 480
    assert len(story.provider.of("BYE")) == 1
    assert story.record().status == 480


def test_a_caller_who_gives_up_while_the_callback_owes_its_answer_is_let_go() -> None:
    story = Story().wait()
    story.provider.acks = False
    story.call_back(b"")
    story.alice.cancel()
    story.world.run(1)
    assert story.alice.responses[-1].status in (200, 487)
    assert 487 in story.alice.statuses("INVITE")
    story.provider.ack()
    story.world.run(1)
    assert len(story.provider.of("BYE")) == 1
    assert story.watch.told == ["matched", "gone: caller cancelled"]
    assert story.record().status == 487


def test_a_callback_that_hangs_up_while_the_caller_owes_an_answer_ends_both() -> None:
    story = Story().wait()
    story.provider.acks = False
    story.call_back(b"")
    story.provider.bye()
    story.world.run(1)
    assert story.alice.responses[-1].status == 480
    assert story.record().end_reason == "callee hung up"


def test_a_caller_who_cancels_ends_the_wait() -> None:
    story = Story().wait()
    story.alice.cancel()
    story.world.run(1)
    assert story.watch.told == ["gone: cancelled"]
    assert 487 in story.alice.statuses("INVITE")
    assert story.record().end_reason == "cancelled"


def test_a_caller_who_hangs_up_early_ends_the_wait() -> None:
    story = Story().wait()
    early = [r for r in story.alice.responses if r.status == 180][-1]
    assert story.alice.outgoing is not None
    dialog = Dialog.from_response(story.alice.outgoing.request, early)
    story.alice.send("BYE", dialog=dialog)
    story.world.run(1)
    assert story.watch.told == ["gone: cancelled"]
    assert story.record().status == 487


def test_a_cancel_that_crosses_the_callback_comes_too_late() -> None:
    story = Story().wait()
    held: list[Message] = []

    def hold(src: str, dst: str, message: Message) -> bool:
        late = isinstance(message, Response) and message.status == 200 and dst == "alice"
        if late and message.cseq.method == "INVITE" and not held:
            held.append(message)
            return True
        return False

    story.world.lose = hold
    story.call_back()
    story.alice.cancel()
    story.world.run(5)
    assert story.watch.told == ["matched", "joined"]
    assert story.alice.statuses("INVITE")[-1] == 200
    story.alice.bye()
    assert story.record().status == 200


def test_an_answer_that_crosses_the_wait_is_hung_up() -> None:
    story = Story().wait()
    phone = story.rung[0]
    assert phone.incoming is not None
    story.world.run(1)
    # its 2xx was under way when the CANCEL came
    story2 = Story()
    assert story2.world.calls.wait(story2.id, story2.watch, story2.world.now)
    story2.rung[0].answer(200, body=ANSWER)
    story2.world.run(1)
    assert len(story2.rung[0].of("BYE")) == 1
    assert story2.world.calls.waiting(story2.id)


def test_requests_of_a_caller_who_waits_are_answered_here() -> None:
    story = Story().wait()
    early = [r for r in story.alice.responses if r.status == 180][-1]
    assert story.alice.outgoing is not None
    dialog = Dialog.from_response(story.alice.outgoing.request, early)
    for method, status in (("OPTIONS", 200), ("INFO", 480), ("UPDATE", 200), ("INVITE", 500)):
        story.alice.send(method, dialog=dialog)
        story.world.run(1)
        assert story.alice.statuses(method)[-1] == status
    story.alice.send("UPDATE", dialog=dialog, body=OFFER)
    story.world.run(1)
    assert story.alice.statuses("UPDATE")[-1] == 500


def test_hanging_up_from_outside_ends_the_wait_with_480() -> None:
    story = Story().wait()
    assert story.world.calls.hang_up(story.id, "no callback", story.world.now)
    story.world.run(1)
    assert story.alice.responses[-1].status == 480
    assert story.watch.told == ["gone: no callback"]
    assert story.record().end_reason == "no callback"


def test_only_an_unanswered_call_can_wait_and_only_once() -> None:
    world = World()
    alice, _ = fork(world, pick_up)
    alice.call()
    world.run(1)
    (call,) = world.calls.live()
    assert not world.calls.wait(call.id, Watch(), world.now)
    assert not world.calls.wait("unknown", Watch(), world.now)
    story = Story().wait()
    assert not story.world.calls.wait(story.id, Watch(), story.world.now)


def test_a_callback_without_a_contact_is_refused_and_the_wait_goes_on() -> None:
    story = Story().wait()
    story.provider.contact = "X-Nothing: 1"
    story.call_back()
    assert story.provider.responses[-1].status == 400
    assert story.watch.told == []
    story.provider.contact = "Contact: <sip:provider@provider.invalid>"
    story.call_back()
    assert story.watch.told == ["matched", "joined"]


def test_a_lost_200_is_sent_again_and_a_callback_that_comes_again_is_absorbed() -> None:
    story = Story().wait()
    story.world.random.seed(7)
    story.world.weather.doubling = 1.0
    story.call_back()
    story.world.run(5)
    assert story.watch.told == ["matched", "joined"]
    story.alice.bye()
    assert story.record().status == 200


def test_a_joined_call_can_be_taken_up_from_its_value_and_one_in_the_middle_can_not() -> None:
    story = Story().wait()
    story.provider.acks = False
    story.call_back(b"")
    (half,) = story.world.calls.live()
    assert not World().calls.restore(Call.from_dict(half.to_dict()), 0.0)
    whole = Story().wait()
    whole.call_back()
    (call,) = whole.world.calls.live()
    text = json.dumps(call.to_dict())
    elsewhere = World()
    assert elsewhere.calls.restore(Call.from_dict(json.loads(text)), elsewhere.now)
    elsewhere.run(1)
    phones = [elsewhere.phone("alice"), elsewhere.phone("provider")]
    assert elsewhere.calls.hang_up(call.id, "over", elsewhere.now)
    elsewhere.run(1)
    assert [len(phone.of("BYE")) for phone in phones] == [1, 1]


# -- an account that is rung first -----------------------------------------------------------------


class Dialled:
    """The phones of bob's account are rung, to be joined to a callback."""

    def __init__(self, **phones: object) -> None:
        self.world = World()
        self.watch = Watch()
        self.phones = {
            name: self.world.phone(name, behaviour=behaviour) for name, behaviour in phones.items()
        }
        targets = tuple(target(name) for name in phones)
        found = self.world.calls.dial_out(account("bob"), targets, self.watch, self.world.now)
        assert found is not None
        self.id = found
        self.world.run(1)
        self.provider = self.world.phone("provider", behaviour=silent)

    def call_back(self, offer: bytes = CALLBACK_OFFER) -> None:
        self.world.switch.plan = replace(plan(), joins=self.id)
        self.provider.call("bob", body=offer)
        self.world.run(1)

    def record(self) -> CallRecord:
        self.world.run(200)
        assert self.world.clean()
        (record,) = self.world.records()
        return record


def held_pick_up(phone: Phone, tx: object) -> None:
    phone.answer(180)
    phone.answer(200, body=HELD)


def test_the_phones_of_an_account_are_rung_with_a_held_offer_and_wait() -> None:
    story = Dialled(bob=held_pick_up, desk=ring)
    bob = story.phones["bob"]
    (invite,) = bob.of("INVITE")
    assert invite.body == HELD
    assert b"a=inactive" in invite.body
    assert len(bob.confirmed) == 1
    assert len(story.phones["desk"].of("CANCEL")) == 1
    assert story.watch.told == ["ready"]
    assert story.world.calls.waiting(story.id)


def test_the_callbacks_offer_goes_to_the_phone_and_its_answer_back() -> None:
    story = Dialled(bob=held_pick_up)
    bob = story.phones["bob"]
    story.call_back()
    assert bob.of("INVITE")[-1].body == CALLBACK_OFFER
    assert (story.provider.responses[-1].status, story.provider.responses[-1].body) == (200, ANSWER)
    assert story.watch.told == ["ready", "matched", "joined"]
    story.provider.bye()
    story.world.run(1)
    assert len(bob.of("BYE")) == 1
    record = story.record()
    assert (record.status, record.answered_by) == (200, "sip:provider@example.org")
    assert record.caller == "sip:bob@example.com"


def test_a_callback_without_an_offer_gets_the_phones_and_its_ack_goes_to_the_phone() -> None:
    story = Dialled(bob=held_pick_up)
    story.provider.ack_body = OFFER
    story.call_back(b"")
    bob = story.phones["bob"]
    assert bob.of("INVITE")[-1].body == b""
    assert story.provider.responses[-1].body == ANSWER
    assert bob.confirmed[-1].body == OFFER
    assert story.watch.told == ["ready", "matched", "joined"]
    bob.bye()
    assert story.record().end_reason == "caller hung up"


@pytest.mark.parametrize(("refused", "passed"), [(488, 488), (491, 480), (503, 500)])
def test_a_phone_that_refuses_the_offer_ends_both(refused: int, passed: int) -> None:
    story = Dialled(bob=held_pick_up)
    story.phones["bob"].methods["INVITE"] = refuse(refused)
    story.call_back()
    assert story.provider.responses[-1].status == passed
    assert len(story.phones["bob"].of("BYE")) == 1
    assert story.watch.told[:2] == ["ready", "matched"]
    assert story.watch.told[2].startswith("gone: ")
    assert story.record().status == passed


def test_a_phone_that_vanished_ends_both() -> None:
    story = Dialled(bob=held_pick_up)
    story.world.dead.add("bob")
    story.call_back()
    story.world.run(40)
    assert story.provider.responses[-1].status == 408
    assert story.record().status == 408


def test_a_callback_that_gives_up_before_the_phone_answers_ends_both() -> None:
    story = Dialled(bob=held_pick_up)
    story.phones["bob"].methods["INVITE"] = silent
    story.call_back()
    story.provider.cancel()
    story.world.run(1)
    assert 487 in story.provider.statuses("INVITE")
    assert len(story.phones["bob"].of("BYE")) == 1
    assert story.watch.told[-1] == "gone: callee cancelled"
    story.phones["bob"].answer(487)
    assert story.record().status == 487


def test_an_answer_that_comes_after_the_callback_gave_up_is_acknowledged() -> None:
    story = Dialled(bob=held_pick_up)
    story.phones["bob"].methods["INVITE"] = silent
    story.call_back()
    story.provider.cancel()
    story.world.run(1)
    story.phones["bob"].answer(200, body=ANSWER)
    story.world.run(1)
    assert len(story.phones["bob"].confirmed) == 2
    assert story.record().status == 487


def test_a_phone_that_hangs_up_ends_the_wait() -> None:
    story = Dialled(bob=held_pick_up)
    story.phones["bob"].bye()
    story.world.run(1)
    assert story.watch.told == ["ready", "gone: caller hung up"]
    assert not story.phones["bob"].of("BYE")
    assert story.record().status == 487


def test_a_phone_that_waits_too_long_is_hung_up() -> None:
    story = Dialled(bob=held_pick_up)
    assert story.world.calls.hang_up(story.id, "no callback", story.world.now)
    story.world.run(1)
    assert len(story.phones["bob"].of("BYE")) == 1
    assert story.record().status == 480


@pytest.mark.parametrize(
    ("behaviour", "reason", "status"),
    [(refuse(486), "busy", 486), (refuse(503), "failed", 500), (ring, "no answer", 480)],
)
def test_phones_that_do_not_answer_end_it(behaviour: object, reason: str, status: int) -> None:
    story = Dialled(bob=behaviour)
    story.world.run(200)
    assert story.watch.told == [f"gone: {reason}"]
    assert story.record().status == status


def test_a_reinvite_of_a_phone_that_waits_keeps_it_held() -> None:
    story = Dialled(bob=held_pick_up)
    bob = story.phones["bob"]
    bob.send("INVITE", body=OFFER + VIDEO)
    story.world.run(1)
    answer = bob.responses[-1]
    assert answer.status == 200
    assert b"a=inactive" in answer.body
    assert b"m=video 0 " in answer.body
    bob.send("INVITE")
    story.world.run(1)
    assert bob.responses[-1].body == HELD
    story.call_back()
    assert story.watch.told[-1] == "joined"
    bob.bye()
    assert story.record().status == 200


def test_too_many_calls_leave_no_room_for_one_of_our_own() -> None:
    story = Dialled(bob=held_pick_up)
    mean = account("bob", owner="owner-bob", max_calls=1)
    assert story.world.calls.dial_out(mean, (target("bob"),), Watch(), story.world.now) is None
