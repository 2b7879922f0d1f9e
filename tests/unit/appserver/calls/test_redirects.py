"""Redirections that are followed: their contacts become legs of the same fork."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from services.appserver.domain.plan import (
    Credentials,
    Fork,
    LegOptions,
    NextHop,
    Target,
    Transfer,
)
from services.appserver.domain.redirects import MAX_CONTACTS, contacts_of, handed_on
from services.appserver.domain.routing import to_self
from services.appserver.handlers.calls import attempt
from services.appserver.handlers.calls.limits import MAX_LEGS
from services.appserver.ports import Done
from tandem.bus.call_events import CallForwarded
from tandem.sip.digest import Challenge
from tandem.sip.message import Response
from tandem.sip.transaction import ServerTransaction
from tandem.sip.uri import Uri
from tests.support.pilots import called, dial, leg, steered
from tests.support.sipphone import Behaviour, Phone
from tests.support.sipworld import (
    ANSWER,
    World,
    finish,
    hop_to,
    pick_up,
    refuse,
    ring,
    target,
)


def to(*names: str, status: int = 302) -> Behaviour:
    """A phone that says to call these."""
    return says(", ".join(f"<sip:{name}@{name}.invalid>" for name in names), status)


def says(contacts: str, status: int = 302) -> Behaviour:
    """A phone that redirects to these contacts."""

    def behave(phone: Phone, tx: ServerTransaction) -> None:
        phone.layer.reply(tx, status, phone.world.now, headers=(f"Contact: {contacts}",))

    return behave


def follows(name: str, **options: Any) -> Target:
    return leg(name, follow_redirects=True, **options)


def resolve(uri: Uri, proxy: str, now: float, done: Done) -> None:
    """Every phone has a way, but nowhere."""
    name = uri.host.partition(".")[0]
    done((hop_to(name),) if name != "nowhere" else (), now)


class Slow:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.waiting: list[Callable[[tuple[NextHop, ...], float], None]] = []

    def __call__(self, uri: Uri, proxy: str, now: float, done: Done) -> None:
        self.asked.append((str(uri), proxy))
        self.waiting.append(done)


def test_the_contact_of_a_redirection_is_rung() -> None:
    world = World(next_hops=resolve)
    alice, captain = steered(world, Fork((follows("bob"),)))
    _, carol = called(world, bob=to("carol"), carol=pick_up)
    dial(world, alice, captain)
    assert alice.statuses("INVITE") == [100, 180, 200]
    assert captain.failures == []
    (invite,) = carol.of("INVITE")
    assert invite.uri == "sip:carol@carol.invalid"
    assert invite.to.uri.user == "bob"
    alice.bye()
    finish(world)
    (record,) = world.records()
    assert (record.legs, record.answered_by) == (2, "sip:carol@carol.invalid")


def test_one_that_is_not_to_be_followed_is_told_with_its_contacts() -> None:
    world = World(next_hops=resolve)
    alice, captain = steered(world, Fork((target("bob"),)))
    _, carol = called(world, bob=to("carol", "dave"), carol=ring)
    dial(world, alice, captain)
    assert carol.requests == []
    assert captain.failures[0][0].contacts == ("sip:carol@carol.invalid", "sip:dave@dave.invalid")
    finish(world)


@pytest.mark.parametrize("status", [305, 380, 399])
def test_what_names_nobody_to_call_is_not_followed(status: int) -> None:
    world = World(next_hops=resolve)
    alice, captain = steered(world, Fork((follows("bob"),)))
    _, carol = called(world, bob=to("carol", status=status), carol=ring)
    dial(world, alice, captain)
    assert carol.requests == []
    assert captain.statuses() == [[status]]
    finish(world)


def test_two_that_point_at_each_other_come_to_an_end() -> None:
    world = World(next_hops=resolve)
    alice, captain = steered(world, Fork((follows("bob"),)))
    bob, carol = called(world, bob=to("carol"), carol=to("bob", "carol"))
    dial(world, alice, captain)
    assert (len(bob.of("INVITE")), len(carol.of("INVITE"))) == (1, 1)
    assert captain.statuses() == [[302]]
    finish(world)


def test_a_redirection_that_leads_nowhere_has_failed() -> None:
    world = World(next_hops=resolve)
    alice, captain = steered(world, Fork((follows("bob"),)))
    called(world, bob=to("nowhere"))
    dial(world, alice, captain)
    assert captain.statuses() == [[302]]
    assert captain.failures[0][0].contacts == ("sip:nowhere@nowhere.invalid",)
    finish(world)


@pytest.mark.parametrize("more", [(), ("sip:carol@carol.invalid",)])
def test_a_contact_that_is_no_uri_after_all_leads_nowhere(
    monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.setattr(attempt, "contacts_of", lambda response: ("sip:", *more))
    world = World(next_hops=resolve)
    alice, captain = steered(world, Fork((follows("bob"),)))
    called(world, bob=to("carol"), carol=refuse(486))
    dial(world, alice, captain)
    assert captain.statuses() == [[486 if more else 302]]
    finish(world)


def test_without_a_resolver_nothing_is_followed() -> None:
    world = World()
    alice, captain = steered(world, Fork((follows("bob"),)))
    called(world, bob=to("carol"))
    dial(world, alice, captain)
    assert captain.statuses() == [[302]]
    finish(world)


def test_the_failures_of_those_who_were_rung_count() -> None:
    world = World(next_hops=resolve)
    alice, captain = steered(world, Fork((follows("bob"),)))
    called(world, bob=to("carol", "dave"), carol=refuse(486), dave=refuse(404))
    dial(world, alice, captain)
    assert captain.statuses() == [[486, 404]]
    assert [one.target.options.name for one in captain.failures[0]] == ["bob", "bob"]
    finish(world)
    assert world.records()[0].legs == 3


def test_nothing_is_over_while_a_contact_is_looked_up() -> None:
    slow = Slow()
    world = World(next_hops=slow)
    alice, captain = steered(world, Fork((follows("bob"), target("carol"))))
    _, _, dave = called(world, bob=to("dave"), carol=refuse(486), dave=pick_up)
    dial(world, alice, captain)
    assert captain.failures == []
    assert slow.asked == [("sip:dave@dave.invalid", hop_to("bob").proxy)]
    slow.waiting[0]((hop_to("dave"),), world.now)
    world.run(1)
    assert len(dave.of("INVITE")) == 1
    assert alice.statuses("INVITE")[-1] == 200
    alice.bye()
    finish(world)


def test_what_is_found_too_late_is_not_rung() -> None:
    slow = Slow()
    world = World(next_hops=slow)
    alice, captain = steered(world, Fork((follows("bob"),), ring_seconds=10), patient=True)
    _, dave = called(world, bob=to("dave"), dave=pick_up)
    dial(world, alice, captain)
    world.run(10)
    assert captain.timed_out == [True]
    assert captain.statuses() == [[408]]
    slow.waiting[0]((hop_to("dave"),), world.now)
    world.run(1)
    assert dave.requests == []
    alice.cancel()
    finish(world)


def test_redirections_ring_no_more_legs_than_a_call_has() -> None:
    world = World(next_hops=resolve)
    alice, captain = steered(world, Fork((follows("phone0"),)))
    chain = {f"phone{n}": to(f"phone{n + 1}") for n in range(30)}
    phones = called(world, **chain)
    dial(world, alice, captain)
    world.run(5)
    assert sum(len(phone.of("INVITE")) for phone in phones) == MAX_LEGS
    assert captain.statuses() == [[302]]
    finish(world)


def test_contacts_share_the_breadth_of_their_leg() -> None:
    world = World(next_hops=resolve)
    alice, captain = steered(world, Fork((follows("bob"), target("eve"))))
    _, _, *rest = called(
        world, bob=to("carol", "dave", "frank"), eve=ring, carol=ring, dave=ring, frank=ring
    )
    dial(world, alice, captain, headers=("Max-Breadth: 5",))
    assert [len(phone.of("INVITE")) for phone in rest] == [1, 1, 0]
    assert [phone.of("INVITE")[0].values("max-breadth") for phone in rest[:2]] == [["1"], ["1"]]
    alice.cancel()
    finish(world)


def test_the_secrets_of_a_leg_are_not_for_whom_it_points_to() -> None:
    world = World(next_hops=resolve)
    secret = Credentials("user", "secret")
    one = follows(
        "bob",
        credentials=secret,
        headers=("X-Own: 1",),
        from_value="<sip:number@tel.invalid>",
        provider="tel",
        transfer=Transfer.SERVE,
    )
    alice, captain = steered(world, Fork((one,)))
    challenge = f"WWW-Authenticate: {Challenge('x', 'y')}"
    _, carol = called(world, bob=to("carol"), carol=refuse(401, challenge))
    dial(world, alice, captain)
    (invite,) = carol.of("INVITE")
    assert invite.values("authorization") == []
    assert invite.values("x-own") == []
    assert str(invite.from_.uri) == "sip:alice@example.org"
    assert captain.failures[0][0].target.options.transfer is Transfer.CALLER
    assert captain.statuses() == [[401]]
    finish(world)


def test_a_phone_hands_on_what_is_no_secret_within_the_switch_alone() -> None:
    options = LegOptions(
        headers=("X-Own: 1",),
        from_value="<sip:a@b>",
        credentials=Credentials("user", "secret"),
        transfer=Transfer.CALLEE,
        max_seconds=7,
    )
    phone = Target("sip:bob@192.0.2.7", (hop_to("bob"),), "bob@example.org", options)
    within = handed_on(phone, (to_self(),))
    kept = LegOptions(transfer=Transfer.REFUSE, max_seconds=7)
    assert within == replace(kept, headers=("X-Own: 1",), from_value="<sip:a@b>")
    assert handed_on(phone, (hop_to("carol"),)) == kept
    assert handed_on(replace(phone, account=""), (to_self(),)) == kept


def test_the_most_wanted_is_rung_first() -> None:
    world = World(next_hops=resolve)
    alice, captain = steered(world, Fork((follows("bob"),)))
    wanted = says("<sip:a@carol.invalid>;q=0.1, <sip:b@dave.invalid>;q=0.7", 300)
    _, carol, dave = called(world, bob=wanted, carol=ring, dave=ring)
    dial(world, alice, captain)
    forwarded = [event.target for event in world.events if isinstance(event, CallForwarded)]
    assert forwarded[1:] == ["sip:b@dave.invalid", "sip:a@carol.invalid"]
    dave.answer(200, body=ANSWER)
    world.run(1)
    assert len(carol.of("CANCEL")) == 1
    alice.bye()
    finish(world)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["<sip:a@b>;q=x, <sip:c@d>"], ("sip:c@d", "sip:a@b")),
        (["sip:a@b;expires=5"], ("sip:a@b",)),
        (["<sip:a@b?Replaces=x;method=BYE>", "<tel:+1>", "*", "<<", '"'], ("sip:a@b",)),
        (["<sip:a@b;transport=tcp;method=REFER>"], ("sip:a@b;transport=tcp",)),
        ([f"<sip:{n}@b>" for n in range(50)], tuple(f"sip:{n}@b" for n in range(MAX_CONTACTS))),
        ([], ()),
    ],
)
def test_contacts_are_read_as_far_as_they_make_sense(
    lines: list[str], expected: tuple[str, ...]
) -> None:
    response = Response(302, "Moved", [f"Contact: {line}" for line in lines])
    assert contacts_of(response) == expected


def test_only_a_3xx_has_contacts_to_call() -> None:
    assert contacts_of(Response(200, "OK", ["Contact: <sip:a@b>"])) == ()
    assert contacts_of(None) == ()
