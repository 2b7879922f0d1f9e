"""The registration agent (ORIGINAL §1.4): asks provisioning every 2 s which providers are this
node's to register at, tells how they stand, and makes and ends registrations as it hears.

    tick ─► lease(reports) ─┬─ new ──────► Registration
                            ├─ known ────► update
                            ├─ missing ──► drop; what moved, with the next answer
                            ├─ unchanged ► all goes on as it is
                            └─ no answer ► the same
    drain, stop ─► rest ─► the last attempts end ─► lease(leaving)
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import random
from typing import Any, Final

from services.appserver.handlers.outside import Outside
from services.appserver.handlers.registrations.means import Means
from services.appserver.handlers.registrations.pace import Pace
from services.appserver.handlers.registrations.registration import Registration
from services.appserver.handlers.tools import Tools
from services.appserver.handlers.traces import Traces
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.programs import Holding, Lease, Programs, RegistrationReport
from tandem.runtime.metrics import Metrics
from tandem.sip.deadlines import Deadline
from tandem.sip.transaction import TransactionLayer

ASK_SECONDS: Final = 2.0
"""Between two questions for leases, which last three times as long."""
ANSWER_SECONDS: Final = 3.5
"""Longest wait for an answer."""
LEAVE_SECONDS: Final = 1.5
"""How long a node that drains or stops waits for the attempts that are under way. What a slower
registrar answers after that, the next holder asks for again."""
MAX_REPORTS: Final = 2_000
"""Reports in one question, some 300 bytes each; the rest follow with the next one."""
MAX_TAKEN: Final = 200
"""Leases that are looked at in one turn of the loop: new ones cost some 0.1 ms each."""
KNOWN_SECONDS: Final = 60.0
"""How long a list of leases is believed to be known, before all of it is asked for again."""
STATES: Final = ("registered", "failing", "new", "ending")

logger = logging.getLogger(__name__)

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Registrations:
    """All of one node; none, where there are no `programs`."""

    def __init__(
        self,
        tools: Tools,
        programs: Programs | None,
        layer: TransactionLayer,
        ways: Outside,
        traces: Traces,
        spawn: Spawn,
        link_reliable: bool,
        chance: Callable[[], float] = random,
    ) -> None:
        self._tools = tools
        self._programs = programs
        self._spawn = spawn
        pace = Pace(tools.deadlines)
        self._means = Means(tools, layer, ways, traces, link_reliable, pace, chance, self._changed)
        self.counters = self._means.counters
        self._held: dict[str, Registration] = {}
        self._to_tell: dict[str, None] = {}
        """Providers of which there is something to report, in the order in which it came up."""
        self._known = ""
        """The version of the list of leases that is obeyed."""
        self._known_until = 0.0
        self._tick_at: Deadline | None = None
        self._calling = asyncio.Lock()
        self._asking = False
        self._leaving = self._left = False
        self._rested_at = 0.0
        self._quiet = asyncio.Event()

    def __len__(self) -> int:
        """How many leases this node holds."""
        return len(self._held)

    # -- life ----------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to ask."""
        if self._programs is not None:
            self._tick(now)

    def drain(self, draining: bool) -> None:
        """Hand over to other nodes, or begin again."""
        if draining == self._leaving:
            return
        self._leaving, self._left = draining, False
        now = self._tools.clock()
        if not draining:
            for registration in self._held.values():
                registration.wake(now)
            return
        self._rested_at = now
        self._quiet.clear()
        for registration in self._held.values():
            registration.rest()
        self._heed_quiet()

    async def stop(self) -> None:
        """The node ends: hand over. At the providers all stays as it is, for whoever goes on."""
        if self._tick_at is None:
            return
        self._tick_at.cancel()
        self.drain(True)
        if not self._left:
            with suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self._quiet.wait()
            await self._hand_over()
        self._forget()

    def register(self, metrics: Metrics) -> None:
        """Show how the registrations stand, and what was done."""
        metrics.counters("tandem_registrations", self.counters, "Registrations at providers")
        for state in STATES:
            metrics.gauge(
                "tandem_provider_registrations",
                lambda state=state: float(self.states()[state]),  # type: ignore[misc]
                "Providers whose registration is this node's",
                {"state": state},
            )

    def states(self) -> Counter[str]:
        """How many there are of each state."""
        now = self._tools.clock()
        return Counter(each.state(now) for each in self._held.values())

    # -- leases --------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        self._tick_at = self._tools.deadlines.at(now + ASK_SECONDS, self._tick)
        if self._asking or self._left:
            return
        if not self._leaving:
            self._asking = True
            self._spawn(self._ask())
        elif self._quiet.is_set() or now >= self._rested_at + LEAVE_SECONDS:
            self._asking = True
            self._spawn(self._hand_over())

    async def _ask(self) -> None:
        try:
            async with self._calling:
                held = await self._lease(leaving=False)
                if held is not None and not held.unchanged and not self._leaving:
                    await self._take(held)
        finally:
            self._asking = False

    async def _hand_over(self) -> None:
        """Tried again with the next tick if provisioning is away."""
        try:
            async with self._calling:
                if self._leaving and not self._left:
                    if await self._lease(leaving=True) is not None and self._leaving:
                        self._left = True
                        self._forget()
        finally:
            self._asking = False

    async def _lease(self, *, leaving: bool) -> Holding | None:
        """What this node holds; None if nobody can say. What was reported is done with when there
        is an answer, unless it changed meanwhile."""
        keys = list(self._to_tell)[:MAX_REPORTS]
        now = self._tools.clock()
        reports: list[RegistrationReport] = []
        for key in keys:
            del self._to_tell[key]
            if key in self._held:
                reports.append(self._held[key].report(now))
        assert self._programs is not None
        node = self._tools.config.node_id
        known = self._known if now < self._known_until else ""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._programs.lease(node, reports, leaving=leaving, known=known)
        except (DirectoryUnavailable, TimeoutError):
            pass
        except Exception:
            logger.exception("leases could not be asked for")
        self.counters.unanswered += 1
        self._to_tell = dict.fromkeys(keys) | self._to_tell
        return None

    async def _take(self, held: Holding) -> None:
        leases, version = held.leases, held.version
        self._known = ""  # until all of it is taken
        named = {lease.provider.id for lease in leases}
        for key in [key for key in self._held if key not in named]:
            if self._held[key].lingers():
                version = ""  # so that the next answer names them all again
                continue
            registration = self._held.pop(key)
            self.counters.lost += not registration.released
            registration.drop()
        for number, lease in enumerate(leases):
            if number % MAX_TAKEN == MAX_TAKEN - 1:
                await asyncio.sleep(0)
            if self._leaving:
                return
            try:
                self._take_one(lease, self._tools.clock())
            except Exception:  # one provider that can't be dealt with must not cost the others
                logger.exception("the lease of a provider could not be taken")
                version = ""  # and is tried again
        self._known = version
        self._known_until = self._tools.clock() + KNOWN_SECONDS

    def _take_one(self, lease: Lease, now: float) -> None:
        key = lease.provider.id
        held = self._held.get(key)
        if held is not None:
            held.update(lease, now)
            return
        self.counters.taken += 1
        made = self._held[key] = Registration(self._means, lease)
        made.begin(lease, now)

    def _forget(self) -> None:
        for registration in self._held.values():
            registration.drop()
        self._held.clear()
        self._to_tell.clear()
        self._known = ""

    # -- from the registrations ----------------------------------------------------------------

    def _changed(self, registration: Registration) -> None:
        self._to_tell[registration.provider.id] = None
        self._heed_quiet()

    def _heed_quiet(self) -> None:
        if self._leaving and not self._means.under_way:
            self._quiet.set()
