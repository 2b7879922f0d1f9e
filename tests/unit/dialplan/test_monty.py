"""Python dialplans: what scripts can do, what they can't, and what becomes of hostile ones."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tandem.dialplan import values
from tandem.dialplan.monty import MontyRunner
from tandem.dialplan.script import Limits, ScriptFault
from tandem.dialplan.world import DialplanError, DialStatus, Ended, Outcome
from tests.support.dialplans import NotingWorld, incoming, plan, run


@pytest.fixture
async def runner() -> AsyncIterator[MontyRunner]:
    made = MontyRunner(2)
    await made.start()
    yield made
    await made.stop()


async def fault(runner: MontyRunner, source: str, limits: Limits | None = None) -> ScriptFault:
    with pytest.raises(ScriptFault) as caught:
        await run(runner, source, limits=limits)
    return caught.value


# -- what scripts do -------------------------------------------------------------------------------


async def test_a_script_dials_and_goes_on_after_a_failure(runner: MontyRunner) -> None:
    world = await run(
        runner,
        'result = sys.dial("bob", 20)\n'
        'sys.log(f"{result} {sys.last_status} {sys.last_reason} {sys.last_legs[0].target}")\n'
        'sys.dial("carol@provider", max_seconds=60)\n',
    )
    assert [d.text for d in world.dials] == ["bob", "carol@provider"]
    assert (world.dials[0].ring_seconds, world.dials[1].max_seconds) == (20.0, 60)
    assert world.logs == ["failed 486 Busy Here bob"]


async def test_an_answer_ends_the_script(runner: MontyRunner) -> None:
    world = await run(runner, 'sys.dial("bob")\nsys.log("never")\n', NotingWorld(Ended()))
    assert world.logs == ["(ended)"]


async def test_a_script_may_catch_a_bad_dial_string_but_not_the_end(runner: MontyRunner) -> None:
    world = await run(
        runner,
        "while True:\n"
        "    try:\n"
        '        sys.dial("bob")\n'
        "    except BaseException as error:\n"
        "        sys.log(str(error))\n",
        NotingWorld(DialplanError("character 3: a leg is expected"), Ended()),
    )
    assert world.logs == ["character 3: a leg is expected", "(ended)"]


async def test_req_and_sys_tell_of_the_call(runner: MontyRunner) -> None:
    world = await run(
        runner,
        "print(req.user, req.from_name, req.headers['x-trunk'], req.method)\n"
        "print(sys.username, sys.is_out, sys.is_in, sys.account, sys.dialplan_name)\n"
        "print(sys.now().hour, sys.timezone)\n"
        "import datetime, time\n"
        "print(datetime.datetime.now().hour, datetime.date.today(), time.strftime('%H'))\n",
    )
    assert world.logs == [
        "2127 Alice ('a', 'b') INVITE",
        "joe True False alice@example.com office",
        "13 Europe/Dublin",
        "13 2026-07-01 13",
    ]


async def test_everything_that_sys_offers_can_be_called(runner: MontyRunner) -> None:
    source = (
        'sys.set_from("Joe", user="1234")\n'
        'sys.set_header("X-Flow", "42")\n'
        'sys.set_body("v=0", "application/sdp")\n'
        'sys.dial("bob")\n'
        'sys.clear_from(); sys.remove_header("x-flow"); sys.clear_body(); sys.clear_headers()\n'
        'sys.dial("bob")\n'
        'print(sys.is_available(), sys.is_available("bob"), sys.account_exists("zoe"))\n'
        'print(sys.bindings()[0].user_agent, sys.is_mine("bob"), sys.canonical_domain("local"))\n'
        'answer = sys.web_get("https://example.com/?q=1", params={"n": "a b&c"})\n'
        'print(sys.enum("+44207"), answer.body)\n'
        'print(sys.web_post("https://example.com/", form={"a": "b"}).status)\n'
        'sys.write("k", "v"); print(sys.read("k"), sys.keys(), sys.delete("k"), sys.read("k"))\n'
        'print(sys.current_calls()[0].seconds, sys.e164("020 7946 0123", "GB"), sys.e164("x"))\n'
        'print(sys.wait_for_signal("pin", 5), sys.provider_callback("gv", "1234"))\n'
        'print(sys.wait_for_callback("https://example.com/call", users=["bob"], pattern="1*"))\n'
        'sys.callback("bob", "carol", 2); sys.respond(183, "Session Progress")\n'
        'sys.email("joe@example.com; ann@example.com", "missed", "call")\n'
        'sys.respond(302, "Moved", {"Contact": "sip:x@example.com"})\n'
    )
    world = await run(runner, source, may_email=True)
    first, second = world.dials
    assert (first.from_name, first.from_user, first.headers) == ("Joe", "1234", (("X-Flow", "42"),))
    assert (first.body, first.content_type) == (b"v=0", "application/sdp")
    assert (second.from_name, second.headers, second.body) == (None, (), None)
    assert world.logs == [
        "False True False",
        "Phone/1 True example.com",
        "sip:+44207@e164.arpa yes",
        "200",
        "v ['k'] True None",
        "1.5 +442079460123 ",
        "None no callback",
        "no callback",
        "(ended)",
    ]
    assert world.accounts[0] == ("alice", "example.com")
    assert world.questions[0].url == "https://example.com/?q=1&n=a+b%26c"
    assert world.callbacks == [("bob", "carol", 2.0)]
    assert world.mails == [(("joe@example.com", "ann@example.com"), "missed", "call")]
    assert [status for status, *_ in world.responses] == [183, 302]


async def test_sleeping_is_the_worlds_business(runner: MontyRunner) -> None:
    world = await run(runner, "import time\ntime.sleep(30)\nprint('awake')\n")
    assert (world.slept, world.logs) == (30.0, ["awake"])


# -- what they can't -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('open("/etc/passwd").read()', "PermissionError"),
        ('import os\nos.listdir("/")', "PermissionError"),
        ("import os\nos.environ['HOME']", "RuntimeError"),
        ('import os\nos.system("id")', "AttributeError"),
        ("import socket", "ModuleNotFoundError"),
        ("import subprocess", "ModuleNotFoundError"),
        ('__import__("os").system("id")', "NameError"),
        ("sys.world", "AttributeError"),
        ("sys.dialplan", "AttributeError"),
        ("sys.stop()", "AttributeError"),
        ("sys.__class__.__init__.__globals__", "AttributeError"),
        ("req.customer", "AttributeError"),
        ('sys.set_header("X-A", "1\\r\\nVia: x")', "control characters"),
        ('sys.set_header("X-A: b\\r\\nTo", "1")', "control characters"),
        ('sys.set_header("Via", "SIP/2.0/UDP x")', "the switch's own"),
        ('sys.set_from("Joe\\r\\nRoute: <sip:x>")', "control characters"),
        ('sys.set_from(user="a@b>;tag=1")', "no user part"),
        ('sys.set_body("x", "text/plain\\r\\nX: y")', "control characters"),
        ('sys.respond(486, "Busy\\nX: y")', "control characters"),
        ('sys.respond(302, "Moved", {"Contact": "sip:x\\r\\nX: y"})', "control characters"),
        ("sys.respond(200)", "2xx"),
        ('sys.dial("bob\\r\\nX: y")', "control characters"),
        ('sys.web_get("file:///etc/passwd")', "http://"),
        ('sys.web_get("http://x/", headers={"Host": "y"})', "can't be set"),
        ('sys.email("a@example.com", "s", "b")', "not allowed"),
        ("sys.log(sys.dial)", ""),
        ("sys.log([1])", "log takes text"),
        ('sys.write("k" * 65, "v")', "too long"),
        ('sys.write("k", "v" * 1025)', "too long"),
        ('for n in range(4): sys.callback("a", "b")', "3 at most"),
        ('for n in range(21): sys.web_get("http://x/")', "20 at most"),
        ('sys.dial("bob", ring=3)', "TypeError"),
        ("await sys.now()", "can't be awaited"),
    ],
)
async def test_what_a_script_may_not_do_is_refused(
    runner: MontyRunner, source: str, said: str
) -> None:
    world = NotingWorld()
    with pytest.raises(ScriptFault) as caught:
        await run(runner, source, world)
    assert said in str(caught.value)
    assert caught.value.problem.line == source.count("\n") + 1
    assert not world.dials
    assert not world.responses


async def test_a_fault_tells_line_and_column(runner: MontyRunner) -> None:
    found = await fault(runner, 'x = 1\ndef f(n):\n    return n + "a"\nf(x)\n')
    assert (found.problem.line, found.problem.column) == (3, 12)
    assert "TypeError" in found.problem.message
    found = await fault(runner, "x = (1\ny = 2\n")
    assert (found.problem.line, found.limit) == (2, "")
    found = await fault(runner, "def f():\n    yield 1\n")
    assert (found.problem.line, found.problem.message) == (
        2,
        "NotImplementedError: dialplans can't have yield expressions",
    ) or "yield" in found.problem.message


# -- hostile ones ----------------------------------------------------------------------------------

SHORT = replace(Limits(), cpu_seconds=0.3)


@pytest.mark.parametrize(
    ("source", "limit"),
    [
        ("while True:\n    pass", "time"),
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", "time"),
        ("x = [0] * 10**9", "memory"),
        ("x = []\nwhile True:\n    x.append('a' * 1000)", "memory"),
        ("x = 'a'\nwhile True:\n    x += x", "memory"),
        ("x = 2 ** (10 ** 9)", "memory"),
        ("while True:\n    print('x' * 1000)", "memory"),
        ("def f(n):\n    return f(n + 1)\nf(0)", "depth"),
        ("while True:\n    sys.log('x')", "calls"),
        ("while True:\n    try:\n        sys.log('x')\n    except: pass", "calls"),
        ("while True:\n    sys.log('x' * 200000)", "memory"),
        ("while True:\n    try: sys.write('k', ['x' * 99] * 9999)\n    except: pass", "memory"),
        ("a = [1] * 1000\nfor n in range(4):\n    a = [a] * 1000\nsys.log(a)", "memory"),
        ("a = []\na.append(a)\nwhile True:\n    try: sys.log(a)\n    except: pass", "calls"),
        ("import time\nwhile True:\n    time.sleep(100)", "time"),
        ("import time\ntime.sleep(1e9)", "time"),
    ],
)
async def test_a_script_that_uses_too_much_is_ended(
    runner: MontyRunner, source: str, limit: str
) -> None:
    found = await fault(runner, source, SHORT)
    assert found.limit == limit
    world = await run(runner, "print('next')")  # the workers are as good as before
    assert world.logs == ["next"]


async def test_computing_is_bounded_in_all(runner: MontyRunner) -> None:
    source = "while True:\n    for n in range(300000): pass\n    sys.log('x')\n"
    found = await fault(runner, source, replace(Limits(), total_cpu_seconds=0.5))
    assert found.limit == "time"


async def test_a_run_is_bounded_in_all_its_time_but_not_by_ringing(runner: MontyRunner) -> None:
    world = NotingWorld()

    def ring(dial: object) -> None:
        world.time += 180

    world.dialling = ring
    await run(runner, "for n in range(3): sys.dial('bob')", world)
    with pytest.raises(ScriptFault) as caught:
        await run(runner, "while True: sys.dial('bob')", world)
    assert caught.value.limit == "time"
    assert len(world.dials) == 3 + 3_600 // 180 + 1


async def test_what_a_script_prints_is_bounded(runner: MontyRunner) -> None:
    world = await run(runner, "for n in range(300): print('line', n)\nprint('y' * 5000)")
    assert len(world.logs) == 201
    assert world.logs[-1] == "more than 200 lines: the rest is left out"
    world = await run(runner, "print('y' * 5000)")
    assert len(world.logs[0]) == 1024


async def test_a_worker_that_dies_costs_one_call(runner: MontyRunner) -> None:
    world = NotingWorld()
    world.gate = asyncio.Event()
    victim = asyncio.create_task(run(runner, "print(1)\nsys.dial('bob')\nprint(2)", world))
    await world.dialled.wait()
    for pid in runner.workers:
        os.kill(pid, signal.SIGKILL)
    world.gate.set()
    with pytest.raises(ScriptFault):
        await victim
    assert (await run(runner, "print('next')")).logs == ["next"]


async def test_a_number_of_hundreds_of_digits_is_refused_as_others_are(runner: MontyRunner) -> None:
    source = "try:\n    sys.dial('a', 10**400)\nexcept ValueError as error:\n    print(error)"
    assert (await run(runner, source)).logs == ["ring_seconds must be 0 to 180"]


# -- many ------------------------------------------------------------------------------------------


async def test_a_cancelled_run_gives_its_worker_back(runner: MontyRunner) -> None:
    world = NotingWorld()
    world.gate = asyncio.Event()
    sources = ("sys.dial('bob')", "while True: pass", "import time\ntime.sleep(1)\nsys.dial('bob')")
    for source in sources * 4:
        task = asyncio.create_task(run(runner, source, world))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (runner.seats.running, runner.seats.waiting) == (0, 0)
    assert (await run(runner, "print('next')")).logs == ["next"]


async def test_who_cancels_a_run_does_not_wait_for_what_it_computes(runner: MontyRunner) -> None:
    limits = Limits(cpu_seconds=60.0, total_cpu_seconds=60.0)
    loop = asyncio.create_task(run(runner, "while True: pass", limits=limits))
    while not runner.workers:  # noqa: ASYNC110  (a set has nothing to wait on)
        await asyncio.sleep(0.01)
    loop.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await loop
    assert runner.seats.running == 0
    assert (await run(runner, "print('next')")).logs == ["next"]


async def test_nothing_is_remembered_of_calls_that_are_refused(runner: MontyRunner) -> None:
    before = values._check_fits.cache_info().currsize
    source = (
        "for n in range(20):\n"
        "    try:\n"
        "        sys.log('a', **{'k' * 1000 + str(n): 1})\n"
        "    except TypeError:\n"
        "        pass\n"
        "sys.log('end')\n"
    )
    assert (await run(runner, source)).logs == ["end"]
    assert values._check_fits.cache_info().currsize <= before + 1


async def test_scripts_that_wait_need_no_worker(runner: MontyRunner) -> None:
    gate = asyncio.Event()
    worlds = [NotingWorld() for _ in range(300)]
    tasks = []
    for number, world in enumerate(worlds):
        world.gate = gate
        source = f"x = {number}\nr = sys.dial('bob')\nprint(x, r, sys.last_status, req.user)"
        tasks.append(asyncio.create_task(run(runner, source, world, owner=f"c{number % 40}")))
    for world in worlds:
        await world.dialled.wait()
    gate.set()
    await asyncio.gather(*tasks)
    assert [w.logs for w in worlds] == [[f"{n} failed 486 2127"] for n in range(300)]


async def test_a_run_can_be_told_no_more_than_one_thing_at_a_time(runner: MontyRunner) -> None:
    source = (
        "import asyncio\n"
        "async def f(): return sys.dial('bob')\n"
        "async def main(): print(await asyncio.gather(f(), f()))\n"
        "asyncio.run(main())\n"
    )
    world = await run(runner, source)
    assert world.logs == ["['failed', 'failed']"]


async def test_the_outcome_may_be_no_answer(runner: MontyRunner) -> None:
    outcome = Outcome(DialStatus.NO_ANSWER, 480, "No answer")
    world = await run(runner, "print(sys.dial('bob'), sys.last_legs)", NotingWorld(outcome))
    assert world.logs == ["no_answer []"]


async def test_halves_of_characters_in_a_request_do_no_harm(runner: MontyRunner) -> None:
    world = await run(runner, "print(req.from_name)", req=incoming(from_name="a\udcffb"))
    assert world.logs == ["a?b"]


async def test_a_source_that_is_too_long_is_refused(runner: MontyRunner) -> None:
    found = await fault(runner, "#" * 65_537)
    assert "65536 characters" in str(found)
    assert plan("x").source == "x"


async def test_one_customers_loops_keep_nobody_elses_script_waiting(runner: MontyRunner) -> None:
    """Twenty loops of one second each on two processes would take ten seconds; thirty scripts of
    another customer are done while most of them have still to come."""
    loops = [asyncio.create_task(run(runner, "while True: pass", owner="eve")) for _ in range(20)]
    await asyncio.sleep(0)
    for _ in range(30):
        world = await run(runner, "print(1)\nsys.dial('bob')\nprint(2)")
        assert world.logs == ["1", "2"]
    assert sum(not loop.done() for loop in loops) > 10
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)


async def test_who_is_cancelled_twice_gives_the_worker_back_all_the_same(
    runner: MontyRunner,
) -> None:
    for _ in range(20):
        world = NotingWorld()
        world.gate = asyncio.Event()
        task = asyncio.create_task(run(runner, "sys.dial('bob')", world))
        await world.dialled.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await run(runner, "print('next')")).logs == ["next"]
    assert (runner.seats.running, runner.seats.waiting) == (0, 0)
