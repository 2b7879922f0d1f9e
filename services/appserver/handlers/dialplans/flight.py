"""A call while a dialplan steers it: between the B2BUA, which calls back and never waits, and the
script's task, which waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NoReturn

from services.appserver.domain.plan import Fork
from services.appserver.domain.transfers import Refused
from services.appserver.handlers.dialplans.dialer import Rung
from services.appserver.ports import LegFailure, Steering
from tandem.dialplan.world import Ended
from tandem.rpc.programs import Customer

ANSWERED = "answered"
REFUSED = "refused"
HUNG_UP = "dialplan hung up"
"""The end reason of calls that their script has ended."""


class Flight:
    """`ports.Pilot` for the B2BUA, `dialer.Ringer` for the script. `arm()` is called when
    something was done from outside of the path of messages: deadlines may have been added."""

    def __init__(
        self, steering: Steering, clock: Callable[[], float], arm: Callable[[], None]
    ) -> None:
        self._steering = steering
        self._clock = clock
        self._arm = arm
        self._ringing: asyncio.Future[Rung] | None = None
        self.call_id = ""
        self.task: asyncio.Task[None] | None = None
        """What runs the script; cancelled when the call is gone."""
        self.over = ""
        """Why there is nothing left to steer; "" while there is."""
        self.status = 0
        """The final status that the caller was given by `refuse`."""
        self.stays = False
        """Whether the script goes on when somebody answers what rings."""
        self.up = False
        """Whether somebody has, and the script goes on beside the call."""
        self.moving: Flight | None = None
        """What rings for who is to take the place of who answered."""

    # -- what the B2BUA tells --------------------------------------------------------------------

    def failed(self, legs: Sequence[LegFailure], timed_out: bool, now: float) -> None:
        """See the port."""
        ringing, self._ringing = self._ringing, None
        if ringing is not None and not ringing.done():
            ringing.set_result(Rung(tuple(legs), timed_out))

    def answered(self, now: float) -> None:
        """See the port."""
        if self.stays and self._steering.follow(self.call_id, self):
            self.up = True
            self._release(ANSWERED)
        else:
            self.end(ANSWERED)

    def gone(self, reason: str, now: float) -> None:
        """See the port."""
        if self.over:  # the script has ended the call itself, or was told already
            return
        self.over = reason
        # what moves one of the ends is told of it, too, or goes on without the other
        if self.moving is None and self.task is not None:
            self.task.cancel()

    def end(self, why: str) -> None:
        """The script has nothing left to do."""
        self.over = self.over or why
        self._release(why)

    def _release(self, why: str) -> None:
        """Nothing rings any more, and not for want of an answer."""
        ringing, self._ringing = self._ringing, None
        if ringing is not None and not ringing.done():
            ringing.set_exception(Ended(why))

    # -- what the script does --------------------------------------------------------------------

    async def ring(self, fork: Fork) -> Rung:
        """See `Ringer`."""
        self._still()
        ringing: asyncio.Future[Rung] = asyncio.get_running_loop().create_future()
        self._ringing = ringing
        if not self._place(fork):
            self._ringing = None
            self.over = self.over or "gone"
            raise Ended(self.over)
        self._arm()
        try:
            return await ringing
        finally:
            # an end that comes when nobody awaits it any more
            if ringing.done() and not ringing.cancelled():
                ringing.exception()

    def _place(self, fork: Fork) -> bool:
        return self._steering.ring(self.call_id, fork, self._clock())

    def progress(self, status: int, reason: str, lines: Sequence[str]) -> None:
        """Send the caller a provisional answer. Raises Ended if there is no call."""
        self._still()
        if not self._steering.progress(self.call_id, status, reason, lines, self._clock()):
            raise Ended(self.over or "gone")
        self._arm()

    def refuse(self, status: int, reason: str, lines: Sequence[str] = ()) -> None:
        """Give the caller a final answer; nothing if the call is over, or answered."""
        if not self.over and not self.up:
            self.over, self.status = REFUSED, status
            self._steering.refuse(self.call_id, status, reason, lines, self._clock())
            self._arm()

    def hand_over(self) -> Flight:
        """What rings for who is to take the place of who answered. Raises Ended if there is no
        call any more."""
        self._still()
        self.moving = Handover(self._steering, self._clock, self._arm)
        return self.moving

    def hang_up(self, end: Callable[[str, str, float], object]) -> NoReturn:
        """End the call by `end(call_id, reason, now)`, and with it the script."""
        self._still()
        self.over = HUNG_UP
        end(self.call_id, HUNG_UP, self._clock())
        self._arm()
        raise Ended(HUNG_UP)

    def _still(self) -> None:
        if self.over:
            raise Ended(self.over)


class Handover(Flight):
    """A call that one end of an answered one is to go on in. When that comes to nothing, there is
    still the answered one, and its script."""

    def gone(self, reason: str, now: float) -> None:
        """See the port."""
        self.end(reason)


class Departure(Flight):
    """A call that begins with us: the first fork of its first end opens it."""

    def __init__(
        self, steering: Steering, clock: Callable[[], float], arm: Callable[[], None]
    ) -> None:
        super().__init__(steering, clock, arm)
        self.customer = Customer("")
        """Whose it is; set before anything rings."""
        self.refused: Refused | None = None
        """Why it could not begin, if that is a matter of limits."""
        self.picked_up = False
        """Whether the first end is there."""
        self.opened = asyncio.Event()
        """Whether there is a call: the first end rings."""

    def _place(self, fork: Fork) -> bool:
        if self.call_id:
            return super()._place(fork)
        connect = self._steering.connect
        try:
            self.call_id = connect(self.customer, fork, self._second, self, self._clock())
        except Refused as refused:
            self.refused, self.over = refused, refused.detail
            return False
        self.opened.set()
        return True

    def _second(self, now: float) -> None:
        """The first end has answered, and hears nothing yet."""
        self.picked_up = True
        ringing, self._ringing = self._ringing, None
        if ringing is not None and not ringing.done():
            ringing.set_exception(Ended("picked up"))
