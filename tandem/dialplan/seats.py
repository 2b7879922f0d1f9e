"""Who may use one of the few processes that run scripts, and who has to wait. Pure bookkeeping.

    waiting ──grant──► running ──park──► parked ──enter──► running (on the process that it has)
       ▲                  │                 │
       └──────────────────┴──leave          └──taken away: its state is stored, it waits anew

A script that rings or waits computes nothing: it is *parked*. It stays on its process as long as
nobody needs that, which makes the common call cheap; when somebody does, the one idle longest is
stored. So a handful of processes carries any number of waiting calls.

Fair among customers: they take turns, and no customer runs more than two scripts at a time, one
when half of the seats are in use. A customer whose twenty scripts loop holds one or two seats until
each exceeds its time, and the others don't notice.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

MAX_WAITING: Final = 1_000
"""Scripts that wait for their turn to begin, of all customers."""
MAX_CUSTOMER_WAITING: Final = 100
"""Of them, those of one customer."""
MAX_RUNNING: Final = 2
"""Scripts of one customer that compute at the same time; one when it gets narrow."""


class Full(Exception):
    """Too many wait already."""


class Place(Enum):
    """Where a script is."""

    AWAY = auto()
    """Without a process."""
    WAITING = auto()
    RUNNING = auto()
    PARKED = auto()


class Seat:
    """One script's place. `take_away` is called when its process is given to another."""

    def __init__(self, customer: str, take_away: Callable[[], None]) -> None:
        self.customer = customer
        self.take_away = take_away
        self.place = Place.AWAY
        self.seated = False
        """Whether it holds a process."""
        self.begun = False
        """Whether it has been let in before: what has begun is not turned away."""


class Seats:
    """All seats of one pool of `total` processes."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._seated = 0
        self._idle: OrderedDict[Seat, None] = OrderedDict()
        """Who holds a process and does not compute, the longest first."""
        self.running = 0
        """How many scripts compute."""
        self._running: Counter[str] = Counter()
        """The same by customer."""
        self._queues: OrderedDict[str, deque[tuple[Seat, asyncio.Future[None]]]] = OrderedDict()
        self.waiting = 0

    def enter_now(self, seat: Seat) -> bool:
        """The same without waiting; False if it has to wait."""
        customer = seat.customer
        if customer in self._queues or self.running >= self.total or not self._may_run(customer):
            return False
        self._admit(seat)
        return True

    async def enter(self, seat: Seat) -> None:
        """Wait until it may compute. Raises Full for one that has not begun; when cancelled it is
        PARKED or AWAY, as before."""
        queue = self._queues.get(seat.customer)
        full = self.waiting >= MAX_WAITING or (queue and len(queue) >= MAX_CUSTOMER_WAITING)
        if full and not seat.begun:
            raise Full("too many scripts wait for their turn")
        if queue is None:
            queue = self._queues[seat.customer] = deque()
        turn = asyncio.get_running_loop().create_future()
        queue.append((seat, turn))
        self.waiting += 1
        seat.place = Place.WAITING
        self._dispatch()
        try:
            await turn
        except asyncio.CancelledError:
            self._withdraw(seat, turn)
            raise

    def park(self, seat: Seat) -> None:
        """It computes no more for now."""
        assert seat.place is Place.RUNNING
        self._stop(seat)
        seat.place = Place.PARKED
        self._idle[seat] = None
        self._dispatch()

    def leave(self, seat: Seat) -> None:
        """It has ended."""
        if seat.place is Place.RUNNING:
            self._stop(seat)
        self._idle.pop(seat, None)
        self._unseat(seat)
        seat.place = Place.AWAY
        self._dispatch()

    # -- turns ---------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Let in whoever may compute now, one of each customer in turn."""
        # Who is passed over has reached his limit, and so runs: these are few.
        while self.running < self.total:
            customer = next(filter(self._may_run, self._queues), None)
            if customer is None:
                return
            self._let_in(customer)

    def _may_run(self, customer: str) -> bool:
        roomy = self.running * 2 < self.total
        return self._running[customer] < (MAX_RUNNING if roomy else 1)

    def _let_in(self, customer: str) -> None:
        queue = self._queues[customer]
        seat, turn = queue.popleft()
        self.waiting -= 1
        if queue:
            self._queues.move_to_end(customer)
        else:
            del self._queues[customer]
        if not turn.done():  # else it was cancelled, and not yet withdrawn
            self._admit(seat)
            turn.set_result(None)

    def _admit(self, seat: Seat) -> None:
        self._idle.pop(seat, None)
        if not seat.seated:
            self._free_seat()
            seat.seated = True
            self._seated += 1
        seat.place, seat.begun = Place.RUNNING, True
        self.running += 1
        self._running[seat.customer] += 1

    def _free_seat(self) -> None:
        """One who does not compute gives up his process if all are taken."""
        if self._seated < self.total:
            return
        victim, _ = self._idle.popitem(last=False)
        if victim.place is Place.PARKED:
            victim.place = Place.AWAY
        self._unseat(victim)
        victim.take_away()

    def _withdraw(self, seat: Seat, turn: asyncio.Future[None]) -> None:
        if seat.place is Place.RUNNING:  # let in, and cancelled before it knew
            self._stop(seat)
        queue = self._queues.get(seat.customer)
        if queue is not None and (seat, turn) in queue:
            queue.remove((seat, turn))
            self.waiting -= 1
            if not queue:
                del self._queues[seat.customer]
        seat.place = Place.AWAY
        if seat.seated:
            seat.place = Place.PARKED
            self._idle[seat] = None
        self._dispatch()

    def _stop(self, seat: Seat) -> None:
        self.running -= 1
        self._running[seat.customer] -= 1
        if not self._running[seat.customer]:
            del self._running[seat.customer]

    def _unseat(self, seat: Seat) -> None:
        if seat.seated:
            seat.seated = False
            self._seated -= 1
