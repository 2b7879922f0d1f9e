"""A script has somebody take the place of who answered its call: the voice application has told
whom the caller wants."""

from __future__ import annotations

from typing import Final

from services.appserver.domain.legs import LegRef
from services.appserver.domain.transfers import HANDOVER, Refused
from services.appserver.handlers.dialplans.dialer import read
from services.appserver.handlers.dialplans.flight import ANSWERED, Flight
from services.appserver.handlers.dialplans.resolve import Run
from services.appserver.handlers.dialplans.services import Services
from services.appserver.handlers.transfer_counts import refusal
from tandem.bus.ports import Topic
from tandem.dialplan.dialstring import DialString
from tandem.dialplan.failover import Policy
from tandem.dialplan.world import Dial, DialplanError, DialStatus, Ended, Outcome

GIVEN_UP: Final = (487, "Request Terminated")


async def transfer(services: Services, run: Run, dial: Dial, flight: Flight) -> Outcome:
    """Ring, and wait. Raises Ended once somebody has answered, or the call is gone."""
    string, policy = read(run, dial)
    attempt = flight.hand_over()
    try:
        attempt.call_id = services.moves.transfer(
            _leg(services, flight), dial.text, attempt, services.tools.clock(), HANDOVER
        )
    except Refused as refused:
        flight.moving = None
        told = refusal(HANDOVER, run.req.customer, flight.call_id, refused)
        services.tools.publisher.publish(Topic.EVENTS, told)
        raise DialplanError(refused.detail) from None
    services.arm()
    outcome = await _ring(services, run, dial, string, policy, attempt, flight)
    if flight.over:  # who was to go has left meanwhile, and nobody came: the caller is alone
        raise Ended(flight.over)
    return outcome


async def _ring(
    services: Services,
    run: Run,
    dial: Dial,
    string: DialString,
    policy: Policy,
    attempt: Flight,
    flight: Flight,
) -> Outcome:
    status, reason = GIVEN_UP
    try:
        outcome = await services.dialer.ring(run, dial, string, policy, attempt)
        status, reason = outcome.sip_status, outcome.reason
    except Ended:
        if attempt.over == ANSWERED:
            raise
        # who stays did not take the new party's sound, or somebody ended the attempt
        outcome = Outcome(DialStatus.FAILED, 480, attempt.over)
    finally:
        flight.moving = None
        attempt.refuse(status, reason)
    return outcome


def _leg(services: Services, flight: Flight) -> LegRef:
    """The leg that answered."""
    call = services.calls.find(flight.call_id)
    number = call.b.number if call is not None and call.b is not None else 0
    return LegRef(flight.call_id, number)
