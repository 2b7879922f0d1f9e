"""Turns at the processes that run scripts: fair among customers, whatever each of them does."""

from __future__ import annotations

import asyncio
import random

import pytest

from tandem.dialplan.seats import Full, Place, Seat, Seats


class Player:
    def __init__(self, seats: Seats, customer: str) -> None:
        self.taken = 0
        self.seat = Seat(customer, self._taken)
        self.seats = seats

    def _taken(self) -> None:
        self.taken += 1

    def ask(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.seats.enter(self.seat))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_after_the_other() -> None:
    seats = Seats(1)
    one, two = Player(seats, "a"), Player(seats, "b")
    await one.ask()
    waiting = two.ask()
    await settle()
    assert not waiting.done()
    seats.leave(one.seat)
    await waiting
    assert two.seat.place is Place.RUNNING


async def test_a_parked_script_keeps_its_process_until_somebody_needs_it() -> None:
    seats = Seats(1)
    one, two = Player(seats, "a"), Player(seats, "b")
    await one.ask()
    seats.park(one.seat)
    await one.ask()
    assert (one.seat.seated, one.taken) == (True, 0)
    seats.park(one.seat)
    await two.ask()
    assert (one.seat.seated, one.taken) == (False, 1)
    back = one.ask()
    await settle()
    assert not back.done()
    seats.leave(two.seat)
    await back


async def test_a_customer_runs_two_at_a_time_and_one_when_it_gets_narrow() -> None:
    seats = Seats(8)
    many = [Player(seats, "a") for _ in range(20)]
    for player in many:
        player.ask()
    await settle()
    assert (seats.running, seats.waiting) == (2, 18)
    others = [Player(seats, name) for name in "bcdefg"]
    await asyncio.gather(*(player.ask() for player in others))
    seats.leave(many[0].seat)
    await settle()
    assert seats.running == 7  # not another of a's, whose turn it would be
    seats.leave(others[0].seat)
    seats.leave(others[1].seat)
    seats.leave(many[1].seat)
    await settle()
    assert seats.running == 5


async def test_customers_take_turns() -> None:
    seats = Seats(1)
    order: list[str] = []

    async def play(customer: str) -> None:
        player = Player(seats, customer)
        await seats.enter(player.seat)
        order.append(customer)
        await asyncio.sleep(0)
        seats.leave(player.seat)

    await asyncio.gather(*(play(c) for c in "aaaaabc"))
    assert order == ["a", "b", "c", "a", "a", "a", "a"] or order[1:3] in (["b", "c"], ["a", "b"])
    assert (seats.running, seats.waiting) == (0, 0)


async def test_processes_of_those_who_wait_go_to_those_who_may_run() -> None:
    """Twenty scripts of one customer hold all processes and want to go on: a second customer's
    does not wait for them."""
    seats = Seats(4)
    many = [Player(seats, "a") for _ in range(4)]
    for player in many:
        await player.ask()
        seats.park(player.seat)
    waiting = [player.ask() for player in many]
    await settle()
    assert sum(task.done() for task in waiting) == 2
    other = Player(seats, "b")
    await other.ask()
    assert sum(player.taken for player in many) == 1


async def test_who_gives_up_leaves_nothing_behind() -> None:
    seats = Seats(1)
    one, two, three = (Player(seats, c) for c in "abc")
    await one.ask()
    waiting = two.ask()
    await settle()
    waiting.cancel()
    last = three.ask()
    await settle()
    seats.leave(one.seat)
    await last
    with pytest.raises(asyncio.CancelledError):
        await waiting
    seats.leave(two.seat)
    seats.leave(three.seat)
    assert (seats.running, seats.waiting) == (0, 0)
    await one.ask()


async def test_who_is_cancelled_when_let_in_gives_the_turn_away() -> None:
    seats = Seats(1)
    one, two, three = (Player(seats, c) for c in "abc")
    await one.ask()
    waiting, last = two.ask(), three.ask()
    await settle()
    seats.leave(one.seat)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    seats.leave(two.seat)
    await last
    assert three.seat.place is Place.RUNNING


async def test_the_queue_is_bounded() -> None:
    seats = Seats(1)
    first = Player(seats, "a")
    await first.ask()
    tasks = [Player(seats, "a").ask() for _ in range(100)]
    await settle()
    with pytest.raises(Full):
        await seats.enter(Player(seats, "a").seat)
    tasks += [Player(seats, f"c{n}").ask() for n in range(900)]
    await settle()
    with pytest.raises(Full):
        await seats.enter(Player(seats, "z").seat)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert seats.waiting == 0


async def test_a_turn_is_not_given_to_who_has_just_been_cancelled() -> None:
    seats = Seats(1)
    one, two, three = (Player(seats, c) for c in "abc")
    await one.ask()
    waiting, last = two.ask(), three.ask()
    await settle()
    waiting.cancel()
    seats.leave(one.seat)
    await last
    assert (seats.running, seats.waiting) == (1, 0)


async def test_what_has_begun_is_not_turned_away() -> None:
    seats = Seats(1)
    first, second = Player(seats, "a"), Player(seats, "b")
    await first.ask()
    seats.park(first.seat)
    await second.ask()
    tasks = [Player(seats, f"c{n}").ask() for n in range(1_000)]
    await settle()
    back = first.ask()
    await settle()
    assert not back.done()
    for task in tasks:
        task.cancel()
    seats.leave(second.seat)
    await back
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_chaos_ends_with_nothing_left() -> None:
    """Scripts that come, park, go on and are cancelled at random: all counts return to zero, and
    nobody is forgotten."""
    seats, dice = Seats(3), random.Random(7)

    async def script(customer: str) -> None:
        player = Player(seats, customer)
        try:
            for _ in range(dice.randrange(1, 5)):
                await seats.enter(player.seat)
                assert seats.running <= seats.total
                for _ in range(dice.randrange(3)):
                    await asyncio.sleep(0)
                seats.park(player.seat)
                for _ in range(dice.randrange(4)):
                    await asyncio.sleep(0)
        finally:
            seats.leave(player.seat)

    tasks = [asyncio.create_task(script(dice.choice("aaabcd"))) for _ in range(150)]
    for _ in range(200):
        await asyncio.sleep(0)
        dice.choice(tasks).cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} <= {type(None), asyncio.CancelledError}
    assert (seats.running, seats.waiting, seats._seated) == (0, 0, 0)
