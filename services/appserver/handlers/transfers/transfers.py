"""Implements `ports.Transfers` with dialplans and dial strings.

blind, direct ─► Moves.transfer: a new call ─► a dialplan, or a dial string, rings for it
REFER         ─► the B2BUA opens it         ─► the referrer's dialplan, or default routing
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from services.appserver.domain.legs import LegRef
from services.appserver.domain.transfers import BLIND, DUAL, Order, Refusal, Refused
from services.appserver.handlers.dialplans.engine import Engine
from services.appserver.handlers.dialplans.flight import Departure, Flight
from services.appserver.handlers.dialplans.originate import originate
from services.appserver.handlers.dialplans.resolve import Run
from services.appserver.handlers.dialplans.services import Services
from services.appserver.handlers.transfer_counts import refusal
from services.appserver.handlers.transfers import facts
from services.appserver.handlers.transfers.ground import Ground
from services.appserver.handlers.transfers.referred import Referred
from services.appserver.ports import Moves, Pilot, Referral
from tandem.bus.ports import Topic
from tandem.dialplan.dialstring import DialStringError, parse
from tandem.dialplan.world import Dial, DialplanError, Ended, Incoming
from tandem.rpc.directory import DirectoryUnavailable

DIAL_SECONDS: Final = 180.0
"""Longest ring of the dial string of a transfer."""


class DialplanTransfers:
    """For one appserver. `draining()` says whether it takes no new calls; transfers of calls that
    it has it serves all the same."""

    def __init__(
        self, services: Services, engine: Engine, moves: Moves, draining: Callable[[], bool]
    ) -> None:
        self._services = services
        self._tools = services.tools
        self._engine = engine
        self._moves = moves
        self._draining = draining
        self._referred = Referred(services, engine)

    # -- calls that begin with us --------------------------------------------------------------

    async def run_dialplan(self, customer: str, dialplan: str, destination: str) -> str:
        """See the port."""
        self._takes_calls()
        await self._runnable(customer, dialplan)
        flight = Ground(*self._flying, self._tools.new_token())
        req = facts.ordered(customer, destination, self._domain, facts.ANONYMOUS, "")
        self._start(
            flight,
            self._engine.fly(flight, Run.of(req, dialplan, facts.leaving_by(self._tools, ""))),
        )
        return flight.call_id

    async def connect(self, customer: str, first: str, second: str) -> str:
        """See the port."""
        self._takes_calls()
        for text in (first, second):
            _check(text)
        departure = Departure(*self._flying)
        req = facts.ordered(customer, "", self._domain, facts.ANONYMOUS, "")
        run = Run.of(req, "", facts.leaving_by(self._tools, ""))
        work = originate(self._services, run, first, second, departure=departure)
        task = self._engine.spawn(work)
        opened = asyncio.ensure_future(departure.opened.wait())
        try:
            await asyncio.wait((task, opened), return_when=asyncio.FIRST_COMPLETED)
        finally:  # who asks may have given up
            opened.cancel()
        if departure.refused is not None:
            raise departure.refused
        if not departure.call_id:
            said = str(task.result()) if task.done() and not task.cancelled() else ""
            raise Refused(Refusal.BAD_DESTINATION, said or "nobody could be rung")
        return departure.call_id

    # -- transfers -----------------------------------------------------------------------------

    async def blind(self, customer: str, leg: LegRef, destination: str, dialplan: str) -> str:
        """See the port."""
        with self._told(BLIND, customer, leg):
            await self._runnable(customer, dialplan)
            req, proxy = self._ordered(customer, leg, destination)
            flight = self._transfer(leg, req.uri)
        self._start(flight, self._engine.fly(flight, Run.of(req, dialplan, proxy)))
        return flight.call_id

    async def direct(self, customer: str, leg: LegRef, dial: str) -> str:
        """See the port."""
        with self._told(BLIND, customer, leg):
            _check(dial)
            req, proxy = self._ordered(customer, leg, "")
            flight = self._transfer(leg, dial)
        self._start(flight, self._dial(flight, Run.of(req, "", proxy), dial))
        return flight.call_id

    async def dual(self, customer: str, first: LegRef, second: LegRef) -> None:
        """See the port."""
        with self._told(DUAL, customer, first):
            self._moves.join(first, second, self._tools.clock())
        self._services.arm()

    def refer(self, referral: Referral) -> Pilot:
        """Take a REFER on: `ports.Refer`."""
        flight = Flight(*self._flying)
        flight.call_id = referral.call_id
        self._start(flight, self._referred.ring(flight, referral))
        return flight

    # -- parts of them -------------------------------------------------------------------------

    @contextmanager
    def _told(self, order: Order, customer: str, leg: LegRef) -> Iterator[None]:
        """That it is refused, the customer is told."""
        try:
            yield
        except Refused as why:
            told = refusal(order, customer, leg.call_id, why)
            self._tools.publisher.publish(Topic.EVENTS, told)
            raise

    def _ordered(self, customer: str, leg: LegRef, destination: str) -> tuple[Incoming, str]:
        """What the dialplan is told, and the proxy that its calls leave by."""
        call = self._services.calls.find(leg.call_id)
        stayer = facts.stayer(call, leg.number) if call is not None else None
        if stayer is None:
            raise Refused(Refusal.NO_LEG, "there is no such leg that is answered")
        source = stayer.text
        req = facts.ordered(customer, destination, self._domain, stayer.far_end, source)
        return req, facts.leaving_by(self._tools, stayer.proxy)

    def _transfer(self, leg: LegRef, destination: str) -> Flight:
        flight = Flight(*self._flying)
        flight.call_id = self._moves.transfer(leg, destination, flight, self._tools.clock())
        self._services.arm()
        return flight

    async def _dial(self, flight: Flight, run: Run, text: str) -> None:
        """Ring a dial string; what comes of it ends the attempt, unless somebody answers."""
        try:
            dial = Dial(text, ring_seconds=DIAL_SECONDS)
            outcome = await self._services.dialer.dial(run, dial, flight)
        except Ended:
            return
        except DialplanError as error:
            flight.refuse(484, str(error))
        else:
            flight.refuse(outcome.sip_status, outcome.reason)

    def _start(self, flight: Flight, work: Coroutine[Any, Any, None]) -> None:
        flight.task = self._engine.spawn(_steered(flight, work))

    @property
    def _flying(self) -> tuple[Any, Any, Any]:
        return self._services.steering, self._tools.clock, self._services.arm

    @property
    def _domain(self) -> str:
        return self._tools.domains.default or ""

    # -- what is refused -----------------------------------------------------------------------

    def _takes_calls(self) -> None:
        if self._draining():
            raise Refused(Refusal.OVERLOADED, "this node drains")

    async def _runnable(self, customer: str, name: str) -> None:
        """Whether the customer has this dialplan, and may run one more."""
        try:
            dialplan = await self._services.programs.dialplan(customer, name)
        except DirectoryUnavailable:
            raise Refused(Refusal.OVERLOADED, "the directory does not answer") from None
        if dialplan is None:
            raise Refused(Refusal.NO_DIALPLAN, f"there is no dialplan {name}")
        if not self._engine.admits(dialplan):
            raise Refused(Refusal.TOO_MANY_RUNS, "as many dialplans run as may")


async def _steered(flight: Flight, work: Coroutine[Any, Any, None]) -> None:
    """Nobody else would give up a transfer whose steering has failed."""
    try:
        await work
    except Exception:
        flight.refuse(500, "Transfer failed")
        raise


def _check(text: str) -> None:
    try:
        parse(text)
    except DialStringError as error:
        raise Refused(Refusal.BAD_DESTINATION, f"in the dial string: {error}") from None
