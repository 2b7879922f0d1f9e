"""docs/voice-applications.md: its dialplan is right and does what is said of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tandem.dialplan.dryrun import DryRun, dry_run
from tandem.dialplan.monty import MontyRunner
from tandem.dialplan.scene import AccountIs, LegSays, Scene, SignalComes, incoming_call
from tests.support.dialplans import plan
from tests.support.voiceapps import MENU

NOON = 1_782_907_200.0
KEY = "menu4711"
STEADY = MENU.replace("random.randrange(10**12)", "4711")


@pytest.fixture
async def runner() -> AsyncIterator[MontyRunner]:
    made = MontyRunner(2)
    await made.start()
    yield made
    await made.stop()


async def run(runner: MontyRunner, *legs: LegSays, digits: str = "") -> DryRun:
    """What it does with a call, when the application hands over these digits, or none."""
    signals = (SignalComes(key=KEY, value=json.dumps({"digits": digits})),) if digits else ()
    scene = Scene(
        at=NOON,
        accounts=tuple(AccountIs(user=user, domain="example.com") for user in ("sales", "support")),
        domains={"example.com": "example.com", "local": "example.com"},
        providers=("company",),
        legs=legs,
        signals=signals,
    )
    call = incoming_call("alice@example.com", "500", customer="joe")
    assert STEADY != MENU
    return await dry_run(runner, plan(STEADY), call, scene)


ANSWERS = LegSays(to="ivr@company", status=200, after=1)


async def test_it_would_be_saved(runner: MontyRunner) -> None:
    assert await runner.check(MENU) == []


async def test_the_caller_is_transferred(runner: MontyRunner) -> None:
    found = await run(runner, ANSWERS, LegSays(to="sales@local", status=200, after=4), digits="1")
    assert [(step.at, step.what, step.text) for step in found.steps] == [
        (0.0, "dial", "dial ivr@company[fu=menu4711]"),
        (0.0, "leg", "ring ivr@company: 200  at 1 s"),
        (1.0, "answered", "answered by ivr@company"),
        (1.0, "signal", "wait for the signal menu4711"),
        (6.0, "transfer", "ring sales@local in place of ivr@company"),
        (6.0, "leg", "ring sales@local: 200  at 4 s"),
        (10.0, "answered", "answered by sales@local"),
    ]
    assert (found.end, found.status, found.answered_by) == ("answered", 200, "sales@local")


async def test_nobody_there_is_no_end(runner: MontyRunner) -> None:
    found = await run(runner, ANSWERS, LegSays(to="sales@local", status=486), digits="1")
    logs = [step.text for step in found.steps if step.what == "log"]
    assert logs
    assert set(logs) == {"1: 486 Busy Here"}


async def test_no_digits_end_the_call(runner: MontyRunner) -> None:
    found = await run(runner, ANSWERS)
    assert found.steps[-1].what == "hang_up"
    assert (found.end, found.seconds, found.answered_by) == ("answered", 121.0, "ivr@company")


async def test_without_the_application_the_caller_is_refused(runner: MontyRunner) -> None:
    found = await run(runner, LegSays(to="ivr@company", status=503, reason="Down"))
    assert (found.end, found.status) == ("refused", 500)
