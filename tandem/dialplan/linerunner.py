"""Runs line dialplans (`lines.py`)."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tandem.dialplan.lines import DialApp, Line, Program, number_of, read
from tandem.dialplan.script import Dialplan, Limits, Problem, ScriptFault
from tandem.dialplan.sysapi import Sys
from tandem.dialplan.world import Dial, Outcome

SLICE_SECONDS: Final = 0.002
"""For which patterns are tried before other calls have their turn."""
AT_ONCE: Final = 4_096
"""Characters of a dialplan that is read at once; a longer one in a thread."""
NO_LINE: Final = (404, "No line of the dialplan matches")


def contacts_of(outcome: Outcome) -> list[tuple[str, str]]:
    """The Contact headers of an answer with this outcome's status: where a redirection points to
    (RFC 3261 §21.3), nothing for any other."""
    if not 300 <= outcome.sip_status < 400:
        return []
    found = (
        uri for leg in outcome.legs if leg.status == outcome.sip_status for uri in leg.contacts
    )
    return [("Contact", f"<{uri}>") for uri in dict.fromkeys(found)]


class LineRunner:
    """`script.Runner` for line dialplans. Needs no process of its own: nothing in a line can take
    long but what the world does."""

    async def start(self) -> None:
        """Nothing to make ready."""

    async def stop(self) -> None:
        """Nothing to end."""

    async def check(self, source: str) -> list[Problem]:
        """What is wrong with it."""
        return list((await self._read(source, Limits())).problems)

    async def run(self, dialplan: Dialplan, sys: Sys, limits: Limits) -> None:
        """Do what the first matching line says. A dial that nobody answered is answered with its
        final status."""
        program = await self._read(dialplan.source, limits)
        if program.problems:
            raise ScriptFault(program.problems[0])
        line = await self._first(program, number_of(sys.req.user), limits)
        if line is None:
            await sys.world.respond(*NO_LINE, ())
        elif isinstance(line.app, DialApp):
            outcome = await sys.world.dial(Dial(line.app.text, asterisk_form=True))
            await sys.world.respond(outcome.sip_status, outcome.reason, contacts_of(outcome))
        else:
            await sys.world.respond(line.app.status, line.app.reason, ())

    async def _read(self, source: str, limits: Limits) -> Program:
        if len(source) > limits.source_chars:
            problem = Problem(f"a dialplan has {limits.source_chars} characters at most")
            return Program((), (problem,))
        if len(source) <= AT_ONCE:
            return read(source)
        return await asyncio.to_thread(read, source)

    async def _first(self, program: Program, number: str, limits: Limits) -> Line | None:
        used, began = 0.0, time.thread_time()
        for line in program.lines:
            if line.matches(number):
                return line
            spent = time.thread_time() - began
            if spent > SLICE_SECONDS:
                used += spent
                if used > limits.cpu_seconds:
                    raise ScriptFault(Problem("patterns take too long", line.number), "time")
                await asyncio.sleep(0)
                began = time.thread_time()
        return None
