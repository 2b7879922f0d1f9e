"""Dials: resolves a dial string attempt by attempt, has each rung, and goes on or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from services.appserver.domain.plan import Fork
from services.appserver.handlers.dialplans.dress import Dress
from services.appserver.handlers.dialplans.resolve import Resolved, Resolver, Run
from services.appserver.ports import LegFailure
from tandem.bus.dialplan_events import DialplanLegFailed
from tandem.bus.ports import Publisher, Topic
from tandem.dialplan.dialstring import DialString, DialStringError, parse
from tandem.dialplan.failover import Policy
from tandem.dialplan.outcome import Failed, outcome
from tandem.dialplan.world import Dial, DialplanError, DialStatus, LegResult, Outcome

MAX_LEGS: Final = 20
"""Legs of one run of a dialplan, over all of its dials (ORIGINAL §2)."""
TOO_MANY: Final = (480, f"More than {MAX_LEGS} legs")


@dataclass(frozen=True, slots=True)
class Rung:
    """A fork that nobody answered."""

    legs: tuple[LegFailure, ...]
    timed_out: bool = False
    """Whether it was given up at the end of its ring time."""


class Ringer(Protocol):
    """Rings the legs of one call."""

    @property
    def call_id(self) -> str:
        """Its id, "" before there is one."""

    async def ring(self, fork: Fork) -> Rung:
        """Ring and wait. Raises `world.Ended` when somebody answered or the call is gone."""


class Dialer:
    """What `World.dial` is made of."""

    def __init__(self, resolver: Resolver, publisher: Publisher) -> None:
        self._resolver = resolver
        self._publisher = publisher

    async def dial(self, run: Run, dial: Dial, ringer: Ringer) -> Outcome:
        """Dial. Raises DialplanError for what makes no sense, before anything rings, and `Ended`
        as `Ringer.ring` does."""
        string, policy = read(run, dial)
        return await self.ring(run, dial, string, policy, ringer)

    async def ring(
        self, run: Run, dial: Dial, string: DialString, policy: Policy, ringer: Ringer
    ) -> Outcome:
        """Dial what was read already."""
        providers = await self._resolver.providers(run, string.legs)
        dress = Dress(dial, run.values, run.caller)
        legs: list[LegResult] = []
        last: Failed | None = None
        nowhere: list[LegResult] = []
        for attempt in string.attempts:
            if last is not None and not (attempt.failover or policy).allows(last.verdict):
                break
            found = await self._resolver.resolve(run, dress, attempt, providers)
            nowhere = found.nowhere
            legs += nowhere
            self._tell(run, nowhere, ringer.call_id or run.call_id)
            if not found.targets:
                continue
            if not _count(run, found):
                return Outcome(DialStatus.ERROR, *TOO_MANY, tuple(legs))
            rung = await ringer.ring(
                Fork(tuple(found.targets), dial.ring_seconds, dial.max_seconds)
            )
            last = Failed(tuple(map(self._result, rung.legs)), rung.timed_out)
            legs += last.legs
        return outcome(last, nowhere, legs)

    def is_foreign(self, uri: str) -> bool:
        """See `Resolver.is_foreign`."""
        return self._resolver.is_foreign(uri)

    def _tell(self, run: Run, nowhere: Sequence[LegResult], call_id: str) -> None:
        """What never rings has no other events."""
        for leg in nowhere:
            event = DialplanLegFailed(
                owners=(run.req.customer,),
                call_id=call_id or None,
                leg=leg.target,
                status=leg.status,
                reason=leg.reason,
            )
            self._publisher.publish(Topic.EVENTS, event)

    def _result(self, leg: LegFailure) -> LegResult:
        target, contacts = leg.target, tuple(filter(self.is_foreign, leg.contacts))
        return LegResult(target.options.name, target.uri, leg.status, leg.reason, contacts)


def read(run: Run, dial: Dial) -> tuple[DialString, Policy]:
    """What a dial means. Raises DialplanError."""
    try:
        string = parse(dial.text, dial.asterisk_form).filled(run.values)
    except DialStringError as error:
        raise DialplanError(f"in the dial string: {error}") from None
    try:
        return string, Policy.parse(dial.failover)
    except DialStringError as error:
        raise DialplanError(f"in failover: {error}") from None


def _count(run: Run, found: Resolved) -> bool:
    """Whether the run may ring these, too."""
    run.legs += len(found.targets)
    return run.legs <= MAX_LEGS
