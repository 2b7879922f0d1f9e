"""How the legs of a dial ring in a dry run: attempts one after the other, legs at once, delays,
ring times, redirections, and the first answer that ends it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tandem.dialplan.dialstring import DialStringError, Leg, parse
from tandem.dialplan.failover import Policy
from tandem.dialplan.outcome import Failed, outcome
from tandem.dialplan.scene import RING_SECONDS, LegSays
from tandem.dialplan.simulatedways import NOWHERE, Way
from tandem.dialplan.substitute import Values
from tandem.dialplan.world import Dial, DialplanError, DialStatus, Incoming, LegResult, Outcome
from tandem.sip.build import reason_phrase

Find = Callable[[Leg], Way]

ANSWERED: Final = Outcome(DialStatus.ANSWERED, 200, "OK")


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
    followed: bool = False
    """Whether it was redirected, and where to rings in its place."""

    @property
    def text(self) -> str:
        """What becomes of it, for people."""
        if self.way == NOWHERE:
            return f"{self.target} leads nowhere: {self.status} {self.reason}"
        return f"ring {self.target}: {self._says}"

    @property
    def _says(self) -> str:
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


def ring(dial: Dial, call: Incoming, find: Find) -> Rung:
    """All attempts until one is answered. Raises DialplanError for a bad dial string."""
    try:
        string = parse(dial.text, dial.asterisk_form).filled(Values.of(call))
        usual = Policy.parse(dial.failover)
    except DialStringError as error:
        raise DialplanError(str(error)) from None
    most = dial.ring_seconds or RING_SECONDS
    legs: list[RungLeg] = []
    at = 0.0
    last: Failed | None = None
    nowhere: list[RungLeg] = []
    for attempt in string.attempts:
        if last is not None and not (attempt.failover or usual).allows(last.verdict):
            break
        ways = [(leg, find(leg)) for leg in attempt.legs]
        nowhere = [_nowhere(leg, way, at) for leg, way in ways if way.kind == NOWHERE]
        legs += nowhere
        ringing = [(leg, way) for leg, way in ways if way.kind != NOWHERE]
        if not ringing:
            continue
        tried = _Attempt(ringing, find, at, at + most)
        rung = tried.run()
        legs += rung
        at = max(leg.ended for leg in rung)
        answer = next((leg for leg in rung if 200 <= leg.status <= 299), None)
        if answer is not None:
            limits = [n for n in (dial.max_seconds, answer.max_seconds) if n]
            return Rung(tuple(legs), at, ANSWERED, answer.target, min(limits, default=0))
        failed = tuple(_result(leg) for leg in rung if not leg.followed)
        last = Failed(failed, tried.timed_out)
    results = [_result(leg) for leg in legs]
    return Rung(tuple(legs), at, outcome(last, [_result(leg) for leg in nowhere], results))


def _result(leg: RungLeg) -> LegResult:
    """What a script hears of it."""
    status, reason = leg.status or 408, leg.reason or reason_phrase(leg.status or 408)
    return LegResult(leg.target, leg.uri, status, reason, leg.contacts)


@dataclass(slots=True)
class _Ringing:
    leg: Leg
    says: LegSays | None
    way: Way
    began: float
    until: float
    """When it ends, whatever ends it."""


@dataclass(slots=True)
class _Attempt:
    """Legs that ring at once, from `at` until `until` at most."""

    legs: Sequence[tuple[Leg, Way]]
    find: Find
    at: float
    until: float
    timed_out: bool = False
    """Whether that was too long for all of them."""
    done: list[RungLeg] = field(default_factory=list)
    active: list[_Ringing] = field(default_factory=list)

    def run(self) -> list[RungLeg]:
        """Ring them; what is left when one answers is given up."""
        waiting = sorted(self.legs, key=lambda pair: pair[0].options.delay)
        began = self.at
        while waiting or self.active:
            if waiting and not self.active:  # nothing else ringing, a delayed leg does not wait
                self._start(*waiting.pop(0))
            elif waiting and began + waiting[0][0].options.delay <= self._next():
                self.at = max(self.at, began + waiting[0][0].options.delay)
                self._start(*waiting.pop(0))
            elif self._end_first():
                break
        return self.done

    def _next(self) -> float:
        return min(ringing.until for ringing in self.active)

    def _start(self, leg: Leg, way: Way) -> None:
        says = way.says
        longest = min(self.until, self.at + (leg.options.ring_seconds or RING_SECONDS))
        ends = self.at + says.after if says else longest
        if ends > longest:
            says, ends = None, longest
        self.active.append(_Ringing(leg, says, way, self.at, ends))

    def _end_first(self) -> bool:
        """The leg that ends first; whether that ends the attempt."""
        first = min(self.active, key=lambda ringing: ringing.until)
        self.active.remove(first)
        self.at = first.until
        says, followed = first.says, False
        if says is None:
            over = self.timed_out = self.at >= self.until
        else:
            over = says.status < 300 or says.status >= 600
            if 300 <= says.status <= 399 and first.leg.options.redirect == "a":
                followed = self._follow(first.leg, says)
        self.done.append(_rung(first, says, self.at, followed))
        if over:
            for other in self.active:
                self.done.append(_rung(other, None, self.at))
            self.active.clear()
        return over

    def _follow(self, leg: Leg, says: LegSays) -> bool:
        """Ring where it points to; whether that is anybody."""
        followed = False
        for contact in says.contacts[:5]:
            try:
                found = parse(contact).legs[0]
            except DialStringError:
                continue
            way = self.find(found)
            if way.kind != NOWHERE:
                self._start(replace(found, options=replace(leg.options, delay=0)), way)
                followed = True
        return followed


def _rung(ringing: _Ringing, says: LegSays | None, now: float, followed: bool = False) -> RungLeg:
    leg = ringing.leg
    return RungLeg(
        target=leg.name,
        uri=str(leg.uri),
        way=ringing.way.kind,
        began=round(ringing.began, 3),
        ended=round(now, 3),
        status=says.status if says else 0,
        reason=says.reason if says else "",
        contacts=says.contacts if says else (),
        assumed=ringing.way.says is None,
        max_seconds=leg.options.max_seconds,
        followed=followed,
    )


def _nowhere(leg: Leg, way: Way, now: float) -> RungLeg:
    says = way.says
    assert says is not None
    return RungLeg(leg.name, "", NOWHERE, now, now, says.status, says.reason, (), False, 0)
