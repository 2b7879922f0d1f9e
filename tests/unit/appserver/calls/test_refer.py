"""REFER inside a call, by the mode of the leg that was called; NOTIFYs; Replaces."""

from __future__ import annotations

from typing import Any

import pytest

from services.appserver.domain.plan import Credentials, Fork
from tandem.sip.dialog import Dialog
from tandem.sip.digest import Challenge
from tandem.sip.message import Request
from tandem.sip.transaction import ServerTransaction
from tests.support.pilots import dial, leg, steered
from tests.support.sipphone import Phone
from tests.support.sipworld import World, refuse, ring, silent
from tests.support.transfers import (
    CAROL,
    Transfer,
    Transferring,
    TransferStarted,
    sipfrags,
)

SERVED: dict[str, Any] = {"transfer": Transfer.SERVE}


# -- who may ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "caller", "callee"),
    [
        (Transfer.REFUSE, 603, 603),
        (Transfer.SERVE, 202, 202),
        (Transfer.BOTH, 202, 202),
        (Transfer.ANYBODY, 202, 202),
        (Transfer.CALLER, 202, 603),
        (Transfer.CALLEE, 603, 202),
    ],
)
def test_the_mode_of_the_leg_says_who_may(mode: Transfer, caller: int, callee: int) -> None:
    for status, name in ((caller, "alice"), (callee, "ivr")):
        world = World()
        made = Transferring(world, transfer=mode)
        phone = world.phones[name]
        made.refer(phone)
        assert phone.statuses("REFER") == [status]
        assert world.phones["ivr" if name == "alice" else "alice"].of("REFER") == []
        made.carol.bye() if status == 202 else made.alice.bye()
        made.finish()


@pytest.mark.parametrize(
    ("mode", "caller", "callee"),
    [
        (Transfer.SERVE, 403, 202),
        (Transfer.BOTH, 403, 202),
        (Transfer.ANYBODY, 202, 202),
        (Transfer.CALLER, 403, 603),
        (Transfer.CALLEE, 603, 202),
    ],
)
def test_who_calls_from_outside_may_if_the_mode_says_so(
    mode: Transfer, caller: int, callee: int
) -> None:
    for status, name in ((caller, "alice"), (callee, "ivr")):
        world = World()
        made = Transferring(world, stranger=True, transfer=mode)
        phone = world.phones[name]
        made.refer(phone)
        assert phone.statuses("REFER") == [status]
        assert bool(made.referrals) == (status == 202)
        made.carol.bye() if status == 202 else made.alice.bye()
        made.finish()


@pytest.mark.parametrize(("mode", "status"), [(Transfer.REFUSE, 603), (Transfer.SERVE, 491)])
def test_the_mode_holds_while_it_rings(mode: Transfer, status: int) -> None:
    """Else whoever is rung could have the caller's phone call somebody."""
    world = World()
    world.calls._board.refer = lambda referral: None
    alice, captain = steered(world, Fork((leg("ivr", transfer=mode),)))
    ivr = world.phone("ivr", behaviour=ring)
    dial(world, alice, captain)
    assert ivr.incoming is not None
    early = Dialog.from_request(ivr.incoming.request, ivr.incoming.tag or "")
    ivr.send("REFER", headers=("Refer-To: <sip:carol@example.org>",), dialog=early)
    world.run(1)
    assert ivr.statuses("REFER") == [status]
    assert alice.of("REFER") == []
    alice.cancel()
    world.run(100)
    assert world.clean()


def test_without_a_mode_it_passes_to_the_other_end() -> None:
    world = World()
    made = Transferring(world)
    made.refer(made.ivr)
    (refer,) = made.alice.of("REFER")
    assert refer.first("refer-to") == "<sip:carol@example.org>"
    assert made.referrals == []
    made.alice.send("NOTIFY", headers=("Event: refer", "Subscription-State: active"))
    world.run(1)
    assert len(made.ivr.of("NOTIFY")) == 1
    made.alice.bye()
    made.finish()


def test_a_refer_that_the_other_end_challenges_is_answered() -> None:
    world = World()
    made = Transferring(world, credentials=Credentials("joe", "secret"))
    asked: list[Request] = []

    def challenge(phone: Phone, tx: ServerTransaction) -> None:
        asked.append(tx.request)
        if tx.request.first("authorization") is None:
            line = f"WWW-Authenticate: {Challenge('there', 'n1')}"
            phone.layer.reply(tx, 401, world.now, headers=(line,))
        else:
            phone.layer.reply(tx, 202, world.now, headers=(phone.contact,))

    made.ivr.methods["REFER"] = challenge
    made.refer(made.alice)
    assert made.alice.statuses("REFER") == [202]
    assert len(asked) == 2
    assert 'username="joe"' in (asked[1].first("authorization") or "")
    made.alice.bye()
    made.finish()


# -- blind -----------------------------------------------------------------------------------------


def test_the_target_is_rung_and_the_referrer_is_told_and_hung_up() -> None:
    world = World()
    made = Transferring(world, carol=ring, **SERVED)
    made.refer(made.ivr)
    (referral,) = made.referrals
    assert (str(referral.target), referral.owners) == ("sip:carol@example.org", ("owner",))
    assert referral.caller == "Alice <sip:alice@example.org>"
    assert sipfrags(made.ivr) == [("100 Trying", "active"), ("180 Ringing", "active")]
    assert made.ivr.of("BYE") == []
    made.carol.answer(200, body=CAROL)
    world.run(1)
    assert sipfrags(made.ivr)[-1] == ("200 OK", "terminated")
    assert [request.method for request in made.ivr.requests[-2:]] == ["NOTIFY", "BYE"]
    assert made.alice.of("INVITE")[0].body == CAROL
    assert made.event(TransferStarted).by == "refer"
    made.alice.bye()
    world.run(1)
    assert len(made.carol.of("BYE")) == 1
    made.finish()
    assert made.reasons() == {"old": (200, "transferred"), "new": (200, "caller hung up")}


def test_no_notify_leaves_before_the_202() -> None:
    """Over UDP the two may overtake each other, so that there is time between them."""
    world = World()
    made = Transferring(world, carol=ring, **SERVED)
    made.ivr.send("REFER", headers=("Refer-To: <sip:carol@example.org>",))
    world.run(0.05)
    assert made.ivr.statuses("REFER") == [202]
    assert made.ivr.of("NOTIFY") == []
    world.run(0.2)
    assert len(made.ivr.of("NOTIFY")) >= 1
    made.alice.bye()
    made.finish()


def test_a_notify_waits_for_the_answer_to_the_one_before() -> None:
    world = World()
    made = Transferring(world, carol=ring, **SERVED)
    held: list[ServerTransaction] = []
    made.ivr.methods["NOTIFY"] = lambda phone, tx: held.append(tx)
    made.refer(made.ivr)
    made.carol.answer(183)
    world.run(0.2)
    assert sipfrags(made.ivr) == [("100 Trying", "active")]
    made.ivr.methods.pop("NOTIFY")
    made.ivr.layer.reply(held[0], 200, world.now)
    world.run(1)
    assert sipfrags(made.ivr)[1:] == [("183 Session Progress", "active")]
    made.alice.bye()
    made.finish()


def test_a_referrer_is_told_how_long_its_subscription_lasts() -> None:
    """As long as somebody may be rung: phones give up waiting for the outcome when it ends."""
    world = World()
    made = Transferring(world, carol=ring, **SERVED)
    made.captain.forks *= 2  # the second is rung when the first has rung for 180 s
    made.refer(made.ivr)
    world.run(200)
    states = [notify.first("subscription-state") for notify in made.ivr.of("NOTIFY")]
    assert states == ["active;expires=900", "active;expires=900", "active;expires=720"]
    made.alice.bye()
    made.finish()


@pytest.mark.parametrize("status", [486, 603])
def test_a_failure_is_told_and_the_call_goes_on(status: int) -> None:
    world = World()
    made = Transferring(world, carol=refuse(status), **SERVED)
    made.captain.refusal = (status, "", ())
    made.refer(made.alice)
    line, state = sipfrags(made.alice)[-1]
    assert (line[:3], state) == (str(status), "terminated")
    assert made.ivr.of("BYE") == made.alice.of("BYE") == []
    made.refer(made.alice)  # once more: now the subscriptions must be told apart
    assert (made.alice.of("NOTIFY")[-1].first("event") or "").startswith("refer;id=")
    made.alice.bye()
    made.finish()


def test_a_referrer_that_hangs_up_on_the_202_has_its_transfer() -> None:
    world = World()
    made = Transferring(world, **SERVED)
    made.ivr.send("REFER", headers=("Refer-To: <sip:carol@example.org>",))
    made.ivr.bye()
    world.run(1)
    assert made.ivr.of("NOTIFY") == []
    assert made.captain.answers == 1
    made.carol.bye()
    world.run(1)
    assert len(made.alice.of("BYE")) == 1
    made.finish()
    assert made.reasons() == {"old": (200, "transferred"), "new": (200, "callee hung up")}


def test_a_referrer_that_does_not_want_notifys_gets_none() -> None:
    world = World()
    made = Transferring(world, **SERVED)
    made.refer(made.ivr, "<sip:carol@example.org>", "Refer-Sub: false", "Supported: norefersub")
    answer = next(r for r in made.ivr.responses if r.cseq.method == "REFER")
    assert (answer.status, answer.first("refer-sub")) == (202, "false")
    assert made.ivr.of("NOTIFY") == []
    assert len(made.ivr.of("BYE")) == 1
    made.alice.bye()
    made.finish()


def test_a_referrer_that_refuses_notifys_gets_no_more() -> None:
    world = World()
    made = Transferring(world, carol=ring, **SERVED)
    made.ivr.methods["NOTIFY"] = lambda phone, tx: phone.layer.reply(tx, 481, world.now)
    made.refer(made.ivr)
    made.carol.answer(200, body=CAROL)
    world.run(1)
    assert len(made.ivr.of("NOTIFY")) == 1
    assert len(made.ivr.of("BYE")) == 1
    made.alice.bye()
    made.finish()


def test_a_referrer_that_does_not_answer_notifys_is_hung_up_all_the_same() -> None:
    world = World()
    made = Transferring(world, **SERVED)
    made.ivr.methods["NOTIFY"] = silent
    made.refer(made.ivr)
    world.run(3)
    assert len(made.ivr.of("BYE")) == 1
    made.alice.bye()
    made.finish()


@pytest.mark.parametrize(
    ("who", "said", "passed"),
    [
        ("ivr", "", "<sip:ivr@example.org>"),
        ("ivr", "<sip:ivr@example.org>", "<sip:ivr@example.org>"),
        ("ivr", "<sip:boss@example.org>", "<sip:ivr@example.org>"),
        ("alice", "", "<sip:alice@example.org>"),
        ("alice", '"A" <sip:alice@far.invalid>;cid="x"', '"A" <sip:alice@far.invalid>'),
        ("alice", "nonsense <", "<sip:alice@example.org>"),
    ],
)
def test_the_target_hears_who_referred(who: str, said: str, passed: str) -> None:
    """The IVR has an account, Alice has none."""
    world = World()
    made = Transferring(world, stranger=True, transfer=Transfer.ANYBODY)
    headers = (f"Referred-By: {said}",) if said else ()
    made.refer(world.phones[who], "<sip:carol@example.org>", *headers)
    assert made.carol.of("INVITE")[0].first("referred-by") == passed
    made.carol.bye()
    made.finish()


@pytest.mark.parametrize(
    ("to", "status"),
    [
        ("<sip:carol@example.org;method=BYE>", 403),
        ("<mailto:carol@example.org>", 416),
        ("<http://example.org/>", 416),
        ("nonsense <", 400),
        ("<sip:carol@example.org?Replaces=nothing>", 400),
        ("<sip:carol@example.org?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2%0D%0ARoute:x>", 400),
    ],
)
def test_what_is_no_call_is_refused(to: str, status: int) -> None:
    world = World()
    made = Transferring(world, **SERVED)
    made.refer(made.ivr, to)
    assert made.ivr.statuses("REFER") == [status]
    assert made.referrals == []
    made.alice.bye()
    made.finish()


def test_what_it_requires_and_we_have_not_is_said() -> None:
    """RFC 7614: a REFER with `nosub` must make no subscription."""
    world = World()
    made = Transferring(world, **SERVED)
    made.refer(made.ivr, "<sip:carol@example.org>", "Require: nosub, replaces")
    (answer,) = [r for r in made.ivr.responses if r.cseq.method == "REFER"]
    assert (answer.status, answer.first("unsupported")) == (420, "nosub")
    assert made.referrals == []
    made.refer(made.ivr, "<sip:carol@example.org>", "Require: norefersub")
    assert made.ivr.statuses("REFER") == [420, 202]
    made.carol.bye()
    made.finish()


def test_one_refer_to_is_needed_and_no_two() -> None:
    world = World()
    made = Transferring(world, **SERVED)
    made.refer(made.ivr, "<sip:a@b>", "Refer-To: <sip:c@d>")
    made.ivr.send("REFER")
    world.run(1)
    assert made.ivr.statuses("REFER") == [400, 400]
    made.alice.bye()
    made.finish()


def test_one_transfer_at_a_time() -> None:
    world = World()
    made = Transferring(world, carol=ring, **SERVED)
    made.refer(made.ivr)
    made.refer(made.alice)
    assert made.alice.statuses("REFER") == [491]
    made.alice.bye()
    made.finish()


def test_headers_of_a_refer_to_do_not_pass() -> None:
    world = World()
    made = Transferring(world, **SERVED)
    made.refer(made.ivr, "<sip:carol@example.org?X-Evil=1&From=me&Body=x>")
    (invite,) = made.carol.of("INVITE")
    assert invite.first("x-evil") is None
    assert str(made.referrals[0].target) == "sip:carol@example.org"
    made.carol.bye()
    made.finish()


def test_replaces_is_advertised_where_the_switch_transfers() -> None:
    world = World()
    made = Transferring(world, **SERVED)
    assert "replaces" in made.ivr.of("INVITE")[0].tokens("supported")
    answer = next(r for r in made.alice.responses if r.status == 200)
    assert "replaces" in answer.tokens("supported")
    made.alice.bye()
    made.finish()
