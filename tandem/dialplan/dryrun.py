"""What a dialplan would do: for one call (dry run), and for past ones (replay). Nothing rings, and
waiting costs no time. In and out go plain dataclasses (`dataclasses.asdict` makes JSON of them)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from tandem.dialplan import ending
from tandem.dialplan.scene import Scene
from tandem.dialplan.script import Dialplan, Limits, Problem, Runner, ScriptFault
from tandem.dialplan.simulated import SimulatedWorld, Step
from tandem.dialplan.simulatedways import NOWHERE
from tandem.dialplan.sysapi import Sys
from tandem.dialplan.world import Ended, Incoming

ANSWERED: Final = (200, "OK")
MAX_REPLAYED: Final = 1_000
"""Past calls in one replay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What would happen to a call."""

    end: str
    """`answered`, `refused`, `gone` (the caller hung up) or `fault` (the script is wrong)."""
    status: int
    """What the caller gets: 200 for an answer."""
    reason: str
    answered_by: str
    """The leg that answers, or the callback."""
    seconds: float
    """From the INVITE to the end or answer, or to the end of a script that stays longer."""
    steps: tuple[Step, ...]
    problem: Problem | None = None
    """Where the script is wrong."""
    limit: str = ""
    """Which limit it exceeded."""

    @property
    def dialled(self) -> tuple[str, ...]:
        """The legs that ring, in order."""
        legs = (step.data for step in self.steps if step.what == "leg")
        return tuple(leg["target"] for leg in legs if leg["way"] != NOWHERE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCall:
    """A call as it was, from its record and events."""

    id: str
    call: Incoming
    scene: Scene
    """With what its legs answered then."""
    dialled: tuple[str, ...] = ()
    """The legs that rang, in order."""
    status: int = 0
    """What the caller got."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A past call on another version of the dialplan."""

    id: str
    differs: bool
    dialled_before: tuple[str, ...]
    dialled_now: tuple[str, ...]
    status_before: int
    status_now: int
    unsure: bool
    """Whether it rings or asks what nothing is known of: taken as no answer."""
    now: DryRun


async def dry_run(
    runner: Runner, dialplan: Dialplan, call: Incoming, scene: Scene, limits: Limits | None = None
) -> DryRun:
    """Run it for this call."""
    world = SimulatedWorld(scene, call, dialplan.name)
    sys = Sys(world, call, dialplan)
    try:
        await runner.run(dialplan, sys, limits or Limits())
    except Ended:
        return _ended(world)
    except ScriptFault as fault:
        end = _end(world, "fault", *(ANSWERED if world.answered_by else ending.FAULT))
        return replace(end, problem=fault.problem, limit=fault.limit)
    return _ended(world) if world.answered_by else _end(world, "refused", *ending.final(sys))


async def replay(
    runner: Runner, dialplan: Dialplan, past: Sequence[PastCall], limits: Limits | None = None
) -> list[Replayed]:
    """Run it for past calls, and compare."""
    if len(past) > MAX_REPLAYED:
        raise ValueError(f"at most {MAX_REPLAYED} calls are replayed at once")
    return [
        _compared(each, await dry_run(runner, dialplan, each.call, each.scene, limits))
        for each in past
    ]


def _ended(world: SimulatedWorld) -> DryRun:
    if world.answered_by:
        return _end(world, "answered", *ANSWERED)
    if world.answer is not None:
        return _end(world, "refused", *world.answer)
    return _end(world, "gone", 487, "Request Terminated")


def _end(world: SimulatedWorld, end: str, status: int, reason: str) -> DryRun:
    return DryRun(
        end=end,
        status=status,
        reason=reason,
        answered_by=world.answered_by,
        seconds=round(world.seconds, 3),
        steps=tuple(world.steps),
    )


def _compared(past: PastCall, now: DryRun) -> Replayed:
    same = now.dialled == past.dialled and now.status == past.status
    return Replayed(
        id=past.id,
        differs=not same,
        dialled_before=past.dialled,
        dialled_now=now.dialled,
        status_before=past.status,
        status_now=now.status,
        unsure=any(step.data.get("assumed") for step in now.steps),
        now=now,
    )
