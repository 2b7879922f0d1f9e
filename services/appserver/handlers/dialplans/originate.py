"""Calls that begin with us: one end is rung, then the other, and the two are joined."""

from __future__ import annotations

import asyncio
from typing import Final

from services.appserver.domain.transfers import Refusal, Refused
from services.appserver.handlers.dialplans.dialer import read
from services.appserver.handlers.dialplans.dress import NOBODY
from services.appserver.handlers.dialplans.flight import ANSWERED, Departure
from services.appserver.handlers.dialplans.resolve import Run
from services.appserver.handlers.dialplans.services import Services
from tandem.bus.dialplan_events import DialplanAsked
from tandem.bus.ports import Topic
from tandem.dialplan.substitute import in_uri
from tandem.dialplan.world import Dial, DialplanError, Ended, Outcome
from tandem.rpc.directory import DirectoryUnavailable
from tandem.sip.address import Address
from tandem.sip.uri import Uri, unescape

FIRST_SECONDS: Final = 120.0
"""Longest ring of the first end (ORIGINAL §3)."""
SECOND_SECONDS: Final = 180.0
NO_DIRECTORY: Final = "the directory does not answer"


async def originate(
    services: Services,
    run: Run,
    first: str,
    second: str,
    delay: float = 0.0,
    departure: Departure | None = None,
) -> str:
    """Ring `first`, then `second`. What came of it in a word, which is told as an event, too."""
    await asyncio.sleep(delay)
    tools, customer = services.tools, run.req.customer
    if departure is None:
        departure = Departure(services.steering, tools.clock, services.arm)
    departure.task = asyncio.current_task()
    try:
        result = await _ring(services, run, departure, first, second)
    except asyncio.CancelledError:
        if not departure.over:  # the node stops
            raise
        result = departure.over
    except Exception:
        departure.refuse(500, "Callback failed")  # who has picked up hears nobody
        raise
    event = DialplanAsked(
        owners=(customer,),
        call_id=departure.call_id or run.call_id or None,
        what="callback",
        target=second if departure.picked_up else first,
        result=result,
    )
    tools.publisher.publish(Topic.EVENTS, event)
    return result


async def _ring(services: Services, run: Run, departure: Departure, first: str, second: str) -> str:
    """What came of it."""
    try:
        departure.customer = await services.programs.customer(run.req.customer)
        run.caller = _other(services, run, second)
        outcome = await _dial(services, run, departure, first, FIRST_SECONDS)
        if departure.picked_up:
            call = services.calls.find(departure.call_id)
            if call is not None:
                run.caller = Address(Uri.parse(call.caller))
            outcome = await _dial(services, run, departure, second, SECOND_SECONDS)
    except DialplanError as error:
        departure.refuse(480, "Callback failed")
        return str(error)
    except DirectoryUnavailable:
        departure.refused = Refused(Refusal.OVERLOADED, NO_DIRECTORY)
        return NO_DIRECTORY
    if outcome is None:
        return departure.over or ANSWERED
    departure.refuse(outcome.sip_status, outcome.reason)
    return f"{outcome.sip_status} {outcome.reason}"


def _other(services: Services, run: Run, text: str) -> Address:
    """Whom the first end sees calling: who is rung next, as a number or an account to call back.
    Raises DialplanError for a bad dial string, before anybody is rung."""
    string, _ = read(run, Dial(text))
    uri, domains = string.legs[0].uri, services.tools.domains
    home = run.req.account.rpartition("@")[2] or domains.default or NOBODY
    if not uri.is_sip:
        return Address(Uri("sip", in_uri(unescape(uri.opaque.partition(";")[0])), None, home))
    host = domains.serviced(uri.host, uri.port) or (uri.host if "." in uri.host else home)
    return Address(Uri("sip", uri.user or in_uri(run.values.dst) or None, None, host))


async def _dial(
    services: Services, run: Run, departure: Departure, text: str, seconds: float
) -> Outcome | None:
    """What came of it; None if somebody answered."""
    try:
        return await services.dialer.dial(run, Dial(text, ring_seconds=seconds), departure)
    except Ended:
        return None
