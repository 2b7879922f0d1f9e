"""Dry runs and replays: what a dialplan would do, without ringing anybody."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from tandem.dialplan.dryrun import DryRun, PastCall, dry_run, replay
from tandem.dialplan.linerunner import LineRunner
from tandem.dialplan.monty import MontyRunner
from tandem.dialplan.scene import (
    AccountIs,
    CallbackComes,
    LegSays,
    Scene,
    SignalComes,
    WebSays,
    incoming_call,
)
from tandem.dialplan.script import Language
from tests.support.dialplans import plan

NOON = 1_782_907_200.0  # 2026-07-01 12:00 UTC, 13:00 in Dublin
SCENE = Scene(
    at=NOON,
    accounts=(
        AccountIs(user="alice", domain="example.com"),
        AccountIs(user="bob", domain="example.com", phones=2),
        AccountIs(user="zoe", domain="example.com", phones=0),
    ),
    domains={"example.com": "example.com", "local": "example.com"},
    providers=("blueface", "gv"),
    legs=(
        LegSays(to="2127@blueface", status=486, reason="Busy Here", after=3),
        LegSays(to="voicemail@*", status=200, after=1),
        LegSays(to="moved@*", status=302, contacts=("sip:voicemail@example.net",), after=1),
        LegSays(to="no@*", status=603, reason="Decline", after=2),
    ),
    web=(WebSays(url="https://example.com/*", body="yes"),),
    enum={"+44207": "sip:44207@example.net"},
)
CALL = incoming_call("alice@example.com", "2127", customer="joe", name="Alice")


@pytest.fixture
async def runner() -> AsyncIterator[MontyRunner]:
    made = MontyRunner(2)
    await made.start()
    yield made
    await made.stop()


async def dry(runner: MontyRunner, source: str, **scene: Any) -> DryRun:
    return await dry_run(runner, plan(source), CALL, replace(SCENE, **scene))


def told(run: DryRun) -> list[tuple[float, str, str]]:
    return [(step.at, step.what, step.text) for step in run.steps]


async def test_busy_then_voicemail(runner: MontyRunner) -> None:
    found = await dry(
        runner,
        "if sys.is_out and sys.dial('${dst}@blueface') == 'failed':\n"
        "    sys.log(f'{sys.last_status}')\n"
        "    sys.dial('voicemail@blueface[cd=60]')\n",
    )
    assert told(found) == [
        (0.0, "dial", "dial ${dst}@blueface"),
        (0.0, "leg", "ring 2127@blueface: 486 Busy Here at 3 s"),
        (3.0, "outcome", "failed: 486 Busy Here"),
        (3.0, "log", "486"),
        (3.0, "dial", "dial voicemail@blueface[cd=60]"),
        (3.0, "leg", "ring voicemail@blueface: 200  at 1 s"),
        (4.0, "answered", "answered by voicemail@blueface"),
    ]
    assert (found.end, found.status, found.answered_by) == ("answered", 200, "voicemail@blueface")
    assert found.dialled == ("2127@blueface", "voicemail@blueface")
    assert found.steps[-1].data["max_seconds"] == 60
    json.dumps(asdict(found))


async def test_waiting_costs_no_time(runner: MontyRunner) -> None:
    began = time.monotonic()
    found = await dry(
        runner,
        "import time, datetime\n"
        "time.sleep(30)\n"
        "sys.dial('bob@local', 90)\n"
        "print(sys.last_status, datetime.datetime.now().minute, sys.wait_for_signal('pin', 60))\n",
    )
    assert time.monotonic() - began < 30
    assert found.seconds == 180.0
    assert (found.end, found.status, found.reason) == ("refused", 480, "No answer")
    assert found.steps[-2].what == "signal"
    assert found.steps[-1].text == "480 2 None"
    assert [s.data["assumed"] for s in found.steps if s.what == "leg"] == [True]


@pytest.mark.parametrize(
    ("dial", "legs", "end"),
    [
        ("voicemail@blueface & 2127@blueface", [(0, 1), (0, 1)], "answered"),
        ("2127@blueface & voicemail@blueface[dt=10]", [(0, 3), (3, 4)], "answered"),
        ("bob@local[rt=5] & voicemail@blueface[dt=10]", [(0, 5), (5, 6)], "answered"),
        ("bob@local & voicemail@blueface[dt=10]", [(0, 11), (10, 11)], "answered"),
        ("voicemail@blueface[dt=10]", [(0, 1)], "answered"),
        ("zoe@local | voicemail@blueface", [(0, 0), (0, 1)], "answered"),
        ("moved@blueface[rm=a]", [(0, 1), (1, 2)], "answered"),
        ("moved@blueface", [(0, 1)], "refused"),
        ("no@blueface & bob@local", [(0, 2), (0, 2)], "refused"),
        ("no@blueface | voicemail@blueface", [(0, 2)], "refused"),
        ("2127@blueface | voicemail@blueface", [(0, 3)], "refused"),
        ("2127@blueface |{busy} voicemail@blueface", [(0, 3), (3, 4)], "answered"),
        ("x@nowhere | voicemail@blueface", [(0, 0), (0, 1)], "answered"),
        ("any.bob@local", [(0, 180)], "refused"),
    ],
)
async def test_legs_ring_as_the_dial_string_says(
    runner: MontyRunner, dial: str, legs: list[tuple[float, float]], end: str
) -> None:
    found = await dry(runner, f"sys.dial('{dial}')")
    rung = [(s.at, s.data["ended"]) for s in found.steps if s.what == "leg"]
    assert (rung, found.end) == (legs, end), told(found)


async def test_what_the_world_would_say(runner: MontyRunner) -> None:
    found = await dry(
        runner,
        "print(sys.is_available('bob'), sys.is_available('zoe'), sys.account_exists('eve'))\n"
        "print(len(sys.bindings('bob')), sys.is_mine('x.bob'), sys.canonical_domain('local'))\n"
        "print(sys.enum('+44207'), sys.web_get('https://example.com/a').body)\n"
        "print(sys.web_get('https://example.org/', seconds=5).problem)\n"
        "sys.write('a', 'b'); print(sys.read('a'), sys.keys(), sys.delete('a'))\n"
        "sys.callback('bob', 'zoe', 5); print(sys.current_calls())\n"
        "sys.set_header('X-A', 'b'); sys.set_from('Joe')\n"
        "print(sys.provider_callback('gv', '1234', seconds=30))\n"
        "sys.dial('bob@local[rt=1]')\n"
        "sys.respond(486, 'Busy')\n",
    )
    logs = [step.text for step in found.steps if step.what == "log"]
    assert logs == [
        "True False False",
        "2 True example.com",
        "sip:44207@example.net yes",
        "no answer in time",
        "b ['a'] True",
        "[]",
        "no callback",
    ]
    dialled = next(step for step in found.steps if step.what == "dial")
    assert dialled.data["headers"] == ["X-A: b"]
    assert dialled.data["from"]["name"] == "Joe"
    assert (found.end, found.status, found.reason) == ("refused", 486, "Busy")


async def test_a_callback_and_a_signal_may_come(runner: MontyRunner) -> None:
    found = await dry(
        runner,
        "print(sys.wait_for_signal('pin', 10))\nsys.provider_callback('gv', '1')",
        callbacks=(CallbackComes(provider="gv", after=7),),
        signals=(SignalComes(key="pin", value="1234", after=4),),
    )
    assert (found.end, found.answered_by, found.seconds) == ("answered", "callback by gv", 11.0)
    assert [s.text for s in found.steps if s.what == "log"] == ["1234"]


async def test_the_caller_may_hang_up(runner: MontyRunner) -> None:
    found = await dry(
        runner,
        "while True:\n    try: sys.dial('bob@local', 10)\n    except BaseException: pass",
        caller_waits=25.0,
    )
    assert (found.end, found.seconds, len(found.dialled)) == ("gone", 25.0, 3)


async def test_a_fault_tells_its_place(runner: MontyRunner) -> None:
    found = await dry(runner, "sys.log('x')\nsys.dial('bob@local[xx=1]')\n")
    assert (found.end, found.status) == ("fault", 500)
    assert found.problem is not None
    assert found.problem.line == 2
    assert "there is no option 'xx'" in found.problem.message
    found = await dry(runner, "while True: sys.now()")
    assert (found.end, found.limit) == ("fault", "calls")


async def test_other_languages_too() -> None:
    lines = "exten => _2XXX,1,Dial(${exten}@blueface)"
    dialplan = plan(lines, language=Language.LINES)
    found = await dry_run(LineRunner(), dialplan, CALL, SCENE)
    assert (found.end, found.status, found.dialled) == ("refused", 486, ("2127@blueface",))


async def test_a_replay_shows_what_would_differ(runner: MontyRunner) -> None:
    past = [
        PastCall(id="1", call=CALL, scene=SCENE, dialled=("2127@blueface",), status=486),
        PastCall(
            id="2",
            call=incoming_call("alice@example.com", "voicemail", customer="joe"),
            scene=SCENE,
            dialled=("voicemail@blueface",),
            status=200,
        ),
    ]
    same = await replay(runner, plan("sys.dial('${dst}@blueface')"), past)
    assert [each.differs for each in same] == [False, False]
    source = "sys.dial('${dst}@blueface |{busy} bob@local[rt=20]')"
    first, second = await replay(runner, plan(source), past)
    assert (first.differs, first.unsure, second.differs) == (True, True, False)
    assert first.dialled_now == ("2127@blueface", "bob@local")
    assert (first.status_before, first.status_now) == (486, 480)
    with pytest.raises(ValueError, match="1000"):
        await replay(runner, plan(source), past * 501)
