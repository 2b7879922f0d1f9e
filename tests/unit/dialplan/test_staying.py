"""Scripts that stay beside an answered call: what they may ask before an answer and after."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tandem.dialplan import ruby_names
from tandem.dialplan.dryrun import dry_run
from tandem.dialplan.monty import MontyRunner
from tandem.dialplan.scene import LegSays, Scene, SignalComes, incoming_call
from tandem.dialplan.script import Limits
from tandem.dialplan.sysapi import Sys
from tandem.dialplan.world import DialplanError, DialStatus, Ended, LegResult, Outcome
from tests.support.dialplans import NotingWorld, incoming, plan, run

ANSWERED = Outcome(DialStatus.ANSWERED, 200, "OK")
BUSY = Outcome(
    DialStatus.FAILED, 486, "Busy Here", (LegResult("bob", "sip:bob@x", 486, "Busy Here"),)
)
TRIED = """
def tried(what):
    try:
        what()
        print("done")
    except ValueError as error:
        print(error)
"""


@pytest.fixture
async def runner() -> AsyncIterator[MontyRunner]:
    made = MontyRunner(2)
    await made.start()
    yield made
    await made.stop()


async def test_a_script_goes_on_after_an_answer(runner: MontyRunner) -> None:
    world = NotingWorld(ANSWERED, BUSY, Ended("transferred"))
    world.values["signal:pin"] = "1234"
    await run(
        runner,
        "print(sys.dial('ivr@company', 20, stay=True), sys.last_status, sys.last_legs)\n"
        "print(sys.wait_for_signal('pin', 5))\n"
        "sys.set_header('X-For', 'joe')\n"
        "print(sys.transfer('bob@local', ring_seconds=15), sys.last_status, sys.last_legs[0].uri)\n"
        "sys.transfer('1234@prov', max_seconds=60)\n"
        "print('never')\n",
        world,
    )
    assert world.logs == ["answered 200 []", "1234", "failed 486 sip:bob@x", "(ended)"]
    assert [(dial.text, dial.stay) for dial in world.dials] == [("ivr@company", True)]
    first, second = world.transfers
    assert (first.text, first.ring_seconds, first.headers) == (
        "bob@local", 15.0, (("X-For", "joe"),),
    )  # fmt: skip
    assert (second.max_seconds, second.stay) == (60, False)


async def test_an_answered_caller_waits_for_nothing(runner: MontyRunner) -> None:
    world = await run(
        runner,
        TRIED + "sys.dial('ivr@company', stay=True)\n"
        "tried(lambda: sys.dial('bob'))\n"
        "tried(lambda: sys.respond(486))\n"
        "tried(lambda: sys.provider_callback('gv', '1'))\n"
        "tried(lambda: sys.wait_for_callback())\n"
        "tried(lambda: sys.transfer('a\\nb'))\n"
        "tried(lambda: sys.callback('a', 'b'))\n",
        NotingWorld(ANSWERED),
    )
    assert world.logs == [
        "the caller talks already, and does not wait to be dialled for: use sys.transfer",
        "the caller talks already, and does not wait for an answer: use sys.hang_up",
        "the caller talks already, and does not wait for a callback",
        "the caller talks already, and does not wait for a callback",
        "the dial string may not hold line ends or other control characters"
        " (U+000A at character 2)",
        "done",
    ]


async def test_nobody_is_transferred_before_an_answer(runner: MontyRunner) -> None:
    world = await run(
        runner,
        TRIED + "tried(lambda: sys.transfer('bob'))\n"
        "tried(lambda: sys.hang_up())\n"
        "sys.dial('bob', stay=True)\n"
        "tried(lambda: sys.transfer('bob'))\n"
        "tried(lambda: sys.dial('bob', stay=1))\n",
        NotingWorld(BUSY),
    )
    refused = "nobody has answered yet who could be transferred: dial with stay=True first"
    assert world.logs == [
        refused,
        "nobody has answered yet who could be hung up on: use sys.respond",
        refused,
        "stay must be True or False, not int",
    ]
    assert (world.transfers, len(world.dials)) == ([], 1)


async def test_a_script_hangs_up(runner: MontyRunner) -> None:
    source = "sys.dial('ivr', stay=True)\nsys.hang_up()\nprint('never')"
    world = await run(runner, source, NotingWorld(ANSWERED))
    assert (world.hung_up, world.logs) == (True, ["(ended)"])


async def test_transfers_are_counted(runner: MontyRunner) -> None:
    source = (
        TRIED + "sys.dial('a', stay=True)\nfor n in range(21): tried(lambda: sys.transfer('b'))"
    )
    world = await run(runner, source, NotingWorld(ANSWERED))
    assert len(world.transfers) == 20
    assert world.logs[-1] == "too many transfers in one run: 20 at most"


@pytest.mark.parametrize(
    ("use", "most", "what"),
    [("sys.enum('1')", 20, "ENUM look-ups"), ("sys.current_calls()", 50, "lists of calls")],
)
async def test_what_costs_others_is_counted(
    runner: MontyRunner, use: str, most: int, what: str
) -> None:
    source = TRIED + f"for n in range({most}): {use}\ntried(lambda: {use})"
    world = await run(runner, source, NotingWorld())
    assert world.logs == [f"too many {what} in one run: {most} at most"]


async def test_waiting_beside_a_call_is_not_the_scripts_time(runner: MontyRunner) -> None:
    scene = Scene(
        at=0.0,
        legs=(LegSays(to="ivr@*", status=200),),
        signals=(SignalComes(key="a", value="x", after=500.0),),
        caller_waits=100.0,
        domains={"local": "example.com"},
    )
    call = incoming_call("alice@example.com", "500", customer="joe")
    source = "sys.dial('ivr@there.example', stay=True)\nprint(sys.wait_for_signal('a', 600))\n"
    found = await dry_run(runner, plan(source), call, scene)
    assert (found.end, found.status, found.steps[-1].text) == ("answered", 200, "x")
    found = await dry_run(runner, plan(source + "x = 1 / 0"), call, scene, Limits())
    assert (found.end, found.status, found.reason) == ("fault", 200, "OK")
    source = source.replace("stay", "max_seconds=60, stay")
    found = await dry_run(runner, plan(source), call, scene)
    assert (found.end, found.steps[-1].text) == ("answered", "the longest duration is over")


async def test_ruby_names_them_too() -> None:
    world = NotingWorld(ANSWERED, BUSY)
    sys = Sys(world, incoming(), plan(""))
    dialled = await ruby_names.call(sys, "Dial", ["ivr@company", 20], {"stay": True})
    assert dialled == {"dialled": "Answered"}
    assert await ruby_names.call(sys, "Transfer", ["bob", 30], {}) == {"dialled": "Failed"}
    assert await ruby_names.call(sys, "dial", ["bob"], {}) == {"dialled": "Error"}
    assert world.logs[0].startswith("Dial: the caller talks already")
    assert world.transfers[0].ring_seconds == 30
    with pytest.raises(Ended):
        await ruby_names.call(sys, "hang_up", [], {})
    with pytest.raises(DialplanError):
        await ruby_names.call(Sys(NotingWorld(), incoming(), plan("")), "hang_up", [], {})
    assert ruby_names.waits("transfer")
