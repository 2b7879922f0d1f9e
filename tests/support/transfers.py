"""Transfers for `tests.support.sipworld`: Alice talks to the IVR, whose leg leaves for Carol."""

from __future__ import annotations

from typing import Any

from services.appserver.domain.legs import LegRef
from services.appserver.domain.plan import Fork, Transfer
from services.appserver.ports import Pilot, Referral
from tandem.bus.transfer_events import TransferCompleted, TransferFailed, TransferStarted
from tandem.rpc.directory import Account
from tandem.sip.transaction import ServerTransaction
from tests.support.pilots import Captain, dial, leg, steered
from tests.support.sipphone import Behaviour, Phone, pick_up
from tests.support.sipworld import World, plan, target

CODECS = "m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"


def sdp(name: str, port: int = 4000, way: str = "") -> bytes:
    """What a phone says of its sound."""
    lines = f"v=0\r\no={name} 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
    return (lines + CODECS.format(port=port) + (f"a={way}\r\n" if way else "")).encode()


def says(body: bytes) -> Behaviour:
    """A phone that picks up, and says this whenever it is asked."""

    def behave(phone: Phone, tx: ServerTransaction) -> None:
        if not tx.request.to.tag:
            phone.answer(180)
        phone.answer(200, body=body)

    return behave


ACCOUNT = Account("1", "owner", "alice", "example.org", {})
ALICE, IVR, CAROL = sdp("alice", 4000), sdp("ivr", 5000), sdp("carol", 6000)


class Chosen(Captain):
    """A captain of one call among several."""

    id = ""

    @property
    def call_id(self) -> str:
        return self.id


class Transferring:
    """Alice (leg 0), an account unless she is a stranger, talks to the IVR (leg 1) in `old`."""

    def __init__(
        self,
        world: World,
        *,
        carol: Behaviour | None = None,
        stranger: bool = False,
        **options: Any,
    ) -> None:
        self.world = world
        ivr = leg("ivr", **options) if options else target("ivr")
        self.alice, captain = steered(world, Fork((ivr,)))
        world.switch.plan = plan(caller=None if stranger else ACCOUNT)
        self.ivr = world.phone("ivr", behaviour=says(IVR))
        self.carol = world.phone("carol", behaviour=carol or says(CAROL))
        for phone, body in ((self.alice, ALICE), (self.ivr, IVR), (self.carol, CAROL)):
            phone.methods["INVITE"] = says(body)
        dial(world, self.alice, captain, body=ALICE)
        (self.old,) = world.calls.live()
        self.captain = Chosen(world, Fork((target("carol"),)))
        self.new = ""
        self.referrals: list[Referral] = []
        world.switch.calls._board.refer = self._refer

    def _refer(self, referral: Referral) -> Pilot:
        self.referrals.append(referral)
        self.captain.id = self.new = referral.call_id
        self.world.deadlines.at(self.world.now, lambda now: self.captain.next())
        return self.captain

    def begin(self, number: int = 1, seconds: float = 0.05) -> None:
        """Transfer that leg's place to Carol."""
        ref = LegRef(self.old.id, number)
        self.new = self.world.calls.transfer(ref, "sip:1234@x", self.captain, self.world.now)
        self.captain.id = self.new
        self.captain.next()
        self.world.run(seconds)

    def refer(self, who: Phone, to: str = "<sip:carol@example.org>", *headers: str) -> None:
        """A REFER of one of the two."""
        who.send("REFER", headers=(f"Refer-To: {to}", *headers))
        self.world.run(1)

    @property
    def told(self) -> list[str]:
        """The events of transfers."""
        return [kind for kind in self.world.kinds() if kind.startswith("transfer.")]

    def event(self, kind: type[Any]) -> Any:
        """The one of this kind."""
        (found,) = [event for event in self.world.events if type(event) is kind]
        return found

    def reasons(self) -> dict[str, tuple[int, str]]:
        """The status and end reason of each record, by call."""
        names = {self.old.id: "old", self.new: "new"}
        found = [(r.call_id or "", (r.status, r.end_reason)) for r in self.world.records()]
        return {names.get(call_id, call_id): how for call_id, how in found}

    def finish(self) -> None:
        """Nothing is left, and no call has two records."""
        self.world.run(400)
        assert self.world.clean()
        ids = [record.call_id for record in self.world.records()]
        assert len(ids) == len(set(ids))
        assert not any(call.transfer for call in self.world.calls._board.calls.values())


def untouched(made: Transferring) -> None:
    """Alice and the IVR talk to each other as before, and hang up."""
    world, alice, ivr = made.world, made.alice, made.ivr
    assert [call.id for call in world.calls.live()] == [made.old.id]
    assert (alice.of("BYE"), ivr.of("BYE")) == ([], [])
    alice.send("INFO")
    world.run(1)
    assert alice.statuses("INFO")[-1] == 200
    alice.bye()
    world.run(1)
    assert len(ivr.of("BYE")) == 1
    assert made.reasons()["old"] == (200, "caller hung up")
    made.finish()


def sipfrags(phone: Phone) -> list[tuple[str, str]]:
    """What a phone was told of its REFER, and whether that was the last."""
    return [
        (
            notify.body.decode().strip().removeprefix("SIP/2.0 "),
            (notify.first("subscription-state") or "").partition(";")[0],
        )
        for notify in phone.of("NOTIFY")
    ]


__all__ = [
    "ALICE", "CAROL", "IVR", "Chosen", "Transfer", "TransferCompleted", "TransferFailed",
    "TransferStarted", "Transferring", "pick_up", "says", "sdp", "sipfrags", "untouched",
]  # fmt: skip
