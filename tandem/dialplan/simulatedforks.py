"""How the legs of a dial ring in a dry run: attempts one after the other, legs at once, delays,
ring times, redirections, and the first answer that ends it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tandem.dialplan.dialstring import DialStringError, Leg, parse
from tandem.dialplan.failover import TIMED_OUT, Policy
from tandem.dialplan.scene import RING_SECONDS, AccountIs, LegSays, Scene
from tandem.dialplan.substitute import Values
from tandem.dialplan.world import Dial, DialplanError, DialStatus, Incoming, LegResult, Outcome

NO_PHONE: Final = LegSays(to="", status=480, reason="No phone is registered", after=0.0)
NOWHERE: Final = LegSays(to="", status=404, reason="No such provider or domain", after=0.0)
NO_ANSWER: Final = "No answer"


@dataclass(frozen=True, slots=True)
class RungLeg:
    """One leg as it would ring; times are seconds from the dial's beginning."""

    target: str
    uri: str
    way: str
    """`account`, `provider`, `outside`, or `nowhere`."""
    began: float
    ended: float
    status: int
    """0: it rang until it was given up."""
    reason: str
    contacts: tuple[str, ...]
    assumed: bool
    """Whether nothing was said about it."""
    max_seconds: int

    @property
    def says(self) -> str:
        """What it answers, for people."""
        if not self.status:
            return f"rings until {self.ended:g} s"
        return f"{self.status} {self.reason} at {self.ended:g} s"


@dataclass(frozen=True, slots=True)
class Rung:
    """What came of a dial."""

    legs: tuple[RungLeg, ...]
    seconds: float
    outcome: Outcome
    answered_by: str = ""
    max_seconds: int = 0


def ring(dial: Dial, call: Incoming, scene: Scene) -> Rung:
    """All attempts until one is answered. Raises DialplanError for a bad dial string."""
    try:
        string = parse(dial.text, dial.asterisk_form).filled(Values.of(call))
        usual = Policy.parse(dial.failover)
    except DialStringError as error:
        raise DialplanError(str(error)) from None
    most = dial.ring_seconds or RING_SECONDS
    legs: list[RungLeg] = []
    at = 0.0
    outcome = Outcome(DialStatus.FAILED, 480, NO_ANSWER)
    for number, attempt in enumerate(string.attempts):
        policy = attempt.failover or usual
        status = TIMED_OUT if outcome.status is DialStatus.NO_ANSWER else outcome.sip_status
        if number and not policy.allows(status):
            break
        rung = _Attempt(attempt.legs, scene, at, at + most).run()
        legs += rung
        at = max((leg.ended for leg in rung), default=at)
        answer = next((leg for leg in rung if 200 <= leg.status <= 299), None)
        if answer is not None:
            limits = [n for n in (dial.max_seconds, answer.max_seconds) if n]
            return Rung(tuple(legs), at, outcome, answer.target, min(limits, default=0))
        outcome = _outcome(rung)
    return Rung(tuple(legs), at, outcome)


def account(scene: Scene, user: str, domain: str) -> AccountIs | None:
    """The account that is meant: this one, else the one after the last dot."""
    home = scene.domains.get(domain.lower(), domain.lower())
    for name in (user.lower(), user.lower().rpartition(".")[2]):
        for found in scene.accounts:
            if found.user.lower() == name and found.domain.lower() == home:
                return found
    return None


def _outcome(legs: Sequence[RungLeg]) -> Outcome:
    results = tuple(LegResult(g.target, g.uri, g.status or 480, g.reason, g.contacts) for g in legs)
    if any(leg.status == 0 for leg in legs) and not any(leg.status >= 600 for leg in legs):
        return Outcome(DialStatus.NO_ANSWER, 480, NO_ANSWER, results)
    worst = min(results, key=lambda r: 0 if r.status >= 600 else r.status // 100)
    return Outcome(DialStatus.FAILED, worst.status, worst.reason, results)


@dataclass(slots=True)
class _Ringing:
    leg: Leg
    says: LegSays | None
    way: str
    assumed: bool
    began: float
    until: float
    """When it ends, whatever ends it."""


@dataclass(slots=True)
class _Attempt:
    """Legs that ring at once, from `at` until `until` at most."""

    legs: Sequence[Leg]
    scene: Scene
    at: float
    until: float
    done: list[RungLeg] = field(default_factory=list)
    active: list[_Ringing] = field(default_factory=list)

    def run(self) -> list[RungLeg]:
        """Ring them; what is left when one answers is given up."""
        waiting = sorted(self.legs, key=lambda leg: leg.options.delay)
        began = self.at
        while waiting or self.active:
            if waiting and not self.active:  # nothing else ringing, a delayed leg does not wait
                self._start(waiting.pop(0))
            elif waiting and began + waiting[0].options.delay <= self._next():
                self.at = max(self.at, began + waiting[0].options.delay)
                self._start(waiting.pop(0))
            elif self._end_first():
                break
        return self.done

    def _next(self) -> float:
        return min(ringing.until for ringing in self.active)

    def _start(self, leg: Leg) -> None:
        way, says = _way(self.scene, leg)
        assumed = says is None
        longest = min(self.until, self.at + (leg.options.ring_seconds or RING_SECONDS))
        ends = self.at + says.after if says else longest
        if ends > longest:
            says, ends = None, longest
        self.active.append(_Ringing(leg, says, way, assumed, self.at, ends))

    def _end_first(self) -> bool:
        """The leg that ends first; whether that ends the attempt."""
        first = min(self.active, key=lambda ringing: ringing.until)
        self.active.remove(first)
        self.at = first.until
        says = first.says
        self.done.append(_rung(first, says, self.at))
        if says is None or says.status < 300:
            over = says is not None or self.at >= self.until
        else:
            over = says.status >= 600
            if 300 <= says.status <= 399 and first.leg.options.redirect == "a":
                self._follow(first.leg, says)
        if over:
            for other in self.active:
                self.done.append(_rung(other, None, self.at))
            self.active.clear()
        return over

    def _follow(self, leg: Leg, says: LegSays) -> None:
        for contact in says.contacts[:5]:
            try:
                found = parse(contact).legs[0]
            except DialStringError:
                continue
            self._start(replace(found, options=replace(leg.options, delay=0)))


def _rung(ringing: _Ringing, says: LegSays | None, now: float) -> RungLeg:
    leg = ringing.leg
    return RungLeg(
        target=leg.name,
        uri=str(leg.uri),
        way=ringing.way,
        began=round(ringing.began, 3),
        ended=round(now, 3),
        status=says.status if says else 0,
        reason=says.reason if says else "",
        contacts=says.contacts if says else (),
        assumed=ringing.assumed,
        max_seconds=leg.options.max_seconds,
    )


def _way(scene: Scene, leg: Leg) -> tuple[str, LegSays | None]:
    """Where a leg leads, and what it says; None: it rings and nobody answers."""
    uri = leg.uri
    says = next((known for known in scene.legs if known.fits(leg.name, str(uri))), None)
    host = uri.host.lower()
    providers = {name.lower() for name in scene.providers}
    if host in scene.domains and uri.user:
        found = account(scene, uri.user, host)
        if found is None or not found.phones:
            return "account", says or NO_PHONE
        return "account", says
    if host in providers:
        return "provider", says
    if "." not in host and ":" not in host and uri.is_sip and says is None:
        return "nowhere", NOWHERE
    return "outside", says
