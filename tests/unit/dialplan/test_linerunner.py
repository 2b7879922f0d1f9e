"""Line dialplans run."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from tandem.dialplan.linerunner import LineRunner
from tandem.dialplan.script import Dialplan, Language, Limits, ScriptFault
from tandem.dialplan.sysapi import Sys
from tandem.dialplan.world import Dial, DialStatus, Ended, Incoming, LegResult, Outcome, World


class FakeWorld:
    """Notes what is asked of it; nobody answers."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.outcome = Outcome(DialStatus.FAILED, 486, "Busy Here")

    async def dial(self, dial: Dial) -> Outcome:
        self.heard.append(dial)
        return self.outcome

    async def respond(self, status: int, reason: str, headers: Any) -> None:
        self.heard.append((status, reason, *headers))
        raise Ended


async def run(
    source: str, user: str, limits: Limits | None = None, outcome: Outcome | None = None
) -> list[Any]:
    """What a run for this destination asks of the world."""
    world = FakeWorld()
    world.outcome = outcome or world.outcome
    plan = Dialplan(id="1", owner="me", name="default", language=Language.LINES, source=source)
    req = Incoming(direction="out", customer="me", uri=f"sip:{user}@x", user=user, host="x")
    runner = LineRunner()
    await runner.start()
    with pytest.raises(Ended):
        await runner.run(plan, Sys(cast(World, world), req, plan), limits or Limits())
    await runner.stop()
    return world.heard


async def test_the_first_matching_line_is_dialled_and_its_failure_answered() -> None:
    source = "exten => 5,1,Dial(a@p)\nexten => _X.,1,Dial(u,p,${exten:1}@x)\nexten => _X.,1,Dial(b)"
    assert await run(source, "55") == [
        Dial("u,p,${exten:1}@x", asterisk_form=True),
        (486, "Busy Here"),
    ]


async def test_a_redirection_that_was_not_followed_goes_to_the_caller() -> None:
    legs = (
        LegResult("a", "sip:a@p", 302, "Moved", ("sip:x@y", "sip:z@y")),
        LegResult("b", "sip:b@p", 302, "Moved", ("sip:x@y",)),
        LegResult("c", "sip:c@p", 301, "Moved", ("sip:no@y",)),
    )
    heard = await run(
        "exten => 5,1,Dial(a)", "5", outcome=Outcome(DialStatus.FAILED, 302, "Moved", legs)
    )
    assert heard[1] == (302, "Moved", ("Contact", "<sip:x@y>"), ("Contact", "<sip:z@y>"))


async def test_a_reply_is_given() -> None:
    assert await run("exten => 5,1,SIPReply(403,Not today)", "5") == [(403, "Not today")]


async def test_a_destination_without_a_line_is_not_found() -> None:
    assert await run("exten => 5,1,Dial(a)", "6") == [(404, "No line of the dialplan matches")]


async def test_a_wrong_dialplan_is_a_fault_with_its_place() -> None:
    with pytest.raises(ScriptFault, match="line 2, column 14"):
        await run("; x\nexten => 5,1,Foo(a)", "5")


async def test_a_long_dialplan_is_read_too() -> None:
    source = "".join(f"exten => {number},1,Dial(a{number}@p)\n" for number in range(900))
    assert (await run(source, "899"))[0] == Dial("a899@p", asterisk_form=True)


async def test_a_dialplan_that_is_too_long_is_refused() -> None:
    with pytest.raises(ScriptFault, match="10 characters at most"):
        await run("exten => 5,1,Dial(a)", "5", Limits(source_chars=10))
    (problem,) = await LineRunner().check(";" * (Limits().source_chars + 1))
    assert "characters at most" in problem.message


async def test_patterns_that_take_too_long_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(time, "thread_time", lambda: float(next(ticks)))
    source = "exten => _X.,1,Dial(a)\n" * 5
    with pytest.raises(ScriptFault, match="too long") as caught:
        await run(source, "x", Limits(cpu_seconds=2.0))
    assert caught.value.limit == "time"
