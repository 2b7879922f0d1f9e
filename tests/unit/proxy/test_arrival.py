"""A proxy that starts waits until it knows the appservers."""

from __future__ import annotations

import asyncio

from services.proxy.domain.appservers import Appservers
from services.proxy.domain.hints import HintTable
from services.proxy.handlers.arrival import meet
from tandem.bus.hints import Hint

NOW = 1_700_000_000.0
LONG = 600.0


def hint(appserver: str) -> Hint:
    return Hint(
        id=f"h-{appserver}", node="n", appserver=appserver, customer="c", users=("bob",),
        expires_at=NOW + 30,
    )  # fmt: skip


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_announcements_are_waited_for_though_nobody_waits_for_a_call() -> None:
    begun = now()
    await meet(Appservers(), HintTable(), begun, hear=0.05, more=LONG)
    assert now() >= begun + 0.05
    await meet(Appservers(), HintTable(), begun - LONG, hear=LONG, more=LONG)


async def test_an_appserver_that_waits_for_a_call_is_waited_for() -> None:
    appservers, hints = Appservers(["a:1"]), HintTable()
    for name in ("a:1", "a:2"):
        hints.add(hint(name), NOW)
    waiting = asyncio.create_task(meet(appservers, hints, now(), hear=0.0, more=LONG))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    appservers.set({"a:1": 100}, ["a:2"])  # one that drains keeps what it has
    await waiting


async def test_one_that_never_answers_is_not_waited_for_for_ever() -> None:
    hints = HintTable()
    hints.add(hint("a:1"), NOW)
    await meet(Appservers(), hints, now(), hear=0.0, more=0.1)
