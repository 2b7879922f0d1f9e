"""Runs dialplans for calls: one task for each, from the INVITE to the answer or the refusal.

planner ─► begin ─► Steering.begin ─► the dialplan is fetched ─► its runner, with a LiveWorld
                       │                    └─ missing, too many: 480
                       └─ gone (the caller hung up): the task is cancelled
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.appserver.domain.plan import CallPlan
from services.appserver.handlers.dialplans import facts
from services.appserver.handlers.dialplans.flight import ANSWERED, REFUSED, Flight
from services.appserver.handlers.dialplans.resolve import Run
from services.appserver.handlers.dialplans.runs import Place, Runs
from services.appserver.handlers.dialplans.services import Services
from services.appserver.handlers.dialplans.world import LiveWorld
from tandem.bus.dialplan_events import DialplanEnded, DialplanFailed, DialplanStarted
from tandem.bus.ports import Topic
from tandem.dialplan import ending
from tandem.dialplan.script import Dialplan, Language, Limits, Problem, Runner, ScriptFault
from tandem.dialplan.sysapi import Sys
from tandem.dialplan.world import DialplanError, Ended, Incoming
from tandem.rpc.directory import DirectoryUnavailable
from tandem.runtime.metrics import Metrics
from tandem.sip.transaction import ServerTransaction

logger = logging.getLogger(__name__)

MISSING: Final = (480, "SIP account missing dialplan setting")
TOO_MANY: Final = (480, "Dial plan execution exceeded maximum allowed")
OVERLOADED: Final = (503, "Dial plan script engine was overloaded")
NO_DIRECTORY: Final = (503, "Directory does not answer")
ENDED: Final = "ended"
FAILED: Final = "failed"

DialplanOf = Callable[[str, str], Awaitable[Dialplan | None]]
"""A customer's dialplan by name; raises DirectoryUnavailable."""


@dataclass(slots=True)
class Counters:
    """What happened, for metrics."""

    started: int = 0
    answered: int = 0
    refused: int = 0
    """Calls that got a final answer of the script, or of its last dial."""
    failed: int = 0
    """Scripts that were wrong or used more than they may; missing ones."""
    over_limit: int = 0
    """Calls whose customer, or this node, had too many dialplans running."""
    gone: int = 0
    """Callers who hung up first."""


class Engine:
    """All runs of one appserver."""

    def __init__(
        self,
        services: Services,
        runners: Mapping[Language, Runner],
        dialplan: DialplanOf,
        limits: Limits | None = None,
    ) -> None:
        self.counters = Counters()
        self._services = services
        self._tools = services.tools
        self._runners = runners
        self._dialplan = dialplan
        self._limits = limits or Limits()
        self._runs = Runs(self._tools.config.max_dialplans)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ready: set[Language] = set()
        self._starting = asyncio.Lock()

    @property
    def services(self) -> Services:
        """What it works with."""
        return self._services

    def __len__(self) -> int:
        """How many run."""
        return len(self._runs)

    # -- from the planner ----------------------------------------------------------------------

    def begin(
        self, tx: ServerTransaction, plan: CallPlan, owner: str, name: str, source: str, now: float
    ) -> None:
        """Run a customer's dialplan for this INVITE; the plan has no targets."""
        flight = Flight(self._services.steering, self._tools.clock, self._services.arm)
        call_id = self._services.steering.begin(tx, plan, flight, now)
        if call_id is None:
            return
        flight.call_id = call_id
        req = facts.incoming(tx.request, plan, owner, source)
        proxy = plan.looped.proxy if plan.looped is not None else tx.hop.peer
        flight.task = self.spawn(self.fly(flight, Run.of(req, name, proxy)))

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something beside the path of messages. What fails is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tools.counters.errors += 1
            logger.error("a run of a dialplan failed", exc_info=error)
        self._services.arm()

    # -- one run -------------------------------------------------------------------------------

    async def fly(self, flight: Flight, run: Run) -> None:
        """Have the dialplan that `run` names steer the call to its end. `flight.task` is cancelled
        when the call is gone."""
        dialplan, refusal = await self._found(flight, run)
        if dialplan is None:
            flight.refuse(*refusal)
            return
        owner = dialplan.owner
        if not self.admits(dialplan):
            self.counters.over_limit += 1
            said = Problem(f"{self._runs.running[owner]} dialplans of yours run already")
            self._tell_fault(flight.call_id, owner, run.dialplan, dialplan, said, "executions")
            flight.refuse(*TOO_MANY)
            return
        place = self._runs.enter(dialplan)
        try:
            await self._run(flight, run, dialplan, place)
        finally:
            place.leave()

    async def _found(self, flight: Flight, run: Run) -> tuple[Dialplan | None, tuple[int, str]]:
        owner, name = run.req.customer, run.dialplan
        try:
            dialplan = await self._dialplan(owner, name)
        except DirectoryUnavailable:
            said, refusal = Problem("the directory does not answer"), NO_DIRECTORY
        else:
            if dialplan is not None:
                return dialplan, MISSING
            said, refusal = Problem("there is no dialplan of this name"), MISSING
        self.counters.failed += 1
        self._tell_fault(flight.call_id, owner, name, None, said, "")
        return None, refusal

    def admits(self, dialplan: Dialplan) -> bool:
        """Whether one more run of it may begin."""
        return self._runs.admits(dialplan)

    async def _run(self, flight: Flight, run: Run, dialplan: Dialplan, place: Place) -> None:
        self.counters.started += 1
        began = self._tools.clock()
        world = LiveWorld(self._services, flight, run, place, self.spawn)
        world.publish(
            DialplanStarted,
            dialplan=dialplan.name,
            version=dialplan.version,
            account=run.req.account,
            direction=run.req.direction,
        )
        reason, status = "", 0
        try:
            reason, status = await self.execute(flight, world, run.req, dialplan)
        except asyncio.CancelledError:
            if not flight.over:  # the node stops
                raise
        finally:
            reason = reason or flight.over or "stopped"
            self._count(reason, flight.up)
            world.publish(
                DialplanEnded,
                dialplan=dialplan.name,
                reason=reason,
                status=status,
                seconds=round(self._tools.clock() - began, 3),
                uses=world.uses,
            )

    async def execute(
        self, flight: Flight, world: LiveWorld, req: Incoming, dialplan: Dialplan
    ) -> tuple[str, int]:
        """Run the script, and refuse the call if it is still there unanswered: why it ended, the
        status."""
        sys = Sys(world, req, dialplan)
        try:
            runner = await self._runner(dialplan.language)
            await runner.run(dialplan, sys, self._limits)
        except Ended:
            return flight.over or REFUSED, flight.status
        except ScriptFault as fault:
            return self._faulty(flight, req, dialplan, fault.problem, fault.limit)
        except DialplanError as error:  # of a runner that has no way to tell its script
            return self._faulty(flight, req, dialplan, Problem(str(error)), "")
        except Exception:
            logger.exception("the runner of a dialplan failed")
            self._tools.counters.errors += 1
            return self._faulty(flight, req, dialplan, Problem("the switch failed to run it"), "")
        if flight.up:  # it goes on without the script
            return ANSWERED, 0
        status, reason = ending.final(sys)
        flight.refuse(status, reason)
        return ENDED, status

    def _faulty(
        self, flight: Flight, req: Incoming, dialplan: Dialplan, problem: Problem, limit: str
    ) -> tuple[str, int]:
        owner = req.customer
        self._tell_fault(flight.call_id, owner, dialplan.name, dialplan, problem, limit)
        status, reason = OVERLOADED if limit == "queue" else ending.FAULT
        flight.refuse(status, reason)
        return FAILED, 0 if flight.up else status

    def _tell_fault(
        self,
        call_id: str,
        owner: str,
        name: str,
        dialplan: Dialplan | None,
        problem: Problem,
        limit: str,
    ) -> None:
        event = DialplanFailed(
            owners=(owner,),
            call_id=call_id or None,
            dialplan=name,
            version=dialplan.version if dialplan is not None else 0,
            message=problem.message,
            line=problem.line,
            column=problem.column,
            limit=limit,
        )
        self._tools.publisher.publish(Topic.EVENTS, event)

    def _count(self, reason: str, up: bool) -> None:
        counters = self.counters
        if reason == FAILED:
            counters.failed += 1
        elif up or reason == ANSWERED:
            counters.answered += 1
        elif reason in (REFUSED, ENDED):
            counters.refused += 1
        else:
            counters.gone += 1

    # -- life ----------------------------------------------------------------------------------

    def register(self, metrics: Metrics) -> None:
        """Show what it did, and what runs."""
        metrics.counters("tandem_dialplans", self.counters, "Runs of dialplans")
        metrics.gauge("tandem_running_dialplans", lambda: len(self), "Dialplans that run")

    async def _runner(self, language: Language) -> Runner:
        """The runner of a language, started when it is first needed."""
        runner = self._runners.get(language)
        if runner is None:
            raise ScriptFault(Problem(f"this switch runs no dialplans in {language}"))
        if language not in self._ready:
            async with self._starting:
                if language not in self._ready:
                    await runner.start()
                    self._ready.add(language)
        return runner

    async def stop(self) -> None:
        """End all runs and their processes. What their callers hear is the B2BUA's business."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for language in self._ready:
            await self._runners[language].stop()
        self._ready.clear()
