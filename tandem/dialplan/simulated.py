"""The world of a dry run: it rings nobody, notes what would happen, and its clock jumps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import inf
from typing import Any, Final

from tandem.dialplan import simulatedforks, simulatedways
from tandem.dialplan.scene import AccountIs, Scene
from tandem.dialplan.world import (
    CallbackOutcome,
    CallbackWish,
    Contact,
    Dial,
    DialplanError,
    DialStatus,
    Ended,
    HttpAnswer,
    HttpQuestion,
    Incoming,
    Outcome,
    RunningCall,
)

MAX_STEPS: Final = 2_000
"""Steps of a report; a script that does more is ended by its limits soon after."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that would happen."""

    at: float
    """Seconds from the beginning of the call."""
    what: str
    """`dial`, `leg`, `outcome`, `answered`, `transfer`, `hang_up`, `respond`, `log`, `callback`,
    `wait`, `web`, `enum`, `email`, `write`, `delete`, `signal`, `sleep`, `gone`."""
    text: str
    """For people."""
    data: Mapping[str, Any] = field(default_factory=dict)


class SimulatedWorld:
    """`world.World` without a world."""

    def __init__(self, scene: Scene, call: Incoming, dialplan: str = "") -> None:
        self.steps: list[Step] = []
        self.answered_by = ""
        self.answer: tuple[int, str] | None = None
        """The final answer that the script gave."""
        self.seconds = 0.0
        self._scene = scene
        self._call = call
        self._ways = simulatedways.Ways(scene, call, dialplan)
        self._values = dict(scene.values)
        self._until = scene.caller_waits
        """When the caller hangs up, or the answered call has lasted long enough."""

    def note(self, what: str, text: str, /, **data: Any) -> None:
        """Add a step at this time."""
        self._note_at(self.seconds, what, text, data)

    def _note_at(self, at: float, what: str, text: str, data: Mapping[str, Any]) -> None:
        if len(self.steps) < MAX_STEPS:
            self.steps.append(Step(round(at, 3), what, text, data))

    def _pass(self, seconds: float) -> None:
        """Time goes by, and the call may be over before."""
        if self.seconds + seconds >= self._until:
            self.seconds = max(self.seconds, self._until)
            over = "the longest duration is over" if self.answered_by else "the caller hangs up"
            self.note("gone", over)
            raise Ended
        self.seconds += seconds

    # -- the call ------------------------------------------------------------------------------

    async def dial(self, dial: Dial) -> Outcome:
        """See `World`."""
        self.note("dial", f"dial {dial.text}", **_settings(dial))
        outcome = self._ring(dial)
        if outcome.status is DialStatus.ANSWERED and not dial.stay:
            raise Ended
        return outcome

    async def transfer(self, dial: Dial) -> Outcome:
        """See `World`."""
        text = f"ring {dial.text} in place of {self.answered_by}"
        self.note("transfer", text, **_settings(dial))
        outcome = self._ring(dial)
        if outcome.status is DialStatus.ANSWERED:
            raise Ended
        return outcome

    async def hang_up(self) -> None:
        """See `World`."""
        self.note("hang_up", "hang up")
        raise Ended

    def _ring(self, dial: Dial) -> Outcome:
        began = self.seconds
        rung = simulatedforks.ring(dial, self._call, self._ways.find)
        for leg in sorted(rung.legs, key=lambda leg: leg.began):
            data = {"target": leg.target, "status": leg.status, "assumed": leg.assumed}
            data |= {"uri": leg.uri, "way": leg.way, "ended": round(began + leg.ended, 3)}
            if began + leg.began < self._until:
                self._note_at(began + leg.began, "leg", leg.text, data)
        self._pass(rung.seconds)
        if rung.answered_by:
            self.answered_by = rung.answered_by
            self.note("answered", f"answered by {rung.answered_by}", max_seconds=rung.max_seconds)
            self._until = self.seconds + (rung.max_seconds or inf)
            return Outcome(DialStatus.ANSWERED, 200, "OK")
        outcome = rung.outcome
        said = f"{outcome.status}: {outcome.sip_status} {outcome.reason}"
        self.note("outcome", said, status=outcome.sip_status, reason=outcome.reason)
        return outcome

    async def respond(self, status: int, reason: str, headers: Sequence[tuple[str, str]]) -> None:
        """See `World`."""
        lines = [f"{name}: {value}" for name, value in headers]
        self.note("respond", f"respond {status} {reason}".rstrip(), status=status, headers=lines)
        if status >= 300:
            self.answer = (status, reason)
            raise Ended

    async def log(self, text: str) -> None:
        """See `World`."""
        self.note("log", text)

    async def callback(self, first: str, second: str, delay: float) -> None:
        """See `World`."""
        text = f"after {delay:g} s call {first} and then {second}"
        self.note("callback", text, first=first, second=second, delay=delay)

    async def wait_for_callback(self, wish: CallbackWish) -> CallbackOutcome:
        """See `World`."""
        if wish.provider and wish.provider.lower() not in map(str.lower, self._scene.providers):
            raise DialplanError(f"there is no provider {wish.provider!r}")
        by = wish.provider or (wish.trigger.url if wish.trigger else "somebody")
        self.note("wait", f"wait for a callback by {by}", seconds=wish.seconds)
        for comes in self._scene.callbacks:
            if comes.provider.lower() == wish.provider.lower() and comes.after <= wish.seconds:
                self._pass(comes.after)
                self.answered_by = f"callback by {by}"
                self.note("answered", "the callback comes, and is joined to the caller")
                raise Ended
        self._pass(wish.seconds)
        self.note("outcome", "no callback")
        return CallbackOutcome(False, "no callback")

    async def wait_for_signal(self, key: str, seconds: float) -> str | None:
        """See `World`."""
        self.note("signal", f"wait for the signal {key}", seconds=seconds)
        for comes in self._scene.signals:
            if comes.key == key and comes.after <= seconds:
                self._pass(comes.after)
                return comes.value
        self._pass(seconds)
        return None

    # -- what is known -------------------------------------------------------------------------

    def _account(self, user: str, domain: str) -> AccountIs | None:
        return simulatedways.account(self._scene, user, domain)

    async def bindings(self, user: str, domain: str) -> list[Contact]:
        """See `World`."""
        found = self._account(user, domain)
        phones = found.phones if found and found.mine else 0
        return [
            Contact(f"sip:{user}@192.0.2.{n}", f"udp:192.0.2.{n}:5060", "Phone", 60)
            for n in range(1, phones + 1)
        ]

    async def is_available(self, user: str, domain: str) -> bool:
        """See `World`."""
        found = self._account(user, domain)
        return found is not None and found.phones > 0

    async def account_exists(self, user: str, domain: str) -> bool:
        """See `World`."""
        return self._account(user, domain) is not None

    async def is_mine(self, user: str, domain: str) -> bool:
        """See `World`."""
        found = self._account(user, domain)
        return found is not None and found.mine

    async def canonical_domain(self, domain: str) -> str:
        """See `World`."""
        return self._scene.domains.get(domain.lower(), "")

    async def current_calls(self) -> list[RunningCall]:
        """See `World`."""
        return list(self._scene.calls)

    # -- outside -------------------------------------------------------------------------------

    async def enum(self, number: str, zone: str) -> str:
        """See `World`."""
        found = self._scene.enum.get(number, "")
        self.note("enum", f"ENUM {number}: {found or 'nothing'}", number=number, zone=zone)
        return found

    async def http(self, question: HttpQuestion) -> HttpAnswer:
        """See `World`."""
        for says in self._scene.web:
            if fnmatchcase(question.url, says.url):
                self.note("web", f"{question.method} {question.url}: {says.status}")
                self._pass(min(says.after, question.seconds))
                return HttpAnswer(says.status, says.body, says.content_type)
        self.note("web", f"{question.method} {question.url}: no answer", assumed=True)
        self._pass(question.seconds)
        return HttpAnswer(0, problem="no answer in time")

    async def email(self, to: Sequence[str], subject: str, body: str) -> None:
        """See `World`."""
        self.note("email", f"mail to {', '.join(to)}: {subject}")

    async def read(self, key: str) -> str | None:
        """See `World`."""
        return self._values.get(key)

    async def write(self, key: str, value: str) -> None:
        """See `World`."""
        self.note("write", f"write {key}", value=value)
        self._values[key] = value

    async def delete(self, key: str) -> bool:
        """See `World`."""
        self.note("delete", f"delete {key}")
        return self._values.pop(key, None) is not None

    async def keys(self) -> list[str]:
        """See `World`."""
        return sorted(self._values)

    async def sleep(self, seconds: float) -> None:
        """See `World`."""
        self.note("sleep", f"sleep {seconds:g} s")
        self._pass(seconds)

    def now(self) -> float:
        """See `World`."""
        return self._scene.at + self.seconds


def _settings(dial: Dial) -> dict[str, Any]:
    """What a dial carries beside its text."""
    found: dict[str, Any] = {"string": dial.text}
    if dial.ring_seconds:
        found["ring_seconds"] = dial.ring_seconds
    if dial.stay:
        found["stay"] = True
    if dial.max_seconds:
        found["max_seconds"] = dial.max_seconds
    sender = {"name": dial.from_name, "user": dial.from_user, "host": dial.from_host}
    if any(value is not None for value in sender.values()):
        found["from"] = sender
    if dial.headers:
        found["headers"] = [f"{name}: {value}" for name, value in dial.headers]
    if dial.body is not None:
        found["body"] = dial.content_type
    return found
