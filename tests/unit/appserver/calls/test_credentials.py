"""Challenges of the far end: answered with the leg's credentials, on the INVITE and after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from services.appserver.domain.plan import Credentials, Fork, Target
from tandem.sip.digest import Challenge, ha1, verify
from tandem.sip.digest import Credentials as Sent
from tandem.sip.errors import RemoteFault
from tandem.sip.message import Request
from tandem.sip.transaction import ServerTransaction
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
    silent,
    talk,
)

OURS = Credentials("user", "secret")
REALM = "tel.example"


class Doorman:
    """Has a phone challenge its requests as a provider does."""

    def __init__(self, *challenges: Challenge, status: int = 401, then: Behaviour = pick_up):
        self.challenges = challenges
        self.status = status
        self.then = then
        self.admitted: list[Request] = []
        self.refused: list[Request] = []

    def proven(self, request: Request) -> bool:
        """Whether it has right credentials for one of the current challenges."""
        header = "authorization" if self.status == 401 else "proxy-authorization"
        for value in request.values(header):
            try:
                sent = Sent.parse(value)
            except RemoteFault:
                continue
            secret = ha1(sent.algorithm.removesuffix("-sess"), "user", sent.realm, "secret")
            fresh = any(sent.nonce == c.nonce for c in self.challenges)
            if fresh and verify(sent, secret, request.method, request.body):
                return True
        return False

    def lines(self) -> Iterable[str]:
        name = "WWW-Authenticate" if self.status == 401 else "Proxy-Authenticate"
        return (f"{name}: {challenge}" for challenge in self.challenges)

    def __call__(self, phone: Phone, tx: ServerTransaction) -> None:
        if self.proven(tx.request):
            self.admitted.append(tx.request)
            if tx.request.method == "INVITE":
                self.then(phone, tx)
            else:
                phone.layer.reply(tx, 200, phone.world.now)
            return
        self.refused.append(tx.request)
        phone.layer.reply(tx, self.status, phone.world.now, headers=tuple(self.lines()))


def ask(nonce: str = "n1", algorithm: str = "MD5", *, qop: str = "auth", stale: bool = False,
        realm: str = REALM) -> Challenge:  # fmt: skip
    return Challenge(realm, nonce, algorithm, qop, stale)


def to_provider(world: World, doorman: Behaviour, credentials: Credentials | None = OURS) -> None:
    """Alice calls Bob, who is a provider."""
    alice, captain = steered(world, Fork((leg("bob", credentials=credentials),)))
    called(world, bob=doorman)
    dial(world, alice, captain)


@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("qop", ["auth", ""])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256", "SHA-256-sess"])
def test_an_invite_is_sent_again_with_credentials(algorithm: str, qop: str, status: int) -> None:
    world = World()
    doorman = Doorman(ask(algorithm=algorithm, qop=qop), status=status)
    to_provider(world, doorman)
    alice, bob = world.phones["alice"], world.phones["bob"]
    assert alice.statuses("INVITE") == [100, 180, 200]
    first, second = bob.of("INVITE")
    assert second.cseq.number == first.cseq.number + 1
    assert second.call_id == first.call_id
    assert second.from_tag == first.from_tag
    assert second.body == first.body
    assert second.first("subject") == first.first("subject")
    alice.bye()
    finish(world)
    assert world.records()[0].legs == 1
    assert "call.leg_failed" not in world.kinds()
    assert world.kinds().count("call.forwarded") == 1


def test_the_strongest_of_several_challenges_is_answered() -> None:
    world = World()
    doorman = Doorman(ask("m"), ask("s", "SHA-256"), ask("u", "SHA-4096"))
    to_provider(world, doorman)
    (admitted,) = doorman.admitted
    assert Sent.parse(admitted.values("authorization")[0]).algorithm == "SHA-256"
    world.phones["alice"].bye()
    finish(world)


def test_the_ack_has_the_credentials_of_the_invite_and_the_bye_its_own() -> None:
    world = World()
    doorman = Doorman(ask())
    to_provider(world, doorman)
    alice, bob = world.phones["alice"], world.phones["bob"]
    bob.methods["BYE"] = doorman
    (ack,) = bob.confirmed
    assert ack.values("authorization") == doorman.admitted[0].values("authorization")
    assert ack.cseq.number == doorman.admitted[0].cseq.number
    alice.bye()
    finish(world)
    assert [request.method for request in doorman.refused] == ["INVITE"]
    assert [request.method for request in doorman.admitted] == ["INVITE", "BYE"]
    counts = [Sent.parse(r.values("authorization")[0]).count for r in doorman.admitted]
    assert counts == [1, 2]


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "INFO", "REFER", "OPTIONS", "BYE"])
def test_requests_inside_the_dialog_are_answered_too(method: str) -> None:
    world = World()
    doorman = Doorman(ask("first"))
    to_provider(world, doorman)
    alice, bob = world.phones["alice"], world.phones["bob"]
    doorman.challenges = (ask("second"),)
    bob.methods[method] = doorman
    alice.send(method, body=b"", headers=("Refer-To: <sip:c@d>",) if method == "REFER" else ())
    world.run(2)
    assert alice.statuses(method)[-1] == 200
    first, second = bob.of(method)[-2:]
    assert second.cseq.number == first.cseq.number + 1
    assert [r.method for r in doorman.admitted] == ["INVITE", method]
    if method != "BYE":
        alice.bye()
    finish(world)


def test_a_reinvite_without_an_offer_is_acked_with_its_own_number() -> None:
    world = World()
    doorman = Doorman(ask("first"))
    to_provider(world, doorman)
    alice, bob = world.phones["alice"], world.phones["bob"]
    doorman.challenges, doorman.then = (ask("second"),), lambda p, tx: p.answer(200, body=ANSWER)
    bob.methods["INVITE"] = doorman
    alice.ack_body = b"answer"
    alice.acks = False
    alice.send("INVITE")
    world.run(1)
    alice.ack(2)
    world.run(1)
    assert bob.confirmed[-1].cseq.number == bob.of("INVITE")[-1].cseq.number
    assert bob.confirmed[-1].body == b"answer"
    alice.bye()
    finish(world)


def test_a_stale_nonce_is_replaced() -> None:
    world = World()
    doorman = Doorman(ask("old"))

    def forgetful(phone: Phone, tx: ServerTransaction) -> None:
        if len(phone.of("INVITE")) == 2:
            doorman.challenges = (ask("new", stale=True),)
        doorman(phone, tx)

    to_provider(world, forgetful)
    assert world.phones["alice"].statuses("INVITE")[-1] == 200
    assert len(world.phones["bob"].of("INVITE")) == 3
    world.phones["alice"].bye()
    finish(world)


@pytest.mark.parametrize("stale", [False, True])
def test_a_provider_that_is_never_content_is_left_alone(stale: bool) -> None:
    world = World()

    def never(phone: Phone, tx: ServerTransaction) -> None:
        phone.answer(401, headers=(f"WWW-Authenticate: {ask(world.token(), stale=stale)}",))

    to_provider(world, never)
    bob = world.phones["bob"]
    assert len(bob.of("INVITE")) == (3 if stale else 2)
    assert world.phones["alice"].statuses("INVITE")[-1] == 480
    finish(world)


def test_the_same_nonce_is_not_answered_twice() -> None:
    world = World()
    to_provider(world, refuse(407, f"Proxy-Authenticate: {ask()}"))
    assert len(world.phones["bob"].of("INVITE")) == 2
    finish(world)


def test_credentials_are_for_their_realm_alone() -> None:
    world = World()
    doorman = Doorman(ask(realm="thief.example"))
    to_provider(world, doorman, replace(OURS, realm=REALM))
    (invite,) = world.phones["bob"].of("INVITE")
    assert invite.values("authorization") == []
    finish(world)


@pytest.mark.parametrize("status", [401, 407])
def test_without_credentials_a_challenge_is_a_failure_of_the_leg(status: int) -> None:
    world = World()
    doorman = Doorman(ask(), status=status)
    alice, captain = steered(world, Fork((leg("bob"),)))
    called(world, bob=doorman)
    captain.refusal = (status, "as the leg", ())
    dial(world, alice, captain)
    assert captain.statuses() == [[status]]
    assert captain.failures[0][0].passed == 403
    assert alice.statuses("INVITE")[-1] == 403
    finish(world)


def test_a_cancelled_leg_does_not_answer_its_challenge() -> None:
    world = World()
    alice, captain = steered(world, Fork((leg("bob", credentials=OURS),)))
    (bob,) = called(world, bob=silent)
    dial(world, alice, captain)
    alice.cancel()
    world.run(0.1)
    bob.answer(401, headers=(f"WWW-Authenticate: {ask()}",))
    world.run(1)
    assert len({request.cseq.number for request in bob.of("INVITE")}) == 1
    finish(world)


def test_a_leg_that_was_challenged_is_cancelled_as_any() -> None:
    world = World()
    alice, captain = steered(world, Fork((leg("bob", credentials=OURS),)))
    (bob,) = called(world, bob=Doorman(ask(), then=ring))
    dial(world, alice, captain)
    alice.cancel()
    world.run(1)
    (cancel,) = bob.of("CANCEL")
    assert cancel.cseq.number == bob.of("INVITE")[-1].cseq.number
    finish(world)


def test_a_proxy_on_the_way_and_the_server_behind_it_are_both_answered() -> None:
    world = World()
    server = Doorman(ask("s"))
    proxy = Doorman(ask("p", realm="proxy.example"), status=407, then=server)
    to_provider(world, proxy)
    assert world.phones["alice"].statuses("INVITE")[-1] == 200
    assert len(world.phones["bob"].of("INVITE")) == 3
    world.phones["alice"].bye()
    finish(world)


def test_the_next_hop_is_asked_with_what_the_first_has_taught() -> None:
    world = World()
    doorman = Doorman(ask())

    def fails(phone: Phone, tx: ServerTransaction) -> None:
        if doorman.proven(tx.request):
            phone.answer(503)
        else:
            doorman(phone, tx)

    one = leg("bob", credentials=OURS)
    both = Target(one.uri, (hop_to("bob"), hop_to("carol")), "", one.options)
    alice, captain = steered(world, Fork((both,)))
    _, carol = called(world, bob=fails, carol=doorman)
    dial(world, alice, captain)
    assert alice.statuses("INVITE")[-1] == 200
    assert len(carol.of("INVITE")) == 1
    alice.bye()
    finish(world)


def test_the_ends_never_see_each_others_credentials() -> None:
    world = World()
    alice, bob = talk(world)
    bob.methods["INFO"] = Doorman(ask())
    alice.send("INFO", headers=("Authorization: Digest mine",))
    world.run(1)
    assert bob.of("INFO")[0].first("authorization") is None
    assert alice.statuses("INFO") == [401]
    assert alice.responses[-1].first("www-authenticate") is None
    alice.bye()
    finish(world)
